"""Principal components of rows too wide for a covariance matrix, by subspace iteration: Fisher vectors, pooled codes.

N. Halko, P.-G. Martinsson, J. Tropp, "Finding structure with randomness: probabilistic algorithms for constructing approximate
matrix decompositions", SIAM Review 53, 2011 (algorithms 4.4 and 5.3). Partial whitening: H. Jégou, O. Chum, "Negative evidences
and co-occurrences in image retrieval: the benefit of PCA and whitening", ECCV 2012.

    Q (d, l) orthonormal, l a little more than the components wanted; each pass over the data
        Y = C Q = 1/(n-1) Σ (x - m)(x - m)ᵀ Q,    B = Qᵀ Y = U Λ Uᵀ        the components in the span of Q are Q U
        Q ← orthonormal basis of Y
    encode: y = (Λ + ε λ_1)^(-whiten / 2) (Q U)ᵀ (x - m)

A pass multiplies what lies outside the leading subspace by (λ_{l+1} / λ_k): few passes do, as Λ need not be exact for codes.
Work and memory are n d l and d l, where a covariance takes n d² and d².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import Learner, Metrics, rows_of

__all__ = ["WidePca", "WidePcaState"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


class WidePcaState(NamedTuple):
    """The map, and what this pass has gathered.

    mean (d,), matrix (d, k): encode is (x - mean) @ matrix. variance (k,): along each component, largest first.
    shift (d,): taken off before summing. basis (d, l): Q. total (d,), product (d, l), count (): sums of w y, w y yᵀ Q and w;
    y = x - shift.
    """

    mean: Array
    matrix: Array
    variance: Array
    shift: Array
    basis: Array
    total: Array
    product: Array
    count: Array


@dataclass(frozen=True)
class WidePca(Learner):
    """The `dims` leading principal components of wide rows, scaled towards equal variances.

    dims: components kept; at most as many as columns. whiten: 0 keeps the variances, 1 makes all of them 1; values between
        make nearest neighbours better, as they take weight from what most rows share.
    epsilon: added to the variances before they divide, as a share of the largest. oversample: l - dims.
    passes: over the data; 3 to 6. batch: rows per step. most_rows: learns from at most so many rows.

    >>> import jax, numpy as np
    >>> state = WidePca(dims=2).init(jax.random.key(0), np.eye(4, 9, dtype=np.float32))
    >>> WidePca(dims=2).encode(state, np.eye(4, 9, dtype=np.float32)).shape
    (4, 2)
    """

    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = ("shift", "basis", "total", "product", "count")
    init_rows: ClassVar[int] = 256
    dims: int = 128
    whiten: float = 0.0
    epsilon: float = 1e-6
    oversample: int = 16
    passes: int = 5
    batch: int = 512
    most_rows: int = 16_384

    def __post_init__(self) -> None:
        if min(self.dims, self.passes, self.most_rows) < 1 or self.oversample < 0:
            raise SettingsError("WidePca keeps one component or more, in one pass or more", repr(self), "mend it")
        if not (0 <= self.whiten <= 1 and self.epsilon > 0):
            raise SettingsError(
                "whiten is from 0 to 1, and epsilon above 0", f"{self.whiten}, {self.epsilon}", "try 0.5 and 1e-6"
            )

    def init(self, key: Array, x: Array) -> WidePcaState:
        """A drawn basis, and empty sums around the mean of the rows (n, d)."""
        x = rows_of(x)
        width = x.shape[1]
        if self.dims > width:
            raise ShapeError(
                "there are as many components as columns at the most",
                f"{self.dims} components of rows of {width} columns",
                f"ask for {width} dims (or bits) or fewer",
            )
        count = min(self.dims + self.oversample, width)
        basis = jnp.linalg.qr(jax.random.normal(key, (width, count), jnp.float32))[0]
        column = jnp.zeros(width, jnp.float32)
        return WidePcaState(
            mean=column,
            matrix=jnp.zeros((width, self.dims), jnp.float32),
            variance=jnp.zeros(self.dims, jnp.float32),
            shift=x.mean(axis=0),
            basis=basis,
            total=column,
            product=jnp.zeros_like(basis),
            count=jnp.float32(0),
        )

    def step(self, key: Array, state: WidePcaState, x: Array, weight: Array) -> tuple[WidePcaState, Metrics]:
        """Add a batch (n, d) to the sums."""
        y = jnp.where(weight[:, None] > 0, rows_of(x) - state.shift[None, :], jnp.float32(0))
        inside = jnp.matmul(y, state.basis, precision=_EXACT) * weight[:, None]
        return state._replace(
            total=state.total + jnp.matmul(weight, y, precision=_EXACT),
            product=state.product + jnp.matmul(y.T, inside, precision=_EXACT),
            count=state.count + weight.sum(),
        ), {}

    def finish(self, key: Array, state: WidePcaState) -> WidePcaState:
        """The components in the span of this pass's basis, and the basis of the next one."""
        count = jnp.maximum(state.count, 1.0)
        offset = state.total / count
        across = jnp.matmul(offset, state.basis, precision=_EXACT)
        product = (state.product - count * offset[:, None] * across[None, :]) / jnp.maximum(state.count - 1.0, 1.0)
        inside = jnp.matmul(state.basis.T, product, precision=_EXACT)
        values, turn = jnp.linalg.eigh((inside + inside.T) / 2)
        values, turn = jnp.maximum(values[::-1], 0.0)[: self.dims], turn[:, ::-1][:, : self.dims]
        vectors = jnp.matmul(state.basis, turn, precision=_EXACT)
        largest = jnp.take_along_axis(vectors, jnp.abs(vectors).argmax(axis=0)[None, :], axis=0)
        vectors = vectors * jnp.where(largest < 0, jnp.float32(-1), jnp.float32(1))
        least = self.epsilon * jnp.maximum(values[0], jnp.float32(1e-30))
        scale = jnp.exp(-0.5 * self.whiten * jnp.log(values + least))
        return WidePcaState(
            mean=state.shift + offset,
            matrix=vectors * scale[None, :],
            variance=values,
            shift=state.shift,
            basis=jnp.linalg.qr(product / jnp.maximum(jnp.abs(product).max(), jnp.float32(1e-30)))[0],
            total=jnp.zeros_like(state.total),
            product=jnp.zeros_like(state.product),
            count=jnp.float32(0),
        )

    def affine(self, state: WidePcaState) -> tuple[Array, Array]:
        """encode(x) = (x - mean) @ matrix."""
        return state.mean, state.matrix

    def encode(self, state: WidePcaState, x: Array) -> Array:
        """Rows (n, d) to (n, dims) float32."""
        return jnp.matmul(rows_of(x) - state.mean[None, :], state.matrix, precision=_EXACT)
