"""Softmax regression against scikit-learn, finite differences, and what must not matter."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mmfeat.classify.softmax import Softmax, SoftmaxState
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import default_batches, start, train, transform
from mmfeat.mesh import make_mesh
from mmfeat.settings import from_json, to_json

KEY = jax.random.key(0)
MESH = make_mesh(1, devices=jax.devices()[:1])


def fit(learner: Softmax, x: np.ndarray, y: np.ndarray, seen: list[Any] | None = None) -> SoftmaxState:
    data = {"x": x.astype(np.float32), "y": y.astype(np.int32)}
    after = None if seen is None else lambda run, metrics: seen.append(dict(metrics))
    return train(learner, start(learner, data, MESH), default_batches(learner, data, mesh=MESH), MESH, after).state


def probabilities(learner: Softmax, state: SoftmaxState, x: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(learner.encode)(state, x.astype(np.float32)))


@pytest.mark.parametrize(("load", "l2"), [(load_digits, 1e-3), (load_iris, 1e-2)])
def test_it_is_the_optimum_that_sklearn_finds(load: Any, l2: float) -> None:
    x, y = (part[:600] for part in load(return_X_y=True))
    learner = Softmax(classes=int(y.max()) + 1, l2=l2)
    state = fit(learner, x, y)
    z = StandardScaler().fit_transform(x)
    known = LogisticRegression(C=1 / (l2 * len(y)), tol=1e-8, max_iter=10_000).fit(z, y)
    np.testing.assert_allclose(np.asarray(state.weights).T, known.coef_, atol=1e-3)
    np.testing.assert_allclose(probabilities(learner, state, x), known.predict_proba(z), atol=1e-3)
    assert (np.asarray(learner.predict(state, x)) == known.predict(z)).all()


@pytest.mark.parametrize("given", ["balanced", (3.0, 0.5)])
def test_two_classes_with_weights_as_in_sklearn(given: Any) -> None:
    x, y = load_iris(return_X_y=True)
    x, y = x[:130], (y[:130] == 2).astype(int)
    learner = Softmax(l2=1e-2, class_weight=given, standardise=False)
    state = fit(learner, x, y)
    total = len(y) if given == "balanced" else np.asarray(given)[y].sum()
    weights = dict(enumerate(given)) if isinstance(given, tuple) else given
    known = LogisticRegression(C=2 / (1e-2 * total), class_weight=weights, tol=1e-8, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(state.weights[:, 1] - state.weights[:, 0], known.coef_[0], atol=2e-3)
    np.testing.assert_allclose(probabilities(learner, state, x), known.predict_proba(x), atol=1e-3)


def test_the_gradient_is_the_finite_difference() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(9, 4)), draw.integers(0, 3, 9)
    weight, chosen = np.array([1, 1, 0, 2, 1, 1, 1, 0, 1.0]), (1.0, 2.0, 0.5)
    learner = Softmax(classes=3, l2=0.2, class_weight=chosen)
    params = {"weights": draw.normal(size=(4, 3)), "bias": draw.normal(size=3)}

    def by_numpy() -> float:
        share = weight * np.asarray(chosen)[y]
        loss = -log_softmax(x @ params["weights"] + params["bias"], axis=1)[np.arange(9), y]
        return float(share @ loss / share.sum() + 0.1 * np.square(params["weights"]).sum())

    small = {name: leaf.astype(np.float32) for name, leaf in params.items()}
    arguments = (x.astype(np.float32), y.astype(np.int32), weight.astype(np.float32))
    value, slope = jax.jit(jax.value_and_grad(lambda p: learner.objective(p, *arguments)))(small)
    assert float(value) == pytest.approx(by_numpy(), rel=1e-5)
    for name, leaf in params.items():
        for place in np.ndindex(leaf.shape):
            kept, sides = leaf[place], []
            for shift in (1e-5, -1e-5):
                leaf[place] = kept + shift
                sides.append(by_numpy())
            leaf[place] = kept
            assert float(slope[name][place]) == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-5)


def test_the_objective_falls_and_then_nothing_changes() -> None:
    x, y = load_iris(return_X_y=True)
    seen: list[Any] = []
    state = fit(Softmax(classes=3, l2=1e-2, passes=60), x, y, seen)
    values = np.array([float(each["objective"]) for each in seen if each])
    assert values[0] == pytest.approx(np.log(3), rel=1e-6)
    assert (np.diff(values) < 1e-6).all()
    assert float(seen[-2]["gradient"]) < 1e-6
    assert values[-1] == values[-5]
    longer = fit(Softmax(classes=3, l2=1e-2, passes=70), x, y)
    np.testing.assert_array_equal(state.weights, longer.weights)


def test_rows_without_a_label_or_with_an_unknown_one_never_train() -> None:
    x, y = load_iris(return_X_y=True)
    labelled = np.arange(len(y)) % 3 > 0
    alone = fit(Softmax(classes=3, l2=1e-2), x[labelled], y[labelled])
    spoilt = np.where(labelled[:, None], x, 1e3)
    for wrong in (-1, 3):
        mixed = fit(Softmax(classes=3, l2=1e-2), spoilt, np.where(labelled, y, wrong))
        np.testing.assert_allclose(mixed.weights, alone.weights, atol=1e-4)
        np.testing.assert_allclose(mixed.mean, alone.mean, rtol=1e-6)


def test_raw_features_of_any_scale_will_do() -> None:
    x, y = load_iris(return_X_y=True)
    learner = Softmax(classes=3, l2=1e-2)
    known = probabilities(learner, fit(learner, x, y), x)
    stretched = x * np.array([1e-3, 1.0, 50.0, 1e4]) + np.array([1.0, -5.0, 0.0, 1e3])
    constant = np.column_stack([stretched, np.full(len(x), 123.4)])
    state = fit(learner, constant, y)
    np.testing.assert_allclose(probabilities(learner, state, constant), known, atol=2e-3)
    assert float(state.scale[4]) == 1


def test_transform_gives_probabilities() -> None:
    x, y = load_iris(return_X_y=True)
    learner, data = Softmax(classes=3, passes=20), {"x": x.astype(np.float32), "y": y.astype(np.int32)}
    run = train(learner, start(learner, data, MESH), default_batches(learner, data, mesh=MESH), MESH)
    codes = transform(learner, run, data, MESH)
    assert codes.shape == (150, 3)
    np.testing.assert_allclose(codes.sum(1), 1, rtol=1e-5)
    assert (codes.argmax(1) == y).mean() > 0.95


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"classes": 1}, {"l2": -1.0}, {"class_weight": "equal"}, {"class_weight": (1.0, 2.0, 3.0)}):
        with pytest.raises(SettingsError):
            Softmax(**wrong)
    with pytest.raises(ShapeError, match="give labels"):
        start(Softmax(), np.ones((3, 2), np.float32))
    learner = Softmax(classes=3, class_weight=(1.0, 2.0, 3.0))
    assert from_json(to_json(learner)) == learner


def test_no_product_is_rounded_on_accelerators() -> None:
    learner, x = Softmax(class_weight="balanced"), {"x": np.ones((5, 3), np.float32), "y": np.arange(5) % 2}
    state = learner.init(jax.random.key(0), x)
    params = {"weights": state.weights, "bias": state.bias}
    weight = np.ones(5, np.float32)
    for function, arguments in (
        (learner.encode, (state, x["x"])),
        (learner.objective, (params, x["x"], x["y"], weight)),
    ):
        program = str(jax.make_jaxpr(function)(*arguments))
        assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0
