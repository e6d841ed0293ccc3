"""Probabilities from scores: parameters that made the labels come back, Platt's targets, order, strange input."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from mmfeat.classify.calibration import Calibration, calibrate
from mmfeat.errors import DataError, SettingsError, ShapeError
from mmfeat.evaluate.classification import measure


def drawn(temperature: float, rows: int = 20_000, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose labels are drawn from softmax(temperature · scores)."""
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(rows, classes))
    shares = softmax(temperature * scores, axis=1)
    return scores, (draw.random(rows)[:, None] > shares.cumsum(1)).sum(1)


@pytest.mark.parametrize("temperature", [0.3, 2.5])
def test_the_temperature_that_made_the_labels_comes_back(temperature: float) -> None:
    scores, y = drawn(temperature)
    found = calibrate(scores, y)
    assert found.scale[0] == pytest.approx(temperature, rel=0.05)
    assert calibrate(1000 * scores, y).scale[0] == pytest.approx(found.scale[0] / 1000, rel=1e-3)
    sure = measure(found.probabilities(scores), y, 4)
    assert sure.calibration_error < 0.015
    assert sure.calibration_error < measure(softmax(8 * scores, axis=1), y, 4).calibration_error / 5
    np.testing.assert_array_equal(found.probabilities(scores).argmax(1), scores.argmax(1))


def test_the_sigmoid_of_two_classes_is_logistic_regression_on_scores() -> None:
    draw = np.random.default_rng(1)
    s = 40 + 3 * draw.normal(size=5000)
    y = (draw.random(5000) < expit(1.5 * (s - 41))).astype(int)
    found = calibrate(np.column_stack([-s, s]), y, "sigmoid")
    known = LogisticRegression(C=1e9, tol=1e-8, max_iter=1000).fit((s - 40)[:, None], y)
    assert found.scale[1] == pytest.approx(known.coef_[0, 0], rel=0.02)  # Platt's targets are not quite 0 and 1
    np.testing.assert_allclose(
        found.probabilities(np.column_stack([-s, s])), known.predict_proba((s - 40)[:, None]), atol=0.01
    )


def test_few_rows_never_give_certainty() -> None:
    scores = np.array([[3.0, -3.0], [-3.0, 3.0], [2.0, -2.0]])
    for method in ("temperature", "sigmoid"):
        p = calibrate(scores, [0, 1, 0], method).probabilities(scores)
        np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)
        assert 0.001 < p.min() < 0.4
        assert (p.argmax(1) == [0, 1, 0]).all()


def test_strange_scores() -> None:
    scores, y = drawn(1.0, rows=300)
    y[:50] = -1
    scores[60] = np.nan
    spoilt = np.where((y < 0)[:, None], 1e9, scores)
    for method in ("temperature", "sigmoid"):
        found = calibrate(scores, y, method)
        assert found == calibrate(spoilt, y, method)
        p = found.probabilities(scores)
        assert np.isnan(p[60]).all()
        assert np.isfinite(np.delete(p, 60, 0)).all()
        never = np.column_stack([scores, np.full(300, -1e9)])  # a class without examples
        p = calibrate(never, y, method).probabilities(never)
        assert np.nanmax(p[:, 4]) < 0.02
        flat = calibrate(np.zeros((9, 3)), np.arange(9) % 3, method).probabilities(np.zeros((2, 3)))
        np.testing.assert_allclose(flat, 1 / 3, rtol=1e-5)


def test_it_is_kept_as_json() -> None:
    scores, y = drawn(1.0, rows=200)
    found = calibrate(scores, y, "sigmoid")
    data = json.loads(json.dumps(dataclasses.asdict(found)))
    assert Calibration(data["method"], tuple(data["scale"]), tuple(data["shift"])) == found


def test_what_cannot_be_is_refused() -> None:
    scores, y = drawn(1.0, rows=20)
    with pytest.raises(SettingsError, match="sigmoid, temperature"):
        calibrate(scores, y, "isotonic")
    with pytest.raises(SettingsError):
        Calibration("sigmoid", (1.0,), ())
    with pytest.raises(DataError, match="labelled rows"):
        calibrate(scores, np.full(20, -1))
    with pytest.raises(ShapeError, match=r"\(20, 4\) and \(19,\)"):
        calibrate(scores, y[1:])
    with pytest.raises(ShapeError, match="same classifier"):
        calibrate(scores, y, "sigmoid").probabilities(scores[:, :3])
