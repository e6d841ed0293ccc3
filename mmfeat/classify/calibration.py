"""Probabilities from decision scores, learned on scores of rows that did not train the classifier.

C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On calibration of modern neural networks", ICML 2017 (temperature).
J. Platt, "Probabilistic outputs for support vector machines", 1999; H.-T. Lin, C.-J. Lin, R. Weng, "A note on Platt's probabilistic
outputs", Machine Learning 68, 2007. B. Zadrozny, C. Elkan, "Transforming classifier scores into accurate multiclass probability
estimates", KDD 2002 (normalised).

    temperature   p_k = exp(a s_k) / Σ_j exp(a s_j)                     one number; the order of the classes stays
    sigmoid       p_k ∝ 1 / (1 + exp(-(a_k s_k + b_k)))                 two numbers a class, fitted to [y = k]; needs more rows

Platt's targets: (n₊ + 1) / (n₊ + 2) for the n₊ rows of the class, 1 / (n₋ + 2) for the others, so that few rows never
give certainty. Of a classifier fitted to everything, held-out scores are those of `choose_c`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from mmfeat.errors import DataError, SettingsError, ShapeError

__all__ = ["METHODS", "Calibration", "calibrate"]

METHODS = ("sigmoid", "temperature")


@dataclass(frozen=True)
class Calibration:
    """A map from scores to probabilities; frozen numbers, so that it is kept as JSON with `dataclasses.asdict`.

    method: "temperature" or "sigmoid". scale, shift: one number a class (or one for all).
    """

    method: str = "temperature"
    scale: tuple[float, ...] = (1.0,)
    shift: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        if self.method not in METHODS or len(self.scale) != len(self.shift) or not self.scale:
            raise SettingsError(f"a calibration is one of {', '.join(METHODS)}", repr(self), "make it with calibrate()")

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities (n, k) float32 of scores (n, k); every row sums to 1. Rows of NaN stay NaN."""
        scores = np.asarray(scores, np.float64)
        if scores.ndim != 2 or len(self.scale) not in (1, scores.shape[1]):
            raise ShapeError(
                f"scores are (n, {len(self.scale)}) as in calibration",
                f"shape {scores.shape}",
                "use the same classifier",
            )
        z = np.asarray(self.scale) * scores + np.asarray(self.shift)
        # logarithms: where no class is likely the ratios must not be 0 / 0
        return softmax(z if self.method == "temperature" else log_expit(z), axis=1).astype(np.float32)


def calibrate(scores: Any, y: Any, method: str = "temperature") -> Calibration:
    """A calibration from held-out scores (n, k) and their labels (n,); labels outside 0..k-1 and rows of NaN take no part.

    DataError: no labelled row. SettingsError: another method.
    """
    if method not in METHODS:
        raise SettingsError(f"a calibration is one of {', '.join(METHODS)}", repr(method), "choose one of them")
    scores, y = np.asarray(scores, np.float64), np.asarray(y).astype(np.int64)
    if scores.ndim != 2 or y.shape != (len(scores),) or scores.shape[1] < 2:
        raise ShapeError(
            "calibration takes scores (n, classes) and labels (n,)", f"{scores.shape} and {y.shape}", "check both"
        )
    usable = (y >= 0) & (y < scores.shape[1]) & np.isfinite(scores).all(axis=1)
    if not usable.any():
        raise DataError("calibration needs labelled rows with finite scores", "none", "hold some out")
    scores, y = scores[usable], y[usable]
    if method == "temperature":
        return Calibration("temperature", (_temperature(scores, y),), (0.0,))
    pairs = [_platt(scores[:, k], y == k) for k in range(scores.shape[1])]
    return Calibration("sigmoid", tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


def _temperature(scores: np.ndarray, y: np.ndarray) -> float:
    """The factor with the least log loss; each row's truth is taken as (n + 1) / (n + classes), so that it stays finite."""
    n, k = scores.shape
    spread = np.median(np.ptp(np.clip(scores, -1e6, 1e6), axis=1))
    spread = spread if spread > 0 else 1.0
    soft = 1 / (n + k)

    def loss(power: float) -> float:
        logs = np.maximum(log_softmax(np.exp(power) / spread * scores, axis=1), -1e6)
        chosen = logs[np.arange(n), y].mean()
        return -float((1 - soft) * chosen + soft * logs.mean())

    found = minimize_scalar(loss, bounds=(-7.0, 10.0), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x) / spread)


def _platt(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Slope and shift of one class's sigmoid. A class that has no row, or all, gets a flat one."""
    count = int(positive.sum())
    high, low = (count + 1) / (count + 2), 1 / (len(scores) - count + 2)
    truth = np.where(positive, high, low)
    middle, spread = float(np.median(scores)), float(scores.std())
    if spread <= 1e-12 * (1 + abs(middle)) or count in (0, len(scores)):
        return 0.0, float(np.log(truth.mean() / (1 - truth.mean())))
    z = (scores - middle) / spread

    def loss(ab: np.ndarray) -> tuple[float, np.ndarray]:
        t = ab[0] * z + ab[1]
        miss = (expit(t) - truth) / len(z)
        value = -(truth * log_expit(t) + (1 - truth) * log_expit(-t)).mean()
        return float(value), np.array([miss @ z, miss.sum()])

    base = np.log(truth.mean() / (1 - truth.mean()))
    a, b = minimize(loss, np.array([1.0, base]), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    return float(a / spread), float(b - a * middle / spread)
