"""The exact scan of float vectors: FAISS finds candidates, float64 puts them in order.

FAISS's float32 distances depend on how many queries come together (above some twenty it multiplies matrices and uses
|x|² + |y|² - 2 x·y, which leaves about 1e-3 where 0 is due). So a few candidates more than k are taken, measured again
in float64 from their coordinates, rounded to float32 and sorted by (distance, row). The answer is proved complete by
comparing FAISS's last candidate with the k-th distance plus a bound on rounding; a query for which that fails (many
equal vectors, huge common offsets) gets more candidates, then a scan in float64. What a query is answered does not
depend on its company, an item is at distance 0 from itself, and ties stand in the order of rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from mmfeat.indexes.threads import library

__all__ = ["horizon", "measure_by", "nearest_by"]

faiss = library()
_MORE = 16  # candidates beyond k
_ELEMENTS = 1 << 21  # of the float64 blocks: 16 MB


def nearest_by(metric: str) -> Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]:
    """The scan of one metric: (codes (n, d), queries (q, d), k ≤ n) → distance (q, k) float32 and row (q, k) int64.

    For "cosine" codes are unit or zero vectors (the store scales them) and queries are scaled by the caller.
    """
    return functools.partial(_nearest, metric)


def measure_by(metric: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The distances of one metric along the last axis of two arrays that broadcast, float32, from float64 sums."""
    return functools.partial(measure, metric)


def _nearest(metric: str, codes: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    distance = np.empty((len(queries), k), np.float32)
    row = np.empty((len(queries), k), np.int64)
    left = np.arange(len(queries))
    for width in (k + _MORE, 8 * (k + _MORE)):
        if not len(left):
            break
        near, where, sure = _by_faiss(metric, codes, queries[left], k, min(width, len(codes)))
        distance[left[sure]], row[left[sure]] = near[sure], where[sure]
        left = left[~sure]
    for i in left:
        distance[i], row[i] = _by_scan(metric, codes, queries[i], k)
    return distance, row


def _by_faiss(
    metric: str, codes: np.ndarray, queries: np.ndarray, k: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance and row (q, k), and for which queries (q,) they are proved to be the answer."""
    euclidean = metric == "l2"
    rough, row = faiss.knn(queries, codes, width, faiss.METRIC_L2 if euclidean else faiss.METRIC_INNER_PRODUCT)
    whole = (row >= 0).all(axis=1)  # FAISS answers -1 where float32 overflowed
    order = np.argsort(row, axis=1)
    row = np.take_along_axis(np.where(whole[:, None], row, 0), order, axis=1)
    distance = np.empty(row.shape, np.float32)
    step = max(1, _ELEMENTS // (width * codes.shape[1]))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        distance[part] = measure(metric, queries[part, None], codes[row[part]])
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    distance, row = np.take_along_axis(distance, order, axis=1), np.take_along_axis(row, order, axis=1)
    if width == len(codes):
        return distance, row, whole
    last = rough[:, -1].astype(np.float64)
    if not euclidean:
        last = (1.0 if metric == "cosine" else 0.0) - last
    return distance, row, whole & (last > horizon(metric, codes, queries, distance[:, -1].astype(np.float64)))


def measure(metric: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distances along the last axis in float64, rounded to float32 (infinite where they do not fit)."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(over="ignore"):
        if metric == "ip":
            return (-(x * y).sum(axis=-1)).astype(np.float32)
        square = ((x - y) ** 2).sum(axis=-1)
        if metric == "l2":
            return np.sqrt(square).astype(np.float32)
    # For unit vectors 1 - x·y = |x - y|² / 2: exactly 0 for equal ones. A zero vector has no direction: x·y = 0.
    zero = ~x.any(axis=-1) | ~y.any(axis=-1)
    return np.where(zero, 1.0, square / 2).astype(np.float32)


def horizon(metric: str, codes: np.ndarray, queries: np.ndarray, kth: np.ndarray) -> np.ndarray:
    """The largest value FAISS may report for a vector as near as the k-th distance (q,): nothing beyond it matters.

    A float32 sum of d products of a and b is off by about sqrt(d) 2^-24 |a| |b|; eight times that is allowed. For l2 a
    vector at distance t from x has a length of at most |x| + t.
    """
    unit = 8 * np.sqrt(codes.shape[1]) * 2.0**-24
    if metric == "cosine":
        return kth + unit
    length = np.sqrt((queries.astype(np.float64) ** 2).sum(axis=1))
    if metric == "l2":
        kth = kth * (1 + 1e-6)
        return kth**2 + unit * (2 * length + kth) ** 2 + codes.shape[1] * float(np.finfo(np.float32).tiny)
    return kth + np.abs(kth) * 1e-6 + unit * length * _longest(codes)


def _longest(codes: np.ndarray) -> float:
    """The largest length among the vectors."""
    step = max(1, _ELEMENTS // codes.shape[1])
    blocks = (codes[start : start + step].astype(np.float64) for start in range(0, len(codes), step))
    return float(np.sqrt(max(np.einsum("nd,nd->n", block, block).max() for block in blocks)))


def _by_scan(metric: str, codes: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The answer to one query (d,) from all distances."""
    distance = np.empty(len(codes), np.float32)
    step = max(1, _ELEMENTS // codes.shape[1])
    for start in range(0, len(codes), step):
        distance[start : start + step] = measure(metric, query, codes[start : start + step])
    row = np.argsort(distance, kind="stable")[:k]
    return distance[row], row
