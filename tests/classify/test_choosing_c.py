"""C by cross-validation: folds, the table against fits one by one, warm starts that change nothing, strange classes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.svm import LinearSVC

from mmfeat.classify.choosing import choose_c, folds_of
from mmfeat.classify.linear_svm import LinearSvm
from mmfeat.errors import DataError, SettingsError, ShapeError

CS = (0.03, 1.0)


def rows(count: int, wide: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = (part[y_order(count)] for part in load_digits(return_X_y=True))
    draw = np.random.default_rng(0)
    x = x / np.linalg.norm(x, axis=1, keepdims=True) + 0.1 * draw.normal(size=x.shape)
    return (x @ np.linalg.qr(draw.normal(size=(wide, 64)))[0].T if wide else x).astype(np.float32), y


def y_order(count: int) -> np.ndarray:
    return np.flatnonzero(load_digits().target < 4)[:count]


def test_the_table_is_that_of_liblinear_fold_by_fold_in_both_forms() -> None:
    (x, y), (wide, _) = rows(120, 0), rows(120, 300)  # turned into 300 columns: the same problem
    learner = LinearSvm(tolerance=1e-6)
    one, two = (choose_c(each, y, 4, CS, folds=3, learner=learner) for each in (x, wide))
    part = folds_of(y.astype(np.int32), 3)
    for entry, other, c in zip(one.table, two.table, CS, strict=True):
        scores = np.zeros((120, 4))
        for fold in range(3):
            known = LinearSVC(C=c, dual=False, tol=1e-7).fit(x[part != fold].astype(float), y[part != fold])
            scores[part == fold] = known.decision_function(x[part == fold].astype(float))
        right = scores.argmax(1) == y
        assert entry["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
        assert entry["mean_per_class"] == pytest.approx(np.mean([right[y == k].mean() for k in range(4)]), abs=1e-6)
        assert other["accuracy"] == entry["accuracy"]
        if c == one.c:
            np.testing.assert_allclose(one.scores, scores, atol=5e-3)
            np.testing.assert_allclose(two.scores, one.scores, atol=5e-3)
    best = max(one.table, key=lambda entry: (entry["mean_per_class"], -entry["c"]))
    assert one.c == two.c == best["c"]


def test_folds_are_stratified_and_seeded() -> None:
    y = np.repeat([0, 1, 2, 3], [50, 25, 3, 1])
    part = folds_of(y, 5, seed=1)
    assert (np.bincount(part[y == 0]) == 10).all()
    assert (np.bincount(part[y == 1]) == 5).all()
    assert len(set(part[y == 2])) == 3
    assert part[y == 3] == [-1]
    np.testing.assert_array_equal(part, folds_of(y, 5, seed=1))
    assert (part != folds_of(y, 5, seed=2)).any()


def test_few_members_missing_classes_and_no_labels() -> None:
    x, y = rows(60, 0)
    y = np.where((y == 3) & (np.cumsum(y == 3) > 1), -1, y)  # one row of class 3, and rows without a label
    found = choose_c(x, y, 6, CS, folds=3)
    assert found.c in CS
    assert np.isnan(found.scores[(y < 0) | (y == 3)]).all()  # the only member of class 3 always trains
    assert np.isfinite(found.scores[(y >= 0) & (y < 3)]).all()
    assert (found.scores[(y >= 0) & (y < 3)][:, 4:] < -1e6).all()
    hurt = choose_c(np.where((y < 0)[:, None], 1e6, x), y, 6, CS, folds=3)
    np.testing.assert_array_equal(found.scores, hurt.scores)
    two = choose_c(x[np.isin(y, (0, 1))], y[np.isin(y, (0, 1))], 2, CS, folds=2)
    np.testing.assert_array_equal(two.scores[:, 0], -two.scores[:, 1])


def test_the_smallest_c_of_equal_ones_is_taken() -> None:
    x, y = np.repeat(np.eye(2, 5, dtype=np.float32), 6, axis=0), np.repeat([0, 1], 6)
    assert choose_c(x, y, 2, (10.0, 0.5, 2.0), folds=3).c == 0.5


def test_what_cannot_be_is_refused() -> None:
    x, y = rows(20, 0)
    with pytest.raises(SettingsError, match="positive c"):
        choose_c(x, y, 4, (0.0, 1.0))
    with pytest.raises(SettingsError, match="two folds"):
        choose_c(x, y, 4, folds=1)
    with pytest.raises(DataError, match="two labelled rows each"):
        choose_c(x[:4], np.arange(4), 4)
    with pytest.raises(ShapeError, match="a label"):
        choose_c(x, y[:-1], 4)
