"""Locality-constrained linear coding: a row as the best affine combination of its nearest codewords.

J. Wang, J. Yang, K. Yu, F. Lv, T. Huang, Y. Gong, "Locality-constrained linear coding for image classification", CVPR 2010.

    min over w in R^k:   ‖x - Σ_j w_j c_j‖² + β tr(C) ‖w‖²    s.t.  Σ_j w_j = 1          (approximated LLC, section 3)
    C_ij = (c_i - x)ᵀ (c_j - x),    (C + β tr(C) I) w̃ = 1,    w = w̃ / Σ w̃

over the k codewords nearest to x; the other codes are 0. The regulariser is a share of the trace, as in the authors' release:
the code does not depend on the scale of the rows. With Σ w = 1 neither does it depend on their origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.errors import SettingsError
from mmfeat.learners.codewords import OfCodebook, check_neighbours, code_nearest
from mmfeat.learners.codewords_host import Csr, as_csr, code_nearest_on_host, kernel
from mmfeat.learners.kmeans import KMeans, KMeansState
from mmfeat.learners.local_solvers import solve

__all__ = ["Llc"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


@dataclass(frozen=True)
class Llc(OfCodebook):
    """Approximated locality-constrained linear coding; its state is that of its codebook.

    codebook: the k-means of K clusters; its passes and batch are those of the training.
    neighbours: k. beta: the regulariser, as a share of the trace of C.

    >>> import jax, numpy as np
    >>> learner = Llc(KMeans(3), neighbours=2)
    >>> state = learner.init(jax.random.key(0), np.eye(3, dtype=np.float32))
    >>> bool(np.allclose(learner.encode(state, np.eye(3, dtype=np.float32)).sum(axis=1), 1))
    True
    """

    small: ClassVar[Mapping[str, Any]] = {"neighbours": 3}  # for quick tests
    codebook: KMeans = KMeans(1024)  # noqa: RUF009 - it is frozen
    neighbours: int = 5
    beta: float = 1e-4

    def __post_init__(self) -> None:
        check_neighbours(self.neighbours, self.codebook.clusters)
        if not 1e-6 <= self.beta < float("inf"):
            raise SettingsError(
                "beta is a share of the trace, at least 1e-6: what keeps the small systems soluble in float32",
                f"beta={self.beta}",
                "1e-4 is usual",
            )

    def encode(self, state: KMeansState, x: Array) -> Array:
        """Rows (n, d) to codes (n, K) float32: k of them are not 0, and they sum to 1."""
        return code_nearest(state.means, x, self.neighbours, self._weights)

    def _weights(self, x: Array, words: Array) -> Array:
        """The weights w (b, k) of the words (b, k, d) of the rows x (b, d)."""
        z = words - x[:, None, :]
        C = jnp.einsum("nid,njd->nij", z, z, precision=_EXACT)
        trace = jnp.trace(C, axis1=1, axis2=2)[:, None, None]
        C = C / jnp.where(trace > 0, trace, jnp.float32(1))
        ridge = jnp.where(trace > 0, jnp.float32(self.beta), jnp.float32(1))  # all words are x itself: equal weights
        C = C + ridge * jnp.eye(C.shape[1], dtype=jnp.float32)[None, :, :]
        w = solve(C, jnp.ones_like(C[:, :, :1]))[:, :, 0]
        return w / w.sum(axis=1, keepdims=True)

    def host_sparse(self, state: KMeansState, x: np.ndarray) -> Csr:
        """The non-zeros of `encode` (CSR), on the host."""
        write = kernel(_write, reorder=True)
        codes = code_nearest_on_host(state.means, x, self.neighbours, lambda *block: write(*block, float(self.beta)))
        return as_csr(*codes)


def _write(x, means, index, out, beta) -> None:  # type: ignore[no-untyped-def]
    """The weights out (b, k) of the words index (b, k), from C = L D Lᵀ, with D on the diagonal of C and L below it."""
    k, columns = index.shape[1], x.shape[1]
    z = np.empty((k, columns), np.float32)
    C = np.empty((k, k), np.float64)
    w = np.empty(k, np.float64)
    for r in range(len(x)):
        for i in range(k):
            word = means[index[r, i]]
            for c in range(columns):
                z[i, c] = word[c] - x[r, c]
        trace = 0.0
        for i in range(k):
            for j in range(i + 1):
                product = np.float32(0)
                for c in range(columns):
                    product += z[i, c] * z[j, c]
                C[i, j] = product
            trace += C[i, i]
        for i in range(k):
            C[i, i] += beta * trace if trace > 0 else 1.0
        for j in range(k):
            for i in range(k - 1, j, -1):  # from below, for it needs what stands above it in column j
                factor = C[i, j] / C[j, j]
                for m in range(j + 1, i + 1):
                    C[i, m] -= factor * C[m, j]
                C[i, j] = factor
        for i in range(k):
            w[i] = 1.0
            for j in range(i):
                w[i] -= C[i, j] * w[j]
        total = 0.0
        for i in range(k):
            w[i] /= C[i, i]
        for i in range(k - 1, -1, -1):
            for j in range(i + 1, k):
                w[i] -= C[j, i] * w[j]
            total += w[i]
        for i in range(k):
            out[r, i] = w[i] / total
