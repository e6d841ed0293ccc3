"""Batches of pictures for the stream: from files of a table of items, or from pictures in memory.

Both kinds have what `mmfeat.stream` asks of a source:

    len(source)          pictures
    source.groups        (n,) int32, the shape bucket of each picture
    source.shapes        [(H, W), ...], the shape of each bucket
    source.read(rows)    pictures of one bucket -> (Images padded to (H, W), weight (b,) float32)

Weight 0 marks a picture that could not be decoded (its pixels are 0, its size (1, 1)); the reason stays in
`source.failures`. Memory: the batch itself, and the pictures that are being decoded: all threads together hold at most
`Decode.limit` pixels at a time, and a pixel takes at most 40 bytes on its way (measured: 5 for JPEG, 20 with alpha, 36 at
worst), so with the limit that follows from the machine at most 5/8 of its memory.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from mmfeat.arrays import Images
from mmfeat.errors import DataError, MediaError, MmfeatError, UsageError
from mmfeat.media.contents import content_sha256, open_content, read_content
from mmfeat.media.decode import Decode, bucket, decode_array, decode_file, output_size
from mmfeat.media.items import Items
from mmfeat.media.opening import read_header, say

__all__ = ["ArrayImages", "ImageSource"]

_BYTES_A_PIXEL = 40  # at most, while it is decoded


class ImageSource:
    """The pictures of a table of items, decoded in a pool of threads.

    items, decode: what and how, wherever the items lie (`contents`). rows: rows of `items.table`, default `items.images`;
        position i of the source is `source.rows[i]`.
    threads: default the number of cores.

    Each file is read once, hashed and decoded from memory. `failures` (reason) and `sha256` (of the file's bytes) are
    keyed by row of `items.table`. A file that is gone, has another length than the table says or decodes to another
    size than its header promised is a failure; what failed once is not tried again, so every pass sees the same
    pictures. Raises DataError without a single row.
    """

    def __init__(
        self,
        items: Items,
        decode: Decode,
        rows: Sequence[int] | np.ndarray | None = None,
        threads: int | None = None,
    ) -> None:
        self.items, self.decode = items, decode
        self.rows = np.asarray(items.images if rows is None else rows, np.int64)
        if not len(self.rows):
            raise DataError("there is at least one picture", repr(items), "look at the column `reason` of the table")
        self.failures: dict[int, str] = {}
        self.sha256: dict[int, str] = {}
        self._pool = _Pool(threads)
        self._budget = _Budget(decode.limit)
        table = items.table.select(["bytes", "width", "height"]).take(self.rows)
        self._bytes = table["bytes"].to_numpy()
        self._shown = self._sizes(table["width"].to_pylist(), table["height"].to_pylist())
        self._wanted = np.array([output_size(w, h, decode) for w, h in self._shown], np.int32)
        self.groups, self.shapes = _group(self._wanted, decode)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: Sequence[int] | np.ndarray) -> tuple[Images, np.ndarray]:
        """Pictures at these positions. Raises UsageError where buckets are mixed; bad files never raise."""
        return _read(np.asarray(rows, np.int64), self.groups, self.shapes, self.decode, self._pool, self._one)

    def _one(self, position: int) -> np.ndarray | None:
        row = int(self.rows[position])
        if row in self.failures:
            return None
        try:
            pixels = self._pixels(position, row)
            if pixels.shape[:2] != tuple(self._wanted[position]):
                raise MediaError("a picture is as large as its header said", f"{pixels.shape[:2]}", "walk again")
            return pixels
        except MmfeatError as error:
            self.failures[row] = str(error)
        except OSError as error:
            self.failures[row] = _gone(error)
        except Exception as error:  # noqa: BLE001 - one bad file never stops a run
            self.failures[row] = f"decoding failed: {say(error)}"
        return None

    def _pixels(self, position: int, row: int) -> np.ndarray:
        place, fragment = self.items.place_of(row)
        promised = int(self._bytes[position])
        width, height = self._shown[position]
        with self._budget.taking(width * height + promised // _BYTES_A_PIXEL):
            content = read_content(place, fragment, promised)
            if row not in self.sha256:
                self.sha256[row] = content_sha256(content, fragment)
            if isinstance(content, np.ndarray):
                return decode_array(content, self.decode)
            decode = replace(self.decode, frame=fragment["page"]) if "page" in fragment else self.decode
            return decode_file(content, decode, os.path.splitext(place)[1].lower())

    def _sizes(self, widths: list[int | None], heights: list[int | None]) -> list[tuple[int, int]]:
        """(width, height) of each picture under these settings: from the table, or from the headers."""
        known = list(zip(widths, heights, strict=True))
        again = self.decode.size is None and (not self.decode.orient or self.decode.frame > 0)
        if not again and all(width and height for width, height in known):
            return [(int(width or 1), int(height or 1)) for width, height in known]
        shown = [(1, 1)] * len(self.rows)

        def fill(position: int) -> None:
            shown[position] = self._header(position)

        self._pool.each(fill, len(self.rows))
        return shown

    def _header(self, position: int) -> tuple[int, int]:
        row = int(self.rows[position])
        place, fragment = self.items.place_of(row)
        if "row" in fragment:
            table = self.items.table
            return int(table["width"][row].as_py()), int(table["height"][row].as_py())
        extension, frame = os.path.splitext(place)[1].lower(), fragment.get("page", self.decode.frame)
        try:
            with open_content(place) as file:
                header = read_header(file, extension, orient=self.decode.orient, frame=frame)
        except (MediaError, OSError) as error:
            self.failures[row] = str(error) if isinstance(error, MediaError) else _gone(error)
            return 1, 1
        return header.width, header.height


class ArrayImages:
    """The same for pictures in memory: a sequence of arrays or PIL images, as `decode_array` takes them.

    `failures` is keyed by position; `sha256` stays empty. Raises DataError for an empty sequence.
    """

    def __init__(self, images: Sequence[Any] | np.ndarray, decode: Decode, threads: int | None = None) -> None:
        if not len(images):
            raise DataError("there is at least one picture", "an empty sequence", "pass some")
        self.images, self.decode = images, decode
        self.failures: dict[int, str] = {}
        self.sha256: dict[int, str] = {}
        self._pool = _Pool(threads)
        self._lock = threading.Lock()  # a PIL image may still have to be loaded, and may stand in the sequence twice
        self._wanted = np.array([self._shape(position) for position in range(len(images))], np.int32)
        self.groups, self.shapes = _group(self._wanted, decode)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Sequence[int] | np.ndarray) -> tuple[Images, np.ndarray]:
        """As `ImageSource.read`."""
        return _read(np.asarray(rows, np.int64), self.groups, self.shapes, self.decode, self._pool, self._one)

    def _shape(self, position: int) -> tuple[int, int]:
        from mmfeat.media.pixels import is_image, shown_size

        picture = self.images[position]
        if is_image(picture):
            return output_size(*shown_size(picture, self.decode.orient), self.decode)
        shape = np.shape(picture)
        return output_size(shape[1], shape[0], self.decode) if len(shape) in (2, 3) and 0 not in shape else (1, 1)

    def _one(self, position: int) -> np.ndarray | None:
        from mmfeat.media.pixels import is_image

        if position in self.failures:
            return None
        picture = self.images[position]
        try:
            with self._lock if is_image(picture) else contextlib.nullcontext():
                return decode_array(picture, self.decode)
        except MmfeatError as error:
            self.failures[position] = str(error)
        return None


class _Pool:
    """A pool of threads that starts when it is first used; its threads end when the source is forgotten."""

    def __init__(self, threads: int | None) -> None:
        if threads is not None and threads < 1:
            raise UsageError("there is at least one thread", f"threads={threads}", "leave it out for one a core")
        self.threads = threads or os.cpu_count() or 1
        self._pool: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    def each(self, function: Callable[[int], None], count: int) -> None:
        """Call `function` with 0 .. count - 1; each thread takes the next number: a future a thread, not one a picture."""
        if self.threads == 1 or count == 1:
            for number in range(count):
                function(number)
            return
        numbers = iter(range(count))
        taking = threading.Lock()

        def work() -> None:
            while True:
                with taking:
                    number = next(numbers, None)
                if number is None:
                    return
                function(number)

        with self._starting:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="mmfeat-decode")
        for future in [self._pool.submit(work) for _ in range(min(self.threads, count))]:
            future.result()


class _Budget:
    """Pixels that all threads together may hold; a picture that is larger than all of it waits until nobody holds any."""

    def __init__(self, pixels: int) -> None:
        self.left = self.all = pixels
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taking(self, pixels: int) -> Iterator[None]:
        """Hold so many for the block, after waiting until they are there."""
        pixels = min(pixels, self.all)
        with self._changed:
            self._changed.wait_for(lambda: self.left >= pixels)
            self.left -= pixels
        try:
            yield
        finally:
            with self._changed:
                self.left += pixels
                self._changed.notify_all()


def _group(wanted: np.ndarray, decode: Decode) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Bucket number of each picture (n,) int32, and the buckets' shapes; an exact `size` is a bucket."""
    if decode.size is not None:
        return np.zeros(len(wanted), np.int32), [decode.size]
    held = [bucket(int(h), int(w)) for h, w in wanted]
    shapes = sorted(set(held))
    number = {shape: position for position, shape in enumerate(shapes)}
    return np.array([number[shape] for shape in held], np.int32), shapes


def _gone(error: OSError) -> str:
    return f"the file cannot be read any more: {error.strerror or error}"


def _read(
    rows: np.ndarray,
    groups: np.ndarray,
    shapes: list[tuple[int, int]],
    decode: Decode,
    pool: _Pool,
    one: Callable[[int], np.ndarray | None],
) -> tuple[Images, np.ndarray]:
    if not len(rows) or (groups[rows] != groups[rows[0]]).any():
        raise UsageError(
            "a batch holds pictures of one shape bucket", f"{len(rows)} rows of several", "group rows by `groups`"
        )
    pixels = np.zeros((len(rows), *shapes[int(groups[rows[0]])], decode.channels), decode.dtype)
    size = np.ones((len(rows), 2), np.int32)
    weight = np.zeros(len(rows), np.float32)

    def fill(place: int) -> None:
        picture = one(int(rows[place]))
        if picture is not None:
            h, w = picture.shape[:2]
            pixels[place, :h, :w] = picture
            size[place] = h, w
            weight[place] = 1

    pool.each(fill, len(rows))
    return Images(pixels, size), weight
