"""A query on an existing index: of a picture, in a fresh process each time and in one that stays; of an id, in a fresh one."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from bench_startup import program
from measuring import Row, alone, limit, time_program
from pictures import real_or_made

_PICTURES = 400
_CODES, _BITS = 1_000_000, 128


def run(work: Path) -> Iterator[Row]:
    """Build an index with the default recipe, then query it."""
    folder = real_or_made(work / "pictures", _PICTURES)
    index, query = work / "photos.index", folder / "000000.jpg"
    time_program([*program(), "index", "build", str(folder), "-o", str(index)], 1)
    command = [*program(), "search", str(index), str(query)]
    first = time_program(command, 1)[0]
    cold = statistics.median(time_program(command, 7))
    note = f"a fresh process, default recipe, {_PICTURES} pictures; the very first query, which compiles: {first:.2f} s"
    yield limit("picture query, cold", cold, 1.5, note=note)

    import mmfeat

    opened = mmfeat.open(index)
    warm = 1000 * alone(lambda: opened.search(query), 31)
    yield limit("picture query, warm", warm, 30, "ms", "decoding, encoding and search in one process")
    yield _by_id(work / "codes.index")


def _by_id(path: Path) -> Row:
    """A query by id on codes that were given."""
    import numpy as np

    import mmfeat.indexes

    codes = np.random.default_rng(0).integers(0, 256, (_CODES, _BITS // 8), np.uint8)
    index = mmfeat.indexes.create(path, kind="binary-flat", dim=_BITS)
    index.add([f"{number:08}.jpg" for number in range(_CODES)], codes)
    command = [*program(), "search", str(path), "00000007.jpg", "--json"]
    time_program(command, 1)  # the first open hashes the files
    seconds = statistics.median(time_program(command, 7))
    return limit("query by id, cold", seconds, 0.3, note=f"a fresh process, {_CODES:,} codes of {_BITS} bits")
