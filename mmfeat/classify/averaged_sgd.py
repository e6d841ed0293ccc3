"""Linear classifiers from a stream larger than memory: stochastic gradient descent whose iterates are averaged.

W. Xu, "Towards optimal one pass large scale learning with averaged stochastic gradient descent", arXiv:1107.2490, 2010.
Y. Lin et al., "Large-scale image classification: fast feature extraction and SVM training", CVPR 2011 (a thousand classes, one
against the rest, a few passes).

    minimise  l2/2 ‖W‖² + mean over rows of loss(Wᵀ x + b, y)
    W_t = W_{t-1} - γ_t slope(W_{t-1}),      γ_t = γ_0 (1 + l2 γ_0 t)^(-2/3)
    W̄_t = (1 - 1/t) W̄_{t-1} + W_t / t        what encodes: the mean of the iterates of the later passes

    squared_hinge   Σ_k max(0, 1 - t_k z_k)²,  t_k = 1 for the class of x, -1 for the others     (LinearSvm with c = 1 / (l2 n))
    hinge           Σ_k max(0, 1 - t_k z_k)
    softmax         log Σ_k exp(z_k) - z_y

A step is a mini-batch: all classes are one product, batches lie over the mesh axis "data" and classes over "model". Averaging lets
γ stay large (-2/3 instead of -1). γ_0 is chosen on the rows that `init` sees: of a ladder of powers of two, the one whose average
after a pass over them has the least objective; their mean is taken from all rows, which changes no optimum (the bias is free) and
straightens the way. Rows of one scale are assumed: put `Normalise()` before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.errors import SettingsError
from mmfeat.learner import Learner, Metrics, rows_of

__all__ = ["AveragedSgd", "AveragedSgdState"]

Array = Any
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
_LADDER = tuple(2.0**power for power in range(8, -5, -1))  # γ_0 · mean ‖x‖²
_LOSSES = ("hinge", "softmax", "squared_hinge")


class AveragedSgdState(NamedTuple):
    """mean_weights (k, d) and mean_bias (k,) encode rows from which centre (d,) is taken; weights and bias: the last iterate.

    square () is the mean squared length of centred rows, rate () is γ_0; count () the steps, averaged () those in the mean,
    finished () the passes.
    """

    weights: Array
    bias: Array
    mean_weights: Array
    mean_bias: Array
    centre: Array
    square: Array
    rate: Array
    count: Array
    averaged: Array
    finished: Array


@dataclass(frozen=True)
class AveragedSgd(Learner):
    """Averaged stochastic gradient descent; encode gives decision scores (n, classes), the largest is the class.

    classes: how many there are; labels are 0..classes-1, and rows with any other never train. (Fitting a chain or a
        `Classifier` fills it in.)
    loss: "squared_hinge", "hinge" or "softmax". l2: the penalty above; the bias bears none.
    passes: over the data; five are usual. batch: rows a step.
    rate: γ_0; 0: chosen on the first rows. average_from: the mean starts afresh after so many passes.
    Metrics: loss, the mean over the batch before the step.

    >>> import jax, numpy as np
    >>> x, y = np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32)
    >>> learner = AveragedSgd(classes=3)
    >>> state = learner.init(jax.random.key(0), {"x": x, "y": y})
    >>> learner.encode(state, x).shape
    (3, 3)
    """

    needs: ClassVar[tuple[str, ...]] = ("x", "y")
    split: ClassVar[dict[str, int]] = {"weights": 0, "bias": 0, "mean_weights": 0, "mean_bias": 0}
    scratch: ClassVar[tuple[str, ...]] = ("weights", "bias", "count", "averaged", "finished")
    scores: ClassVar[bool] = True
    init_rows: ClassVar[int] = 2048
    together: ClassVar[int] = 8
    classes: int = 2
    l2: float = 1e-5
    loss: str = "squared_hinge"
    passes: int = 5
    batch: int = 64
    rate: float = 0.0
    average_from: int = 1

    def __post_init__(self) -> None:
        if self.classes < 2 or min(self.passes, self.batch) < 1 or min(self.l2, self.rate, self.average_from) < 0:
            raise SettingsError(
                "AveragedSgd has two classes or more, passes and batch of at least 1, and no negative number",
                repr(self),
                "mend it",
            )
        if self.loss not in _LOSSES:
            raise SettingsError(f"loss is one of {', '.join(_LOSSES)}", repr(self.loss), "choose one of them")

    def init(self, key: Array, x: Any) -> AveragedSgdState:
        """All weights 0, and the step size. Nothing is drawn."""
        rows, y = rows_of(x["x"]), x["y"].astype(jnp.int32)
        weights, bias = jnp.zeros((self.classes, rows.shape[1]), jnp.float32), jnp.zeros(self.classes, jnp.float32)
        weight = ((y >= 0) & (y < self.classes)).astype(jnp.float32)
        rows, none = jnp.where(weight[:, None] > 0, rows, 0.0), jnp.int32(0)
        centre = _matmul(weight, rows) / jnp.maximum(weight.sum(), 1.0)
        square = _matmul(weight, jnp.square(rows - centre[None, :]).sum(axis=1)) / jnp.maximum(weight.sum(), 1.0)
        square = jnp.where(square > 0, square, 1.0)
        rate = jnp.float32(self.rate)
        state = AveragedSgdState(weights, bias, weights, bias, centre, square, rate, none, none, none)
        return state if self.rate else state._replace(rate=self._choose_rate(state, rows, y, weight))

    def step(self, key: Array, state: AveragedSgdState, x: Any, weight: Array) -> tuple[AveragedSgdState, Metrics]:
        """One mini-batch {"x": (n, d), "y": (n,)}."""
        rows, y = rows_of(x["x"]), x["y"].astype(jnp.int32)
        weight = jnp.where((y >= 0) & (y < self.classes), weight, 0.0)
        return self._move(state, rows, y, weight)

    def finish(self, key: Array, state: AveragedSgdState) -> AveragedSgdState:
        """The end of a pass: the mean starts afresh while `average_from` is not reached."""
        done = state.finished + 1
        return state._replace(finished=done, averaged=jnp.where(done <= self.average_from, 0, state.averaged))

    def encode(self, state: AveragedSgdState, x: Array) -> Array:
        """Rows (n, d) to the scores of the classes (n, classes) float32."""
        return _matmul(rows_of(x) - state.centre[None, :], state.mean_weights.T) + state.mean_bias[None, :]

    def predict(self, state: AveragedSgdState, x: Array) -> Array:
        """Rows (n, d) to their class (n,) int32."""
        return self.encode(state, x).argmax(axis=1).astype(jnp.int32)

    def _move(self, state: AveragedSgdState, rows: Array, y: Array, weight: Array) -> tuple[AveragedSgdState, Metrics]:
        """One step down the slope, and the mean. Rows of weight 0 change nothing, and so does a batch of them alone."""
        rows = jnp.where(weight[:, None] > 0, rows - state.centre[None, :], 0.0)
        total, some = jnp.maximum(weight.sum(), 1e-12), weight.sum() > 0
        loss, slope = self._loss(_matmul(rows, state.weights.T) + state.bias[None, :], y)
        slope = slope * (weight / total)[:, None]
        rate = state.rate * (1 + self.l2 * state.rate * state.count.astype(jnp.float32)) ** jnp.float32(-2 / 3)
        rate = jnp.where(some, rate, 0.0)
        weights = (1 - rate * self.l2) * state.weights - rate * _matmul(slope.T, rows)
        bias = state.bias - rate * state.square * slope.sum(axis=0)  # as if its column were as long as the rows
        one = some.astype(jnp.int32)
        averaged = state.averaged + one
        share = jnp.where(some, 1 / jnp.maximum(averaged, 1).astype(jnp.float32), 0.0)
        new = state._replace(
            weights=weights,
            bias=bias,
            mean_weights=state.mean_weights + share * (weights - state.mean_weights),
            mean_bias=state.mean_bias + share * (bias - state.mean_bias),
            count=state.count + one,
            averaged=averaged,
        )
        return new, {"loss": _matmul(weight, loss) / total}

    def _loss(self, z: Array, y: Array) -> tuple[Array, Array]:
        """The loss (n,) of scores (n, k), and its slope (n, k)."""
        truth = jax.nn.one_hot(y, self.classes, dtype=jnp.float32)
        if self.loss == "softmax":
            return jax.nn.logsumexp(z, axis=1) - (truth * z).sum(axis=1), jax.nn.softmax(z, axis=1) - truth
        target = 2 * truth - 1
        lack = jnp.maximum(1 - target * z, 0)
        if self.loss == "hinge":
            return lack.sum(axis=1), jnp.where(lack > 0, -target, 0.0)
        return (lack * lack).sum(axis=1), -2 * target * lack

    def _choose_rate(self, state: AveragedSgdState, rows: Array, y: Array, weight: Array) -> Array:
        """Of the ladder, the γ_0 whose mean after a pass over these rows has the least objective on them."""
        size = min(self.batch, len(rows))
        cut = len(rows) // size * size
        parts = [leaf[:cut].reshape(-1, size, *leaf.shape[1:]) for leaf in (rows, y, weight)]

        def try_rate(rate: Array) -> Array:
            begun = state._replace(rate=rate)
            end = jax.lax.scan(lambda s, part: (self._move(s, *part)[0], None), begun, parts)[0]
            loss = _matmul(weight, self._loss(self.encode(end, rows), y)[0]) / jnp.maximum(weight.sum(), 1.0)
            value = loss + 0.5 * self.l2 * jnp.square(end.mean_weights).sum()
            return jnp.where(jnp.isfinite(value), value, jnp.inf)

        rates = jnp.asarray(_LADDER, jnp.float32) / state.square
        return rates[jax.lax.map(try_rate, rates).argmin()]
