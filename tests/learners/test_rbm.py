"""The restricted Boltzmann machine against the enumeration of all its 2^11 states, in float64 NumPy, and on digits."""

from __future__ import annotations

import gzip
from itertools import product
from pathlib import Path
from typing import Any

import fixtures_laws as laws
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logsumexp
from sklearn.datasets import load_digits

from mmfeat.errors import SettingsError
from mmfeat.evaluate.likelihood import log_likelihood, log_partition
from mmfeat.learner import default_batches, start, train
from mmfeat.learners import boltzmann
from mmfeat.learners.boltzmann import Negative, draw_bits, negative_phase
from mmfeat.learners.rbm import Rbm, RbmState
from mmfeat.mesh import make_mesh

KEY = jax.random.key(0)
ONE_DEVICE = make_mesh(1, devices=jax.devices()[:1])
VISIBLE, HIDDEN = 6, 5
V = np.array(list(product([0.0, 1.0], repeat=VISIBLE)))
H = np.array(list(product([0.0, 1.0], repeat=HIDDEN)))


def parameters(seed: int = 0, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Random parameters, float64."""
    draw = np.random.default_rng(seed)
    return {
        "weights": scale * draw.normal(size=(VISIBLE, HIDDEN)),
        "visible": 0.5 * scale * draw.normal(size=VISIBLE),
        "hidden": 0.5 * scale * draw.normal(size=HIDDEN),
    }


def state_of(learner: Rbm, values: dict[str, np.ndarray]) -> RbmState:
    first = learner.init(KEY, np.zeros((1, len(values["visible"])), np.float32))
    return first._replace(**{name: jnp.asarray(each, jnp.float32) for name, each in values.items()})


def joint(values: dict[str, np.ndarray]) -> np.ndarray:
    """P(v, h) of all states, (64, 32): exp(-E) / Z with E as the paper writes it."""
    energy = -V @ values["weights"] @ H.T - (V @ values["visible"])[:, None] - (H @ values["hidden"])[None, :]
    return np.exp(-energy - logsumexp(-energy))


def data(count: int = 40) -> np.ndarray:
    return (np.random.default_rng(3).random((count, VISIBLE)) < np.linspace(0.2, 0.8, VISIBLE)).astype(np.float64)


def likelihood(values: dict[str, np.ndarray], x: np.ndarray, cost: float) -> float:
    """L = mean log P(v) - cost / 2 ‖W‖², by enumeration."""
    logs = np.log(joint(values).sum(1))
    rows = [int("".join(str(int(bit)) for bit in v), 2) for v in x]
    return float(logs[rows].mean() - 0.5 * cost * (values["weights"] ** 2).sum())


def finite_differences(values: dict[str, np.ndarray], x: np.ndarray, cost: float) -> dict[str, np.ndarray]:
    slope = {name: np.zeros_like(each) for name, each in values.items()}
    for name, each in values.items():
        for place in np.ndindex(each.shape):
            ends = []
            for sign in (1, -1):
                moved = {key: value.copy() for key, value in values.items()}
                moved[name][place] += sign * 1e-5
                ends.append(likelihood(moved, x, cost))
            slope[name][place] = (ends[0] - ends[1]) / 2e-5
    return slope


def statistics(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """E_model of v hᵀ, v and h."""
    p = joint(values)
    return {"weights": np.einsum("nm,ni,mj->ij", p, V, H), "visible": p.sum(1) @ V, "hidden": p.sum(0) @ H}


def flat(slope: dict[str, Any]) -> np.ndarray:
    return np.concatenate([np.asarray(slope[name], np.float64).ravel() for name in ("weights", "visible", "hidden")])


def test_conditionals_and_free_energies_are_those_of_the_enumeration() -> None:
    values, learner = parameters(), Rbm(hidden=HIDDEN)
    state, p = state_of(learner, values), joint(values)
    v, h = V.astype(np.float32), H.astype(np.float32)
    np.testing.assert_allclose(learner.encode(state, v), (p / p.sum(1, keepdims=True)) @ H, atol=1e-6)
    np.testing.assert_allclose(learner.visible_mean(state, h), (p / p.sum(0)).T @ V, atol=1e-6)
    for free, marginal in (
        (learner.free_energy(state, v), p.sum(1)),
        (learner.hidden_free_energy(state, h), p.sum(0)),
    ):
        free = np.asarray(free, np.float64)
        np.testing.assert_allclose(np.exp(-free - logsumexp(-free)), marginal, rtol=2e-5)
    pairs = np.asarray(learner.energy(state, np.repeat(v, len(h), 0), np.tile(h, (len(v), 1))), np.float64)
    np.testing.assert_allclose(np.exp(-pairs - logsumexp(-pairs)), p.ravel(), rtol=2e-5)


def test_free_energy_of_linear_hidden_units_is_the_integral() -> None:
    learner = Rbm(hidden=1, linear=True)
    values = {"weights": np.array([[0.7], [-1.2]]), "visible": np.array([0.3, -0.4]), "hidden": np.array([0.5])}
    state = state_of(learner, values)
    for v in ([0.0, 0.0], [1.0, 0.0], [1.0, 1.0]):

        def density(h: float, v: list[float] = v) -> float:
            return float(np.exp(-learner.energy(state, np.array([v], np.float32), np.array([[h]], np.float32))[0]))

        found = learner.free_energy(state, np.array([v], np.float32))[0]
        assert float(found) == pytest.approx(-np.log(quad(density, -12, 12)[0]), abs=1e-4)
        mean = quad(lambda h: h * density(h), -12, 12)[0] / quad(density, -12, 12)[0]
        assert float(learner.encode(state, np.array([v], np.float32))[0, 0]) == pytest.approx(mean, abs=1e-4)


def exact(values: dict[str, np.ndarray]) -> Any:
    """A negative phase that is the model itself: all visible states, each with its probability."""
    p = joint(values)
    mean = (p / p.sum(1, keepdims=True)) @ H

    def phase(learner: Any, key: Any, state: Any, h: Any, share: Any) -> tuple[Negative, Any]:
        return Negative(*(jnp.asarray(each, jnp.float32) for each in (V, mean, p.sum(1)))), state.chains

    return phase


def test_a_step_climbs_the_penalised_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exact second expectation the step is the slope of the enumerated L, penalty included."""
    import mmfeat.learners.rbm as module

    values, x, cost = parameters(), data(), 0.3
    learner = Rbm(hidden=HIDDEN, learning_rate=1.0, weight_cost=cost, negative="pcd")
    monkeypatch.setattr(module, "negative_phase", exact(values))
    state = state_of(learner, values)
    after, _ = learner.step(KEY, state, x.astype(np.float32), np.ones(len(x), np.float32))
    wanted = finite_differences(values, x, cost)
    for name, slope in wanted.items():
        step = np.asarray(getattr(after, name), np.float64) - np.asarray(getattr(state, name))
        assert np.abs(step - slope).max() < 1e-4 * np.abs(slope).max() + 1e-6, name


def estimate(learner: Rbm, state: RbmState, x: np.ndarray, repeats: int) -> dict[str, np.ndarray]:
    """The mean over many draws of the negative statistics of a batch."""
    many = jnp.asarray(np.tile(x, (repeats, 1)), jnp.float32)
    share = jnp.full(len(many), 1 / len(many), jnp.float32)
    phase = jax.jit(lambda key, s: negative_phase(learner, key, s, learner.hidden_mean(s, many), share)[0])
    found = phase(KEY, state)
    weighted = found.share[:, None] * found.h
    return {"weights": found.v.T @ weighted, "visible": found.share @ found.v, "hidden": found.share @ found.h}


def test_cd_goes_to_the_exact_slope_as_steps_grow() -> None:
    values, x = parameters(scale=1.5), data()
    wanted = flat(statistics(values))
    mean = expit(x @ values["weights"] + values["hidden"])
    positive = flat({"weights": x.T @ mean / len(x), "visible": x.mean(0), "hidden": mean.mean(0)})
    bias = []
    for steps in (1, 4, 60):
        learner = Rbm(hidden=HIDDEN, steps=steps, sample_visible=True)
        found = flat(estimate(learner, state_of(learner, values), x, 500))
        bias.append(np.abs(found - wanted).max())
        cosine = (positive - found) @ (positive - wanted)
        assert cosine > 0
    assert bias[0] > 2 * bias[1] > 4 * bias[2]
    assert bias[2] < 0.012  # 20,000 draws: standard errors below 0.0035


def test_persistent_chains_come_to_the_model() -> None:
    values, learner = parameters(scale=1.5), Rbm(hidden=HIDDEN, negative="pcd", chains=4000)
    state = state_of(learner, values)
    share = jnp.full(8, 1 / 8, jnp.float32)
    h = jnp.full((8, HIDDEN), 0.5, jnp.float32)
    phase = jax.jit(lambda key, s: negative_phase(learner, key, s, h, share))
    total, rounds = np.zeros_like(flat(values)), 200
    for number in range(rounds):
        found, chains = phase(jax.random.fold_in(KEY, number), state)
        state = state._replace(chains=chains)
        if number >= rounds // 2:
            weighted = found.share[:, None] * found.h
            total += flat(
                {"weights": found.v.T @ weighted, "visible": found.share @ found.v, "hidden": found.share @ found.h}
            )
    np.testing.assert_allclose(total / (rounds - rounds // 2), flat(statistics(values)), atol=0.006)


def test_cd1_is_the_step_of_the_released_code() -> None:
    """Hidden units drawn once, probabilities elsewhere; means over the batch; momentum and weight cost as published."""
    values, x = parameters(), data(10)
    learner = Rbm(hidden=HIDDEN, learning_rate=0.1, weight_cost=2e-4)
    state = state_of(learner, values)
    state = state._replace(velocity={name: jnp.full_like(each, 0.01) for name, each in state.velocity.items()})
    after, metrics = learner.step(KEY, state, x.astype(np.float32), np.ones(10, np.float32))
    W, b, a = (values[name] for name in ("weights", "visible", "hidden"))
    h0 = expit(x @ W + a)
    drawn = np.asarray(draw_bits(jax.random.split(KEY, 4)[0], jnp.asarray(h0, jnp.float32)))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    v1 = expit(drawn @ W.T + b)
    h1 = expit(v1 @ W + a)
    delta = 0.5 * 0.01 + 0.1 * ((x.T @ h0 - v1.T @ h1) / 10 - 2e-4 * W)
    np.testing.assert_allclose(after.weights, W + delta, atol=1e-6)
    np.testing.assert_allclose(after.visible, b + 0.005 + 0.1 * (x - v1).mean(0), atol=1e-6)
    np.testing.assert_allclose(after.hidden, a + 0.005 + 0.1 * (h0 - h1).mean(0), atol=1e-6)
    assert float(metrics["reconstruction_error"]) == pytest.approx(((x - v1) ** 2).sum(1).mean(), rel=1e-5)
    assert float(metrics["activity"]) == pytest.approx(h0.mean(), rel=1e-5)


def test_momentum_rises_after_the_switch_and_the_rate_falls_if_asked() -> None:
    learner = Rbm(hidden=HIDDEN, learning_rate=0.2, weight_cost=0.0, schedule="linear", passes=10, momentum=(0.5, 0.9))
    state = state_of(learner, parameters())
    state = state._replace(velocity={name: jnp.ones_like(each) for name, each in state.velocity.items()})
    zero = {name: jnp.zeros_like(each) for name, each in state.velocity.items()}
    one = {name: jnp.ones_like(each) for name, each in state.velocity.items()}
    for passes, momentum, rate in ((0, 0.5, 0.2), (4, 0.5, 0.12), (5, 0.9, 0.1), (9, 0.9, 0.02), (30, 0.9, 0.02)):
        late = state._replace(passes=jnp.int32(passes))
        still = boltzmann.ascend(learner, late, zero, jnp.zeros(HIDDEN), jnp.bool_(True))
        np.testing.assert_allclose(still.velocity["weights"], momentum, rtol=1e-6)
        moved = boltzmann.ascend(learner, late, one, jnp.zeros(HIDDEN), jnp.bool_(True))
        np.testing.assert_allclose(moved.velocity["hidden"], momentum + rate, rtol=1e-6)


@pytest.mark.parametrize("negative", ["cd", "pcd"])
def test_a_batch_of_padding_alone_moves_nothing(negative: str) -> None:
    learner = Rbm(hidden=HIDDEN, negative=negative, sparsity=0.1)
    state = state_of(learner, parameters())
    state = state._replace(velocity={name: jnp.ones_like(each) for name, each in state.velocity.items()})
    after, _ = learner.step(KEY, state, np.full((3, VISIBLE), 9.0, np.float32), np.zeros(3, np.float32))
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bits_have_their_means_and_no_relation() -> None:
    mean = jnp.tile(jnp.asarray([0.0, 1.0, 0.5, 0.01, 0.9], jnp.float32), (200_000, 1))
    bits = np.asarray(jax.jit(draw_bits)(KEY, mean))
    assert (bits[:, 0] == 0).all()
    assert (bits[:, 1] == 1).all()
    error = np.sqrt(np.asarray(mean[0] * (1 - mean[0])) / len(bits))
    assert (np.abs(bits.mean(0) - mean[0]) <= 5 * error + 2**-17).all()
    half = np.asarray(draw_bits(KEY, jnp.full((50_000, 8), 0.5, jnp.float32)))
    correlation = np.corrcoef(half.T) - np.eye(8)  # columns 0 and 4 share their random words
    assert np.abs(correlation).max() < 5 / np.sqrt(len(half))
    np.testing.assert_array_equal(bits[:7], draw_bits(KEY, mean[:7]))


def digits() -> np.ndarray:
    return load_digits().data.astype(np.float32) / 16


def fit(learner: Rbm, x: np.ndarray) -> RbmState:
    return train(learner, start(learner, x, ONE_DEVICE), default_batches(learner, x, mesh=ONE_DEVICE), ONE_DEVICE).state


def test_a_machine_starts_at_the_means_of_the_columns() -> None:
    x, learner = data(400).astype(np.float32), Rbm(hidden=HIDDEN, spread=0.0)
    state = learner.init(KEY, x)
    p = (x.sum(0) + 0.5) / (len(x) + 1)
    wanted = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1)
    np.testing.assert_allclose(log_likelihood(learner, state, x, log_partition(learner, state)), wanted, atol=1e-5)


def test_a_sparsity_target_is_met() -> None:
    x, settings = digits(), {"hidden": 40, "batch": 50}
    learner = Rbm(**settings, passes=15, sparsity=0.1)
    active = np.asarray(learner.encode(fit(learner, x), x)).mean(0)
    assert active.mean() == pytest.approx(0.1, rel=0.1)
    free = Rbm(**settings, passes=5)
    assert abs(np.asarray(free.encode(fit(free, x), x)).mean() - 0.1) > 0.05


def test_generated_rows_are_like_the_data_and_noise_is_not() -> None:
    x, learner = digits(), Rbm(hidden=80, passes=20, negative="pcd", learning_rate=0.05, schedule="linear")
    state = fit(learner, x)
    made = np.asarray(jax.jit(learner.generate, static_argnums=(2, 3))(KEY, state, 200, 300))
    assert made.shape == (200, 64)
    assert made.min() >= 0
    assert made.max() <= 1
    assert np.corrcoef(made.mean(0), x.mean(0))[0, 1] > 0.97
    noise = (np.random.default_rng(0).random((200, 64)) < x.mean()).astype(np.float32)
    energy = [float(np.asarray(learner.free_energy(state, jnp.asarray(rows))).mean()) for rows in (x, made, noise)]
    assert energy[2] > max(energy[:2]) + 20
    kept = np.asarray(learner.generate(KEY, state, 20, 0, x[:20]))
    distance = np.square(kept[:, None] - x[None, :20]).sum(-1)
    assert distance.diagonal().mean() < 0.7 * distance.mean()  # without steps the start is seen again


def test_rows_outside_0_and_1_are_clipped() -> None:
    learner = Rbm(hidden=HIDDEN)
    state = state_of(learner, parameters())
    np.testing.assert_array_equal(learner.encode(state, 3 * V - 1), learner.encode(state, V))


@pytest.mark.parametrize("law", laws.LAWS)
@pytest.mark.parametrize(
    "settings", [{"negative": "pcd", "chains": 8, "steps": 2}, {"linear": True, "learning_rate": 1e-3}]
)
def test_other_settings_keep_the_laws(settings: dict[str, Any], law: str) -> None:
    laws.LAWS[law](laws.shrink(Rbm(**settings)))


@pytest.mark.parametrize(
    "settings",
    [
        {"negative": "exact"},
        {"schedule": "cosine"},
        {"hidden": 0},
        {"momentum": (0.5, 1.0)},
        {"linear": True, "sparsity": 0.1},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Rbm(**settings)


def test_mnist_is_reconstructed(data_folder: Path) -> None:
    """10,000 digits, three passes of CD-1; 52.7 is the squared error a picture of the mean digit, 13.87 that of 30 components."""
    with gzip.open(data_folder / "mnist" / "train-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), np.uint8, 10_500 * 784, offset=16).reshape(-1, 784).astype(np.float32) / 255
    learner = Rbm(hidden=500, passes=3)
    state = fit(learner, x[:10_000])
    error = np.square(np.asarray(jax.jit(learner.reconstruct)(state, x[10_000:])) - x[10_000:]).sum(1).mean()
    assert error < 12
