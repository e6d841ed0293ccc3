"""Least squares as a learner: scikit-learn's ridge with every class counting the same, whichever Gram matrix is solved."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mmfeat.classify.few_labels import fit_few, weigh
from mmfeat.classify.least_squares import LeastSquares, LeastSquaresState
from mmfeat.errors import SettingsError


def problem(n: int, d: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng([n, d, classes])
    y = np.arange(n) % (2 * classes) % (classes + 1) % classes  # classes of different sizes, all of them there
    x = draw.normal(size=(n, d)) + 2
    x[np.arange(n), y % d] += 2
    return x.astype(np.float32), y.astype(np.int32)


def fitted(learner: LeastSquares, x: np.ndarray, y: np.ndarray) -> LeastSquaresState:
    data, key = {"x": x, "y": y}, jax.random.key(0)
    return learner.step(key, learner.init(key, data), data, np.ones(len(x), np.float32))[0]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shape", [(24, 60), (80, 6)])
def test_it_is_ridge_regression(shape: tuple[int, int], classes: int) -> None:
    x, y = problem(*shape, classes)
    weight = 1 / np.bincount(y)[y] / classes
    targets = 2.0 * np.eye(classes)[y] - 1
    penalty = 0.03 * float(weight @ ((x - weight @ x) ** 2).sum(axis=1))
    expected = Ridge(alpha=penalty, solver="cholesky").fit(x.astype(float), targets, sample_weight=weight).predict(x)
    learner = LeastSquares(classes=classes, ridge=0.03)
    np.testing.assert_allclose(learner.encode(fitted(learner, x, y), x), expected, atol=1e-4)


def test_it_is_what_teaching_fits() -> None:
    x, y = problem(30, 12, 2)
    few = fit_few(x, 2.0 * y[:, None] - 1, weigh(y, np.zeros(30, bool)), ridges=(0.3,))
    state = fitted(LeastSquares(ridge=0.3), x, y)
    np.testing.assert_allclose(state.weights, few.weights, atol=1e-5)
    np.testing.assert_allclose(state.bias, few.offset, atol=1e-5)


def test_rows_of_no_class_and_a_class_without_rows() -> None:
    x, y = problem(40, 5, 2)
    more = np.concatenate([x, x[:7] + 50]), np.concatenate([y, np.full(7, -1, np.int32)])
    learner = LeastSquares(classes=3)
    state, again = fitted(learner, x, y), fitted(learner, *more)
    for one, other in zip(state, again, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(learner.encode(state, x)[:, 2], -1, atol=1e-5)
    for wrong in ({"classes": 1}, {"ridge": 0.0}):
        with pytest.raises(SettingsError, match="LeastSquares"):
            LeastSquares(**wrong)  # type: ignore[arg-type]
