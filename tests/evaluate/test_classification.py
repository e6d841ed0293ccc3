"""Measures of classification against scikit-learn, definitions by hand, and the bootstrap that draws items one by one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, log_loss, top_k_accuracy_score

from mmfeat.errors import DataError, ShapeError
from mmfeat.evaluate.classification import measure


def made(rows: int = 500, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    y = draw.choice(classes, rows, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    return draw.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[y], y


def test_everything_is_what_sklearn_says() -> None:
    scores, y = made()
    p = softmax(scores, axis=1)
    found, answer = measure(p, y, 7, top=(1, 2, 5, 7)), scores.argmax(1)
    assert found.accuracy == pytest.approx(accuracy_score(y, answer))
    assert found.mean_per_class == pytest.approx(balanced_accuracy_score(y, answer))
    assert found.log_loss == pytest.approx(log_loss(y, p))
    assert set(found.top) == {1, 2, 5}
    for k, share in found.top.items():
        assert share == pytest.approx(top_k_accuracy_score(y, scores, k=k))
    np.testing.assert_array_equal(found.confusion, confusion_matrix(y, answer))
    plain = measure(scores, y, list("abcdefg"))
    assert np.isnan(plain.log_loss)
    assert np.isnan(plain.calibration_error)
    assert plain.classes == tuple("abcdefg")
    assert plain.accuracy == found.accuracy


def test_calibration_error_by_hand() -> None:
    p = np.array([[0.95, 0.05], [0.97, 0.03], [0.4, 0.6], [0.39, 0.61]])
    found = measure(
        p, [0, 1, 1, 1], 2
    )  # bins: (0.95, right), (0.97, wrong); (0.6, right), (0.61, right) in one of 1/15
    assert found.calibration_error == pytest.approx((abs(1 - 1.92) + abs(2 - 1.21)) / 4)


def test_the_interval_is_that_of_drawing_items_within_classes() -> None:
    scores, y = made(200, 3)
    found, right = measure(scores, y, 3, draws=4000), scores.argmax(1) == y
    draw, accuracy, mean = np.random.default_rng(1), [], []
    for _ in range(4000):
        shares = [right[draw.choice(np.flatnonzero(y == k), (y == k).sum())] for k in range(3)]
        accuracy.append(np.concatenate(shares).mean())
        mean.append(np.mean([share.mean() for share in shares]))
    np.testing.assert_allclose(found.interval, np.percentile(accuracy, (2.5, 97.5)), atol=0.011)
    np.testing.assert_allclose(found.mean_interval, np.percentile(mean, (2.5, 97.5)), atol=0.011)
    assert found.interval[0] < found.accuracy < found.interval[1]


def test_ties_count_against_the_classifier() -> None:
    found = measure(np.zeros((4, 3)), [0, 1, 2, 0], 3, top=(1, 2))
    assert found.accuracy == 0
    assert found.top == {1: 0.0, 2: 0.0}
    assert np.diag(found.confusion).sum() == 0
    assert found.confusion.sum() == 4


def test_what_is_not_labelled_or_not_answered_is_counted_apart() -> None:
    scores, y = made(100, 4)
    y[:10], scores[20:23] = -1, np.nan
    found = measure(scores, y, 4)
    assert (found.items, found.unlabelled, found.unanswered) == (87, 10, 3)
    keep = np.r_[10:20, 23:100]
    assert found.accuracy == pytest.approx((scores[keep].argmax(1) == y[keep]).mean())
    wider = measure(np.column_stack([scores, np.full(100, -1e9)]), y, 5)
    assert np.isnan(wider.per_class[4])
    assert wider.mean_per_class == pytest.approx(found.mean_per_class)
    told = json.loads(json.dumps(wider.to_json(), allow_nan=False))
    assert told["per class"][4] is None
    assert told["log loss"] is None
    assert told["confusion"] == wider.confusion.tolist()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ShapeError, match="3 classes"):
        measure(np.zeros((4, 2)), np.zeros(4), 3)
    with pytest.raises(DataError, match="labelled items"):
        measure(np.zeros((4, 2)), np.full(4, -1), 2)
