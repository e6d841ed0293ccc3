"""Local coordinate coding against scikit-learn's LASSO, the conditions of a minimum, and its own objective."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

from mmfeat.errors import SettingsError
from mmfeat.lasso import fista
from mmfeat.learner import default_batches, start, train
from mmfeat.learners.kmeans import KMeans
from mmfeat.learners.lcc import Lcc, LccState
from mmfeat.settings import from_json, to_json

BOOK = KMeans(16, passes=2)


def rows(count: int = 200, width: int = 20) -> np.ndarray:
    """Rows (count, width) float32 of length 1 near a surface of 4 dimensions."""
    draw = np.random.default_rng(0)
    x = np.maximum(
        draw.normal(size=(count, 4)) @ draw.normal(size=(4, width)) + 0.1 * draw.normal(size=(count, width)), 0
    )
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def learned(learner: Lcc) -> LccState:
    """The state after all passes, as NumPy arrays."""
    run = train(learner, start(learner, rows()), default_batches(learner, rows()))
    return jax.tree.map(np.asarray, run.state)


def dense(codes: Any, clusters: int) -> np.ndarray:
    """CSR to (n, K)."""
    starts, index, value = codes
    out = np.zeros((len(starts) - 1, clusters), np.float32)
    out[np.repeat(np.arange(len(out)), np.diff(starts)), index] = value
    return out


def distances(state: LccState) -> np.ndarray:
    """The distances (n, K) of the rows to the anchors, float64."""
    return np.linalg.norm(rows()[:, None, :].astype(np.float64) - state.codebook.means, axis=2)


def objective(learner: Lcc, state: LccState, codes: np.ndarray) -> float:
    """The mean of E, in float64."""
    rest = rows() - codes.astype(np.float64) @ state.codebook.means
    penalties = learner.penalty * np.abs(codes) * distances(state) ** (1 + learner.p)
    return float((0.5 * (rest**2).sum(1) + penalties.sum(1)).mean())


@pytest.mark.parametrize(("neighbours", "p"), [(6, 1.0), (16, 0.5), (None, 1.0)])
def test_it_is_scikit_learn_s_lasso_of_scaled_columns(neighbours: int | None, p: float) -> None:
    learner = Lcc(BOOK, penalty=0.05, p=p, neighbours=neighbours)
    state = learned(learner)
    codes = [np.asarray(jax.jit(learner.encode)(state, rows())), dense(learner.host_sparse(state, rows()), 16)]
    for number in range(0, 200, 20):
        row, far = rows()[number].astype(np.float64), distances(state)[number]
        near = np.argsort(far)[: neighbours or 16]
        w = 0.05 * far[near] ** (1 + p)
        columns = (state.codebook.means[near] / w[:, None]).T.astype(np.float64)
        model = Lasso(alpha=1 / len(row), fit_intercept=False, tol=1e-12, max_iter=200_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            exact = np.zeros(16)
            exact[near] = model.fit(columns, row).coef_ / w
        for found in codes:
            np.testing.assert_allclose(found[number], exact, atol=1e-4)


@pytest.mark.parametrize("neighbours", [6, None])
def test_affine_codes_meet_the_conditions_of_a_minimum(neighbours: int | None) -> None:
    learner = Lcc(BOOK, penalty=0.05, neighbours=neighbours, sums_to_one=True)
    state = learned(learner)
    far = distances(state)
    near = np.argsort(np.argsort(far, axis=1), axis=1) < (neighbours or 16)
    for codes in (np.asarray(learner.encode(state, rows())), dense(learner.host_sparse(state, rows()), 16)):
        np.testing.assert_allclose(codes.sum(axis=1), 1, atol=2e-6)
        slope = (rows() - codes.astype(np.float64) @ state.codebook.means) @ state.codebook.means.T.astype(np.float64)
        w, used = 0.05 * far**2, codes != 0
        level = np.where(used, slope - w * np.sign(codes), 0).sum(axis=1, keepdims=True) / used.sum(
            axis=1, keepdims=True
        )
        assert np.abs(slope - level - w * np.sign(codes))[used].max() < 2e-5
        assert (np.abs(slope - level) - w)[near & ~used].max() < 2e-5
        assert not (used & ~near).any()
    shifted = state._replace(codebook=state.codebook._replace(means=state.codebook.means + 1))
    np.testing.assert_allclose(learner.encode(shifted, rows() + 1), learner.encode(state, rows()), atol=2e-3)


@pytest.mark.parametrize("affine", [False, True])
def test_the_host_agrees(affine: bool) -> None:
    learner = Lcc(BOOK, penalty=0.05, neighbours=8, sums_to_one=affine)
    state = learned(learner)
    codes = dense(learner.host_sparse(state, rows()), 16)
    np.testing.assert_allclose(np.asarray(learner.encode(state, rows())), codes, atol=1e-5)
    assert 1.5 < (codes != 0).sum(axis=1).mean() < 7


def test_all_neighbours_are_all_anchors() -> None:
    state = learned(Lcc(BOOK, neighbours=16))
    codes = [np.asarray(Lcc(BOOK, neighbours=k).encode(state, rows())) for k in (16, None)]
    np.testing.assert_allclose(codes[0], codes[1], atol=1e-4)


def test_codes_are_more_local_than_those_of_the_lasso() -> None:
    draw, learner = np.random.default_rng(1), Lcc(KMeans(24), penalty=0.1, neighbours=None)
    x = draw.normal(size=(200, 3)) @ draw.normal(size=(3, 20))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(
        np.float32
    )  # a sphere, where what is opposite explains as well
    state, means = learner.init(jax.random.key(0), x), x[:24]
    state = state._replace(codebook=state.codebook._replace(means=means))
    far = np.linalg.norm(x[:, None, :] - means, axis=2)[24:]
    local = np.asarray(learner.encode(state, x[24:]))
    sparse = [np.asarray(fista(means @ means.T, x[24:] @ means.T, lam)) for lam in (0.02, 0.05, 0.1, 0.2)]
    plain = min(sparse, key=lambda codes: abs(int((codes != 0).sum()) - int((local != 0).sum())))
    assert 0.7 < (plain != 0).sum() / (local != 0).sum() < 1.4
    assert far[local != 0].mean() < 0.8 * far[plain != 0].mean()


@pytest.mark.parametrize(("p", "affine"), [(1.0, False), (0.4, False), (1.0, True)])
def test_refining_lowers_the_objective(p: float, affine: bool) -> None:
    learner = Lcc(BOOK, penalty=0.1, p=p, neighbours=None, sums_to_one=affine, refine=5)
    told: list[float] = []
    run = train(
        learner,
        start(learner, rows()),
        default_batches(learner, rows()),
        after=lambda run, metrics: told.append(float(metrics["objective"])) if metrics else None,
    )
    state = jax.tree.map(np.asarray, run.state)
    told = [*told[2:], objective(learner, state, np.asarray(learner.encode(state, rows())))]
    assert len(told) == 6
    assert all(later < earlier for earlier, later in pairwise(told))
    before = learned(Lcc(BOOK, penalty=0.1, p=p, neighbours=None, sums_to_one=affine))
    codes = np.asarray(learner.encode(before, rows()))
    assert told[0] == pytest.approx(objective(learner, before, codes), rel=1e-4)


def test_the_anchors_moved_to_the_minimum_for_these_codes() -> None:
    learner, before = Lcc(BOOK, penalty=0.1, neighbours=6, refine=1), learned(Lcc(BOOK, penalty=0.1, neighbours=6))
    codes = np.asarray(learner.encode(before, rows()))
    state = learned(learner)
    least, draw = objective(learner, state, codes), np.random.default_rng(0)
    for size in (1e-2, 1e-3):
        for _ in range(5):
            means = state.codebook.means + size * draw.normal(size=state.codebook.means.shape)
            moved = state._replace(codebook=state.codebook._replace(means=means))
            assert objective(learner, moved, codes) > least
    np.testing.assert_array_equal(learner.prototypes(state), state.codebook.means)


def test_settings_and_mistakes() -> None:
    learner = Lcc(KMeans(7), 0.2, 0.5, None, True, 3)
    assert from_json(to_json(learner)) == learner
    assert learner.passes == learner.codebook.passes + 3
    for wrong in ({"penalty": 0.0}, {"p": 2.5}, {"refine": -1}, {"neighbours": 2000}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            Lcc(**wrong)
