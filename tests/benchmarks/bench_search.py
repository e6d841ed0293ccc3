"""Search in an index of a million codes beside bare FAISS on the same codes, at 1 and at 1,000 queries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, side_by_side, speed

_CODES, _NEIGHBOURS = 1_000_000, 10


def run(work: Path) -> Iterator[Row]:
    """Rows for 64 and 128 bits."""
    import faiss

    for bits in (64, 128):
        rng = np.random.default_rng(bits)
        codes = rng.integers(0, 256, (_CODES, bits // 8), np.uint8)
        index = _built(work / f"{bits}.index", bits, codes)
        bare = faiss.IndexBinaryFlat(bits)
        bare.query_batch_size = 1 << 16  # not 32: every batch waits for the slowest thread
        bare.add(codes)
        for count, rounds, inner in ((1, 101, 40), (1000, 15, 1)):
            queries = rng.integers(0, 256, (count, bits // 8), np.uint8)
            yield _beside(f"search, {bits} bits, {asked(count)}", index, bare, queries, rounds, inner)


def _beside(name: str, index: Any, bare: Any, queries: np.ndarray, rounds: int, inner: int) -> Row:
    ours, rival = index.search(queries, _NEIGHBOURS), bare.search(queries, _NEIGHBOURS)
    same = "equal" if np.array_equal(ours.distance, rival[0]) else "DIFFER"
    timing = side_by_side(
        lambda: index.search(queries, _NEIGHBOURS), lambda: bare_search(bare, queries, _NEIGHBOURS), rounds, inner
    )
    note = f"rival: faiss.IndexBinaryFlat, {threads_of(queries)}, {_CODES:,} codes, k = {_NEIGHBOURS}; distances {same}"
    return speed(name, timing, len(queries), 0.98, "queries/s", note)


def asked(count: int) -> str:
    """So many queries, in words."""
    return "one query" if count == 1 else f"{count:,} queries"


def threads_of(queries: np.ndarray) -> str:
    """What a note says of the rival's threads."""
    return "one thread, its quickest" if len(queries) == 1 else "all threads, one batch"


def bare_search(bare: Any, queries: np.ndarray, k: int, **more: Any) -> Any:
    """FAISS alone at its quickest: for a single query one thread, for its own choice is to wait for more."""
    import faiss

    threads = faiss.omp_get_max_threads()
    if len(queries) == 1:
        faiss.omp_set_num_threads(1)
    try:
        return bare.search(queries, k, **more)
    finally:
        faiss.omp_set_num_threads(threads)


def _built(path: Path, bits: int, codes: np.ndarray) -> Any:
    """The index, opened again as a user would."""
    import mmfeat.indexes

    index = mmfeat.indexes.create(path, kind="binary-flat", dim=bits)
    index.add([f"{number:07}.jpg" for number in range(len(codes))], codes)
    index.close()
    return mmfeat.indexes.open_index(path)
