"""The Gaussian machine against the mixture of 2^hidden Gaussians that it is, and against the parameters of made data."""

from __future__ import annotations

from itertools import product
from typing import Any

import fixtures_laws as laws
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from mmfeat.errors import SettingsError
from mmfeat.evaluate.likelihood import log_likelihood, log_partition
from mmfeat.learner import default_batches, start, train
from mmfeat.learners.boltzmann import Negative
from mmfeat.learners.gaussian_rbm import GaussianRbm, GaussianRbmState
from mmfeat.mesh import make_mesh

KEY = jax.random.key(0)
ONE_DEVICE = make_mesh(1, devices=jax.devices()[:1])
NAMES = ("weights", "visible", "hidden", "deviation")


def parameters(visible: int = 3, hidden: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    shapes = {"weights": (visible, hidden), "visible": (visible,), "hidden": (hidden,), "deviation": (visible,)}
    return {name: 0.6 * draw.normal(size=shape) for name, shape in shapes.items()}


def state_of(learner: GaussianRbm, values: dict[str, np.ndarray]) -> GaussianRbmState:
    first = learner.init(KEY, np.eye(len(values["visible"]), dtype=np.float32))
    return first._replace(**{name: jnp.asarray(each, jnp.float32) for name, each in values.items()})


def mixture(values: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """log P(h) (2^hidden,), h, the means (2^hidden, d) and the deviations (d,), float64."""
    W, b, a, s = (values[name] for name in NAMES)
    h = np.array(list(product([0.0, 1.0], repeat=len(a))))
    sigma = np.exp(s)
    logs = h @ a + ((b / sigma) * (h @ W.T) + 0.5 * (h @ W.T) ** 2).sum(1)
    return logs - logsumexp(logs), h, b + sigma * (h @ W.T), sigma


def log_density(values: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    log_p, _, means, sigma = mixture(values)
    return logsumexp(log_p + norm.logpdf(x[:, None], means, sigma).sum(-1), axis=1)


def rows(count: int = 30) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 3)) * [0.5, 1.0, 2.0]


def test_the_density_is_that_of_the_mixture() -> None:
    values, learner, x = parameters(), GaussianRbm(hidden=4), rows()
    state = state_of(learner, values)
    found = log_likelihood(learner, state, x, log_partition(learner, state))
    np.testing.assert_allclose(found, log_density(values, x), atol=1e-5)
    log_p, h, means, sigma = mixture(values)
    posterior = log_p + norm.logpdf(x[:, None], means, sigma).sum(-1)
    posterior = np.exp(posterior - logsumexp(posterior, axis=1, keepdims=True))
    np.testing.assert_allclose(learner.encode(state, x.astype(np.float32)), posterior @ h, atol=1e-5)
    np.testing.assert_allclose(learner.visible_mean(state, h.astype(np.float32)), means, atol=1e-5)
    free = np.asarray(learner.hidden_free_energy(state, h.astype(np.float32)), np.float64)
    np.testing.assert_allclose(-free - logsumexp(-free), log_p, atol=1e-5)
    v = np.repeat(x[:2], len(h), 0).astype(np.float32)
    pairs = np.asarray(learner.energy(state, v, np.tile(h, (2, 1)).astype(np.float32)), np.float64).reshape(2, -1)
    np.testing.assert_allclose(
        -logsumexp(-pairs, axis=1), learner.free_energy(state, x[:2].astype(np.float32)), atol=1e-4
    )


def test_a_step_climbs_the_likelihood_of_the_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exact second expectation (Gauss-Hermite nodes around every mean) it is the slope by finite differences."""
    import mmfeat.learners.gaussian_rbm as module

    values, x = parameters(), rows()
    log_p, h, means, sigma = mixture(values)
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    grid = np.array(list(product(nodes, repeat=3)))
    share = np.prod(list(product(weights / weights.sum(), repeat=3)), axis=1)
    exact = (
        (means[:, None] + sigma * grid[None]).reshape(-1, 3),
        np.repeat(h, len(grid), 0),
        (np.exp(log_p)[:, None] * share[None]).ravel(),
    )
    negative = Negative(*(jnp.asarray(each, jnp.float32) for each in exact))
    monkeypatch.setattr(module, "negative_phase", lambda learner, key, state, h, share: (negative, state.chains))
    learner = GaussianRbm(hidden=4, learning_rate=1.0, weight_cost=0.0, deviation_rate=1.0, negative="pcd")
    state = state_of(learner, values)
    after, _ = learner.step(KEY, state, x.astype(np.float32), np.ones(len(x), np.float32))
    for name in NAMES:
        slope = np.zeros_like(values[name])
        for place in np.ndindex(slope.shape):
            moved = [{**values, name: values[name].copy()} for _ in range(2)]
            moved[0][name][place] += 1e-5
            moved[1][name][place] -= 1e-5
            slope[place] = (log_density(moved[0], x).mean() - log_density(moved[1], x).mean()) / 2e-5
        step = np.asarray(getattr(after, name), np.float64) - np.asarray(getattr(state, name))
        np.testing.assert_allclose(step, slope, atol=3e-4 * np.abs(slope).max() + 1e-6, err_msg=name)


def test_deviations_and_density_of_made_data_are_found() -> None:
    """Two clusters with deviations 0.3, 1 and 2: those are learned, and the density comes near the true one's."""
    draw, sigma = np.random.default_rng(2), np.array([0.3, 1.0, 2.0])
    labels = draw.integers(0, 2, 6000)
    centres = np.array([[0.0, 0.0, 0.0], [0.6, -2.0, 3.0]])
    x = (centres[labels] + sigma * draw.normal(size=(6000, 3))).astype(np.float32)
    learner = GaussianRbm(hidden=2, learning_rate=0.05, deviation_rate=0.3, spread=0.1, passes=12, schedule="linear")
    run = train(learner, start(learner, x, ONE_DEVICE), default_batches(learner, x, mesh=ONE_DEVICE), ONE_DEVICE)
    np.testing.assert_allclose(np.exp(run.state.deviation), sigma, rtol=0.07)
    true = logsumexp(norm.logpdf(x[:, None], centres, sigma).sum(-1), axis=1).mean() - np.log(2)
    found = log_likelihood(learner, run.state, x, log_partition(learner, run.state)).mean()
    assert true - 0.05 < found < true + 0.02


def test_deviations_stay_at_1_unless_learned() -> None:
    x, learner = rows().astype(np.float32), GaussianRbm(hidden=4, learn_deviation=False, passes=2, batch=10)
    run = train(learner, start(learner, x, ONE_DEVICE), default_batches(learner, x, mesh=ONE_DEVICE), ONE_DEVICE)
    np.testing.assert_array_equal(run.state.deviation, 0)


def test_generated_rows_have_the_moments_of_the_mixture() -> None:
    values, learner = parameters(seed=3), GaussianRbm(hidden=4)
    made = np.asarray(learner.generate(KEY, state_of(learner, values), 5000, 50))
    log_p, _, means, _ = mixture(values)
    np.testing.assert_allclose(made.mean(0), np.exp(log_p) @ means, atol=0.05)


@pytest.mark.parametrize("law", laws.LAWS)
def test_persistent_chains_keep_the_laws(law: str) -> None:
    settings: Any = GaussianRbm(negative="pcd", chains=8, learning_rate=1e-3)
    laws.LAWS[law](laws.shrink(settings))


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingsError, match="deviation_rate"):
        GaussianRbm(deviation_rate=-1)
