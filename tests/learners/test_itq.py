"""ITQ against its own algebra and against FAISS."""

from __future__ import annotations

from typing import Any

import faiss
import jax
import numpy as np
import pytest

from mmfeat.chain import Chain
from mmfeat.errors import SettingsError
from mmfeat.learner import Run, default_batches, start, train
from mmfeat.learners.itq import ItqRotation, itq_hash
from mmfeat.learners.whitening import Pca


def centred(count: int = 600, width: int = 16, seed: int = 0) -> np.ndarray:
    """Clustered rows around 0 with a falling spectrum."""
    generator = np.random.default_rng(seed)
    middles = generator.normal(size=(20, width)) * np.geomspace(2, 0.3, width)
    x = middles[generator.integers(20, size=count)] + 0.3 * generator.normal(size=(count, width))
    return (x - x.mean(0)).astype(np.float32)


def fit(x: np.ndarray, passes: int, mesh: Any = None, seed: int = 0) -> tuple[Run, list[float]]:
    """The finished run and the errors of its steps."""
    learner, errors = ItqRotation(passes), list[float]()

    def after(run: Run, metrics: Any) -> None:
        errors.extend(float(value) for value in metrics.values())

    return train(learner, start(learner, x, mesh, seed), default_batches(learner, x, seed, mesh), mesh, after), errors


def error(V: np.ndarray, R: np.ndarray) -> float:
    """The mean over rows of ‖sign(VR) - VR‖² in float64."""
    Z = V.astype(np.float64) @ np.asarray(R, np.float64)
    return float(((np.where(Z >= 0, 1, -1) - Z) ** 2).sum(1).mean())


def test_the_objective_never_rises_and_is_what_it_says() -> None:
    x = centred()
    run, errors = fit(x, 30)
    R = np.asarray(run.state.rotation)
    np.testing.assert_allclose(R.T @ R, np.eye(16), atol=1e-5)
    assert (np.diff(errors) <= 1e-5 * errors[0]).all()
    assert errors[-1] < 0.95 * errors[0]
    before, _ = fit(x, 29)
    Z = x.astype(np.float64) @ np.asarray(before.state.rotation, np.float64)
    exact = ((np.where(Z >= 0, 1, -1) - x.astype(np.float64) @ R) ** 2).sum(1).mean()
    assert errors[-1] == pytest.approx(exact, rel=1e-5)


def test_a_step_solves_the_procrustes_problem() -> None:
    """No small rotation of R lowers ‖B - VR‖ for the B of the step."""
    x, learner = centred(), ItqRotation()
    state = learner.init(jax.random.key(1), x)
    B = np.where(x @ np.asarray(state.rotation) >= 0, 1, -1)
    R = np.asarray(learner.step(jax.random.key(0), state, x, np.ones(len(x), np.float32))[0].rotation, np.float64)
    least = ((B - x @ R) ** 2).sum()
    generator = np.random.default_rng(3)
    for _ in range(20):
        skew = 0.02 * generator.normal(size=R.shape)
        near = R @ np.linalg.qr(np.eye(16) + skew - skew.T)[0]
        assert ((B - x @ near) ** 2).sum() > least


def test_numpy_and_jax_take_the_same_step_and_padding_weighs_nothing() -> None:
    x, learner, key = centred(5000), ItqRotation(), jax.random.key(0)
    state = learner.init(key, x)
    weight = np.ones(len(x), np.float32)
    weight[[3, 4500]] = 0
    weight[:100] = 2
    padded = np.where(weight[:, None] > 0, x, np.nan).astype(np.float32)
    twice = np.concatenate([x[:100], x])[np.r_[weight[:100] > 0, weight > 0]]
    one = learner.step(key, state, padded, weight)
    two = learner.host_step(key, jax.tree.map(np.asarray, state), padded, weight)
    three = learner.step(key, state, twice, np.ones(len(twice), np.float32))
    for other in (two, three):
        np.testing.assert_allclose(np.asarray(other[0].rotation), np.asarray(one[0].rotation), atol=1e-5)
        assert float(other[1]["quantisation_error"]) == pytest.approx(float(one[1]["quantisation_error"]), rel=1e-5)


def test_the_numpy_path_ends_where_the_other_ends(one_device_mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rotation after a step; later a sign at 0 may fall either way, and what is reached must be as good."""
    x = centred()
    one, whole = (fit(x, passes, one_device_mesh) for passes in (1, 30))
    monkeypatch.setenv("MMFEAT_HOST", "0")
    other, rest = (fit(x, passes, one_device_mesh) for passes in (1, 30))
    np.testing.assert_allclose(np.asarray(other[0].state.rotation), np.asarray(one[0].state.rotation), atol=1e-5)
    assert rest[1][-1] == pytest.approx(whole[1][-1], rel=5e-3)


def test_the_seed_draws_the_first_rotation() -> None:
    x = centred()
    one, same, other = (np.asarray(start(ItqRotation(), x, seed=seed).state.rotation) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


def test_the_error_is_no_more_than_that_of_faiss(one_device_mesh: Any) -> None:
    x, mesh = centred(3000, 32), one_device_mesh
    pca = Pca(16)
    run = train(pca, start(pca, x, mesh), default_batches(pca, x, mesh=mesh), mesh)
    V = np.array(pca.encode(run.state, x))
    theirs: Any = faiss.ITQMatrix(16)
    theirs.train(V)
    R = faiss.vector_to_array(theirs.A).reshape(16, 16).T
    assert error(V, np.asarray(fit(V, 50, mesh)[0].state.rotation)) <= error(V, R) * 1.005


def test_the_whole_method_is_a_chain_of_two() -> None:
    assert itq_hash(32, 20) == Chain(Pca(32), ItqRotation(20))
    assert itq_hash().hash
    with pytest.raises(SettingsError, match="passes=0"):
        ItqRotation(0)
