"""Ranking measures that treat ties exactly: what a random order among equally distant items scores on average.

Hamming distances are full of ties: 64 bits have 65 values for thousands of items. Whatever order a sort happens to give
them is luck, and measures that depend on it can be moved by several points. Here every measure is its expectation over
all orders of the tied items, each equally likely, in closed form.

F. McSherry and M. Najork, "Computing information retrieval performance measures efficiently in the presence of tied
scores", ECIR 2008.

A query's ranking is cut into groups of equal distance. A group of n items, r of them relevant, begins after N items, R of
them relevant. At its place j = 1..n stands a relevant item with probability r / n, and given that, the j - 1 places before
it hold (j - 1)(r - 1) / (n - 1) relevant ones on average, so with the number of relevant items H of the whole ranking

    E[AP]  = 1/H  sum_groups  r/n  sum_j  [R + 1 + (j - 1)(r - 1)/(n - 1)] / (N + j)
    E[P@k] = 1/k  sum_{places t <= k}  r(t) / n(t)             r(t), n(t): those of the group that holds place t

A query without a relevant item scores 0 and stays in the mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mmfeat.errors import DataError, ShapeError, UsageError

__all__ = ["average_precision", "drop_diagonal", "hamming_distances", "mean_average_precision", "precision_at"]

BLOCK = 1 << 19  # elements of a (queries, items) block worked on at once: a few MB for each of the arrays needed


class Ranking(NamedTuple):
    """A block of queries (b, n), place by place from near to far; every array is (b, n) float64.

    before: N, items in earlier groups. found: R, relevant items in earlier groups.
    size: n, items of the group that holds the place. hits: r, relevant items of that group.
    """

    before: np.ndarray
    found: np.ndarray
    size: np.ndarray
    hits: np.ndarray


def average_precision(distances: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Expected average precision of every query over the random orders of tied items.

    distances: (q, n) integers or floats, smaller is nearer; infinity is allowed, NaN is not.
    relevant: (q, n) bool.
    Returns (q,) float64 in [0, 1]; 0 for a query without a relevant item. The whole ranking counts, no cut.

    >>> float(average_precision(np.array([[3, 3, 7]]), np.array([[True, False, False]]))[0])
    0.75
    """
    scores = np.zeros(len(_checked(distances, relevant)))
    for rows, ranking in _rankings(distances, relevant):
        before, found, size, hits = ranking
        place = np.arange(1, before.shape[1] + 1)
        earlier = (place - before - 1) * (hits - 1) / np.maximum(size - 1, 1)
        total = (hits / size * (found + 1 + earlier) / place).sum(axis=1)
        wanted = relevant[rows].sum(axis=1)
        scores[rows] = total / np.maximum(wanted, 1)
    return scores


def mean_average_precision(distances: np.ndarray, relevant: np.ndarray) -> float:
    """Mean average precision over all queries: the mean of `average_precision`, which see."""
    return float(average_precision(distances, relevant).mean())


def precision_at(distances: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Expected share of relevant items among the k nearest, over the random orders of tied items.

    A group that is cut by place k gives its places to random members: the mean of a hypergeometric draw.
    Arguments as in `average_precision`; returns (q,) float64.

    >>> float(precision_at(np.array([[1, 2, 2]]), np.array([[True, True, False]]), 2)[0])
    0.75
    """
    count = _checked(distances, relevant).shape[1]
    if not 1 <= k <= count:
        raise UsageError(f"k is between 1 and the {count} items ranked", f"k={k}", "choose a smaller cut")
    scores = np.zeros(len(distances))
    for rows, ranking in _rankings(distances, relevant):
        scores[rows] = (ranking.hits[:, :k] / ranking.size[:, :k]).mean(axis=1)
    return scores


def hamming_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Number of differing bits between packed codes a (q, bytes) and b (n, bytes) uint8: (q, n) int32.

    >>> hamming_distances(np.array([[5]], np.uint8), np.array([[5], [4], [250]], np.uint8))
    array([[0, 1, 8]], dtype=int32)
    """
    if a.ndim != 2 or b.ndim != 2 or a.dtype != np.uint8 or b.dtype != np.uint8 or a.shape[1] != b.shape[1]:
        raise ShapeError(
            "packed codes are uint8 matrices (n, bytes) of one width",
            f"{a.dtype} {a.shape} and {b.dtype} {b.shape}",
            "pack both with the same number of bits",
        )
    a_words, b_words = _words(a), _words(b)
    out = np.zeros((len(a), len(b)), np.int32)
    step = max(1, BLOCK // max(1, len(b)))
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        for column in range(a_words.shape[1]):
            out[rows] += np.bitwise_count(a_words[rows, column, None] ^ b_words[None, :, column])
    return out


def drop_diagonal(matrix: np.ndarray) -> np.ndarray:
    """An (n, n) matrix without its diagonal: (n, n - 1). For leave-one-out, where a query must not find itself.

    >>> drop_diagonal(np.arange(9).reshape(3, 3)).tolist()
    [[1, 2], [3, 5], [6, 7]]
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ShapeError("only a square matrix has a diagonal to drop", f"shape {matrix.shape}", "pass (n, n)")
    count = len(matrix)
    return matrix[~np.eye(count, dtype=bool)].reshape(count, max(count - 1, 0))


def _words(codes: np.ndarray) -> np.ndarray:
    """The codes as few wide words: padding with zero bytes changes no distance."""
    width = -(-codes.shape[1] // 8) * 8
    padded = np.zeros((len(codes), width), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded.view(np.uint64)


def _checked(distances: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    if distances.ndim != 2 or distances.shape != relevant.shape or relevant.dtype != bool:
        raise ShapeError(
            "distances (q, n) and relevant (q, n) bool have one shape",
            f"{distances.shape} and {relevant.dtype} {relevant.shape}",
            "give one row per query and one column per item",
        )
    if not distances.size:
        raise DataError("a ranking needs queries and items", f"shape {distances.shape}", "pass at least one of each")
    if np.issubdtype(distances.dtype, np.floating) and np.isnan(distances).any():
        raise DataError("distances can be ordered", "NaN among them", "look for NaN in the features")
    return distances


def _rankings(distances: np.ndarray, relevant: np.ndarray) -> Iterator[tuple[slice, Ranking]]:
    """Blocks of queries with their groups of ties, place by place."""
    step = max(1, BLOCK // distances.shape[1])
    for start in range(0, len(distances), step):
        rows = slice(start, start + step)
        yield rows, _ranking(distances[rows], relevant[rows])


def _ranking(distances: np.ndarray, relevant: np.ndarray) -> Ranking:
    order = np.argsort(distances, axis=1, kind="stable")
    ranked = np.take_along_axis(distances, order, axis=1)
    queries, count = ranked.shape
    place = np.arange(count)
    opens = np.ones((queries, count), bool)  # the first place of a group
    opens[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    closes = np.ones((queries, count), bool)  # its last place
    closes[:, :-1] = opens[:, 1:]
    first = np.maximum.accumulate(np.where(opens, place, 0), axis=1)
    last = np.minimum.accumulate(np.where(closes, place, count)[:, ::-1], axis=1)[:, ::-1]
    seen = np.zeros((queries, count + 1))  # seen[:, t]: relevant items among the first t places
    np.cumsum(np.take_along_axis(relevant, order, axis=1), axis=1, out=seen[:, 1:])
    found = np.take_along_axis(seen, first, axis=1)
    hits = np.take_along_axis(seen, last + 1, axis=1) - found
    return Ranking(first.astype(float), found, (last - first + 1).astype(float), hits)
