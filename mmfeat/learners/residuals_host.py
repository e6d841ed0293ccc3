"""The sums of VLAD and super-vectors on the host: the nearest codeword by a product of BLAS, then what is left, added in place."""

from __future__ import annotations

from functools import partial

import numpy as np

from mmfeat.arrays import Locals
from mmfeat.learners.aggregation import Sums
from mmfeat.learners.aggregation_host import block_rows, region_sums
from mmfeat.learners.codewords_host import kernel
from mmfeat.pool import Regions

__all__ = ["residual_sums_on_host"]


def residual_sums_on_host(means: np.ndarray, x: Locals, regions: Regions) -> Sums:
    """`mmfeat.learners.aggregation.residual_sums` of NumPy arrays: counts (B, R, K), and sums (B, R, K, d) of w (x - c_k)."""
    means = np.ascontiguousarray(means, np.float32)
    origin = means.mean(axis=0)  # differences do not care, and float32 keeps more of their digits
    words = means - origin
    half = (0.5 * (words.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)
    return region_sums(x, regions, means.shape, partial(_Residuals, means, origin, words, half))


class _Residuals:
    """A `Block`: of its rows the values, and the numbers of the nearest means (K, d)."""

    def __init__(self, means: np.ndarray, origin: np.ndarray, words: np.ndarray, half: np.ndarray) -> None:
        self.means, self.origin, self.words, self.half = means, origin, words, half
        rows = block_rows(len(means))
        self.rows = np.empty((rows, means.shape[1]), np.float32)
        self.scores = np.empty((rows, len(means)), np.float32)
        self.codes = np.empty(rows, np.intp)

    def read(self, values: np.ndarray, index: np.ndarray) -> None:
        self.values, self.index = values, index
        rows, scores = self.rows[: len(index)], self.scores[: len(index)]
        kernel(_centre)(values, index, self.origin, rows)
        np.matmul(rows, self.words.T, out=scores)
        np.subtract(scores, self.half, out=scores)
        np.argmax(scores, axis=1, out=self.codes[: len(index)])

    def add(self, first: int, last: int, weight: np.ndarray, counts: np.ndarray, sums: np.ndarray) -> None:
        here = slice(first, last)
        kernel(_leave)(self.values, self.index[here], weight, self.codes[here], self.means, counts, sums)


def _centre(values, index, origin, out) -> None:  # type: ignore[no-untyped-def]
    """The rows values[index] less origin."""
    for i in range(len(index)):
        row, found = values[index[i]], out[i]
        for c in range(len(origin)):
            found[c] = row[c] - origin[c]


def _leave(values, index, weight, codes, means, counts, sums) -> None:  # type: ignore[no-untyped-def]
    """Adds the weights of the rows values[index] to counts (K,) at their codes, and w (x - c_k) to sums (K, d)."""
    for i in range(len(index)):
        row, word, found, w = values[index[i]], means[codes[i]], sums[codes[i]], weight[i]
        counts[codes[i]] += w
        for c in range(means.shape[1]):
            found[c] += w * (row[c] - word[c])
