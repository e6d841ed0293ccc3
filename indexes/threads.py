"""FAISS, imported when it is first needed, and how many threads it takes for one call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["library", "one_thread"]


def library() -> Any:
    """The module faiss. Its own type hints lack half of what it holds, so it goes without."""
    import faiss

    return faiss


@contextlib.contextmanager
def one_thread(alone: bool = True) -> Iterator[None]:
    """One OpenMP thread in the block, if `alone`: for a single query a team only costs. A setting of the calling thread."""
    if not alone:
        yield
        return
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
