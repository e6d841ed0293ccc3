"""Dictionary learning against scikit-learn's, sums done by hand, and a dictionary that is known."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import MiniBatchDictionaryLearning
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

from mmfeat.errors import SettingsError
from mmfeat.learner import Run, default_batches, start, train, transform
from mmfeat.learners.dictionary import Dictionary, DictionaryState, learn_atoms
from mmfeat.mesh import make_mesh, on_host


def mixed(rows: int = 600, atoms: int = 12, width: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are sums of three atoms of a dictionary, and the dictionary."""
    draw = np.random.default_rng(seed)
    phi = draw.normal(size=(atoms, width))
    phi /= np.linalg.norm(phi, axis=1, keepdims=True)
    codes = np.zeros((rows, atoms))
    for row in codes:
        row[draw.permutation(atoms)[:3]] = draw.choice([-1, 1], 3) * draw.uniform(0.5, 1.5, 3)
    return (codes @ phi).astype(np.float32), phi.astype(np.float32)


def fit(learner: Dictionary, x: np.ndarray, state: Any = None) -> tuple[Run, list[float]]:
    """The finished run on one device, and the objective of every step."""
    found, mesh = list[float](), make_mesh(1, devices=jax.devices()[:1])

    def after(run: Run, metrics: Any) -> None:
        if metrics:
            found.append(float(metrics["objective"]))

    batches = default_batches(learner, x, mesh=mesh)
    return train(learner, start(learner, x, mesh, state=state), batches, mesh, after=after), found


def known_codes(x: np.ndarray, phi: np.ndarray, lam: float) -> np.ndarray:
    """scikit-learn's codes (n, K), in float64."""
    solver = Lasso(lam / x.shape[1], fit_intercept=False, tol=1e-7, max_iter=100_000)
    return solver.fit(phi.T.astype(np.float64), x.T.astype(np.float64)).coef_


def cost(x: np.ndarray, phi: np.ndarray, lam: float) -> float:
    """The mean objective, with scikit-learn's codes."""
    codes = known_codes(x, phi, lam)
    return float((0.5 * ((x - codes @ phi) ** 2).sum(1) + lam * np.abs(codes).sum(1)).mean())


def test_a_known_dictionary_is_found_again() -> None:
    x, phi = mixed(1500)
    run, _ = fit(Dictionary(12, lam=0.2, passes=30, batch=256), x)
    found = np.asarray(run.state.phi)
    likeness = np.abs(found @ phi.T)
    assert (likeness.max(axis=0) > 0.99).all()
    assert len(set(likeness.argmax(axis=0))) == 12


def test_the_objective_never_rises_when_all_rows_are_one_batch() -> None:
    """Alternating: codes with the atoms fixed, then a round over the atoms for these codes alone."""
    x, _ = mixed(300, seed=1)
    run, found = fit(Dictionary(24, lam=0.1, memory=1e9, passes=25, batch=300), x + 0.05)
    assert (np.diff(found) <= 1e-6).all()
    assert found[-1] < 0.9 * found[0]
    assert cost(x + 0.05, np.asarray(run.state.phi), 0.1) <= found[-1] + 1e-5


def test_atoms_stay_in_the_unit_ball() -> None:
    x, _ = mixed()
    run, _ = fit(Dictionary(40, lam=0.02, passes=3, batch=100), 20 * x)
    lengths = np.linalg.norm(np.asarray(run.state.phi), axis=1)
    assert lengths.max() <= 1 + 1e-6
    assert lengths.max() > 0.999


def test_it_is_as_good_as_sklearn() -> None:
    draw = np.random.default_rng(2)
    x = np.cumsum(draw.normal(size=(1200, 16)), axis=1).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    run, found = fit(Dictionary(32, lam=0.1, passes=8, batch=128), x)
    known = MiniBatchDictionaryLearning(32, alpha=0.1, batch_size=128, max_iter=8, fit_algorithm="cd", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        known.fit(x)
    ours = cost(x, np.asarray(run.state.phi), 0.1)
    assert ours <= 1.01 * cost(x, known.components_, 0.1)
    assert ours < found[0]


def test_sums_and_forgetting_by_hand() -> None:
    """Two batches of other rows: A and B are sums of products of codes, the older ones times (1 - 1/t)^ρ."""
    x, phi = mixed(80, seed=3)
    learner, key = Dictionary(12, lam=0.1, memory=1.5), jax.random.key(0)
    state = DictionaryState(phi, np.zeros((12, 12), np.float32), np.zeros_like(phi), np.int32(0))
    first = known_codes(x[:40], phi, 0.1)
    weight = np.ones(40, np.float32)
    one, metrics = learner.step(key, state, x[:40], weight)
    np.testing.assert_allclose(one.A, first.T @ first, atol=2e-3)
    np.testing.assert_allclose(one.B, first.T @ x[:40], atol=2e-3)
    assert float(metrics["used"]) == pytest.approx((first != 0).sum(1).mean(), abs=0.05)
    second = np.asarray(learner.codes(one.phi, x[40:]))
    two, _ = learner.step(key, one, x[40:], weight)
    beta = 0.5**1.5
    np.testing.assert_allclose(two.A, beta * np.asarray(one.A) + second.T @ second, atol=1e-4)
    np.testing.assert_allclose(two.B, beta * np.asarray(one.B) + second.T @ x[40:], atol=1e-4)
    assert int(two.count) == 2


def test_both_ways_over_the_atoms_agree() -> None:
    from mmfeat.lasso_host import update_atoms

    draw = np.random.default_rng(4)
    codes = (draw.normal(size=(60, 9)) * (draw.random((60, 9)) < 0.4)).astype(np.float32)
    codes[:, 2] = 0
    x, phi = (draw.normal(size=(n, 5)).astype(np.float32) for n in (60, 9))
    A, B = codes.T @ codes, codes.T @ x
    np.testing.assert_allclose(learn_atoms(phi, A, B), update_atoms(phi, A, B), atol=1e-5)


def test_an_atom_without_use_becomes_a_row_that_is_badly_explained() -> None:
    x, phi = mixed(50, seed=5)
    lost = np.eye(16, dtype=np.float32)[:1] * 0
    x[7] = 30 * np.sign(np.sin(np.arange(16) + 1))
    state = DictionaryState(
        np.concatenate([phi, lost]), np.zeros((13, 13), np.float32), np.zeros((13, 16), np.float32), np.int32(0)
    )
    learner, weight = Dictionary(13, lam=0.1), np.ones(50, np.float32)
    for step in (learner.step, learner.host_step):
        new, _ = step(jax.random.key(1), state, x, weight)
        likeness = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ np.asarray(new.phi)[12]
        assert likeness.max() == pytest.approx(1, abs=1e-5)
        assert likeness.argmax() == 7


def test_codes_on_every_way_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMFEAT_HOST", "0")
    x, _ = mixed(200)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    for learner in (Dictionary(10, lam=0.2), Dictionary(10, lam=0.2, positive=True), Dictionary(10, halves=True)):
        learner = replace(learner, passes=2, batch=100)
        run, _ = fit(learner, x)
        state = on_host(run.state)
        codes = transform(learner, run, x, make_mesh(1, devices=jax.devices()[:1]), rows=64)
        np.testing.assert_allclose(learner.host_encode(state, x), codes, atol=1e-5)
        starts, index, value = learner.host_sparse(state, x)
        again = np.zeros_like(codes)
        again[np.repeat(np.arange(200), np.diff(starts)), index] = value
        np.testing.assert_allclose(again, codes, atol=1e-5)
        assert index.dtype == np.int32
        assert all((np.diff(index[a:b]) > 0).all() for a, b in pairwise(starts))
        back = np.asarray(learner.reconstruct(jax.tree.map(jnp.asarray, state), x))
        assert ((x - back) ** 2).sum() < 0.8 * (x**2).sum() or learner.positive
        assert codes.min() >= 0 or not (learner.positive or learner.halves)


def test_halves_are_the_two_signs_and_decode_puts_them_together() -> None:
    x, phi = mixed(30)
    state = DictionaryState(phi, np.zeros((12, 12), np.float32), np.zeros_like(phi), np.int32(0))
    plain, halves = (np.asarray(Dictionary(12, halves=on).encode(state, x)) for on in (False, True))
    np.testing.assert_array_equal(halves[:, :12] - halves[:, 12:], plain)
    assert ((halves[:, :12] > 0) & (halves[:, 12:] > 0)).sum() == 0
    both = [np.asarray(Dictionary(12, halves=on).reconstruct(state, x)) for on in (False, True)]
    np.testing.assert_allclose(*both, atol=1e-6)
    np.testing.assert_allclose(both[0], plain @ phi, atol=1e-5)


def test_few_rows_and_rows_of_nothing_are_no_trouble() -> None:
    for x in (np.zeros((5, 4), np.float32), np.ones((3, 4), np.float32)):
        run, found = fit(Dictionary(8, passes=2), x)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(on_host(run.state)))
        assert np.isfinite(found).all()
        np.testing.assert_allclose(np.linalg.norm(np.asarray(run.state.phi), axis=1), 1, atol=1e-5)


def test_mistakes_are_told() -> None:
    for wrong in ({"lam": 0}, {"size": 0}, {"memory": -1}, {"positive": True, "halves": True}):
        with pytest.raises(SettingsError):
            Dictionary(**wrong)
