"""Linear support vector machines, one class against the rest, with squared hinge loss: LIBLINEAR's problem, all classes at once.

R.-E. Fan, K.-W. Chang, C.-J. Hsieh, X.-R. Wang, C.-J. Lin, "LIBLINEAR: a library for large linear classification", JMLR 9, 2008.

    for every class k:   minimise  1/2 ‖w_k‖² + 1/2 b_k² + c Σ_i v_ik max(0, 1 - t_ik (w_kᵀ x_i + bias b_k))²

t_ik = 1 for the examples of class k, -1 for all others; v_ik is the class's weight for its own examples and 1 for the others. Two
classes are one machine, and both weights count. This is scikit-learn's `LinearSVC(C=c, class_weight=..., intercept_scaling=bias)`,
objective for objective: no 1/n, and the bias is penalised. How it is solved, and why its gap is proven: `squared_hinge.py`.

What helps: rows of length about 1 (`Normalise`), for which c between 0.1 and 100 is usual; `choose_c` finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.classify.squared_hinge import Gram, Rows, gram_of, gram_pays, solve
from mmfeat.errors import SettingsError
from mmfeat.learner import Learner, Metrics, rows_of

__all__ = ["NEVER", "LinearSvm", "LinearSvmState", "problem_of"]

Array = Any
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
NEVER = -1e9  # the score of a class that had no example


class LinearSvmState(NamedTuple):
    """weights (d, m) and bias (m,), what is added to the products: m = classes, or 1 for two classes."""

    weights: Array
    bias: Array


@dataclass(frozen=True)
class LinearSvm(Learner):
    """One-vs-rest squared-hinge SVM; encode gives decision scores (n, classes), the largest is the class.

    classes: how many there are; labels are 0..classes-1, and rows with any other never train. (Fitting a chain or a
        `Classifier` fills it in.) A class without examples is never predicted.
    c: the weight of the loss. class_weight: one number per class; () is 1 for all; "balanced" is n / (classes · n_class).
    bias: the value of a constant column that is put beside x; 0: no bias.
    tolerance: the duality gap is at most this share of the objective, in every class (unless float32 ends before).
    iterations: Newton steps at most. passes: more than one go on from where the last one ended.
    Metrics: objective, the sum over classes; gap, the largest relative duality gap; newton, the steps taken.

    >>> import jax, numpy as np
    >>> x, y = np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32)
    >>> learner = LinearSvm(classes=3, c=10.0)
    >>> state = learner.init(jax.random.key(0), {"x": x, "y": y})
    >>> state, _ = learner.step(jax.random.key(0), state, {"x": x, "y": y}, np.ones(3, np.float32))
    >>> learner.predict(state, x).tolist()
    [0, 1, 2]
    """

    needs: ClassVar[tuple[str, ...]] = ("x", "y")
    full_batch: ClassVar[bool] = True
    scores: ClassVar[bool] = True
    init_rows: ClassVar[int] = 256
    classes: int = 2
    c: float = 1.0
    class_weight: tuple[float, ...] | str = ()
    bias: float = 1.0
    tolerance: float = 1e-4
    iterations: int = 100
    passes: int = 1

    def __post_init__(self) -> None:
        if self.classes < 2 or self.c <= 0 or self.tolerance <= 0 or min(self.iterations, self.passes) < 1:
            raise SettingsError(
                "LinearSvm has two classes or more, and c, tolerance, iterations and passes above 0",
                repr(self),
                "mend it",
            )
        given = self.class_weight
        if given != "balanced" and (
            isinstance(given, str) or len(given) not in (0, self.classes) or min(given, default=0) < 0
        ):
            raise SettingsError(
                f'class_weight is "balanced", or () or {self.classes} numbers from 0 on, one per class',
                repr(given),
                "mend it",
            )

    def init(self, key: Array, x: Any) -> LinearSvmState:
        """All weights 0. Nothing is drawn."""
        machines = 1 if self.classes == 2 else self.classes
        width = rows_of(x["x"]).shape[1]
        return LinearSvmState(jnp.zeros((width, machines), jnp.float32), jnp.zeros(machines, jnp.float32))

    def step(self, key: Array, state: LinearSvmState, x: Any, weight: Array) -> tuple[LinearSvmState, Metrics]:
        """The whole optimisation on all rows {"x": (n, d), "y": (n,)}, from the state's weights on."""
        rows, y = rows_of(x["x"]), x["y"].astype(jnp.int32)
        weight = jnp.where((y >= 0) & (y < self.classes), weight, 0.0)
        rows = jnp.where(weight[:, None] > 0, rows, 0.0)
        targets, costs, counts = problem_of(self, y, weight)
        here = Rows(rows, self.bias)
        machines = jnp.concatenate([state.weights.T, state.bias[:, None] / (self.bias or 1.0)], axis=1)
        if gram_pays(rows.shape[0], rows.shape[1], len(targets)):
            start = Gram(rows).zeros(len(targets))
            found = solve(gram_of(rows, self.bias), targets, costs, start, self.tolerance, self.iterations)
            machines = here.back(found.machines)
        else:
            found = solve(here, targets, costs, machines, self.tolerance, self.iterations)
            machines = found.machines
        seen = counts > 0 if self.classes > 2 else counts.min(keepdims=True) >= 0
        new = LinearSvmState(
            jnp.where(seen[None, :], machines[:, :-1].T, 0.0), jnp.where(seen, self.bias * machines[:, -1], NEVER)
        )
        new = jax.tree.map(lambda a, b: jnp.where(weight.sum() > 0, a, b), new, state)
        gap = (found.gap / jnp.maximum(found.objective, 1e-30)).max()
        return new, {"objective": found.objective.sum(), "gap": gap, "newton": found.steps.astype(jnp.float32)}

    def encode(self, state: LinearSvmState, x: Array) -> Array:
        """Rows (n, d) to the scores of the classes (n, classes) float32; those of two classes are opposite."""
        scores = _matmul(rows_of(x), state.weights) + state.bias[None, :]
        return jnp.concatenate([-scores, scores], axis=1) if self.classes == 2 else scores

    def predict(self, state: LinearSvmState, x: Array) -> Array:
        """Rows (n, d) to their class (n,) int32."""
        return self.encode(state, x).argmax(axis=1).astype(jnp.int32)


def problem_of(learner: LinearSvm, y: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Targets (m, n) and costs (m, n) of the machines, and how many examples every class has (classes,).

    y (n,) int32; weight (n,): 0 for rows that take no part.
    """
    truth = jax.nn.one_hot(y, learner.classes, dtype=jnp.float32, axis=0)
    counts = _matmul(truth, weight)
    if learner.class_weight == "balanced":
        shares = jnp.where(counts > 0, counts.sum() / (learner.classes * jnp.maximum(counts, 1.0)), 1.0)
    else:
        shares = jnp.asarray(learner.class_weight or (1.0,) * learner.classes, jnp.float32)
    if learner.classes == 2:
        targets = 2 * truth[1:] - 1
        costs = jnp.where(truth[1:] > 0, shares[1], shares[0])
    else:
        targets = 2 * truth - 1
        costs = jnp.where(truth > 0, shares[:, None], 1.0)
    return targets, learner.c * costs * weight[None, :], counts
