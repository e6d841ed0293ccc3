"""Averaged SGD: its steps by NumPy, near LIBLINEAR in five passes, from a file of a hundred classes, whatever the strange input."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.svm import LinearSVC

from mmfeat.classify.averaged_sgd import AveragedSgd, AveragedSgdState
from mmfeat.errors import SettingsError
from mmfeat.learner import default_batches, fetched, sample, start, train, transform
from mmfeat.mesh import make_mesh
from mmfeat.settings import from_json, to_json

KEY = jax.random.key(0)
MESH = make_mesh(1, devices=jax.devices()[:1])


def made(rows: int, width: int, classes: int, seed: int = 0, noise: float = 1.3) -> tuple[np.ndarray, np.ndarray]:
    """Rows of length 1 around a centre per class, with a common mean as pooled codes have."""
    draw = np.random.default_rng(0)
    centres = 1 + draw.normal(size=(classes, width))
    draw = np.random.default_rng(seed + 1)
    y = draw.integers(0, classes, rows).astype(np.int32)
    x = centres[y] + noise * draw.normal(size=(rows, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y


def fit(learner: AveragedSgd, x: Any, y: Any) -> Any:
    data = {"x": x, "y": y}
    batches = default_batches(learner, data, mesh=MESH)
    return train(learner, start(learner, sample(batches, learner.init_rows), MESH), batches, MESH)


@pytest.mark.parametrize("loss", ["hinge", "softmax", "squared_hinge"])
def test_a_step_is_the_finite_difference_and_the_mean_is_the_mean(loss: str) -> None:
    draw = np.random.default_rng(0)
    x, y, weight = draw.normal(size=(6, 3)), np.array([0, 1, 2, 3, 0, -1]), np.array([1, 1, 1, 1, 0, 1.0])
    learner = AveragedSgd(classes=4, loss=loss, l2=0.1, rate=0.3)
    state = learner.init(KEY, {"x": x.astype(np.float32), "y": y.astype(np.int32)})
    W, b = draw.normal(size=(4, 3)), draw.normal(size=4)
    state = state._replace(
        weights=W.astype(np.float32), bias=b.astype(np.float32), count=np.int32(7), averaged=np.int32(3)
    )
    rows, used = x - x[:5].mean(0), np.flatnonzero((weight > 0) & (y >= 0))

    def objective(W: np.ndarray, b: np.ndarray) -> float:
        z = rows[used] @ W.T + b
        t = 2 * np.eye(4)[y[used]] - 1
        lack = np.maximum(1 - t * z, 0)
        each = {"hinge": lack.sum(1), "squared_hinge": (lack**2).sum(1)}
        each["softmax"] = -log_softmax(z, axis=1)[np.arange(len(used)), y[used]]
        return float(each[loss].mean() + 0.05 * (W * W).sum())

    data = {"x": x.astype(np.float32), "y": y.astype(np.int32)}
    new, metrics = jax.jit(learner.step)(KEY, state, data, weight.astype(np.float32))
    rate = 0.3 * (1 + 0.1 * 0.3 * 7) ** (-2 / 3)
    slope = np.zeros_like(W)
    for place in np.ndindex(W.shape):
        shift = np.zeros_like(W)
        shift[place] = 1e-6
        slope[place] = (objective(W + shift, b) - objective(W - shift, b)) / 2e-6
    np.testing.assert_allclose(new.weights, W - rate * slope, atol=1e-5)
    np.testing.assert_allclose(
        new.mean_weights, np.asarray(new.weights) / 4, atol=1e-6
    )  # the mean was 0 after three steps
    pull = np.array([(objective(W, b + e) - objective(W, b - e)) / 2e-6 for e in 1e-6 * np.eye(4)])
    np.testing.assert_allclose(new.bias, b - rate * (rows[:5] ** 2).sum(1).mean() * pull, atol=1e-5)
    assert float(metrics["loss"]) == pytest.approx(objective(W, b) - 0.05 * (W * W).sum(), rel=1e-5)
    assert (int(new.count), int(new.averaged)) == (8, 4)


@pytest.mark.parametrize("loss", ["hinge", "softmax", "squared_hinge"])
def test_five_passes_come_within_half_a_point_of_liblinear(loss: str) -> None:
    (x, y), (test, truth) = made(4000, 60, 10, noise=2.5), made(4000, 60, 10, seed=1, noise=2.5)
    known = LinearSVC(C=1.0, dual=False).fit(x, y).score(test, truth)
    assert 0.8 < known < 0.98
    learner = AveragedSgd(classes=10, loss=loss, l2=1 / len(y), batch=16)
    found = (transform(learner, fit(learner, x, y), test, MESH).argmax(1) == truth).mean()
    assert found >= known - 0.005


def test_a_file_of_a_hundred_classes_is_streamed_and_not_held(tmp_path: Path) -> None:
    x, y = made(6000, 256, 100, noise=4.0)
    np.save(tmp_path / "x.npy", x)
    size = x.nbytes
    test, truth = made(1000, 256, 100, seed=1, noise=4.0)
    known = LinearSVC(C=1.0, dual=True).fit(x[:1500], y[:1500]).score(test, truth)
    del x
    learner = AveragedSgd(classes=100, passes=2, batch=64)
    tracemalloc.start()
    run = fit(learner, np.load(tmp_path / "x.npy", mmap_mode="r"), y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.8 * size  # NumPy's memory: the sample that init sees is 2,048 of 6,000 rows
    scores = transform(learner, run, test, MESH)
    assert (scores.argmax(1) == truth).mean() > known
    top = (scores >= scores[np.arange(1000), truth][:, None]).sum(1) <= 5
    assert top.mean() > (scores.argmax(1) == truth).mean()


def test_the_mean_starts_afresh_after_the_passes_named() -> None:
    x, y = made(64, 5, 2)
    counts = []
    for average_from in (0, 1, 2):
        state: AveragedSgdState = fit(AveragedSgd(batch=16, passes=4, average_from=average_from), x, y).state
        counts.append(int(state.averaged))
        assert int(state.count) == 16
    assert counts == [16, 12, 8]


def test_strange_rows_and_classes() -> None:
    x, y = made(600, 20, 3)
    learner = AveragedSgd(classes=5, batch=16)  # two classes have no examples
    for scale in (1e-3, 1.0, 1e3):  # the step size goes with the scale; l2 does not
        rows = (scale * np.column_stack([x, np.full(600, 3.0)])).astype(np.float32)
        run = fit(AveragedSgd(classes=5, batch=16, l2=1e-6 * scale**2), rows, y)
        scores = transform(learner, run, rows, MESH)
        assert (scores.argmax(1) == y).mean() > 0.9
        assert scores.argmax(1).max() <= 2
    fetched(learner, fit(learner, 0 * x, y))
    fetched(learner, fit(AveragedSgd(), x[:2], np.array([0, 1], np.int32)))
    fetched(learner, fit(learner, x, np.full(600, -1, np.int32)))


def test_unlabelled_rows_never_train() -> None:
    x, y = made(300, 8, 3)
    hidden = np.arange(300) % 3 == 0
    ends = [
        fit(AveragedSgd(classes=3), np.where(hidden[:, None], fill, x), np.where(hidden, wrong, y)).state
        for fill, wrong in ((x, -1), (np.float32(1e5), -1), (np.float32(-7), 3))
    ]
    for other in ends[1:]:
        np.testing.assert_array_equal(ends[0].mean_weights, other.mean_weights)


def test_what_cannot_be_is_refused() -> None:
    for wrong in (
        {"classes": 1},
        {"loss": "logistic"},
        {"passes": 0},
        {"l2": -1.0},
        {"batch": 0},
        {"average_from": -1},
    ):
        with pytest.raises(SettingsError):
            AveragedSgd(**wrong)
    learner = AveragedSgd(classes=3, loss="softmax")
    assert from_json(to_json(learner)) == learner


def test_no_product_is_rounded_on_accelerators() -> None:
    learner, x = AveragedSgd(), {"x": np.ones((5, 3), np.float32), "y": np.arange(5, dtype=np.int32) % 2}
    state = learner.init(KEY, x)
    for function, arguments in (
        (learner.encode, (state, x["x"])),
        (learner.step, (KEY, state, x, np.ones(5, np.float32))),
    ):
        program = str(jax.make_jaxpr(function)(*arguments))
        assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0
