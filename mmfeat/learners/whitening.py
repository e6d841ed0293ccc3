"""Principal components and whitening, from one pass over the data.

H. Hotelling, "Analysis of a complex of statistical variables into principal components", J. Educ. Psych. 24, 1933.
A. Bell, T. Sejnowski, "The 'independent components' of natural scenes are edge filters", Vision Research 37, 1997 (ZCA).

    C = 1/(n-1) Σ (x - m)(x - m)ᵀ = U Λ Uᵀ,   λ_1 ≥ λ_2 ≥ ...
    PCA:        y = Uᵀ (x - m)
    whitened:   y = (Λ + ε)^(-1/2) Uᵀ (x - m)
    ZCA:        y = U (Λ + ε)^(-1/2) Uᵀ (x - m)      the whitened x that stays closest to x

The sums are taken of x - s, where s is the mean of the sample `init` saw: Σ (x-s)(x-s)ᵀ then holds no large mean that would
have to be subtracted again, which is what makes one float32 pass enough (Chan, Golub, LeVeque, "Algorithms for computing
the sample variance", The American Statistician 37, 1983).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import Learner, Metrics, rows_of

__all__ = ["Pca", "WhiteningState", "Zca"]

Array = Any
_SCRATCH = ("shift", "total", "gram", "count")
_WIDEST = 8192  # columns: the covariance of as many takes 256 MB
_EXACT = jax.lax.Precision.HIGHEST  # accelerators would otherwise round the products to 10 bits


class WhiteningState(NamedTuple):
    """The map, and the sums of this pass.

    mean (d,), matrix (d, k): encode is (x - mean) @ matrix. variance (k,): the variance along each component, largest first.
    shift (d,): what is taken off before summing. total (d,), gram (d, d), count (): sums of w y, w y yᵀ and w; y = x - shift.
    """

    mean: Array
    matrix: Array
    variance: Array
    shift: Array
    total: Array
    gram: Array
    count: Array


def _zeros(x: Array, dims: int) -> WhiteningState:
    """The state before the first row, for rows like x (n, d) and `dims` outputs."""
    width = x.shape[1]
    if width > _WIDEST:
        raise ShapeError(
            f"whitening and PCA keep a covariance of d x d, for rows of at most {_WIDEST} columns",
            f"{width} columns",
            "use smaller pictures, a descriptor or fewer codewords before it",
        )
    if dims > width:
        raise ShapeError(
            "there are as many components as columns at the most",
            f"{dims} components of rows of {width} columns",
            f"ask for {width} dims (or bits) or fewer",
        )
    column = jnp.zeros(width, jnp.float32)
    return WhiteningState(
        mean=column,
        matrix=jnp.zeros((width, dims), jnp.float32),
        variance=jnp.zeros(dims, jnp.float32),
        shift=x.mean(axis=0),
        total=column,
        gram=jnp.zeros((width, width), jnp.float32),
        count=jnp.float32(0),
    )


def _add(state: WhiteningState, x: Array, weight: Array) -> WhiteningState:
    """Add the rows x (n, d) with weights (n,) to the sums."""
    y = jnp.where(weight[:, None] > 0, rows_of(x) - state.shift[None, :], jnp.float32(0))
    weighted = y * weight[:, None]
    return state._replace(
        total=state.total + weighted.sum(axis=0),
        gram=state.gram + jnp.matmul(weighted.T, y, precision=_EXACT),
        count=state.count + weight.sum(),
    )


def _spectrum(state: WhiteningState) -> tuple[Array, Array, Array]:
    """Mean (d,), variances (d,) from the largest down, and components (d, d) in columns, of the rows added so far.

    The entry of largest absolute value of every component is positive, so that signs do not depend on the library.
    """
    count = jnp.maximum(state.count, 1.0)
    offset = state.total / count
    scatter = state.gram - count * offset[:, None] * offset[None, :]
    covariance = scatter / jnp.maximum(state.count - 1.0, 1.0)
    values, vectors = jnp.linalg.eigh((covariance + covariance.T) / 2)
    values, vectors = jnp.maximum(values[::-1], 0.0), vectors[:, ::-1]
    largest = jnp.take_along_axis(vectors, jnp.abs(vectors).argmax(axis=0)[None, :], axis=0)
    return state.shift + offset, values, vectors * jnp.where(largest < 0, jnp.float32(-1), jnp.float32(1))


def _cleared(state: WhiteningState) -> WhiteningState:
    """The state with empty sums."""
    return state._replace(
        total=jnp.zeros_like(state.total), gram=jnp.zeros_like(state.gram), count=jnp.zeros_like(state.count)
    )


def _check_epsilon(epsilon: float) -> None:
    if not epsilon > 0:
        raise SettingsError(
            "epsilon is added to the variances before their roots are taken, and positive", f"{epsilon}", "try 1e-5"
        )


@dataclass(frozen=True)
class Pca(Learner):
    """Principal component analysis: the `dims` directions of largest variance, from the largest down.

    dims: components kept; None keeps all. batch: rows per step.
    whiten: scale every component to variance 1. epsilon: added to the variances then, in squared units of x.

    >>> import jax, numpy as np
    >>> state = Pca(dims=2).init(jax.random.key(0), np.ones((4, 3), np.float32))
    >>> Pca(dims=2).encode(state, np.ones((4, 3), np.float32)).shape
    (4, 2)
    """

    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = _SCRATCH
    dims: int | None = None
    whiten: bool = False
    epsilon: float = 1e-5
    batch: int = 4096

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)
        if self.dims is not None and self.dims < 1:
            raise SettingsError(
                "PCA keeps at least one component", f"dims={self.dims}", "give a positive number, or None"
            )

    def init(self, key: Array, x: Array) -> WhiteningState:
        """Empty sums around the mean of the rows (n, d)."""
        x = rows_of(x)
        return _zeros(x, self.dims or x.shape[1])

    def step(self, key: Array, state: WhiteningState, x: Array, weight: Array) -> tuple[WhiteningState, Metrics]:
        """Add a batch (n, d) to the sums."""
        return _add(state, x, weight), {}

    def finish(self, key: Array, state: WhiteningState) -> WhiteningState:
        """The components of the rows of this pass."""
        mean, values, vectors = _spectrum(state)
        kept = state.matrix.shape[1]
        values, vectors = values[:kept], vectors[:, :kept]
        matrix = vectors / jnp.sqrt(values + self.epsilon)[None, :] if self.whiten else vectors
        return _cleared(state)._replace(mean=mean, matrix=matrix, variance=values)

    def affine(self, state: WhiteningState) -> tuple[Array, Array]:
        """encode(x) = (x - mean) @ matrix."""
        return state.mean, state.matrix

    def encode(self, state: WhiteningState, x: Array) -> Array:
        """Rows (n, d) to (n, k) float32. The mean is taken off first: a large one would cost digits after the product."""
        return _project(state, x)


@dataclass(frozen=True)
class Zca(Learner):
    """Whitening that turns the data back to where they were: pictures stay pictures.

    epsilon: added to the variances, in squared units of x; larger values leave noise directions alone. batch: rows per step.

    >>> import jax, numpy as np
    >>> state = Zca().init(jax.random.key(0), np.ones((4, 3), np.float32))
    >>> Zca().encode(state, np.ones((4, 3), np.float32)).shape
    (4, 3)
    """

    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = _SCRATCH
    epsilon: float = 1e-5
    batch: int = 4096

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def init(self, key: Array, x: Array) -> WhiteningState:
        """Empty sums around the mean of the rows (n, d)."""
        x = rows_of(x)
        return _zeros(x, x.shape[1])

    def step(self, key: Array, state: WhiteningState, x: Array, weight: Array) -> tuple[WhiteningState, Metrics]:
        """Add a batch (n, d) to the sums."""
        return _add(state, x, weight), {}

    def finish(self, key: Array, state: WhiteningState) -> WhiteningState:
        """The symmetric whitening matrix of the rows of this pass."""
        mean, values, vectors = _spectrum(state)
        scaled = vectors / jnp.sqrt(jnp.sqrt(values + self.epsilon))[None, :]
        matrix = jnp.matmul(scaled, scaled.T, precision=_EXACT)
        return _cleared(state)._replace(mean=mean, matrix=matrix, variance=values)

    def affine(self, state: WhiteningState) -> tuple[Array, Array]:
        """encode(x) = (x - mean) @ matrix."""
        return state.mean, state.matrix

    def encode(self, state: WhiteningState, x: Array) -> Array:
        """Rows (n, d) to (n, d) float32."""
        return _project(state, x)


def _project(state: WhiteningState, x: Array) -> Array:
    return jnp.matmul(rows_of(x) - state.mean[None, :], state.matrix, precision=_EXACT)
