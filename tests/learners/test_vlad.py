"""VLAD against a loop in float64 and its identities."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from mmfeat.arrays import Locals
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import default_batches, start, train
from mmfeat.learners.kmeans import KMeans, KMeansState
from mmfeat.learners.vlad import Vlad
from mmfeat.settings import from_json, to_json


def some(items: int = 4, count: int = 50, width: int = 6) -> Locals:
    """Locals whose weights are mostly 1; the second item has none, the third two of weight 2."""
    generator = np.random.default_rng(0)
    values = (generator.normal(size=(items, count, width)) + 3).astype(np.float32)
    weight = (generator.random((items, count)) < 0.8).astype(np.float32)
    weight[1], weight[2, :2] = 0, 2
    return Locals(values, np.zeros((items, count, 2), np.float32), weight)


def codebook(learner: Vlad, x: Locals) -> KMeansState:
    """A codebook trained on the locals of x."""
    rows = x.values.reshape(-1, x.values.shape[-1])
    return train(learner, start(learner, rows), default_batches(learner, rows)).state


def loop(means: np.ndarray, x: Locals, power: float, intra: bool) -> np.ndarray:
    """The definition, local by local, in float64."""
    out = np.zeros((len(x.values), *means.shape))
    for item, (values, weights) in enumerate(zip(x.values.astype(np.float64), x.weight, strict=True)):
        for value, weight in zip(values, weights, strict=True):
            k = ((value - means) ** 2).sum(1).argmin()
            out[item, k] += weight * (value - means[k])
    out = np.sign(out) * np.abs(out) ** power
    if intra:
        out /= np.maximum(np.linalg.norm(out, axis=2, keepdims=True), 1e-30)
    out = out.reshape(len(out), -1)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-30)


@pytest.mark.parametrize(("power", "intra"), [(1.0, False), (0.5, False), (0.5, True), (1.0, True)])
def test_it_is_the_loop(power: float, intra: bool) -> None:
    x, learner = some(), Vlad(KMeans(5, passes=3, batch=64), power, intra)
    state = codebook(learner, x)
    found = np.asarray(jax.jit(learner.encode)(state, x))
    np.testing.assert_allclose(found, loop(np.asarray(state.means, np.float64), x, power, intra), atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 0, 1, 1], atol=1e-6)


def test_with_one_codeword_it_is_the_sum_of_what_is_left() -> None:
    x, learner = some(), Vlad(KMeans(1, passes=1), power=1.0)
    state = codebook(learner, x)
    rest = ((x.values - np.asarray(state.means)[0]) * x.weight[..., None]).sum(1)
    exact = rest / np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-30)
    np.testing.assert_allclose(learner.encode(state, x), exact, atol=1e-5)


def test_locals_without_weight_do_nothing() -> None:
    x, learner = some(), Vlad(KMeans(4, passes=1))
    state = codebook(learner, x)
    values = np.where(x.weight[..., None] > 0, x.values, np.nan).astype(np.float32)
    values = np.concatenate([values, np.full((4, 7, 6), 1e6, np.float32)], axis=1)
    where, weight = np.zeros((4, 57, 2), np.float32), np.pad(x.weight, ((0, 0), (0, 7)))
    padded = learner.encode(state, Locals(values, where, weight))
    np.testing.assert_allclose(np.asarray(padded), np.asarray(learner.encode(state, x)), atol=1e-6)


def test_it_trains_as_its_codebook() -> None:
    means: list[Any] = []
    rows = some().values.reshape(-1, 6)
    for learner in (Vlad(KMeans(4, passes=3, batch=50)), KMeans(4, passes=3, batch=50)):
        assert (learner.passes, learner.batch, learner.init_rows) == (3, 50, 16_384)
        means.append(np.asarray(train(learner, start(learner, rows), default_batches(learner, rows)).state.means))
    np.testing.assert_array_equal(*means)


def test_its_codebook_is_in_its_json() -> None:
    learner = Vlad(KMeans(7), intra=True)
    assert from_json(to_json(learner)) == learner


def test_mistakes_are_told() -> None:
    with pytest.raises(SettingsError, match=r"power=0\.0"):
        Vlad(power=0.0)
    learner: Any = Vlad(KMeans(2))
    with pytest.raises(ShapeError, match="whole Locals"):
        learner.encode(learner.init(jax.random.key(0), np.eye(2, dtype=np.float32)), np.eye(2, dtype=np.float32))
