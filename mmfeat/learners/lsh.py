"""Locality-sensitive hashing with random hyperplanes: the baseline every learned code has to beat.

M. Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002.
J. Ji, J. Li, S. Yan, B. Zhang, Q. Tian, "Super-bit locality-sensitive hashing", NIPS 2012 (`orthogonal`).

    bit_j = [w_jᵀ (x - m) > 0],   w_j ~ N(0, I),   P(bit_j(x) ≠ bit_j(y)) = angle(x - m, y - m) / π

Nothing is learned but the mean m, and that only where `centre` asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.errors import SettingsError
from mmfeat.learner import Learner, Metrics, rows_of

__all__ = ["Lsh", "LshState"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST  # accelerators would otherwise round the products to 10 bits


class LshState(NamedTuple):
    """planes (d, bits), mean (d,), and the weighted sum (d,) and weight () of the rows of this pass."""

    planes: Array
    mean: Array
    total: Array
    count: Array


@dataclass(frozen=True)
class Lsh(Learner):
    """Random hyperplanes.

    bits: code length.
    centre: subtract the mean of the data first; angles are then seen from the middle of the data, not from the origin.
    orthogonal: planes at right angles to each other, d at a time; of principal components, one for each bit, that is a random
        rotation ("PCA-RR").

    >>> import jax, numpy as np
    >>> state = Lsh(bits=8).init(jax.random.key(0), np.ones((4, 3), np.float32))
    >>> Lsh(bits=8).encode(state, np.ones((4, 3), np.float32)).shape
    (4, 8)
    """

    hash: ClassVar[bool] = True
    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = ("total", "count")
    bits: int = 64
    centre: bool = True
    orthogonal: bool = False

    def __post_init__(self) -> None:
        if self.bits < 1:
            raise SettingsError("a code has at least one bit", f"bits={self.bits}", "give a positive number")

    def init(self, key: Array, x: Array) -> LshState:
        """Gaussian planes for rows (n, d), made orthonormal in groups of d where they are to be."""
        width = rows_of(x).shape[1]
        planes, zeros = jax.random.normal(key, (width, self.bits), jnp.float32), jnp.zeros(width, jnp.float32)
        if self.orthogonal:
            groups = [jnp.linalg.qr(planes[:, first : first + width])[0] for first in range(0, self.bits, width)]
            planes = jnp.concatenate(groups, axis=1)
        return LshState(planes, zeros, zeros, jnp.float32(0))

    def step(self, key: Array, state: LshState, x: Array, weight: Array) -> tuple[LshState, Metrics]:
        """Add a batch (n, d) to the running mean."""
        x = jnp.where(weight[:, None] > 0, rows_of(x), jnp.float32(0))
        return state._replace(
            total=state.total + jnp.matmul(weight, x, precision=_EXACT), count=state.count + weight.sum()
        ), {}

    def finish(self, key: Array, state: LshState) -> LshState:
        """The mean of the pass, if the data are to be centred."""
        mean = state.total / jnp.maximum(state.count, 1.0) if self.centre else state.mean
        return state._replace(mean=mean, total=jnp.zeros_like(state.total), count=jnp.zeros_like(state.count))

    def affine(self, state: LshState) -> tuple[Array, Array]:
        """encode(x) = (x - mean) @ matrix."""
        return state.mean, state.planes

    def encode(self, state: LshState, x: Array) -> Array:
        """Rows (n, d) to (n, bits) float32; bit = value > 0. The mean goes first: a large one would cost digits afterwards."""
        return jnp.matmul(rows_of(x) - state.mean[None, :], state.planes, precision=_EXACT)
