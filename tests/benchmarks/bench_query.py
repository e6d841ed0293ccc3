"""A picture query on an existing index: a fresh process each time, and in one that stays."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from bench_startup import program
from measuring import Row, alone, limit, time_program
from pictures import real_or_made

_PICTURES = 400


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
