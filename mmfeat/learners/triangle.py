"""Triangle coding: how much nearer than the average codeword each codeword is.

A. Coates, H. Lee, A. Y. Ng, "An analysis of single-layer networks in unsupervised feature learning", AISTATS 2011.

    z_k = ‖x - c_k‖,    f_k(x) = max(0, mean_l z_l - z_k)                                 (section 3.2.4)

About half of the features are 0. Their pipeline: patches of 6 × 6 with their contrast normalised, whitened, coded with
K = 1,600, summed over the quadrants of the picture, and a linear SVM. The hard variant is `KMeans` itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from mmfeat.learner import rows_of
from mmfeat.learners.codewords import OfCodebook, in_blocks
from mmfeat.learners.kmeans import KMeans, KMeansState

__all__ = ["Triangle"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


@dataclass(frozen=True)
class Triangle(OfCodebook):
    """The soft k-means features of Coates, Lee and Ng; its state is that of its codebook.

    codebook: the k-means of K clusters; its passes and batch are those of the training.

    >>> import jax, numpy as np
    >>> state = Triangle(KMeans(2)).init(jax.random.key(0), np.eye(3, dtype=np.float32))
    >>> Triangle(KMeans(2)).encode(state, np.eye(3, dtype=np.float32)).shape
    (3, 2)
    """

    codebook: KMeans = KMeans(1600)  # noqa: RUF009 - it is frozen

    def encode(self, state: KMeansState, x: Array) -> Array:
        """Rows (n, d) to features (n, K) float32, none below 0."""
        origin = state.means.mean(axis=0)[None, :]  # differences do not care, and float32 keeps more of their digits
        means = state.means - origin
        squares = (means * means).sum(axis=1)[None, :]

        def features(part: Array) -> Array:
            part = part - origin
            square = squares - 2 * jnp.matmul(part, means.T, precision=_EXACT) + (part * part).sum(axis=1)[:, None]
            z = jnp.sqrt(jnp.maximum(square, 0.0))
            return jnp.maximum(z.mean(axis=1, keepdims=True) - z, 0.0)

        return in_blocks(features, rows_of(x), len(state.means))
