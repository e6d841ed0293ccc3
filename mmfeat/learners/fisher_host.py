"""The sums of Fisher vectors on the host: two products of BLAS for each block of locals, and the posteriors between them.

    scores = [u, u²] Mᵀ + inner,    q = exp(scores - highest) / sum,    [S¹, S²] = (w q)ᵀ [u, u²]

They are those of `mmfeat.learners.mixture.posteriors`; what lies between the products passes through the cache once or twice.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from mmfeat.arrays import Locals
from mmfeat.learners.aggregation import Sums
from mmfeat.learners.aggregation_host import block_rows, region_sums
from mmfeat.learners.codewords_host import kernel
from mmfeat.pool import Regions

__all__ = ["posterior_sums"]


def posterior_sums(state: Any, x: Locals, regions: Regions) -> Sums:
    """Of every region the sums of w q (B, R, K), and of w q [u, u²] (B, R, K, 2 d); state: a `MixtureState` of NumPy arrays."""
    origin, scale, variances = (np.asarray(part, np.float64) for part in (state.origin, state.scale, state.variances))
    means, precisions = (np.asarray(state.means, np.float64) - origin) / scale, scale**2 / variances
    matrix = np.concatenate([means * precisions, -0.5 * precisions], axis=1)
    with np.errstate(divide="ignore"):  # a component of weight 0 has no share
        inner = np.log(np.asarray(state.weights, np.float64))
    inner = inner - 0.5 * (np.log(2 * np.pi * variances) + means**2 * precisions).sum(axis=1)
    tables = tuple(np.ascontiguousarray(part, np.float32) for part in (origin, 1 / scale, matrix, inner))
    return region_sums(x, regions, matrix.shape, partial(_Posteriors, *tables))


class _Posteriors:
    """A `Block`: of its rows [u, u²] (b, 2 d), and their responses (b, K)."""

    def __init__(self, origin: np.ndarray, by: np.ndarray, matrix: np.ndarray, inner: np.ndarray) -> None:
        self.origin, self.by, self.matrix, self.inner = origin, by, matrix, inner
        rows = block_rows(len(matrix))
        self.powers = np.empty((rows, matrix.shape[1]), np.float32)
        self.shares = np.empty((rows, len(matrix)), np.float32)
        self.product = np.empty(matrix.shape, np.float32)

    def read(self, values: np.ndarray, index: np.ndarray) -> None:
        powers, shares = self.powers[: len(index)], self.shares[: len(index)]
        kernel(_powers)(values, index, self.origin, self.by, powers)
        np.matmul(powers, self.matrix.T, out=shares)
        kernel(_lower)(shares, self.inner)
        np.exp(shares, out=shares)

    def add(self, first: int, last: int, weight: np.ndarray, counts: np.ndarray, sums: np.ndarray) -> None:
        shares = self.shares[first:last]
        kernel(_normalise, reorder=True)(shares, weight, counts)
        np.matmul(shares.T, self.powers[first:last], out=self.product)
        np.add(sums, self.product, out=sums)


def _powers(values, index, origin, by, out) -> None:  # type: ignore[no-untyped-def]
    """[u, u²] (b, 2 d) of the rows values[index], u = (x - origin) by."""
    columns = values.shape[1]
    for i in range(len(index)):
        row, found = values[index[i]], out[i]
        for c in range(columns):
            u = (row[c] - origin[c]) * by[c]
            found[c] = u
            found[columns + c] = u * u


def _lower(scores, inner) -> None:  # type: ignore[no-untyped-def]
    """Adds inner (K,) to scores (b, K), and takes the highest of each row from it. In 64 lanes, which fill the registers."""
    width = scores.shape[1]
    whole = width // 64 * 64
    lanes = np.empty(64, np.float32)
    for i in range(scores.shape[0]):
        row = scores[i]
        for lane in range(64):
            lanes[lane] = -np.inf
        for j in range(0, whole, 64):
            part, constant = row[j : j + 64], inner[j : j + 64]
            for lane in range(64):
                here = part[lane] + constant[lane]
                part[lane] = here
                lanes[lane] = here if here > lanes[lane] else lanes[lane]
        for half in (32, 16, 8):
            for lane in range(half):
                lanes[lane] = lanes[lane + half] if lanes[lane + half] > lanes[lane] else lanes[lane]
        best = lanes[0]
        for lane in range(1, 8):
            best = lanes[lane] if lanes[lane] > best else best
        for j in range(whole, width):
            row[j] += inner[j]
            best = row[j] if row[j] > best else best
        for j in range(width):
            row[j] -= best


def _normalise(shares, weight, counts) -> None:  # type: ignore[no-untyped-def]
    """Makes the sum of each row of shares (b, K) its weight (b,), and adds the rows to counts (K,)."""
    width = shares.shape[1]
    for i in range(shares.shape[0]):
        row, total = shares[i], np.float32(0)
        for j in range(width):
            total += row[j]
        by = weight[i] / total
        for j in range(width):
            row[j] *= by
            counts[j] += row[j]
