"""What is asked, as codes of an index: pictures, parts of pictures, ids, vectors. One that fails stops no other."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.arrays import pack_bits
from mmfeat.errors import MediaError, ShapeError, UsageError

if TYPE_CHECKING:
    from mmfeat.media.remote import Url
    from mmfeat.pipelines.searching import Searcher

__all__ = ["Query", "listed", "none_asked", "read_queries"]

_CROP = re.compile(r"xywh=(?:(pixel|percent):)?([0-9.]+),([0-9.]+),([0-9.]+),([0-9.]+)")

_NAMED = 3  # queries that cannot be asked, in a message


@dataclasses.dataclass
class Query:
    """One query: what it is called, the picture that a page shows (a path or the picture), its code, or what is wrong."""

    name: str
    picture: Any = None
    code: np.ndarray | None = None
    error: UsageError | None = None


def listed(queries: Any) -> list[Any]:
    """One query or many, as a list: an .npy file and a matrix are many vectors, a list may hold all kinds."""
    if isinstance(queries, str | os.PathLike):
        return _vectors_in(Path(queries)) if str(queries).endswith(".npy") and Path(queries).exists() else [queries]
    if isinstance(queries, np.ndarray):
        return list(queries) if queries.ndim in (2, 4) and _many(queries) else [queries]
    if isinstance(queries, Sequence):
        return [part for one in queries for part in listed(one)]
    return [queries]


def _many(array: np.ndarray) -> bool:
    """A matrix is many vectors unless it looks like a grey picture (uint8); four axes are many pictures."""
    return array.ndim == 4 or array.dtype != np.uint8


def _vectors_in(path: Path) -> list[np.ndarray]:
    """The rows of an .npy file: vectors (q, d), or one (d,); codes of bits (uint8) stay as they are."""
    from mmfeat.pipelines.given_vectors import as_vectors

    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        rows = None
    if rows is not None and rows.ndim == 1 and rows.size:
        return [np.array(rows)]
    if rows is not None and rows.ndim == 2 and rows.dtype == np.uint8 and rows.size:
        return list(np.array(rows))
    return list(as_vectors(path))


def read_queries(searcher: Searcher, asked: list[Any]) -> list[Query]:
    """All queries with their codes, or what is wrong with them."""
    queries, pictures = [], []
    for place, one in enumerate(asked):
        query = Query(_name(one, place))
        try:
            picture = _understand(searcher, one, query)
            if picture is not None:
                pictures.append((query, picture))
        except UsageError as error:
            query.error = error
        queries.append(query)
    if pictures:
        _encode(searcher, pictures)
    widths = sorted({len(query.code) for query in queries if query.code is not None})
    if len(widths) > 1:
        raise ShapeError("queries are vectors of one width", ", ".join(map(str, widths)), "give those of this index")
    return queries


def none_asked(read: list[Query]) -> UsageError:
    """What is wrong with queries that cannot be asked, in one sentence: up to three of them, and how many more."""
    bad = [(query.name, query.error) for query in read if query.error is not None]
    first = bad[0][1]
    if len(bad) == 1:
        return first
    some = [error.came if error.rule == first.rule else f"{name} ({error.rule})" for name, error in bad[:_NAMED]]
    more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return type(first)(first.rule, "; ".join(some) + more, first.do.replace("leave it out", "leave them out"))


def _name(one: Any, place: int) -> str:
    if isinstance(one, str | os.PathLike):
        return str(one)
    return f"vector {place}" if isinstance(one, np.ndarray) and one.ndim == 1 else f"picture {place}"


def _understand(searcher: Searcher, one: Any, query: Query) -> Any:
    """The picture that has to be encoded, or None when the query has its code. UsageError: it is nothing."""
    if isinstance(one, np.ndarray) and one.ndim == 1:
        query.code = _vector(searcher, one)
        return None
    if not isinstance(one, str | os.PathLike):
        query.picture = one
        return one
    if not str(one).strip() or str(one) == os.curdir:  # Path("") is the folder one is in
        raise UsageError("a query is a picture, an id of the index or an .npy file", "an empty text", "name one")
    if Path(one).is_dir():
        raise UsageError("a query is a picture, a file", f"the folder {one}", "name pictures in it")
    if Path(one).exists():
        query.picture = Path(one)
        return Path(one)
    row = searcher.index.snapshot.row_named(str(one))
    if row >= 0:
        query.picture, query.code = searcher.path_of(str(one)), searcher.index.codes_at([row])[0]
        return None
    query.picture = _part(searcher, str(one))
    return query.picture


def _part(searcher: Searcher, text: str) -> np.ndarray:
    """The part of a picture that `a.jpg#xywh=…` names (W3C Media Fragments 1.0, 4.2.2: pixels, or percent:)."""
    name, _, fragment = text.rpartition("#")
    box = _CROP.fullmatch(fragment)
    path = _file(searcher, name) if box else None
    if box is None or path is None:
        raise UsageError(
            "a query is a picture that exists, or an id of the index, or a part of either (a.jpg#xywh=x,y,w,h)",
            text,
            "check the path, or see the ids with --json",
        )
    return _crop(path, box, text)


def _file(searcher: Searcher, name: str) -> Path | Url | None:
    """The file of that path, or of that id of the index, a member of a tar among them."""
    from mmfeat.media.contents import facts_of

    if Path(name).is_file():
        return Path(name)
    try:
        path = searcher.path_of(name)
        return path if path is not None and facts_of(os.fspath(path)) else None
    except (UsageError, MediaError, OSError):
        return None


def _crop(path: Path | Url, box: re.Match[str], text: str) -> np.ndarray:
    from mmfeat.media.decode import Decode

    whole = _readable(path, Decode(max_side=1 << 20, draft=False))
    height, width = whole.shape[:2]
    try:
        x, y, w, h = (float(value) for value in box.groups()[1:])
    except ValueError:
        x = y = w = h = 0.0
    if box[1] == "percent":
        x, y, w, h = x * width / 100, y * height / 100, w * width / 100, h * height / 100
    left, top = round(x), round(y)
    part = whole[top : min(height, round(y + h)), left : min(width, round(x + w))]
    if not part.size:
        raise UsageError(
            f"a part lies inside its picture of {width} x {height} px", text, "check the order: x, y, width, height"
        )
    return np.ascontiguousarray(part)


def _readable(path: Path | Url, settings: Any) -> np.ndarray:
    from mmfeat.media.decode import decode

    try:
        return decode(path, settings)
    except MediaError as error:
        raise UsageError(
            "a query is a picture that can be read", f"{path}: {error.rule}; {error.came}", "leave it out"
        ) from error
    except OSError as error:
        raise UsageError(
            "a query is a picture that can be read", f"{path}: {error.strerror}", "leave it out"
        ) from error


def _vector(searcher: Searcher, vector: np.ndarray) -> np.ndarray:
    index = searcher.index
    if index.kind.startswith("binary") and vector.dtype == np.uint8:
        return vector
    rows = np.asarray(vector, np.float32)[None]
    if not np.isfinite(rows).all():
        raise UsageError("a vector that is asked is finite", "NaN or infinity", "leave it out")
    if index.metric == "cosine" and not rows.any():
        raise UsageError("a vector has a direction where it is compared by cosine", "one of zeros", "leave it out")
    if index.kind.startswith("float") and "model" not in index.extras:
        return rows[0]
    model = searcher.model
    if model.decode is not None:
        raise ShapeError("this index is asked with pictures", f"a vector {vector.shape}", "give a picture or its path")
    return (model.encode_bits(rows, small=True) if model.hash else model.encode(rows, small=True))[0]


def _encode(searcher: Searcher, pictures: list[tuple[Query, Any]]) -> None:
    """Pictures to codes, on the path every item of the index took; what cannot be read is said in its query."""
    from mmfeat.media.source import ArrayImages

    asked, arrays = [], []
    for query, one in pictures:
        try:
            model = searcher.model
            if model.decode is None:
                raise ShapeError(
                    "this index is asked with vectors", "a picture", "give an array of shape (d,) or (q, d)"
                )
            arrays.append(_readable(one, model.decode) if isinstance(one, Path) else one)
            asked.append(query)
        except UsageError as error:
            query.error = error
    if not arrays:
        return
    source = ArrayImages(arrays, model.decode)
    values = model.encode(source, small=len(arrays) == 1)
    codes = pack_bits(values) if model.hash else values
    for place, query in enumerate(asked):
        if place in source.failures or not np.isfinite(values[place]).all():
            reason = source.failures.get(place, "its features are not finite numbers")
            query.error = UsageError("a query is a picture that can be read", reason, "leave it out")
        else:
            query.code = codes[place]
