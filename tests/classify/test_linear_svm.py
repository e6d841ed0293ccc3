"""One-vs-rest machines against LIBLINEAR and the dual, in the columns and in the span of the rows; and strange input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.svm import LinearSVC

from mmfeat.classify.linear_svm import LinearSvm, LinearSvmState, problem_of
from mmfeat.classify.squared_hinge import Rows, gram_of, gram_pays, solve
from mmfeat.errors import DataError, SettingsError, ShapeError
from mmfeat.learner import default_batches, fetched, start, train
from mmfeat.mesh import make_mesh
from mmfeat.settings import from_json, to_json

MESH = make_mesh(1, devices=jax.devices()[:1])


def digits(count: int, wide: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of length 1 and labels to train on and to test on; `wide`: in so many columns, more than there are rows."""
    x, y = load_digits(return_X_y=True)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    if wide:
        draw = np.random.default_rng(0)
        x = np.maximum(x @ draw.normal(size=(64, wide)) + 0.1 * draw.normal(size=(len(x), wide)), 0) / np.sqrt(wide)
    x = x.astype(np.float32)
    return x[:count], y[:count], x[count:], y[count:]


def fit(learner: LinearSvm, x: np.ndarray, y: np.ndarray, seen: list[Any] | None = None) -> LinearSvmState:
    data = {"x": x.astype(np.float32), "y": y.astype(np.int32)}
    after = None if seen is None else lambda run, metrics: seen.append(dict(metrics))
    run = train(learner, start(learner, data, MESH), default_batches(learner, data, mesh=MESH), MESH, after)
    return fetched(learner, run)


def objective(w: np.ndarray, b: np.ndarray, x: np.ndarray, t: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """LIBLINEAR's objective in float64 of machines w (m, d), b (m,) (of a constant column of 1)."""
    w, b, x = w.astype(float), b.astype(float), x.astype(float)
    lack = np.maximum(0, 1 - t * (w @ x.T + b[:, None]))
    return 0.5 * ((w * w).sum(1) + b * b) + (costs * lack * lack).sum(1)


def one_against_the_rest(y: np.ndarray, classes: int) -> np.ndarray:
    return np.where(np.arange(classes)[:, None] == y[None, :], 1.0, -1.0)


@pytest.mark.parametrize(("count", "wide", "c"), [(700, 0, 0.1), (700, 0, 10.0), (300, 3000, 1.0), (300, 3000, 30.0)])
def test_it_is_the_optimum_of_liblinear(count: int, wide: int, c: float) -> None:
    x, y, test, truth = digits(count, wide)
    learner, seen = LinearSvm(classes=10, c=c), []
    assert gram_pays(count, x.shape[1], 10) == bool(wide)
    state = fit(learner, x, y, seen)
    known = LinearSVC(C=c, dual=False, tol=1e-7, max_iter=10_000).fit(x.astype(float), y)
    targets = one_against_the_rest(y, 10)
    ours = objective(state.weights.T, state.bias, x, targets, np.full_like(targets, c))
    theirs = objective(known.coef_, known.intercept_, x, targets, np.full_like(targets, c))
    assert ours.sum() == pytest.approx(theirs.sum(), rel=1e-4)
    np.testing.assert_allclose(ours, theirs, rtol=3e-4)
    assert float(seen[0]["objective"]) == pytest.approx(ours.sum(), rel=1e-4)
    assert float(seen[0]["gap"]) <= 1e-4
    mine = np.asarray(learner.predict(state, test))
    assert abs((mine == truth).mean() - known.score(test.astype(float), truth)) <= 0.003


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("given", ["balanced", "numbers"])
def test_class_weights_are_those_of_liblinear(classes: int, given: str) -> None:
    x, y, *_ = digits(400)
    x, y = x[y < classes], y[y < classes]
    x, y = x[(y > 0) | (np.arange(len(y)) % 4 == 0)], y[(y > 0) | (np.arange(len(y)) % 4 == 0)]
    weights = "balanced" if given == "balanced" else tuple(np.arange(1.0, classes + 1) ** 2)
    known = LinearSVC(
        class_weight=weights if given == "balanced" else dict(enumerate(weights)), dual=False, tol=1e-8, max_iter=9999
    ).fit(x.astype(float), y)
    state = fit(LinearSvm(classes=classes, class_weight=weights, tolerance=1e-7), x, y)
    np.testing.assert_allclose(state.weights.T, known.coef_, atol=2e-3)
    np.testing.assert_allclose(state.bias, known.intercept_, atol=2e-3)


def test_half_the_squared_gradient_is_the_duality_gap() -> None:
    x, y, *_ = digits(200)
    targets, costs, _ = problem_of(LinearSvm(classes=10, c=3.0), jnp.asarray(y), jnp.ones(200))
    found = solve(Rows(jnp.asarray(x), 1.0), targets, costs, jnp.zeros((10, 65)), 1e-3)
    t, wide = np.asarray(targets, float), np.column_stack([x, np.ones(200)]).astype(float)
    w = np.asarray(found.machines, float)
    lack = np.maximum(0, 1 - t * (w @ wide.T))
    alpha = 2 * 3.0 * lack
    dual = alpha.sum(1) - 0.5 * np.square((alpha * t) @ wide).sum(1) - (alpha**2).sum(1) / (4 * 3.0)
    primal = objective(w[:, :-1], w[:, -1], x, t, np.full_like(t, 3.0))
    np.testing.assert_allclose(primal - dual, found.gap, rtol=1e-2, atol=1e-5)
    np.testing.assert_allclose(found.objective, primal, rtol=1e-5)
    assert (primal - dual <= 1.01e-3 * primal).all()
    assert (primal - dual).max() > 1e-6


def test_the_span_of_the_rows_gives_the_same_machines() -> None:
    x, y, *_ = digits(150, 700)
    targets, costs, _ = problem_of(
        LinearSvm(classes=10, c=5.0), jnp.asarray(y), jnp.asarray(np.arange(150) % 5 > 0, jnp.float32)
    )
    rows, gram = Rows(jnp.asarray(x), 0.5), gram_of(jnp.asarray(x), 0.5)
    direct = solve(rows, targets, costs, rows.zeros(10), 1e-7)
    spanned = solve(gram, targets, costs, gram.zeros(10), 1e-7)
    np.testing.assert_allclose(rows.back(spanned.machines), direct.machines, atol=2e-4)
    np.testing.assert_allclose(spanned.scores, direct.scores, atol=1e-3)
    assert np.abs(np.asarray(spanned.machines)[:, ::5]).max() < 1e-4  # a row of cost 0 has no part in w = Xᵀ v
    again = solve(gram, targets, costs, spanned.machines, 1e-6)
    assert int(again.steps) == 0


def test_a_warm_start_takes_fewer_steps_to_the_same_optimum() -> None:
    x, y, *_ = digits(400)
    rows = Rows(jnp.asarray(x), 1.0)
    first = problem_of(LinearSvm(classes=10, c=1.0), jnp.asarray(y), jnp.ones(400))
    cold = solve(rows, *first[:2], rows.zeros(10), 1e-5)
    warm = solve(rows, *first[:2], solve(rows, first[0], 0.8 * first[1], rows.zeros(10), 1e-5).machines, 1e-5)
    np.testing.assert_allclose(warm.objective, cold.objective, rtol=2e-5)
    assert int(warm.steps) < int(cold.steps)


def test_the_objective_never_rises() -> None:
    x, y, *_ = digits(300)
    targets, costs, _ = problem_of(LinearSvm(classes=10, c=100.0), jnp.asarray(y), jnp.ones(300))
    rows = Rows(jnp.asarray(x), 1.0)
    values = [
        np.asarray(solve(rows, targets, costs, rows.zeros(10), 1e-6, iterations=steps).objective)
        for steps in (1, 2, 3, 5, 9, 30)
    ]
    assert (np.diff(values, axis=0) <= 1e-5 * np.asarray(values)[:-1]).all()


def test_a_class_without_examples_is_never_predicted_and_one_example_is_enough() -> None:
    x, y, test, _ = digits(300)
    missing = fit(LinearSvm(classes=12), x, y)
    assert np.asarray(LinearSvm(classes=12).predict(missing, test)).max() <= 9
    keep = (y != 7) | (np.cumsum(y == 7) == 1)
    learner = LinearSvm(classes=10, c=10.0)
    found = np.asarray(learner.predict(fit(learner, x[keep], y[keep]), test))
    known = LinearSVC(C=10.0, dual=False, tol=1e-6, max_iter=9999).fit(x[keep].astype(float), y[keep])
    assert (found == known.predict(test.astype(float))).mean() > 0.995
    assert (found == 7).any()
    alone = fit(LinearSvm(), x[y == 1], y[y == 1])  # the other class has none: whatever comes is of this one
    assert (np.asarray(LinearSvm().predict(alone, test[:50])) == 1).all()


def test_two_rows_are_enough_and_have_the_known_answer() -> None:
    x, y = np.array([[1.0, 0], [-1, 0]], np.float32), np.array([1, 0])
    state = fit(LinearSvm(c=2.0, bias=0.0, tolerance=1e-8), x, y)
    np.testing.assert_allclose(state.weights[:, 0], [8 / 9, 0], atol=1e-5)  # min w²/2 + 2·2 (1 - w)²: w = 8 / 9
    assert state.bias[0] == 0
    np.testing.assert_allclose(LinearSvm(bias=0.0).encode(state, x), [[-8 / 9, 8 / 9], [8 / 9, -8 / 9]], atol=1e-5)


def test_strange_rows_end_in_finite_numbers() -> None:
    x, y, *_ = digits(200)
    constant = np.column_stack([x, np.full(200, 7.0)])
    learner = LinearSvm(classes=10)
    assert (np.asarray(learner.predict(fit(learner, constant, y), constant)) == y).mean() > 0.9
    assert (np.asarray(learner.predict(fit(learner, 0 * x, y), 0 * x)) >= 0).all()
    for scale, least in ((1e-6, 0.0), (1e4, 0.98)):
        rows = (scale * x).astype(np.float32)
        assert (np.asarray(learner.predict(fit(learner, rows, y), rows)) == y).mean() >= least
    with pytest.raises(DataError, match="finite numbers"):  # squares beyond float32 are said, not guessed
        fit(learner, 1e15 * x, y)


def test_unlabelled_and_unknown_labels_never_train() -> None:
    x, y, *_ = digits(300)
    hidden = np.arange(300) % 3 == 0
    learner = LinearSvm(classes=10, tolerance=1e-6)
    alone = fit(learner, x[~hidden], y[~hidden])
    for wrong in (-1, 10):
        mixed = fit(learner, np.where(hidden[:, None], 1e3, x), np.where(hidden, wrong, y))
        np.testing.assert_allclose(mixed.weights, alone.weights, atol=1e-3)


def test_more_passes_go_on_where_the_iterations_ended() -> None:
    x, y, *_ = digits(300)
    seen: list[Any] = []
    fit(LinearSvm(classes=10, c=10.0, iterations=3, passes=8), x, y, seen)
    gaps = [float(each["gap"]) for each in seen if each]
    assert gaps[0] > 1e-4 >= gaps[-1]


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"classes": 1}, {"c": 0.0}, {"tolerance": 0.0}, {"class_weight": (1.0,)}, {"class_weight": "even"}):
        with pytest.raises(SettingsError):
            LinearSvm(**wrong)
    with pytest.raises(SettingsError, match="from 0 on"):
        LinearSvm(class_weight=(1.0, -1.0))
    with pytest.raises(ShapeError, match="give labels"):
        start(LinearSvm(), np.ones((3, 2), np.float32))
    learner = LinearSvm(classes=3, class_weight=(1.0, 2.0, 3.0))
    assert from_json(to_json(learner)) == learner


def test_no_product_is_rounded_on_accelerators() -> None:
    for shape in ((20, 3), (5, 900)):
        x = {"x": np.ones(shape, np.float32), "y": (np.arange(shape[0]) % 3).astype(np.int32)}
        learner = LinearSvm(classes=3)
        state = learner.init(jax.random.key(0), x)
        arguments = (jax.random.key(0), state, x, np.ones(shape[0], np.float32))
        program = str(jax.make_jaxpr(learner.step)(*arguments))
        assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0


def test_the_gram_matrix_is_made_where_it_pays() -> None:
    assert gram_pays(1500, 40_000, 50)
    assert not gram_pays(1500, 40_000, 1)  # a single machine: a few hundred products with a vector cost less than K
    assert not gram_pays(5000, 4000, 50)
