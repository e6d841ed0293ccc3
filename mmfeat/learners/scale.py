"""Brings the branches of a `Join` to one size: rows are divided by the one number that makes their mean squared length 1.

J. Westerhuis, T. Kourti, J. MacGregor, "Analysis of multiblock and hierarchical PCA and PLS models", J. Chemometrics 12, 1998
(block scaling).

    s² = 1/n Σ ‖x_i - m‖²,    x → (x - m) / s,    m = 1/n Σ x_i where `centre`, else 0

Distances within a branch keep their proportions, as they would not if every column were divided by its own deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.learner import Learner, Metrics, rows_of

__all__ = ["Scale", "ScaleState"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


class ScaleState(NamedTuple):
    """mean (d,), size (): m and s. shift (d,): taken off before summing. total (d,), squares (), count (): of this pass."""

    mean: Array
    size: Array
    shift: Array
    total: Array
    squares: Array
    count: Array


@dataclass(frozen=True)
class Scale(Learner):
    """Divides rows by one learned number, so that their mean squared length is 1.

    centre: take the mean row off first.

    >>> import jax, numpy as np
    >>> x = np.array([[3.0, 4.0]], np.float32)
    >>> learner, key = Scale(), jax.random.key(0)
    >>> state = learner.finish(key, learner.step(key, learner.init(key, x), x, np.ones(1, np.float32))[0])
    >>> np.round(learner.encode(state, x), 6).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """

    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = ("shift", "total", "squares", "count")
    centre: bool = False

    def init(self, key: Array, x: Array) -> ScaleState:
        """Nothing is known but the sample's mean, from which the sums are taken. Nothing is drawn."""
        shift = rows_of(x).mean(axis=0) if self.centre else jnp.zeros_like(rows_of(x)[0])
        zero = jnp.float32(0)
        return ScaleState(jnp.zeros_like(shift), jnp.float32(1), shift, jnp.zeros_like(shift), zero, zero)

    def step(self, key: Array, state: ScaleState, x: Array, weight: Array) -> tuple[ScaleState, Metrics]:
        """Add a batch (n, d) to the sums."""
        x = jnp.where(weight[:, None] > 0, rows_of(x) - state.shift[None, :], jnp.float32(0))
        total = state.total + jnp.matmul(weight, x, precision=_EXACT)
        squares = state.squares + jnp.vdot(weight, jnp.square(x).sum(axis=1), precision=_EXACT)
        count = state.count + weight.sum()
        size = _size(total, squares, count, self.centre)
        return state._replace(total=total, squares=squares, count=count), {"length": size}

    def finish(self, key: Array, state: ScaleState) -> ScaleState:
        """The mean and the size of the rows of this pass."""
        count = jnp.maximum(state.count, 1.0)
        mean = state.shift + state.total / count if self.centre else state.mean
        size = _size(state.total, state.squares, state.count, self.centre)
        zero = jnp.float32(0)
        return ScaleState(mean, size, state.shift, jnp.zeros_like(mean), zero, zero)

    def encode(self, state: ScaleState, x: Array) -> Array:
        """Rows (n, d) to rows (n, d) float32."""
        return (rows_of(x) - state.mean[None, :]) / state.size


def _size(total: Array, squares: Array, count: Array, centre: bool) -> Array:
    """The size s from the sums so far; 1 where all rows are the same."""
    count = jnp.maximum(count, 1.0)
    spread = squares / count - (jnp.square(total / count).sum() if centre else jnp.float32(0))
    return jnp.where(
        spread > 1e-12 * jnp.maximum(squares / count, 1e-30), jnp.sqrt(jnp.maximum(spread, 0.0)), jnp.float32(1)
    )
