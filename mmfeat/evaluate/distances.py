"""Distances between many queries and many items: bits that differ, and distances of float vectors by blocks of products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mmfeat.errors import ShapeError, UsageError

__all__ = ["METRICS", "bits_apart", "drop_diagonal", "hamming_distances", "pack_words", "prepare_vectors"]

METRICS = ("l2", "cosine", "ip")
BLOCK = 1 << 18  # distances worked on at once


def hamming_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Number of differing bits between packed codes a (q, bytes) and b (n, bytes) uint8: (q, n) int32.

    >>> hamming_distances(np.array([[5]], np.uint8), np.array([[5], [4], [250]], np.uint8))
    array([[0, 1, 8]], dtype=int32)
    """
    words, others = pack_words(a, b)
    out = np.zeros((len(a), len(b)), np.int32)
    step = max(1, BLOCK // max(1, len(b)))
    for start in range(0, len(a), step):
        out[start : start + step] = bits_apart(words[:, start : start + step], others)
    return out


def pack_words(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Packed codes (q, bytes) and (n, bytes) uint8 as uint64 words (words, q) and (words, n), padded with zeros."""
    if a.ndim != 2 or b.ndim != 2 or a.dtype != np.uint8 or b.dtype != np.uint8 or a.shape[1] != b.shape[1]:
        raise ShapeError(
            "packed codes are uint8 matrices (n, bytes) of one width",
            f"{a.dtype} {a.shape} and {b.dtype} {b.shape}",
            "pack both with the same number of bits",
        )
    return _words(a), _words(b)


def bits_apart(words: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Differing bits of words (w, q) and others (w, n) from `pack_words`: (q, n), of the smallest type that holds them."""
    kind: Any = np.uint8 if len(words) < 4 else np.uint16  # 3 · 64 bits are counted in a byte
    out = np.zeros((words.shape[1], others.shape[1]), kind)
    for mine, theirs in zip(words, others, strict=True):
        out += np.bitwise_count(mine[:, None] ^ theirs[None, :])
    return out


def prepare_vectors(database: np.ndarray, metric: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from queries (q, d) to distances (q, n): squares for "l2", 1 - cosine, the negative product for "ip".

    In float32 by products, from the database's mean for "l2", where few digits are lost; of float64 in float64.
    UsageError: another metric. ShapeError: widths differ. A vector of zeros has cosine 0 with all.
    """
    if metric not in METRICS:
        raise UsageError(f"a distance is one of {', '.join(METRICS)}", repr(metric), "choose one of them")
    kind: Any = np.float64 if database.dtype == np.float64 else np.float32
    items: np.ndarray = np.ascontiguousarray(database, kind)
    shift = items.mean(axis=0) if metric == "l2" else np.zeros(items.shape[1], kind)
    items = _unit(items) if metric == "cosine" else items - shift
    squares = np.einsum("ij,ij->i", items, items)

    def distances(queries: np.ndarray) -> np.ndarray:
        if queries.ndim != 2 or queries.shape[1] != items.shape[1]:
            raise ShapeError("vectors of one width are compared", f"{queries.shape} and {items.shape}", "check both")
        asked = _unit(queries.astype(kind)) if metric == "cosine" else queries.astype(kind) - shift
        products = asked @ items.T
        if metric == "l2":
            return np.einsum("ij,ij->i", asked, asked)[:, None] + squares[None, :] - 2 * products
        return 1 - products if metric == "cosine" else -products

    return distances


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
    return np.ascontiguousarray(padded.view(np.uint64).T)


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
