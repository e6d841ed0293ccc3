"""Deep belief nets against enumeration, published counts, and the chain they are."""

from __future__ import annotations

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logsumexp
from sklearn.datasets import load_digits

import mmfeat
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learners import boltzmann
from mmfeat.learners.belief_net import count_parameters, dbn, generate, transpose, unroll
from mmfeat.learners.gaussian_rbm import GaussianRbm
from mmfeat.learners.rbm import Rbm, RbmState

KEY = jax.random.key(0)


def bits(units: int) -> np.ndarray:
    return np.array(list(product([0.0, 1.0], repeat=units)))


def machine(visible: int, hidden: int, seed: int) -> tuple[Rbm, RbmState]:
    learner, draw = (
        Rbm(hidden=hidden, learning_rate=0.1, weight_cost=0.0, momentum=(0.0, 0.0), negative="pcd"),
        np.random.default_rng(seed),
    )
    state = learner.init(KEY, np.zeros((1, visible), np.float32))
    return learner, state._replace(
        weights=jnp.asarray(draw.normal(size=(visible, hidden)), jnp.float32),
        visible=jnp.asarray(draw.normal(size=visible), jnp.float32),
        hidden=jnp.asarray(draw.normal(size=hidden), jnp.float32),
    )


def parts(state: RbmState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.asarray(each, np.float64) for each in (state.weights, state.visible, state.hidden))  # type: ignore[return-value]


def log_marginal(state: RbmState) -> np.ndarray:
    """log P(v) of every v, by enumeration."""
    W, b, a = parts(state)
    v = bits(len(b))
    logs = v @ b + np.logaddexp(0, v @ W + a).sum(1)
    return logs - logsumexp(logs)


def log_bernoulli(x: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, (1 - 2 * x) * logits).sum(-1)


def bound(first: RbmState, second: RbmState, x: np.ndarray) -> float:
    """Σ Q log P(v | h; W1) + H(Q) + Σ Q log P(h; W2), mean over the rows x."""
    W, b, a = parts(first)
    h = bits(len(a))
    log_q = log_bernoulli(h[None], (x @ W + a)[:, None])
    down = log_bernoulli(x[:, None], (h @ W.T + b)[None])
    return float((np.exp(log_q) * (down - log_q + log_marginal(second)[None])).sum(1).mean())


def test_a_second_layer_starts_at_the_likelihood_of_the_first_and_raises_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mmfeat.learners.rbm as module

    def exact(learner: Any, key: Any, state: Any, h: Any, share: Any) -> tuple[boltzmann.Negative, Any]:
        v = jnp.asarray(bits(4), jnp.float32)
        model = jax.nn.softmax(-learner.free_energy(state, v))
        return boltzmann.Negative(v, learner.hidden_mean(state, v), model), state.chains

    monkeypatch.setattr(module, "negative_phase", exact)
    _, first = machine(5, 4, 0)
    learner, _ = machine(4, 5, 1)
    x = bits(5)[np.random.default_rng(0).integers(0, 32, 20)]
    state = transpose(first, learner, KEY)
    rows = (x @ 2 ** np.arange(4, -1, -1)).astype(int)
    bounds = [bound(first, state, x)]
    assert bounds[0] == pytest.approx(log_marginal(first)[rows].mean(), abs=1e-5)
    W, _, a = parts(first)
    posterior = np.exp(log_bernoulli(bits(4)[None], (x @ W + a)[:, None])).mean(0)
    step = jax.jit(learner.step)
    for _ in range(30):
        state, _ = step(KEY, state, bits(4).astype(np.float32), jnp.asarray(posterior, jnp.float32))
        bounds.append(bound(first, state, x))
    assert (np.diff(bounds) > -1e-6).all()
    assert bounds[-1] > bounds[0] + 0.05


def test_the_net_generates_what_it_says() -> None:
    """P(v) = Σ_h P(v | h; W1) P(h; W2), and not the first machine's own."""
    lower, first = machine(5, 4, 0)
    upper, second = machine(4, 3, 1)
    made = np.asarray(generate((lower, upper), (first, second), KEY, count=20_000, steps=60))
    W, b, _ = parts(first)
    wanted = np.exp(log_marginal(second)) @ expit(bits(4) @ W.T + b)
    np.testing.assert_allclose(made.mean(0), wanted, atol=0.012)
    assert np.abs(np.exp(log_marginal(first)) @ bits(5) - wanted).max() > 0.05


def test_the_counts_are_those_of_the_published_net() -> None:
    found = count_parameters((784, 500, 500, 2000, 10))
    assert found.weights == 1_662_000
    assert found.biases == 3_010
    assert found.weights + found.biases == 1_665_010
    assert sum(found) == 1_665_794
    with pytest.raises(SettingsError):
        count_parameters((784,))


def test_the_counts_are_those_of_the_arrays() -> None:
    x = load_digits().data[:200].astype(np.float32) / 16
    model = mmfeat.fit(dbn((12, 9), passes=1), x)
    layers = unroll(model.chain.stages, model.states)
    found = count_parameters((64, 12, 9))
    assert sum(layer.kernel.size for layer in layers) == found.weights
    assert sum(layer.encoder_bias.size for layer in layers) == found.biases
    assert layers[0].decoder_bias.size == found.input_biases


def test_a_stack_of_three_unrolls_to_a_net_that_rebuilds_digits() -> None:
    x = load_digits().data.astype(np.float32) / 16
    model = mmfeat.fit(dbn((50, 30), code=8, passes=8, batch=50), x)
    layers, h = unroll(model.chain.stages, model.states), x
    for layer in layers[:-1]:
        h = expit(h @ layer.kernel + layer.encoder_bias)
    np.testing.assert_allclose(h @ layers[-1].kernel + layers[-1].encoder_bias, model.encode(x), atol=2e-4)
    for layer in reversed(layers[:-1]):
        h = expit(h @ layer.kernel.T + layer.decoder_bias)
    assert np.square(h - x).sum(1).mean() < 0.75 * np.square(x - x.mean(0)).sum(1).mean()
    made = np.asarray(generate(model.chain.stages, model.states, KEY, 50, 100))
    assert made.shape == (50, 64)
    assert np.corrcoef(made.mean(0), x.mean(0))[0, 1] > 0.85


def test_a_gaussian_first_layer_takes_its_deviations_along() -> None:
    x = (load_digits().data[:300].astype(np.float32) - 5) / 3 + np.random.default_rng(0).normal(size=(300, 64)).astype(
        np.float32
    )
    model = mmfeat.fit(dbn((12, 6), gaussian=True, passes=1), x)
    assert [type(stage) for stage in model.chain.stages] == [GaussianRbm, Rbm]
    h = x
    for layer in unroll(model.chain.stages, model.states):
        h = expit(h @ layer.kernel + layer.encoder_bias)
    np.testing.assert_allclose(h, model.encode(x), atol=1e-5)


def test_what_is_no_net_is_refused() -> None:
    from mmfeat.learners import Pca

    with pytest.raises(SettingsError, match="one layer or more"):
        dbn(())
    with pytest.raises(SettingsError, match="one after another"):
        unroll((Pca(2),), (None,))
    with pytest.raises(SettingsError, match="one after another"):
        unroll((Rbm(), Pca(2), Rbm()), (None, None, None))
    with pytest.raises(ShapeError, match="hidden=5"):
        transpose(machine(5, 4, 0)[1], Rbm(hidden=7), KEY)


def test_the_name_stays_that_of_the_function() -> None:
    """`mmfeat.learners.dbn` would become a module of that name the moment it is imported."""
    from mmfeat.learners import dbn as found

    assert found is dbn
