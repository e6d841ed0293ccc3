"""Spectral hashing: the signs of the smoothest functions on the data, as if they filled a box along their principal axes.

Y. Weiss, A. Torralba, R. Fergus, "Spectral hashing", NIPS 2008.

On [a, b], evenly filled, the eigenfunctions of the Laplacian are the cosines of whole half periods (section 3 of the paper):

    Φ_k(x) = sin(π/2 + k π (x - a) / (b - a)),     λ_k = 1 - exp(-ε²/2 · (k π / (b - a))²),     k = 1, 2, ...
    bit_i  = [Φ_k(i)(x_j(i)) > 0],                 the `bits` pairs (axis j, k) of the smallest λ

λ rises with k / (b_j - a_j), so ε never matters, and long axes get several bits before short ones get their first. The axes are
the principal components, [a_j, b_j] the range of the training data along each (as in the authors' code, which takes the least and
the largest value).

Longer codes count ever finer stripes along the same few axes: on MNIST the mean average precision falls from 16 to 64 bits. The
paper's assumption does that, not a fault; `itq_hash` is the method of the same cost that gains by bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.chain import Chain
from mmfeat.errors import SettingsError
from mmfeat.learner import Learner, Metrics, rows_of
from mmfeat.learners.whitening import Pca

__all__ = ["SpectralHash", "SpectralHashState", "spectral_hash"]

Array = Any
_FAR = jnp.finfo(jnp.float32).max


class SpectralHashState(NamedTuple):
    """The functions, and the range of this pass.

    axis (bits,) int32, omega (bits,), start (bits,): bit i is the sign of cos(omega_i (x_axis_i - start_i)); omega = k π / (b - a).
    low (c,), high (c,), count (): the least and the largest value of every column, and the weight of the rows seen so far.
    """

    axis: Array
    omega: Array
    start: Array
    low: Array
    high: Array
    count: Array


@dataclass(frozen=True)
class SpectralHash(Learner):
    """The eigenfunctions of smallest eigenvalue, for rows whose columns are principal components already, usually by `Pca`.

    bits: code length; more than the columns is allowed, an axis gives any number of them. batch: rows per step.

    >>> import jax, numpy as np
    >>> state = SpectralHash(bits=4).init(jax.random.key(0), np.ones((5, 3), np.float32))
    >>> SpectralHash(bits=4).encode(state, np.ones((5, 3), np.float32)).shape
    (5, 4)
    """

    hash: ClassVar[bool] = True
    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = ("low", "high", "count")
    bits: int = 64
    batch: int = 4096

    def __post_init__(self) -> None:
        if self.bits < 1:
            raise SettingsError("a code has at least one bit", f"bits={self.bits}", "give a positive number")

    def init(self, key: Array, x: Array) -> SpectralHashState:
        """No range yet, for rows (n, c); until the first pass is done every bit is 1."""
        column = jnp.zeros(rows_of(x).shape[1], jnp.float32)
        bit = jnp.zeros(self.bits, jnp.float32)
        return SpectralHashState(jnp.zeros(self.bits, jnp.int32), bit, bit, column, column, jnp.float32(0))

    def step(self, key: Array, state: SpectralHashState, x: Array, weight: Array) -> tuple[SpectralHashState, Metrics]:
        """Widen the range to hold the rows (n, c)."""
        x, counts, begun = rows_of(x), weight[:, None] > 0, state.count > 0
        low = jnp.minimum(jnp.where(begun, state.low, _FAR), jnp.where(counts, x, _FAR).min(axis=0))
        high = jnp.maximum(jnp.where(begun, state.high, -_FAR), jnp.where(counts, x, -_FAR).max(axis=0))
        some = counts.any()
        return state._replace(
            low=jnp.where(some, low, state.low),
            high=jnp.where(some, high, state.high),
            count=state.count + weight.sum(),
        ), {}

    def finish(self, key: Array, state: SpectralHashState) -> SpectralHashState:
        """Choose the functions, and forget the range. Of equal eigenvalues the earlier axis comes first."""
        length = (state.high - state.low)[:, None]
        times = jnp.arange(1, self.bits + 1, dtype=jnp.float32)[None, :]
        speed = jnp.where(length > 0, times / length, jnp.inf).reshape(
            -1
        )  # k / (b - a): in the order of the eigenvalues
        _, chosen = jax.lax.top_k(-speed, self.bits)
        omega = jnp.pi * speed[chosen]
        axis = (chosen // self.bits).astype(jnp.int32)
        zeros = jnp.zeros_like(state.low)
        return SpectralHashState(
            axis=axis,
            omega=jnp.where(
                jnp.isfinite(omega), omega, jnp.float32(0)
            ),  # where all columns are constant, so is the bit
            start=state.low[axis],
            low=zeros,
            high=zeros,
            count=jnp.zeros_like(state.count),
        )

    def encode(self, state: SpectralHashState, x: Array) -> Array:
        """Rows (n, c) to (n, bits) float32 in [-1, 1]; bit = value > 0."""
        return jnp.cos(state.omega[None, :] * (rows_of(x)[:, state.axis] - state.start[None, :]))


def spectral_hash(bits: int = 64, dims: int | None = None) -> Chain:
    """Spectral hashing as in the paper: PCA to as many dimensions as bits, then the eigenfunctions.

    dims: components, where rows have fewer columns than `bits`.

    >>> [type(stage).__name__ for stage in spectral_hash(32).stages]
    ['Pca', 'SpectralHash']
    """
    code = SpectralHash(bits)
    return Chain(Pca(bits if dims is None else dims), code)
