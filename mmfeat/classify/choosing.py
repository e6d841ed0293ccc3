"""The C of a linear SVM by cross-validation: stratified folds, a path from small to large C, every fit started from the last.

    for every fold and every c, rising:   fit without the fold, measure on the fold
    choice: the smallest c whose mean per-class accuracy is within `slack` of the best

All fits share the rows: those of the fold have cost 0. Where rows are fewer than columns, the Gram matrix is made once for all fits
(`squared_hinge.py`), and the path of 50 classes on 1,500 rows is a matter of products of 1,500 x 1,500.

The scores of every row by the fit that did not see it come along: `calibrate(choice.scores, y)` makes probabilities of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmfeat.classify.linear_svm import NEVER, LinearSvm, problem_of
from mmfeat.classify.squared_hinge import Gram, Rows, gram_of, solve
from mmfeat.errors import DataError, SettingsError, ShapeError

__all__ = ["Choice", "choose_c", "folds_of"]

_CS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """The chosen c; table: a dict per c with c, accuracy, mean_per_class and deviation (of the latter over the folds).

    scores (n, classes): of every labelled row by the fit at the chosen c that did not see it; NaN for rows that no fold left out.
    """

    c: float
    table: tuple[dict[str, float], ...]
    scores: np.ndarray


def choose_c(
    x: Any,
    y: Any,
    classes: int,
    cs: Sequence[float] = _CS,
    folds: int = 5,
    seed: int = 0,
    learner: LinearSvm | None = None,
    slack: float = 0.0,
) -> Choice:
    """Choose c for rows x (n, d) and labels y (n,) in 0..classes-1; rows with other labels take no part.

    learner: its other settings (class weights, bias, tolerance) are used. A class of fewer members than folds is in fewer folds;
    its only member always trains. Memory: x, and (n, n) where that is smaller.
    DataError: fewer than two classes with two members. SettingsError: no positive c, or fewer than two folds.
    """
    cs = tuple(sorted({float(c) for c in cs}))
    if not cs or cs[0] <= 0 or folds < 2:
        raise SettingsError("choosing takes positive c and two folds or more", f"cs={cs}, folds={folds}", "mend it")
    x, y = np.asarray(x, np.float32).reshape(len(x), -1), np.asarray(y).astype(np.int32)
    if y.shape != (len(x),):
        raise ShapeError("every row has a label", f"{x.shape} and {y.shape}", "pass x (n, d) and y (n,)")
    known = (y >= 0) & (y < classes)
    part = folds_of(y[known], folds, seed)
    rows, labels = x[known], y[known]
    counts = np.bincount(labels, minlength=classes)
    if (counts > 1).sum() < 2:
        raise DataError(
            "C is chosen from two classes or more with two labelled rows each",
            f"{int((counts > 1).sum())} such classes",
            "label more, or set c",
        )
    base = dataclasses.replace(learner or LinearSvm(), classes=classes)
    given = jnp.asarray(rows)
    problem = gram_of(given, base.bias) if len(rows) < rows.shape[1] else Rows(given, base.bias)
    found = np.full((len(cs), len(rows), classes), np.nan, np.float32)
    for fold in range(folds):
        if (part == fold).any():
            found[:, part == fold] = _path(base, problem, labels, part != fold, cs)[:, part == fold]
    table = tuple(_entry(c, scores, labels, part, folds) for c, scores in zip(cs, found, strict=True))
    best = max(entry["mean_per_class"] for entry in table)
    number = next(i for i, entry in enumerate(table) if entry["mean_per_class"] >= best - slack)
    scores = np.full((len(x), classes), np.nan, np.float32)
    scores[known] = found[number]
    return Choice(cs[number], table, scores)


def folds_of(y: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """The fold (n,) of every row, classes spread evenly; -1, always trained on, for the only member of its class.

    >>> folds_of(np.array([0, 0, 1, 1, 2]), 2).tolist()[-1]
    -1
    """
    draw = np.random.default_rng(seed)
    part = np.full(len(y), -1, np.int64)
    first = 0
    for label in np.unique(y):
        members = draw.permutation(np.flatnonzero(y == label))
        if len(members) > 1:
            part[members] = (first + np.arange(len(members))) % folds  # small classes do not all begin in the same fold
            first += len(members)
    return part


def _path(
    base: LinearSvm, problem: Rows | Gram, y: np.ndarray, training: np.ndarray, cs: tuple[float, ...]
) -> np.ndarray:
    """Scores (c, n, classes) of all rows along the path, by fits to the rows in `training`."""
    targets, costs, counts = problem_of(
        dataclasses.replace(base, c=1.0), jnp.asarray(y), jnp.asarray(training, jnp.float32)
    )
    machines, out = problem.zeros(len(targets)), []
    for c in cs:
        found = solve(problem, targets, jnp.float32(c) * costs, machines, base.tolerance, base.iterations)
        machines, scores = found.machines, np.asarray(found.scores).T
        if not np.isfinite(np.asarray(machines)).all():
            raise DataError(
                "every machine ends in finite numbers",
                f"NaN or infinity at c={c:g}",
                "check the rows for NaN, and scale them",
            )
        missing = np.asarray(counts)[None, :] == 0
        out.append(np.concatenate([-scores, scores], axis=1) if base.classes == 2 else np.where(missing, NEVER, scores))
    return np.stack(out)


def _entry(c: float, scores: np.ndarray, y: np.ndarray, part: np.ndarray, folds: int) -> dict[str, float]:
    """One line of the table."""
    right = scores.argmax(axis=1) == y

    def by_class(rows: np.ndarray) -> float:
        return float(np.mean([right[rows & (y == label)].mean() for label in np.unique(y[rows])]))

    tested = part >= 0
    each = [by_class(part == fold) for fold in range(folds) if (part == fold).any()]
    return {
        "c": c,
        "accuracy": float(right[tested].mean()),
        "mean_per_class": by_class(tested),
        "deviation": float(np.std(each)),
    }
