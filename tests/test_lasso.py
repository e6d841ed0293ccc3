"""Sparse codes against scikit-learn's, the conditions of a minimum and the duality gap; FISTA against the host's solver."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso

from mmfeat import lasso, lasso_host


def problem(rows: int = 60, width: int = 20, atoms: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows x (n, d) of length about 1 and atoms (K, d) in the unit ball, more atoms than dimensions."""
    draw = np.random.default_rng(seed)
    phi = draw.normal(size=(atoms, width))
    phi /= np.linalg.norm(phi, axis=1, keepdims=True) * draw.choice([1, 1, 1.25], size=(atoms, 1))
    x = draw.normal(size=(rows, width)) / np.sqrt(width)
    return x.astype(np.float32), phi.astype(np.float32)


def correlations(x: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """c = x φᵀ, the same to the bit wherever a row stands."""
    return (x.astype(np.float64) @ phi.T).astype(np.float32)


def on_host(x: np.ndarray, phi: np.ndarray, lam: float, **options: Any) -> np.ndarray:
    c = correlations(x, phi)
    return lasso_host.dense_codes(phi @ phi.T, c.__getitem__, len(x), lam, **options)


def by_jax(x: np.ndarray, phi: np.ndarray, lam: float, **options: Any) -> np.ndarray:
    return np.asarray(lasso.fista(jnp.asarray(phi @ phi.T), jnp.asarray(correlations(x, phi)), lam, **options))


def known(x: np.ndarray, phi: np.ndarray, lam: float, positive: bool = False) -> np.ndarray:
    """scikit-learn's codes in float64; its penalty is divided by the number of dimensions."""
    solver = Lasso(lam / x.shape[1], fit_intercept=False, tol=1e-12, max_iter=100_000, positive=positive)
    return solver.fit(phi.T.astype(np.float64), x.T.astype(np.float64)).coef_


def violation(x: np.ndarray, phi: np.ndarray, codes: np.ndarray, lam: float, positive: bool = False) -> float:
    """The largest violation of the conditions of a minimum, in float64."""
    slope = (x.astype(np.float64) - codes.astype(np.float64) @ phi) @ phi.T.astype(np.float64)
    inside, outside = np.abs(slope - lam * np.sign(codes)), (slope if positive else np.abs(slope)) - lam
    return float(np.where(codes != 0, inside, np.maximum(outside, 0)).max())


SOLVERS = pytest.mark.parametrize("solve", [on_host, by_jax])


@SOLVERS
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("lam", [0.05, 0.1, 0.3])
def test_codes_are_those_of_sklearn(solve: Any, lam: float, positive: bool) -> None:
    x, phi = problem()
    codes = solve(x, phi, lam, positive=positive, tolerance=1e-5, **({"iterations": 20_000} if solve is by_jax else {}))
    assert violation(x, phi, codes, lam, positive) <= 1e-5
    np.testing.assert_allclose(codes, known(x, phi, lam, positive), atol=1e-4)
    assert not positive or codes.min() >= 0
    assert (codes != 0).any(1).mean() > 0.5


@SOLVERS
def test_the_tolerance_as_it_comes_is_enough(solve: Any) -> None:
    x, phi = problem(200)
    codes = solve(x, phi, 0.1)
    assert violation(x, phi, codes, 0.1) <= 1e-5
    gap = np.asarray(lasso.duality_gap(jnp.asarray(x), jnp.asarray(phi), jnp.asarray(codes), 0.1))
    best = np.asarray(lasso.objective(jnp.asarray(x), jnp.asarray(phi), jnp.asarray(codes), 0.1))
    assert (gap <= 1e-4 * best).all()
    assert gap.min() >= -1e-6


def test_both_solvers_agree() -> None:
    for positive in (False, True):
        x, phi = problem(80, 30, 24, 3)
        one, two = (solve(x, phi, 0.1, positive=positive, tolerance=1e-6) for solve in (on_host, by_jax))
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_the_duality_gap_bounds_what_is_missing() -> None:
    x, phi = problem()
    rough = np.asarray(by_jax(x, phi, 0.1, iterations=5))
    exact = known(x, phi, 0.1).astype(np.float32)
    args = jnp.asarray(x), jnp.asarray(phi)
    missing = lasso.objective(*args, jnp.asarray(rough), 0.1) - lasso.objective(*args, jnp.asarray(exact), 0.1)
    gap = lasso.duality_gap(*args, jnp.asarray(rough), 0.1)
    assert (np.asarray(gap) >= np.asarray(missing) - 1e-6).all()
    assert np.asarray(missing).max() > 1e-4


@SOLVERS
def test_atoms_alike_and_atoms_of_nothing(solve: Any) -> None:
    """The objective is that of the dictionary without them; which of two atoms alike is used does not matter."""
    x, phi = problem()
    twice = np.concatenate([phi, phi[:10], np.zeros((3, 20), np.float32), -phi[5:8]])
    codes, plain = solve(x, twice, 0.1), known(x, phi, 0.1)
    assert violation(x, twice, codes, 0.1) <= 2e-5
    assert (codes[:, 60:63] == 0).all()
    ours = lasso.objective(jnp.asarray(x), jnp.asarray(twice), jnp.asarray(codes), 0.1)
    best = lasso.objective(jnp.asarray(x), jnp.asarray(phi), jnp.asarray(plain.astype(np.float32)), 0.1)
    np.testing.assert_allclose(np.asarray(ours), np.asarray(best), atol=1e-5)


@SOLVERS
def test_atoms_that_look_alike(solve: Any) -> None:
    """As of SIFT: every two atoms have a large product, and rows may be long."""
    x, phi = problem(40, 24, 64, 5)
    x, phi = np.abs(x) * 50, np.abs(phi)
    codes = solve(x, phi, 3.0, **({"iterations": 50_000} if solve is by_jax else {}))
    assert violation(x, phi, codes, 3.0) <= 3 * 1e-4 + 1e-6 * np.abs(x @ phi.T).max()


@SOLVERS
def test_the_float64_objective_is_reached(solve: Any) -> None:
    x, phi = problem(60, 40, 120, 8)
    codes, exact = solve(x, phi, 0.05).astype(np.float64), known(x, phi, 0.05)

    def value(a: np.ndarray) -> Any:
        return 0.5 * ((x - a @ phi.astype(np.float64)) ** 2).sum(1) + 0.05 * np.abs(a).sum(1)

    assert np.abs(codes - exact).max() < 1e-3
    np.testing.assert_allclose(value(codes), value(exact), rtol=1e-6)


@SOLVERS
def test_more_atoms_in_use_than_dimensions(solve: Any) -> None:
    """Little is left of the penalty: supports are as large as they can be, and their Gram matrices all but singular."""
    x, phi = problem(20, 10, 60, 9)
    codes = solve(x, phi, 3e-3)
    args = jnp.asarray(x), jnp.asarray(phi), jnp.asarray(codes), 3e-3
    assert (np.asarray(lasso.duality_gap(*args)) <= 2e-3 * np.asarray(lasso.objective(*args))).all()
    assert (codes != 0).sum(1).max() >= 10


@SOLVERS
def test_three_atoms_are_found_again(solve: Any) -> None:
    """x = 0.8 φ_36 + 0.3 φ_42 + 0.5 φ_63 of 64 atoms, as in the lecture."""
    draw = np.random.default_rng(11)
    phi = draw.normal(size=(64, 196)).astype(np.float32)
    phi /= np.linalg.norm(phi, axis=1, keepdims=True)
    x = (0.8 * phi[36] + 0.3 * phi[42] + 0.5 * phi[63])[None]
    codes = solve(x, phi, 1e-3)[0]
    np.testing.assert_allclose(codes[[36, 42, 63]], [0.8, 0.3, 0.5], atol=0.005)
    assert np.abs(np.delete(codes, [36, 42, 63])).max() < 1e-3
    assert (solve(x, phi, 0.1)[0] != 0).sum() == 3


@SOLVERS
def test_no_code_where_the_penalty_is_large_and_none_for_nothing(solve: Any) -> None:
    x, phi = problem()
    assert not solve(x, phi, float(np.abs(x @ phi.T).max()) * 1.001).any()
    assert solve(x, phi, float(np.abs(x @ phi.T).max()) * 0.99).any()
    assert not solve(np.zeros_like(x), phi, 0.1).any()
    assert solve(x[:0], phi, 0.1).shape == (0, 50)


@SOLVERS
def test_a_code_does_not_depend_on_its_company(solve: Any) -> None:
    x, phi = problem(64)
    whole, hard = solve(x, phi, 0.1), np.repeat(phi[:1] + phi[1:2], 64, 0)
    hard[5] = x[5]
    np.testing.assert_array_equal(whole[::-1], solve(np.ascontiguousarray(x[::-1]), phi, 0.1))
    np.testing.assert_array_equal(whole[5], solve(hard, phi, 0.1)[5])


def test_sparse_rows_are_the_dense_ones() -> None:
    x, phi = problem(700)
    x[3] = np.nan
    gram, c = phi @ phi.T, correlations(x, phi)
    starts, index, value = lasso_host.sparse_codes(gram, c.__getitem__, 700, 0.2)
    dense = on_host(x, phi, 0.2)
    assert np.isnan(dense[3]).all()
    dense[3] = 0
    assert (starts.dtype, index.dtype, value.dtype) == (np.int64, np.int32, np.float32)
    again = np.zeros_like(dense)
    again[np.repeat(np.arange(700), np.diff(starts)), index] = value
    np.testing.assert_array_equal(again, dense)
    assert (value != 0).all()
    assert all((np.diff(index[a:b]) > 0).all() for a, b in pairwise(starts))
    empty = lasso_host.sparse_codes(gram, c.__getitem__, 0, 0.2)
    assert [part.shape for part in empty] == [(1,), (0,), (0,)]


def test_the_step_is_no_longer_than_allowed() -> None:
    for seed, (atoms, width) in enumerate([(5, 9), (40, 8), (64, 64)]):
        phi = np.random.default_rng(seed).normal(size=(atoms, width)) * 10 ** (4.0 * (seed - 1))
        largest = np.linalg.eigvalsh(phi @ phi.T)[-1]
        bound = float(lasso.largest_eigenvalue(jnp.asarray((phi @ phi.T).astype(np.float32))))
        assert largest <= bound <= 1.3 * largest


def test_a_round_over_the_atoms_lowers_the_error() -> None:
    """Against plain NumPy, atom by atom; an atom without codes stays."""
    draw = np.random.default_rng(2)
    codes = draw.normal(size=(90, 12)).astype(np.float32) * (draw.random((90, 12)) < 0.3)
    codes[:, 4] = 0
    x, phi = (draw.normal(size=(n, 7)).astype(np.float32) for n in (90, 12))
    phi /= 2 * np.linalg.norm(phi, axis=1, keepdims=True)
    A, B = codes.T @ codes, codes.T @ x
    new = phi.copy()
    for j in np.flatnonzero(np.diag(A) > 0):
        u = new[j] + (B[j] - A[j] @ new) / A[j, j]
        new[j] = u / max(np.linalg.norm(u), 1)
    found = lasso_host.update_atoms(phi, A, B)
    np.testing.assert_allclose(found, new, atol=1e-5)
    np.testing.assert_array_equal(found[4], phi[4])
    assert ((x - codes @ found) ** 2).sum() < ((x - codes @ phi) ** 2).sum()


def test_a_start_near_the_end_is_used() -> None:
    x, phi = problem()
    gram, c = jnp.asarray(phi @ phi.T), jnp.asarray(correlations(x, phi))
    done = lasso.fista(gram, c, 0.1)
    again = jax.jit(lambda start: lasso.fista(gram, c, 0.1, iterations=1, start=start))(done)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(done))
