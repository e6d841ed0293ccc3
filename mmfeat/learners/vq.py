"""Vector quantisation: a row as its nearest codeword, or as shares of the codewords near it.

J. van Gemert, J.-M. Geusebroek, C. Veenman, A. Smeulders, "Kernel codebooks for scene categorization", ECCV 2008 (soft).
L. Liu, L. Wang, X. Liu, "In defense of soft-assignment coding", ICCV 2011 (localised).

    hard:        u_j = 1 for the nearest codeword, else 0
    soft:        u_j = exp(-β ‖x - c_j‖²) / Σ_{l in N} exp(-β ‖x - c_l‖²)   for j in N, else 0          (eqs. 5, 6)

N are all codewords, or in localised soft assignment the k nearest. β → ∞ is the hard code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.errors import SettingsError
from mmfeat.learner import rows_of
from mmfeat.learners.codewords import OfCodebook, check_neighbours, code_nearest, in_blocks
from mmfeat.learners.codewords_host import Csr, as_csr, code_nearest_on_host, kernel
from mmfeat.learners.kmeans import KMeans, KMeansState

__all__ = ["Vq"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


@dataclass(frozen=True)
class Vq(OfCodebook):
    """Hard or soft assignment to a codebook; its state is that of its codebook.

    codebook: the k-means of K clusters; its passes and batch are those of the training.
    soft: β, in units of 1 / squared distance; None is hard. 10 suits rows of length 1.
    neighbours: k of the localised soft assignment; None shares a row among all codewords. The hard code has no use for it.

    >>> import jax, numpy as np
    >>> learner = Vq(KMeans(2), soft=10.0, neighbours=2)
    >>> state = learner.init(jax.random.key(0), np.eye(3, dtype=np.float32))
    >>> learner.encode(state, np.eye(3, dtype=np.float32)).sum(axis=1).tolist()
    [1.0, 1.0, 1.0]
    """

    small: ClassVar[Mapping[str, Any]] = {"soft": 2.0, "neighbours": 3}  # for quick tests
    codebook: KMeans = KMeans(1024)  # noqa: RUF009 - it is frozen
    soft: float | None = None
    neighbours: int | None = 5

    def __post_init__(self) -> None:
        if self.soft is not None and not 0 < self.soft < float("inf"):
            raise SettingsError(
                "soft is β > 0 in exp(-β d²), or None for hard assignment", f"soft={self.soft}", "10 is usual"
            )
        if self.soft is not None:
            check_neighbours(self.neighbours, self.codebook.clusters)

    def encode(self, state: KMeansState, x: Array) -> Array:
        """Rows (n, d) to shares (n, K) float32 that sum to 1."""
        if self.soft is None:
            return self.codebook.encode(state, x)
        if self.neighbours is None:
            return _among_all(state.means, rows_of(x), self.soft)

        beta = self.soft

        def shares(rows: Array, words: Array) -> Array:
            return jax.nn.softmax(-beta * ((words - rows[:, None, :]) ** 2).sum(axis=2), axis=1)

        return code_nearest(state.means, x, self.neighbours, shares)

    def host_sparse(self, state: KMeansState, x: np.ndarray) -> Csr:
        """The non-zeros of `encode` (CSR), on the host."""
        if self.soft is not None and self.neighbours is None:  # nothing is 0
            codes = np.asarray(self.encode(state, x))
            return as_csr(np.broadcast_to(np.arange(codes.shape[1], dtype=np.int32), codes.shape), codes)
        k, beta = (1, 0.0) if self.soft is None else (self.neighbours or 1, self.soft)
        write = kernel(_shares, reorder=True)
        return as_csr(*code_nearest_on_host(state.means, x, k, lambda *block: write(*block, float(beta))))


def _among_all(means: Array, x: Array, beta: float) -> Array:
    """The shares (n, K) of the rows x (n, d) among all means (K, d)."""
    origin = means.mean(axis=0)[None, :]
    means = means - origin
    squares = (means * means).sum(axis=1)[None, :]

    def shares(part: Array) -> Array:  # ‖x‖² is the same for all codewords
        products = jnp.matmul(part - origin, means.T, precision=_EXACT)
        return jax.nn.softmax(beta * (2 * products - squares), axis=1)

    return in_blocks(shares, x, len(means))


def _shares(x, means, index, out, beta) -> None:  # type: ignore[no-untyped-def]
    """Into out (b, k) the softmax of -β ‖x - c‖² over the words index (b, k)."""
    for r in range(len(x)):
        total = 0.0
        for i in range(index.shape[1]):
            word, square = means[index[r, i]], np.float32(0)
            for c in range(x.shape[1]):
                square += (word[c] - x[r, c]) ** 2
            if i == 0:
                least = square
            out[r, i] = np.exp(beta * (least - square))
            total += out[r, i]
        for i in range(index.shape[1]):
            out[r, i] /= total
