"""Multinomial logistic regression, fitted to its optimum by L-BFGS.

D. Liu and J. Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical Programming 45, 1989.

    minimise  Σ_i c_{y_i} [ log Σ_k exp(z_ik) - z_{i, y_i} ] / Σ_i c_{y_i} + l2/2 ‖W‖²,   z_i = Wᵀ (x_i - m) / s + b

m and s are the mean and deviation of the labelled rows, so that raw features will do and `l2` means the same for all of them;
b is not penalised. scikit-learn's `LogisticRegression` on standardised rows is the same with C = 1 / (l2 · n) (with two
classes, C = 2 / (l2 · n): it keeps one of the two opposite vectors of weights).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mmfeat.errors import SettingsError
from mmfeat.learner import Learner, Metrics, rows_of

__all__ = ["Softmax", "SoftmaxState"]

Array = Any
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)  # accelerators would otherwise round to 10 bits


class SoftmaxState(NamedTuple):
    """weights (d, k) and bias (k,) on standardised rows; mean and scale (d,); L-BFGS' memory; count () of steps."""

    weights: Array
    bias: Array
    mean: Array
    scale: Array
    solver: Any
    count: Array


@dataclass(frozen=True)
class Softmax(Learner):
    """Softmax regression.

    classes: how many there are; labels are 0..classes-1, and rows with any other never train. (Fitting a chain or a
        `Classifier` fills it in.)
    l2: the penalty above. standardise: False leaves the rows as they come (m = 0, s = 1).
    class_weight: c, one per class; () is 1 for all; "balanced" is n / (classes · n_class).
    passes: iterations of L-BFGS at most, one a step. tolerance: when no part of the gradient is larger, nothing changes any more.
    memory: pairs of steps that L-BFGS keeps.

    >>> import jax, numpy as np
    >>> x = {"x": np.eye(3, dtype=np.float32), "y": np.arange(3)}
    >>> Softmax(classes=3).encode(Softmax(classes=3).init(jax.random.key(0), x), x["x"]).shape
    (3, 3)
    """

    needs: ClassVar[tuple[str, ...]] = ("x", "y")
    full_batch: ClassVar[bool] = True
    scratch: ClassVar[tuple[str, ...]] = ("solver*", "count")
    classes: int = 2
    l2: float = 1e-4
    standardise: bool = True
    class_weight: tuple[float, ...] | str = ()
    passes: int = 200
    tolerance: float = 1e-6
    memory: int = 10

    def __post_init__(self) -> None:
        if self.classes < 2 or self.memory < 1 or self.passes < 0 or min(self.l2, self.tolerance) < 0:
            raise SettingsError(
                "Softmax has two classes or more, memory of at least 1, and no negative number", repr(self), "mend it"
            )
        given = self.class_weight
        if given != "balanced" and (isinstance(given, str) or len(given) not in (0, self.classes)):
            raise SettingsError(
                f'class_weight is "balanced", or () or {self.classes} numbers, one per class', repr(given), "mend it"
            )

    def init(self, key: Array, x: Any) -> SoftmaxState:
        """All weights 0: every class is equally likely. Nothing is drawn."""
        width = rows_of(x["x"]).shape[1]
        zeros = {"weights": jnp.zeros((width, self.classes), jnp.float32), "bias": jnp.zeros(self.classes, jnp.float32)}
        mean, count = jnp.zeros(width, jnp.float32), jnp.zeros((), jnp.int32)
        solver = jax.tree.map(jnp.nan_to_num, self._solver().init(zeros))  # optax marks "not yet" by infinity
        return SoftmaxState(**zeros, mean=mean, scale=jnp.ones_like(mean), solver=solver, count=count)

    def step(self, key: Array, state: SoftmaxState, x: Any, weight: Array) -> tuple[SoftmaxState, Metrics]:
        """One iteration on all rows {"x": (n, d), "y": (n,)}. The first one measures mean and scale too."""
        rows, y = rows_of(x["x"]), x["y"].astype(jnp.int32)
        weight = jnp.where((y >= 0) & (y < self.classes), weight, 0.0)
        if self.standardise:
            fresh = (state.count == 0) & (weight.sum() > 0)
            mean, scale = _moments(rows, weight)
            state = state._replace(mean=jnp.where(fresh, mean, state.mean), scale=jnp.where(fresh, scale, state.scale))
        rows = (rows - state.mean[None, :]) / state.scale[None, :]

        def objective(params: Any) -> Array:
            return self.objective(params, rows, y, weight)

        params = {"weights": state.weights, "bias": state.bias}
        value, slope = jax.value_and_grad(objective)(params)
        steepest = jnp.maximum(jnp.abs(slope["weights"]).max(), jnp.abs(slope["bias"]).max())

        def iterate(params: Any, solver: Any) -> tuple[Any, Any]:
            update, solver = self._solver().update(slope, solver, params, value=value, grad=slope, value_fn=objective)
            return optax.apply_updates(params, update), solver

        going = (steepest > self.tolerance) & (weight.sum() > 0)
        params, solver = jax.lax.cond(going, iterate, lambda *same: same, params, state.solver)
        new = state._replace(**params, solver=solver, count=state.count + (weight.sum() > 0).astype(jnp.int32))
        return new, {"objective": value, "gradient": steepest}

    def encode(self, state: SoftmaxState, x: Array) -> Array:
        """Rows (n, d) to the probabilities of the classes (n, classes) float32."""
        rows = (rows_of(x) - state.mean[None, :]) / state.scale[None, :]
        return jax.nn.softmax(_matmul(rows, state.weights) + state.bias[None, :], axis=1)

    def predict(self, state: SoftmaxState, x: Array) -> Array:
        """Rows (n, d) to their likeliest class (n,) int32."""
        return self.encode(state, x).argmax(axis=1).astype(jnp.int32)

    def objective(self, params: Any, x: Array, y: Array, weight: Array) -> Array:
        """The objective for standardised rows (n, d), labels (n,) int32 and weights (n,)."""
        truth = jax.nn.one_hot(y, self.classes, dtype=jnp.float32)
        weight = weight * _matmul(truth, self._class_weights(_matmul(weight, truth)))
        logits = _matmul(x, params["weights"]) + params["bias"][None, :]
        loss = jax.nn.logsumexp(logits, axis=1) - (truth * logits).sum(axis=1)
        penalty = 0.5 * self.l2 * jnp.square(params["weights"]).sum()
        return _matmul(weight, loss) / jnp.maximum(weight.sum(), 1e-12) + penalty

    def _class_weights(self, counts: Array) -> Array:
        if self.class_weight == "balanced":
            return jnp.where(counts > 0, counts.sum() / (self.classes * jnp.maximum(counts, 1.0)), 0.0)
        return jnp.asarray(self.class_weight or (1.0,) * self.classes, jnp.float32)

    def _solver(self) -> optax.GradientTransformationExtraArgs:
        return optax.lbfgs(memory_size=self.memory)


def _moments(rows: Array, weight: Array) -> tuple[Array, Array]:
    """Mean and deviation (d,) of the rows; 1 for a value that does not vary beyond rounding."""
    total = jnp.maximum(weight.sum(), 1e-12)
    mean = _matmul(weight, rows) / total
    scale = jnp.sqrt(_matmul(weight, jnp.square(rows - mean[None, :])) / total)
    return mean, jnp.where(scale > 1e-5 * jnp.abs(mean) + 1e-15, scale, 1.0)
