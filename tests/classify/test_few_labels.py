"""The closed-form classifier: equal to scikit-learn's ridge, and its leave-one-out scores to fitting again without each."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mmfeat.classify.few_labels import RIDGES, fit_few, weigh
from mmfeat.errors import ShapeError


def problem(n: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(n + d)
    x = random.normal(size=(n, d)) + 3
    kind = random.integers(0, 3, n)
    x[:, :3] += 2 * np.eye(3)[kind]
    weight = random.uniform(0.2, 1, n)
    return x, 2.0 * np.eye(3)[kind] - 1, weight / weight.sum()


def ridge(x: np.ndarray, targets: np.ndarray, weight: np.ndarray, penalty: float) -> Ridge:
    return Ridge(alpha=penalty, solver="cholesky").fit(x, targets, sample_weight=weight)


@pytest.mark.parametrize("shape", [(12, 40), (40, 5), (7, 7)])
def test_it_is_weighted_ridge_regression_and_leave_one_out_is_exact(shape: tuple[int, int]) -> None:
    x, targets, weight = problem(*shape)
    penalty = 0.03 * float(weight @ ((x - weight @ x) ** 2).sum(axis=1))
    found = fit_few(x, targets, weight, ridges=(0.03,))
    again = ridge(x, targets, weight, penalty)
    if found.ridge == 0.03:
        np.testing.assert_allclose(x @ found.weights + found.offset, again.predict(x), atol=2e-5)
        for row in range(len(x)):
            rest = np.arange(len(x)) != row
            without = ridge(x[rest], targets[rest], weight[rest], penalty).predict(x[row : row + 1])
            np.testing.assert_allclose(found.alone[row], without[0], atol=2e-5)
    else:
        assert min((targets > 0).sum(axis=0)) < 3


def test_the_penalty_is_chosen_where_there_are_labels_to_choose_by() -> None:
    random = np.random.default_rng(5)
    side, truth = np.repeat([1.0, -1.0], 40), np.repeat([1.0, -1.0], 1000)
    tell = 0.5 * (np.arange(60) < 4)
    x, fresh = (random.normal(size=(len(one), 60)) + one[:, None] * tell for one in (side, truth))
    weight = np.full(80, 1 / 80)

    def right(**how: object) -> float:
        found = fit_few(x, side[:, None], weight, **how)  # type: ignore[arg-type]
        return float((((fresh @ found.weights + found.offset)[:, 0] > 0) == (truth > 0)).mean())

    each = {one: right(ridges=(one,)) for one in RIDGES}
    assert max(each.values()) - min(each.values()) > 0.03  # there is something to choose
    assert right() >= max(each.values()) - 0.01
    few = np.zeros(80, bool)
    few[[0, 1, 40, 41]] = True
    assert fit_few(x, side[:, None], weight, sure=few).ridge == 0.1


def test_every_class_weighs_the_same_and_weak_rows_share_what_five_count() -> None:
    kinds, weak = np.array([0, 0, 0, 1, 0, 0]), np.array([False] * 4 + [True] * 2)
    weight = weigh(kinds, weak)
    assert weight.sum() == pytest.approx(1)
    assert weight[3] == pytest.approx(0.5)
    np.testing.assert_allclose(weight[[0, 4]], [0.5 / 8, 0.5 * 2.5 / 8])


def test_equal_rows_and_wrong_shapes() -> None:
    same = fit_few(np.ones((2, 3)), np.array([[1.0], [-1.0]]), np.array([0.5, 0.5]))
    np.testing.assert_array_equal(same.weights, 0)
    with pytest.raises(ShapeError, match="rows are"):
        fit_few(np.ones((2, 3)), np.ones(2), np.ones(2))
