"""PCA hashing: the signs of the principal components.

X.-J. Wang, L. Zhang, F. Jing, W.-Y. Ma, "AnnoSearch: image auto-annotation by search", CVPR 2006; the baseline "PCA-Direct"
of Y. Gong, S. Lazebnik, "Iterative quantization", CVPR 2011.

    bit_j = [u_jᵀ (x - m) > 0],   u_j the j-th eigenvector of the covariance

Components of large and small variance get one bit each, so longer codes are not better codes: on MNIST the mean average precision
falls from 16 bits on. `itq` is the same projection with a rotation that mends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mmfeat.errors import SettingsError
from mmfeat.learner import Learner, Metrics
from mmfeat.learners.whitening import Pca, WhiteningState

__all__ = ["PcaHash"]

Array = Any


@dataclass(frozen=True)
class PcaHash(Learner):
    """Signs of the first principal components; composed of `Pca`, whose state it has.

    bits: code length, at most the columns of x. batch: rows per step.

    >>> import jax, numpy as np
    >>> state = PcaHash(bits=2).init(jax.random.key(0), np.ones((4, 3), np.float32))
    >>> PcaHash(bits=2).encode(state, np.ones((4, 3), np.float32)).shape
    (4, 2)
    """

    hash: ClassVar[bool] = True
    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = Pca.scratch
    bits: int = 64
    batch: int = 4096

    def __post_init__(self) -> None:
        if self.bits < 1:
            raise SettingsError("a code has at least one bit", f"bits={self.bits}", "give a positive number")

    @property
    def pca(self) -> Pca:
        """The projection it is composed of."""
        return Pca(dims=self.bits, batch=self.batch)

    def init(self, key: Array, x: Array) -> WhiteningState:
        """Empty sums around the mean of the rows (n, d)."""
        return self.pca.init(key, x)

    def step(self, key: Array, state: WhiteningState, x: Array, weight: Array) -> tuple[WhiteningState, Metrics]:
        """Add a batch (n, d) to the covariance."""
        return self.pca.step(key, state, x, weight)

    def finish(self, key: Array, state: WhiteningState) -> WhiteningState:
        """The principal components."""
        return self.pca.finish(key, state)

    def affine(self, state: WhiteningState) -> tuple[Array, Array]:
        """encode(x) = (x - mean) @ matrix."""
        return self.pca.affine(state)

    def encode(self, state: WhiteningState, x: Array) -> Array:
        """Rows (n, d) to (n, bits) float32; bit = value > 0."""
        return self.pca.encode(state, x)
