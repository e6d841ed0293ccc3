"""Pools codes that are given by their non-zeros alone, on the host: what `Pool` makes of the dense codes, without making them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

__all__ = ["Csr", "pool_sparse"]

Csr = tuple[np.ndarray, np.ndarray, np.ndarray]


def pool_sparse(
    codes: Csr, owner: np.ndarray, region: np.ndarray, weight: np.ndarray, shape: tuple[int, int, int], kind: str
) -> np.ndarray:
    """Rows (B, R * K) float32 of the sums, means or maxima of codes.

    codes: (starts (n + 1,), index (m,), value (m,)): the non-zeros of row i stand in starts[i] : starts[i + 1].
    owner: (n,) the item of each row. region: (n, levels) its regions, out of R. weight: (n,) > 0. shape: (B, R, K).
    kind: "max", "mean" or "sum", as in `mmfeat.pool.Pool`.
    """
    items, regions, width = shape
    starts, index, value = (np.ascontiguousarray(part) for part in codes)
    owner, region = owner.astype(np.int64), np.ascontiguousarray(region, np.int64)
    out = np.zeros(shape, np.float32)
    total = np.zeros((items, regions), np.float32)
    np.add.at(total, (owner[:, None], region), weight[:, None])
    if kind == "max":
        count = np.zeros((items, regions), np.int64)
        np.add.at(count, (owner[:, None], region), 1)
        _kernels()[0](starts, index, value, owner, region, count, out, np.zeros(shape, np.int32))
    else:
        _kernels()[1](starts, index, value, owner, region, weight, out)
        if kind == "mean":
            out /= np.maximum(total, 1.0)[:, :, None]
    return out.reshape(items, regions * width)


@cache
def _kernels() -> tuple[Any, Any]:
    from numba import njit

    return njit(nogil=True, cache=True)(_maximum), njit(nogil=True, cache=True)(_sum)


def _maximum(  # type: ignore[no-untyped-def]
    starts, index, value, owner, region, count, out, seen
) -> None:
    """The highest code of each place; a place that some row of its region leaves at 0 is at least 0."""
    for row in range(len(owner)):
        item = owner[row]
        for level in range(region.shape[1]):
            place = region[row, level]
            for j in range(starts[row], starts[row + 1]):
                k = index[j]
                if seen[item, place, k] == 0 or value[j] > out[item, place, k]:
                    out[item, place, k] = value[j]
                seen[item, place, k] += 1
    for item in range(out.shape[0]):
        for place in range(out.shape[1]):
            for k in range(out.shape[2]):
                if out[item, place, k] < 0 and seen[item, place, k] < count[item, place]:
                    out[item, place, k] = 0


def _sum(  # type: ignore[no-untyped-def]
    starts, index, value, owner, region, weight, out
) -> None:
    for row in range(len(owner)):
        for level in range(region.shape[1]):
            for j in range(starts[row], starts[row + 1]):
                out[owner[row], region[row, level], index[j]] += weight[row] * value[j]
