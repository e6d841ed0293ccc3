"""What a classifier's answers are worth: top-k, confusion, accuracy of every class, its interval, and whether probabilities hold.

    accuracy            the share of items whose likeliest class is theirs
    mean per class      the mean over classes (that have items) of the share of theirs that are right: Caltech-101's measure
    top-k               the share of items whose class is among the k likeliest
    log loss            -mean log p(y)
    calibration error   Σ_b n_b/n |accuracy_b - confidence_b| over 15 bins of the likeliest probability, equally wide

Interval: the percentile bootstrap, items drawn again within their class (the classes are given, the items are a sample).
B. Efron, R. Tibshirani, "An introduction to the bootstrap", 1993, ch. 13. C. Guo et al., ICML 2017, eq. 3 (calibration error).
Ties are broken against the classifier: a class is in the top k when fewer than k other classes score as high or higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmfeat.errors import DataError, ShapeError

__all__ = ["Classification", "measure"]

_BINS = 15
_TINY = 1e-12  # probabilities are raised to this in the log loss


@dataclass(frozen=True, eq=False)
class Classification:
    """The answers to n labelled items of k classes.

    classes: names. items: labelled items that had scores; unlabelled, unanswered: others that were given.
    accuracy, mean_per_class: shares. interval, mean_interval: their 95 % intervals.
    top: shares by k. per_class (k,): shares, NaN for classes without items. confusion (k, k) int64: row truth, column answer.
    log_loss, calibration_error: NaN where scores are no probabilities.
    """

    classes: tuple[str, ...]
    items: int
    unlabelled: int
    unanswered: int
    accuracy: float
    interval: tuple[float, float]
    mean_per_class: float
    mean_interval: tuple[float, float]
    top: dict[int, float]
    per_class: np.ndarray
    confusion: np.ndarray
    log_loss: float
    calibration_error: float

    def to_json(self) -> dict[str, Any]:
        """The numbers, NaN as None; the confusion matrix by rows."""
        plain = {
            "classes": list(self.classes),
            "items": self.items,
            "unlabelled": self.unlabelled,
            "unanswered": self.unanswered,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "mean per class": self.mean_per_class,
            "mean per class interval": list(self.mean_interval),
            "top": {str(k): share for k, share in self.top.items()},
            "per class": [float(share) for share in self.per_class],
            "confusion": self.confusion.tolist(),
            "log loss": self.log_loss,
            "calibration error": self.calibration_error,
        }
        return {
            name: [None if v != v else v for v in value]
            if isinstance(value, list)
            else None
            if value != value
            else value
            for name, value in plain.items()
        }


def measure(
    scores: Any, y: Any, classes: Sequence[str] | int, top: Sequence[int] = (1, 5), seed: int = 0, draws: int = 1000
) -> Classification:
    """Measure scores or probabilities (n, k) against labels (n,) in 0..k-1; other labels are counted, not measured.

    classes: the names of the k classes, or k. Probabilities are told by their rows: none negative, each with the sum 1.
    top: values of k that are below the number of classes are reported. A row with NaN had no answer and is counted apart.
    ShapeError: shapes that do not fit. DataError: no labelled item with an answer.
    """
    scores, y = np.asarray(scores), np.asarray(y).astype(np.int64)
    names = tuple(str(k) for k in range(classes)) if isinstance(classes, int) else tuple(classes)
    if scores.ndim != 2 or y.shape != (len(scores),) or scores.shape[1] != len(names):
        raise ShapeError(
            "scores are (n, classes) beside labels (n,)",
            f"{scores.shape}, {y.shape} and {len(names)} classes",
            "check that they come from one model",
        )
    labelled, answered = (y >= 0) & (y < len(names)), ~np.isnan(scores).any(axis=1)
    use = labelled & answered
    if not use.any():
        raise DataError("a classifier is measured on labelled items that it answered", "none", "check the labels")
    scores, truth = scores[use].astype(np.float64), y[use]
    mine = scores[np.arange(len(truth)), truth]
    rank = (scores >= mine[:, None]).sum(axis=1)  # 1: alone at the top
    answer = _answers(scores, truth, rank)
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (truth, answer), 1)
    counts, right = confusion.sum(axis=1), np.diag(confusion)
    per_class = np.divide(right, counts, out=np.full(len(names), np.nan), where=counts > 0)
    interval, mean_interval = _intervals(counts, per_class, seed, draws)
    log_loss, error = _probabilities(scores, mine, rank == 1)
    return Classification(
        classes=names,
        items=len(truth),
        unlabelled=int((~labelled).sum()),
        unanswered=int((labelled & ~answered).sum()),
        accuracy=float((rank == 1).mean()),
        interval=interval,
        mean_per_class=float(np.nanmean(per_class)),
        mean_interval=mean_interval,
        top={k: float((rank <= k).mean()) for k in top if k < len(names) or k == 1},
        per_class=per_class,
        confusion=confusion,
        log_loss=log_loss,
        calibration_error=error,
    )


def _answers(scores: np.ndarray, truth: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """The likeliest class; of several the first that is wrong, as ties count against the classifier."""
    rows = np.arange(len(truth))
    others = scores.copy()
    others[rows, truth] = -np.inf
    return np.where(rank == 1, truth, others.argmax(axis=1))


def _intervals(
    counts: np.ndarray, shares: np.ndarray, seed: int, draws: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % of accuracy and of its mean over classes: drawing n_k items of class k again gives binomial counts."""
    there = counts > 0
    drawn = np.random.default_rng(seed).binomial(counts[there], shares[there], size=(draws, int(there.sum())))
    accuracy = drawn.sum(axis=1) / counts.sum()
    mean = (drawn / counts[there]).mean(axis=1)
    low, high = np.percentile(accuracy, (2.5, 97.5)), np.percentile(mean, (2.5, 97.5))
    return (float(low[0]), float(low[1])), (float(high[0]), float(high[1]))


def _probabilities(scores: np.ndarray, mine: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Log loss and calibration error, or NaN for scores."""
    if scores.min() < 0 or np.abs(scores.sum(axis=1) - 1).max() > 1e-3:
        return float("nan"), float("nan")
    sure = scores.max(axis=1)
    place = np.minimum((sure * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(place, weights=right - sure, minlength=_BINS)
    return float(-np.log(np.maximum(mine, _TINY)).mean()), float(np.abs(gaps).sum() / len(sure))
