"""FAISS, imported when it is first needed, and how many threads it takes for one call."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

__all__ = ["library", "one_thread"]


def library() -> Any:
    """The module faiss. Its own type hints lack half of what it holds, so it goes without.

    Its threads are told to sleep while they wait, unless the environment says otherwise: they spin, and in a loop of many small
    steps (k-means, OPQ) on a machine that does other work too, that took 52 s of CPU where the work takes 13.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # OpenMP reads it once, when it is loaded
    import faiss

    return faiss


@contextlib.contextmanager
def one_thread(alone: bool = True) -> Iterator[None]:
    """One OpenMP thread in the block, if `alone`: for a single query a team only costs. A setting of the calling thread."""
    if not alone:
        yield
        return
    faiss = library()

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
