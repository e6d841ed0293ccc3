"""A linear classifier from a handful of labels, in closed form: regularised least squares with its exact leave-one-out scores.

R. Rifkin and R. Lippert, "Notes on regularized least squares", MIT-CSAIL-TR-2007-025.

    minimise over W, b   Σ_i v_i ‖t_i - Wᵀ (x_i - m) - b‖² + λ ‖W‖²,    m = Σ v_i x_i,  Σ v_i = 1

t_i are targets of ±1 and v_i weights. With X̃ = √v (x - m) = U S Vᵀ the scores of the labelled rows are linear in the targets,
and so is what each would score had it been left out:

    f = H t,   h_i = v_i + Σ_k U_ik² S_k² / (S_k² + λ),   f_i without i = t_i - (t_i - f_i) / (1 - h_i)

One decomposition serves every λ and every class, so λ is chosen by how well the scores left out agree
with the targets. NumPy alone: nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmfeat.errors import ShapeError

__all__ = ["RIDGES", "FewLabels", "fit_few", "weigh"]

RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # λ as shares of the weighted variance of x
USUAL = 0.1  # where there are too few labels to choose by
LEAST = 3  # labels of every class that a choice needs
WEAK = 5.0  # what all weak examples together count for beside labelled ones


class FewLabels(NamedTuple):
    """A fitted classifier.

    weights (d, k) and offset (k,): scores are x @ weights + offset. alone: (n, k), what each training row scores when it is
    left out. ridge: λ as a share of the variance.
    """

    weights: np.ndarray
    offset: np.ndarray
    alone: np.ndarray
    ridge: float


def weigh(targets: np.ndarray, weak: np.ndarray) -> np.ndarray:
    """Weights (n,) that sum to 1: every class counts the same, within it every label; weak rows share what five labels count.

    targets: (n,) class numbers. weak: (n,) bool, rows that were not labelled but are taken for one of their class.
    """
    weight = np.ones(len(targets))
    for each in np.unique(targets):
        mine = targets == each
        if (mine & weak).any():
            weight[mine & weak] = WEAK / (mine & weak).sum()
        weight[mine] /= weight[mine].sum()
    return weight / weight.sum()


def fit_few(
    x: np.ndarray, targets: np.ndarray, weight: np.ndarray, *, sure: np.ndarray | None = None,
    ridges: Sequence[float] = RIDGES,
) -> FewLabels:  # fmt: skip
    """Fit rows x (n, d) to targets (n, k) of ±1 with weights (n,) that sum to 1.

    sure: (n,) bool, the rows whose leave-one-out scores choose λ among `ridges` (all by default); with fewer than three of
    them on either side of a class it is 0.1.
    """
    x, targets, weight = (np.asarray(part, np.float64) for part in (x, targets, weight))
    if x.ndim != 2 or targets.ndim != 2 or not len(x) == len(targets) == len(weight) or len(x) < 2:
        raise ShapeError(
            "rows are (n, d), targets (n, k), weights (n,), n ≥ 2", f"{x.shape}, {targets.shape}, {weight.shape}", ""
        )
    sure = np.ones(len(x), bool) if sure is None else sure
    root, mean, middle = np.sqrt(weight)[:, None], weight @ x, weight @ targets
    rows = root * (x - mean)
    left, squares = _decompose(rows)
    inner = left.T @ (root * (targets - middle))
    total = float(squares.sum()) or 1.0

    def scores(ridge: float) -> tuple[np.ndarray, np.ndarray]:
        shrink = squares / (squares + ridge * total)
        fitted = middle + (left * shrink) @ inner / root
        own = weight + (left**2) @ shrink
        return fitted, targets - (targets - fitted) / np.maximum(1 - own, 1e-9)[:, None]

    counts = [int((targets[sure] > 0)[:, k].sum()) for k in range(targets.shape[1])]
    enough = all(LEAST <= count <= sure.sum() - LEAST for count in counts)
    chosen = max(ridges, key=lambda one: _agreement(scores(one)[1], targets, weight, sure)) if enough else USUAL
    dual = (left / (squares + chosen * total)) @ inner
    weights = rows.T @ dual
    offset = middle - mean @ weights
    return FewLabels(
        weights.astype(np.float32), offset.astype(np.float32), scores(chosen)[1].astype(np.float32), float(chosen)
    )


def _decompose(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U (n, r) and S² (r,) of rows = U S Vᵀ, by the smaller of the two Gram matrices."""
    if len(rows) <= rows.shape[1]:
        squares, left = np.linalg.eigh(rows @ rows.T)
        keep = squares > max(squares[-1], 0) * 1e-10
        return left[:, keep], squares[keep]
    squares, right = np.linalg.eigh(rows.T @ rows)
    keep = squares > max(squares[-1], 0) * 1e-10
    return rows @ right[:, keep] / np.sqrt(squares[keep]), squares[keep]


def _agreement(alone: np.ndarray, targets: np.ndarray, weight: np.ndarray, sure: np.ndarray) -> float:
    """The weighted correlation of scores with targets over the sure rows, the mean over classes; λ shrinks scores, no loss.

    The mean target of the others is taken off each score: it moves away from whatever is left out, the more the larger λ is.
    """
    others = (weight @ targets - weight[:, None] * targets) / np.maximum(1 - weight, 1e-9)[:, None]
    share = weight * sure / (weight @ sure)
    alone, targets = alone - others, targets - share @ targets
    alone = alone - share @ alone
    spread = np.sqrt((share @ alone**2) * (share @ targets**2))
    return float(np.mean((share @ (alone * targets)) / np.maximum(spread, 1e-12)))
