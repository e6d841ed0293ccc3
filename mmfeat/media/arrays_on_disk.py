"""Arrays of pictures in one file as a source of items: `x.npy#row=12`, `x.npz/images#row=12`, `train-images-idx3-ubyte#row=12`.

An array is (n, h, w) or (n, h, w, 1 | 3 | 4) of uint8, uint16, bool or float, as `decode_array` takes them. `.npy` is mapped,
so that only the rows that are asked for are read; `.npz` and idx (LeCun's format of MNIST, `.gz` too) are held whole, one at
a time. Labels: in an .npz the array beside it (`y`, `labels`, `y_train` for `x_train`), for idx the file of labels beside it.
"""

from __future__ import annotations

import functools
import gzip
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from mmfeat.errors import MediaError
from mmfeat.media.entries import Entry, Known
from mmfeat.media.ids import make_id
from mmfeat.media.remote import as_url, is_file, open_binary, size_and_mtime

__all__ = ["entries", "is_array", "known_of", "load", "row_of"]

_IDX = re.compile(r"idx[34]-ubyte(\.gz)?$")
_LABELS = (
    ("images", "labels"),
    ("image", "label"),
    ("x", "y"),
    ("X", "y"),
    ("X", "Y"),
)  # what pictures and labels are called


def is_array(place: str) -> bool:
    """Whether a path or a URL names a file of arrays."""
    return (place.endswith((".npy", ".npz")) or _IDX.search(place) is not None) and is_file(place)


def entries(place: str, before: str) -> Iterator[Entry]:
    """One entry a picture; an array that holds none, or is damaged, is one entry that says so. `before`: the file's own id."""
    size, mtime = size_and_mtime(place)
    try:
        names = _names(place)
        for name in names:
            array = load(place, name)
            if name and (array.ndim < 3 or not _pictures(array)):
                continue  # an .npz holds other things too
            _check(array)
            labels = _labels(place, name, len(array), names)
            path = f"{place}/{name}" if name else place
            id = make_id(f"{before}/{name}" if name else before)
            known = Known(int(array[0].nbytes) if len(array) else 0, mtime, int(array.shape[2]), int(array.shape[1]))
            for row in range(len(array)):
                said = (None if labels is None else labels[row], None, None)
                yield Entry(f"{id}#row={row}", path, None, said, known)
    except MediaError as error:
        yield Entry(make_id(before), place, ("failed", str(error)), (None, None, None), Known(size, mtime, 0, 0))


def row_of(place: str, row: int) -> np.ndarray:
    """One picture, a copy: (h, w) or (h, w, c). Raises MediaError where the array or the row is not there."""
    array = load(*_file_and_name(place))
    if not 0 <= row < len(array):
        raise MediaError("an array holds the row that is asked for", f"row {row} of {len(array)}", "walk again")
    return np.array(array[row])


def known_of(place: str, row: int) -> Known:
    """What is known of one picture; raises MediaError as `row_of`, and where the array holds no pictures."""
    file, name = _file_and_name(place)
    array = load(file, name)
    _check(array)
    if not 0 <= row < len(array):
        raise MediaError("an array holds the row that is asked for", f"row {row} of {len(array)}", "walk again")
    return Known(int(array[row].nbytes), size_and_mtime(file)[1], int(array.shape[2]), int(array.shape[1]))


def load(place: str, name: str = "") -> np.ndarray:
    """The array of a file, `name` that of an .npz; raises MediaError where it is damaged. Kept until another is asked for."""
    return _load(place, name, *size_and_mtime(place))


@functools.lru_cache(maxsize=2)
def _load(place: str, name: str, size: int, mtime_ns: int) -> np.ndarray:
    try:
        if place.endswith(".npy"):
            if as_url(place) is None:
                return np.load(place, mmap_mode="r", allow_pickle=False)
            with open_binary(place) as file:
                return np.load(io.BytesIO(file.read()), allow_pickle=False)
        with open_binary(place) as file:
            if not place.endswith(".npz"):
                return _idx(gzip.decompress(file.read()) if place.endswith(".gz") else file.read())
            with np.load(file, allow_pickle=False) as several:
                return several[name]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        came = "an array of Python objects, which are never opened" if "bject" in str(error) else str(error)[:200]
        raise MediaError("a file of arrays can be read", came, "write it again") from error


def _file_and_name(place: str) -> tuple[str, str]:
    return (place, "") if is_array(place) else (os.path.dirname(place), os.path.basename(place))


def _names(place: str) -> list[str]:
    """The arrays of an .npz; one without a name for any other file."""
    if not place.endswith(".npz"):
        return [""]
    try:
        with open_binary(place) as file, np.load(file, allow_pickle=False) as several:
            return list(several.files)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise MediaError("an .npz is a zip of arrays", str(error)[:200], "write it again") from error


def _pictures(array: np.ndarray) -> bool:
    deep = array.dtype in (np.bool_, np.uint8, np.uint16) or np.issubdtype(array.dtype, np.floating)
    return bool(
        deep and (array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3, 4))) and 0 not in array.shape
    )


def _check(array: np.ndarray) -> None:
    if not _pictures(array):
        raise MediaError(
            "an array of pictures is (n, h, w) or (n, h, w, 1 | 3 | 4) of uint8, uint16, bool or float",
            f"{array.dtype} {array.shape}",
            "vectors are indexed with `mmfeat index build vectors.npy`",
        )


def _labels(place: str, name: str, count: int, names: list[str]) -> list[str | None] | None:
    """A label for each row, where an array or a file of that many whole numbers or texts stands beside it."""
    beside: np.ndarray | None = None
    if name:
        others = [name.replace(*pair, 1) for pair in _LABELS]
        beside = next((load(place, other) for other in others if other != name and other in names), None)
    elif _IDX.search(place):
        folder, _, last = place.rpartition("/")
        other = f"{folder}/{re.sub('idx[34]', 'idx1', last.replace('images', 'labels'))}"
        beside = load(other) if is_file(other) else None
    if beside is None or beside.shape != (count,) or beside.dtype.kind not in "iuU":
        return None
    return [text if text.isprintable() and text else None for text in beside.astype(str).tolist()]


def _idx(data: bytes) -> np.ndarray:
    """The array of an idx file of bytes: two zero bytes, type 8, the number of axes, their lengths, the values."""
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"no idx file of bytes: it begins with {data[:4]!r}")
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if len(values) != int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{len(values):,} values where the header says {shape}")
    return values.reshape(shape)
