"""Regularised least squares on targets of ±1, in closed form: what `mmfeat teach` fits, as a learner and as a stage of a model.

R. Rifkin and R. Lippert, "Notes on regularized least squares", MIT-CSAIL-TR-2007-025.

    minimise over W, b   Σ_i v_i ‖t_i - Wᵀ (x_i - m) - b‖² + λ ‖W‖²,    m = Σ v_i x_i,  Σ v_i = 1

Every class counts the same: v_i = 1 / (classes present · members of the class). λ = ridge · Σ v_i ‖x_i - m‖². For labels of which
some are weak, and for the choice of the ridge, see `few_labels.fit_few`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.errors import SettingsError
from mmfeat.learner import Learner, Metrics, rows_of

__all__ = ["LeastSquares", "LeastSquaresState"]

Array = Any
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class LeastSquaresState(NamedTuple):
    """weights (d, m) and bias (m,): m = classes, or 1 for two classes."""

    weights: Array
    bias: Array


@dataclass(frozen=True)
class LeastSquares(Learner):
    """A linear classifier by ridge regression on ±1; encode gives scores (n, classes), the largest is the class.

    classes: how many there are; labels are 0..classes-1, and rows with any other never train. (Fitting a chain or a
        `Classifier` fills it in.) A class without examples scores -1.
    ridge: λ as a share of the weighted variance of the rows, above 0.

    >>> import jax, numpy as np
    >>> x, y = np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32)
    >>> learner = LeastSquares(classes=3)
    >>> state = learner.init(jax.random.key(0), {"x": x, "y": y})
    >>> state, _ = learner.step(jax.random.key(0), state, {"x": x, "y": y}, np.ones(3, np.float32))
    >>> learner.encode(state, x).argmax(axis=1).tolist()
    [0, 1, 2]
    """

    needs: ClassVar[tuple[str, ...]] = ("x", "y")
    full_batch: ClassVar[bool] = True
    scores: ClassVar[bool] = True
    init_rows: ClassVar[int] = 256
    classes: int = 2
    ridge: float = 0.1

    def __post_init__(self) -> None:
        if self.classes < 2 or not self.ridge > 0:
            raise SettingsError("LeastSquares has two classes or more and a ridge above 0", repr(self), "mend it")

    def init(self, key: Array, x: Any) -> LeastSquaresState:
        """All weights 0. Nothing is drawn."""
        machines = 1 if self.classes == 2 else self.classes
        width = rows_of(x["x"]).shape[1]
        return LeastSquaresState(jnp.zeros((width, machines), jnp.float32), jnp.zeros(machines, jnp.float32))

    def step(self, key: Array, state: LeastSquaresState, x: Any, weight: Array) -> tuple[LeastSquaresState, Metrics]:
        """The solution for all rows {"x": (n, d), "y": (n,)}, by the smaller of the two Gram matrices."""
        rows, y = rows_of(x["x"]), x["y"].astype(jnp.int32)
        truth = jax.nn.one_hot(y, self.classes, dtype=jnp.float32)
        counts = _matmul(weight, truth)
        present = jnp.where(counts > 0, jnp.float32(1), jnp.float32(0))
        share = present / jnp.maximum(counts, 1e-12) / jnp.maximum(present.sum(), 1.0)
        v = weight * _matmul(truth, share)  # 0 for a label of no class
        rows = jnp.where(v[:, None] > 0, rows, jnp.float32(0))
        targets = 2 * (truth[:, 1:] if self.classes == 2 else truth) - 1
        mean, middle, root = _matmul(v, rows), _matmul(v, targets), jnp.sqrt(v)[:, None]
        centred = root * (rows - mean[None, :])
        aims = root * (targets - middle[None, :])
        total = jnp.square(centred).sum()
        penalty = self.ridge * jnp.where(total > 0, total, jnp.float32(1))
        few = rows.shape[0] <= rows.shape[1]
        gram = _matmul(centred, centred.T) if few else _matmul(centred.T, centred)
        right = aims if few else _matmul(centred.T, aims)
        found = jax.scipy.linalg.solve(gram + penalty * jnp.eye(len(gram), dtype=jnp.float32), right, assume_a="pos")
        weights = _matmul(centred.T, found) if few else found
        new = LeastSquaresState(weights, middle - _matmul(mean, weights))
        new = jax.tree.map(lambda a, b: jnp.where(v.sum() > 0, a, b), new, state)
        return new, {"error": jnp.square(aims - _matmul(centred, weights)).sum()}

    def encode(self, state: LeastSquaresState, x: Array) -> Array:
        """Rows (n, d) to the scores of the classes (n, classes) float32; those of two classes are opposite."""
        scores = _matmul(rows_of(x), state.weights) + state.bias[None, :]
        return jnp.concatenate([-scores, scores], axis=1) if self.classes == 2 else scores
