"""The exact scan of packed bits by FAISS, on codes where they lie.

FAISS's heap (`hammings_knn_hc`) visits rows in order, replaces its worst entry only by a strictly smaller distance and
breaks ties by the larger row, so it keeps and returns exactly the first k of a stable sort by (distance, row).
"""

from __future__ import annotations

import numpy as np

from mmfeat.indexes.threads import library, one_thread

__all__ = ["measure", "nearest"]

faiss = library()


def nearest(codes: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest codes to each query: distance (q, k) int32 in bits, row (q, k) int64, ordered by (distance, row).

    codes (n, w) and queries (q, w): contiguous uint8; 1 ≤ k ≤ n.
    """
    count = len(queries)
    distance = np.empty((count, k), np.int32)
    row = np.empty((count, k), np.int64)
    heap = faiss.int_maxheap_array_t()
    heap.nh, heap.k = count, k
    heap.ids, heap.val = faiss.swig_ptr(row), faiss.swig_ptr(distance)
    arguments = (heap, faiss.swig_ptr(queries), faiss.swig_ptr(codes), len(codes), codes.shape[1], 1)
    # FAISS parallelises over queries: for one query its thread team only costs (a wake-up every 65,536 codes).
    # The number of threads is a setting of the calling thread, so concurrent searches do not disturb each other.
    with one_thread(count == 1):
        faiss.hammings_knn_hc(*arguments)
    return distance, row


def measure(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bits that differ, int32, along the last axis of packed codes that broadcast."""
    return np.bitwise_count(np.bitwise_xor(x, y)).sum(axis=-1, dtype=np.int32)
