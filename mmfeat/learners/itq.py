"""Iterative quantisation: the rotation of principal components that loses least when only signs are kept.

Y. Gong, S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011.

    min over B in {-1, 1}^(n x c), R orthogonal:   Q(B, R) = ‖B - V R‖²_F          (eq. 2; V: centred rows, PCA to c)
    B = sign(V R)                                                                   (fix R)
    R = S Ŝᵀ,  where  Bᵀ V = Ŝ Ω Sᵀ  by SVD                                         (fix B: orthogonal Procrustes)

Both halves lower Q, and after the second Q = n c + ‖V‖² - 2 Σ Ω: the objective of every step comes free with the SVD.
The bits are the signs of V R; `itq_hash(bits)` is the whole method, projection and rotation.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.chain import Chain
from mmfeat.errors import SettingsError
from mmfeat.host import one_blas_thread
from mmfeat.learner import Learner, Metrics, rows_of
from mmfeat.learners.whitening import Pca

__all__ = ["ItqRotation", "ItqState", "itq_hash"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_BLOCK = (
    4096  # rows whose signs stay in the cache between the two products; the sums do not depend on the number of threads
)
_SIGN, _ONE = np.int32(-(2**31)), np.int32(0x3F800000)  # the sign bit, and the bits of 1.0, of a float32


class ItqState(NamedTuple):
    """rotation (c, c), orthogonal."""

    rotation: Array


@dataclass(frozen=True)
class ItqRotation(Learner):
    """The rotation alone, for rows that are centred already, usually by `Pca`; one step over the whole sample is one iteration.

    passes: iterations; 50 in the paper, most of the gain comes in the first ten.
    Metrics: quantisation_error, the mean over rows of ‖b - v R‖².

    >>> import jax, numpy as np
    >>> state = ItqRotation().init(jax.random.key(0), np.ones((4, 3), np.float32))
    >>> ItqRotation().encode(state, np.ones((4, 3), np.float32)).shape
    (4, 3)
    """

    hash: ClassVar[bool] = True
    full_batch: ClassVar[bool] = True
    passes: int = 50

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise SettingsError(
                "ITQ makes at least one iteration", f"passes={self.passes}", "give a positive number; 50 is usual"
            )

    def init(self, key: Array, x: Array) -> ItqState:
        """A random rotation (Haar measure) of rows (n, c)."""
        width = rows_of(x).shape[1]
        turn, upper = jnp.linalg.qr(jax.random.normal(key, (width, width), jnp.float32))
        return ItqState(turn * jnp.where(jnp.diag(upper) < 0, jnp.float32(-1), jnp.float32(1))[None, :])

    def step(self, key: Array, state: ItqState, x: Array, weight: Array) -> tuple[ItqState, Metrics]:
        """One iteration on the centred rows V = x (n, c)."""
        V = jnp.where(weight[:, None] > 0, rows_of(x), jnp.float32(0))
        Z = jnp.matmul(V, state.rotation, precision=_EXACT)
        B = jnp.where(Z >= 0, weight[:, None], -weight[:, None])
        left, omega, right = jnp.linalg.svd(jnp.matmul(B.T, V, precision=_EXACT))
        energy = jnp.vdot(weight, (V * V).sum(axis=1))
        return ItqState((left @ right).T), _metrics(weight.sum(), energy, omega)

    def host_step(self, key: Array, state: ItqState, x: Array, weight: Array) -> tuple[ItqState, Metrics]:
        """The same on NumPy arrays, block by block: threads of our own, each with a BLAS of one thread, wait for nobody."""
        rows = np.asarray(x, np.float32).reshape(len(x), -1)
        work = partial(_block, rows, weight, state.rotation)
        with one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as workers:
            parts = list(workers.map(work, range(0, len(rows), _BLOCK)))
            product, energy = sum(part for part, _ in parts), sum(part for _, part in parts)
            left, omega, right = np.linalg.svd(product)
        return ItqState(np.ascontiguousarray((left @ right).T)), _metrics(np.float32(weight.sum()), energy, omega)

    def affine(self, state: ItqState) -> tuple[Array, Array]:
        """encode(x) = (x - mean) @ matrix."""
        return np.zeros(state.rotation.shape[0], np.float32), state.rotation

    def encode(self, state: ItqState, x: Array) -> Array:
        """Centred rows (n, c) to (n, c) float32; bit = value > 0."""
        return jnp.matmul(rows_of(x), state.rotation, precision=_EXACT)


def _block(rows: Array, weight: Array, rotation: Array, first: int) -> tuple[Array, float]:
    """Bᵀ V and ‖V‖² of the rows from `first` on. Signs are set by two integer operations."""
    V, w = rows[first : first + _BLOCK], weight[first : first + _BLOCK]
    if w.min() <= 0:
        V, w = V[w > 0], w[w > 0]
    B = V @ rotation
    bits = B.view(np.int32)
    np.bitwise_and(bits, _SIGN, out=bits)
    np.bitwise_or(bits, _ONE, out=bits)
    if np.all(w == 1):
        return B.T @ V, float(np.vdot(V, V))
    B *= w[:, None]
    return B.T @ V, float(w @ np.einsum("ij,ij->i", V, V))


def _metrics(rows: Array, energy: Array, omega: Array) -> Metrics:
    """Q / n for `rows` rows of squared length `energy` together and the singular values omega (c,)."""
    return {"quantisation_error": omega.shape[0] + (energy - 2 * omega.sum()) / rows}


def itq_hash(bits: int = 64, passes: int = 50) -> Chain:
    """ITQ as in the paper: PCA to `bits` dimensions, then the rotation.

    >>> [type(stage).__name__ for stage in itq_hash(32).stages]
    ['Pca', 'ItqRotation']
    """
    if bits < 1:
        raise SettingsError("a code has at least one bit", f"bits={bits}", "give a positive number")
    return Chain(Pca(bits), ItqRotation(passes))
