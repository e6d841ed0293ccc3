"""Nearest codewords on the host, several of them, and the codes at them as a sparse matrix: products in blocks, numba after them.

A block of scores x·c - ‖c‖²/2 is one product of one BLAS thread, on as many threads of our own as there are processors. The
k highest of each row are found without sorting, and exactly: the scores are laid out in 64 lanes; the k highest all lie in
lanes whose maxima are among the k highest maxima, hence only those lanes are searched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from mmfeat.host import one_blas_thread

__all__ = ["Csr", "as_csr", "code_nearest_on_host", "kernel"]

Csr = tuple[np.ndarray, np.ndarray, np.ndarray]
Solve = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Any]
_BLOCK = 1024  # rows: 4 MB of scores for 1,024 words
_LANES = 64


def code_nearest_on_host(means: np.ndarray, x: np.ndarray, k: int, solve: Solve) -> tuple[np.ndarray, np.ndarray]:
    """The numbers (n, k) int32 of the k means (K, d) nearest to each row of x (n, d), and the codes (n, k) float32 at them.

    solve(rows (b, d), means, index (b, k), out (b, k)) writes the codes of a block; it should not hold the interpreter's
    lock. The numbers go from near to far.
    """
    means = np.ascontiguousarray(means, np.float32)
    rows = np.ascontiguousarray(np.asarray(x, np.float32).reshape(len(x), int(np.prod(np.shape(x)[1:]))))
    origin = means.mean(axis=0)
    table = _table(means - origin)
    index, value = np.zeros((len(rows), k), np.int32), np.zeros((len(rows), k), np.float32)
    find = kernel(_highest)

    def block(first: int) -> None:
        here = slice(first, first + _BLOCK)
        part = np.empty((len(rows[here]), table.shape[0]), np.float32)
        np.subtract(rows[here], origin, out=part[:, :-1])
        part[:, -1] = 1
        find(part @ table, index[here])
        solve(rows[here], means, index[here], value[here])

    with one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(block, range(0, len(rows), _BLOCK)))
    return index, value


def _table(means: np.ndarray) -> np.ndarray:
    """What rows with a 1 behind them are multiplied with for the scores (d + 1, K'): K' fills whole lanes with words at -1e38."""
    clusters, columns = means.shape
    table = np.zeros((columns + 1, -(-clusters // _LANES) * _LANES), np.float32)
    table[:columns, :clusters] = means.T
    table[columns, :clusters] = -0.5 * (means.astype(np.float64) ** 2).sum(axis=1)
    table[columns, clusters:] = -1e38
    return table


def as_csr(index: np.ndarray, value: np.ndarray) -> Csr:
    """The non-zeros of codes (n, k) at the places index (n, k): starts (n + 1,) int64, index (m,) int32, value (m,) float32."""
    kept = value != 0
    starts = np.zeros(len(index) + 1, np.int64)
    if kept.all():
        starts[:] = np.arange(len(index) + 1) * index.shape[1]
        return starts, index.reshape(-1), value.reshape(-1)
    np.cumsum(kept.sum(axis=1), out=starts[1:])
    return starts, index[kept], value[kept]


@cache
def kernel(function: Any, reorder: bool = False) -> Any:
    """A function compiled by numba, without the interpreter's lock. reorder: sums may be taken in another order (vectors)."""
    from numba import njit

    flags: Any = {"reassoc", "contract"} if reorder else False
    try:
        return njit(cache=True, nogil=True, error_model="numpy", fastmath=flags)(function)
    except RuntimeError:  # there is no folder that can be written
        return njit(nogil=True, error_model="numpy", fastmath=flags)(function)


def _highest(scores, index) -> None:  # type: ignore[no-untyped-def]
    """The places of the k highest of each row of scores (n, 64 m), from high to low, the first one of equals; NaN is never one."""
    k, width = index.shape[1], scores.shape[1]
    lanes = np.empty(64, np.float32)
    top = np.empty(k, np.float32)
    for r in range(scores.shape[0]):
        row, found = scores[r], index[r]
        for lane in range(64):
            lanes[lane] = row[lane]
        for j in range(64, width, 64):
            for lane in range(64):
                lanes[lane] = row[j + lane] if row[j + lane] > lanes[lane] else lanes[lane]
        top[:] = -np.inf
        last = top[k - 1]
        for lane in range(64):
            if lanes[lane] > last:
                i = k - 1
                while i > 0 and top[i - 1] < lanes[lane]:
                    top[i] = top[i - 1]
                    i -= 1
                top[i] = lanes[lane]
                last = top[k - 1]
        bound = last  # the k-th highest of all is no lower
        top[:] = -np.inf
        last = top[k - 1]
        for lane in range(64):
            if lanes[lane] >= bound:
                for j in range(lane, width, 64):
                    value = row[j]
                    if value >= bound and (value > last or (value == last and j < found[k - 1])):
                        i = k - 1
                        while i > 0 and (top[i - 1] < value or (top[i - 1] == value and found[i - 1] > j)):
                            top[i], found[i] = top[i - 1], found[i - 1]
                            i -= 1
                        top[i], found[i] = value, j
                        last = top[k - 1]
