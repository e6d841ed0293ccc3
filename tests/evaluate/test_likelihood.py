"""log Z against sums over all states in NumPy, annealing against the exact log Z, pseudo-likelihood against its definition."""

from __future__ import annotations

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from mmfeat.errors import SettingsError
from mmfeat.evaluate.likelihood import all_bits, annealed, log_likelihood, log_partition, pseudo_log_likelihood
from mmfeat.learners.rbm import Rbm, RbmState


def machine(visible: int, hidden: int, scale: float = 1.0, seed: int = 0) -> tuple[Rbm, RbmState]:
    learner = Rbm(hidden=hidden)
    state = learner.init(jax.random.key(seed), np.zeros((1, visible), np.float32))
    draw = np.random.default_rng(seed)
    return learner, state._replace(
        weights=jnp.asarray(scale * draw.normal(size=(visible, hidden)), jnp.float32),
        visible=jnp.asarray(scale * draw.normal(size=visible), jnp.float32),
        hidden=jnp.asarray(scale * draw.normal(size=hidden), jnp.float32),
    )


def by_numpy(state: RbmState) -> np.ndarray:
    """-E of every pair of states (2^d, 2^hidden), float64."""
    W, b, a = (np.asarray(each, np.float64) for each in (state.weights, state.visible, state.hidden))
    v, h = (np.array(list(product([0.0, 1.0], repeat=len(bias)))) for bias in (b, a))
    return v @ W @ h.T + (v @ b)[:, None] + (h @ a)[None, :]


@pytest.mark.parametrize(("visible", "hidden"), [(6, 5), (4, 7), (1, 1)])
def test_log_z_is_the_sum_over_all_states(visible: int, hidden: int) -> None:
    learner, state = machine(visible, hidden)
    minus = by_numpy(state)
    assert log_partition(learner, state) == pytest.approx(logsumexp(minus), abs=1e-5)
    v = np.array(list(product([0.0, 1.0], repeat=visible)), np.float32)
    logs = log_likelihood(learner, state, v, log_partition(learner, state))
    np.testing.assert_allclose(logs, logsumexp(minus, axis=1) - logsumexp(minus), atol=1e-5)
    assert np.exp(logs).sum() == pytest.approx(1, abs=1e-5)


def test_log_z_of_many_blocks() -> None:
    """2^15 states in four blocks; the other side of the same machine, enumerated by NumPy, gives the same."""
    learner, state = machine(15, 20, scale=0.5)
    W, b, a = (np.asarray(each, np.float64) for each in (state.weights, state.visible, state.hidden))
    v = np.array(list(product([0.0, 1.0], repeat=15)))
    assert log_partition(learner, state) == pytest.approx(
        logsumexp(v @ b + np.logaddexp(0, v @ W + a).sum(1)), abs=1e-4
    )


def test_log_z_of_linear_hidden_units_sums_over_the_visible() -> None:
    learner, state = Rbm(hidden=30, linear=True), machine(5, 30, scale=0.4)[1]
    W, b, a = (np.asarray(each, np.float64) for each in (state.weights, state.visible, state.hidden))
    v = np.array(list(product([0.0, 1.0], repeat=5)))
    z = v @ W + a  # ∫ exp(z h - h²/2) dh = sqrt(2π) exp(z²/2)
    assert log_partition(learner, state) == pytest.approx(
        logsumexp(v @ b + 0.5 * (z**2).sum(1)) + 15 * np.log(2 * np.pi), abs=1e-4
    )


def test_all_bits_are_all_states() -> None:
    assert {tuple(row) for row in np.asarray(all_bits(4)).astype(int)} == set(product([0, 1], repeat=4))


def test_annealing_finds_log_z() -> None:
    """Within its own bounds, and within 0.1 nats, of the exact log Z; data near the model's help."""
    learner, state = machine(20, 12, scale=0.7, seed=1)
    exact = log_partition(learner, state)
    found = annealed(learner, state, temperatures=500, chains=200)
    assert found.low <= exact <= found.high
    assert found.log_z == pytest.approx(exact, abs=0.1)
    rows = np.asarray(learner.generate(jax.random.key(1), state, 200, 100)) > 0.5
    helped = annealed(learner, state, temperatures=500, chains=200, rows=rows.astype(np.float32))
    assert helped.log_z == pytest.approx(exact, abs=0.1)


def test_annealing_of_a_machine_without_weights_is_exact() -> None:
    learner, state = machine(20, 12, scale=0.0)
    found = annealed(learner, state, temperatures=3, chains=5)
    assert found.log_z == pytest.approx(32 * np.log(2), abs=1e-5)
    assert found.high - found.low < 1e-5


def test_pseudo_likelihood_is_the_product_of_the_conditionals() -> None:
    learner, state = machine(6, 5)
    p = np.exp(logsumexp(by_numpy(state), axis=1))
    v = np.array(list(product([0, 1], repeat=6)))
    numbers = v @ (2 ** np.arange(5, -1, -1))
    wanted = np.zeros(64)
    for i in range(6):
        wanted += np.log(p[numbers] / (p[numbers] + p[numbers ^ (1 << (5 - i))]))
    np.testing.assert_allclose(pseudo_log_likelihood(learner, state, v.astype(np.float32)), wanted, atol=1e-4)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(SettingsError, match="at most 26 bits"):
        log_partition(*machine(40, 30))
    with pytest.raises(SettingsError, match="bits on both sides"):
        annealed(Rbm(hidden=5, linear=True), machine(6, 5)[1])
