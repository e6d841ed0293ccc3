"""The exact scan of packed bits, on codes where they lie: by FAISS, or by NumPy where importing FAISS would take longer.

FAISS's heap (`hammings_knn_hc`) visits rows in order, replaces its worst entry only by a strictly smaller distance and
breaks ties by the larger row, so it keeps and returns exactly the first k of a stable sort by (distance, row).
"""

from __future__ import annotations

import sys

import numpy as np

from mmfeat.indexes.threads import library, one_thread

__all__ = ["measure", "nearest"]

_SOON = 2**26  # bytes of codes, times queries, that NumPy has scanned before FAISS is imported (0.15 s)


def nearest(codes: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest codes to each query: distance (q, k) int32 in bits, row (q, k) int64, ordered by (distance, row).

    codes (n, w) and queries (q, w): contiguous uint8; 1 ≤ k ≤ n.
    """
    if "faiss" not in sys.modules and len(queries) * codes.nbytes <= _SOON:
        return _by_numpy(codes, queries, k)
    return _by_faiss(codes, queries, k)


def _by_faiss(codes: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    faiss = library()
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


def _by_numpy(codes: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    wide = np.uint64 if codes.shape[1] % 8 == 0 else np.uint8  # fewer and longer numbers are counted faster
    codes, queries = codes.view(wide), np.ascontiguousarray(queries).view(wide)
    distance, row = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.int64)
    for number, query in enumerate(queries):
        bits = np.zeros(len(codes), np.int32)
        for column, word in zip(codes.T, query, strict=True):
            bits += np.bitwise_count(column ^ word)
        near = np.flatnonzero(bits <= np.partition(bits, k - 1)[k - 1])  # by row; all that tie with the last one
        row[number] = near[np.argsort(bits[near], kind="stable")[:k]]
        distance[number] = bits[row[number]]
    return distance, row


def measure(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bits that differ, int32, along the last axis of packed codes that broadcast."""
    return np.bitwise_count(np.bitwise_xor(x, y)).sum(axis=-1, dtype=np.int32)
