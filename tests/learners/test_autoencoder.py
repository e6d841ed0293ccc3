"""The autoencoder against PCA, finite differences in float64 NumPy, closed forms, and its figures on digits."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from scipy.linalg import subspace_angles
from scipy.special import expit, log_softmax
from sklearn.datasets import load_digits

from mmfeat.errors import SettingsError
from mmfeat.learner import Run, default_batches, start, train, transform
from mmfeat.learners.autoencoder import Autoencoder, AutoencoderState
from mmfeat.mesh import make_mesh, on_host
from mmfeat.settings import from_json, to_json

KEY = jax.random.key(0)
ONE_DEVICE = make_mesh(1, devices=jax.devices()[:1])
ONE_LAYER: dict[str, Any] = {"hidden": (), "code": 3, "passes": 1}


def fit(learner: Autoencoder, x: np.ndarray, mesh: Mesh = ONE_DEVICE) -> Run:
    return train(learner, start(learner, x, mesh), default_batches(learner, x, mesh=mesh), mesh)


def first(learner: Autoencoder, x: np.ndarray) -> AutoencoderState:
    return jax.jit(learner.init)(KEY, x)


def rows(count: int = 40, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def digits() -> tuple[np.ndarray, np.ndarray]:
    x = load_digits().data.astype(np.float32) / 16
    return x[:1400], x[1400:]


def pca_error(train_rows: np.ndarray, test_rows: np.ndarray, components: int) -> float:
    """Squared error a row of PCA, by NumPy."""
    mean = train_rows.mean(0)
    axes = np.linalg.eigh((train_rows - mean).T @ (train_rows - mean))[1].T[-components:]
    return float(np.square(test_rows - mean - (test_rows - mean) @ axes.T @ axes).sum(1).mean())


def row_error(learner: Autoencoder, state: AutoencoderState, x: np.ndarray) -> float:
    return float(np.square(np.asarray(jax.jit(learner.reconstruct)(state, x)) - x).sum(1).mean())


def test_a_linear_autoencoder_spans_the_principal_subspace() -> None:
    generator = np.random.default_rng(0)
    spread = np.array([1.5, 1.2, 1.0, 0.4, 0.3, 0.3, 0.2, 0.2])
    turn = np.linalg.qr(generator.normal(size=(8, 8)))[0]
    x = (generator.normal(size=(500, 8)) * spread @ turn + 0.5).astype(np.float32)
    learner = Autoencoder(hidden=(), code=3, optimiser="nesterov", learning_rate=0.03, passes=300, batch=500)
    state = fit(learner, x).state
    axes = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:3]
    assert subspace_angles(np.asarray(state.params["decoder"]["layer0"]["kernel"]).T, axes.T).max() < 1e-2
    assert row_error(learner, state, x) < 1.01 * pca_error(x, x, 3)


def by_numpy(learner: Autoencoder, params: Any, x: np.ndarray, weight: np.ndarray) -> float:
    """The objective of a tanh net with a sigmoid code, in float64, written down once more."""
    encoder, decoder, last = params["encoder"], params["decoder"], len(learner.hidden)
    h = x
    for i in range(last + 1):
        h = h @ encoder[f"layer{i}"]["kernel"] + encoder[f"layer{i}"]["bias"]
        h = np.tanh(h) if i < last else expit(h)
    activity = np.abs(h).sum(1)
    for i in range(last + 1):
        kernel = encoder[f"layer{last - i}"]["kernel"].T if learner.tied else decoder[f"layer{i}"]["kernel"]
        h = h @ kernel + decoder[f"layer{i}"]["bias"]
        h = np.tanh(h) if i < last else h
    return float(weight @ (np.square(x - h).sum(1) + learner.sparsity * activity) / weight.sum())


@pytest.mark.parametrize("tied", [False, True])
def test_the_gradient_is_the_finite_difference(tied: bool) -> None:
    learner = Autoencoder(hidden=(4,), code=3, kind="sigmoid", activation="tanh", tied=tied, sparsity=0.3)
    x, weight = rows(6), np.array([1, 1, 0, 2, 1, 0], np.float32)
    params = on_host(first(learner, x).params)
    value, slope = jax.jit(jax.value_and_grad(lambda p: learner.objective(p, KEY, x, weight)[0]))(params)
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
    assert float(value) == pytest.approx(by_numpy(learner, params, x, weight), rel=1e-5)
    for leaf, found in zip(jax.tree.leaves(params), jax.tree.leaves(slope), strict=True):
        for place in np.ndindex(leaf.shape):
            kept, sides = leaf[place], []
            for shift in (1e-5, -1e-5):
                leaf[place] = kept + shift
                sides.append(by_numpy(learner, params, x, weight))
            leaf[place] = kept
            assert float(found[place]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-3, abs=1e-4)


LOSSES = {
    "absolute": lambda x, z: np.abs(x - z),
    "cross_entropy": lambda x, z: -x * np.log(expit(z)) - (1 - x) * np.log(1 - expit(z)),
    "huber": lambda x, z: np.where(np.abs(x - z) < 1, np.square(x - z) / 2, np.abs(x - z) - 0.5),
    "logistic": lambda x, z: np.log1p(np.exp(-x * z)),
    "softmax": lambda x, z: -x / x.sum(1, keepdims=True) * log_softmax(z, axis=1),
    "squared": lambda x, z: np.square(x - z),
}
LINKS = {
    "cross_entropy": expit,
    "logistic": lambda z: 2 * expit(z) - 1,
    "softmax": lambda z: np.exp(log_softmax(z, axis=1)),
}


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_and_link_is_its_formula(loss: str) -> None:
    learner = Autoencoder(loss=loss, **ONE_LAYER)
    x = {"logistic": np.sign(rows()), "softmax": np.abs(rows())}.get(loss, np.clip(rows(), 0, 1) * 3)
    x = np.clip(x, 0, 1) if loss == "cross_entropy" else x
    state = first(learner, x)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) * 3, state.params)
    z = x @ params["encoder"]["layer0"]["kernel"] @ params["decoder"]["layer0"]["kernel"]
    state = state._replace(params=jax.tree.map(lambda leaf: leaf.astype(np.float32), params))
    value = learner.objective(state.params, KEY, x, np.ones(len(x), np.float32))[0]
    assert float(value) == pytest.approx(LOSSES[loss](x, z).sum(1).mean(), rel=1e-5)
    np.testing.assert_allclose(jax.jit(learner.reconstruct)(state, x), LINKS.get(loss, lambda z: z)(z), atol=2e-5)


def test_cross_entropy_survives_certainty_and_rows_beyond_its_range() -> None:
    learner = Autoencoder(loss="cross_entropy", **ONE_LAYER)
    x = 1e4 * rows()
    value, slope = jax.value_and_grad(lambda p: learner.objective(p, KEY, x, np.ones(len(x), np.float32))[0])(
        first(learner, x).params
    )
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_tied_decoders_have_no_kernels_of_their_own() -> None:
    learner, x = Autoencoder(hidden=(4,), code=3, tied=True, activation="tanh"), rows()
    state = fit(learner, x).state
    assert {name for layer in state.params["decoder"].values() for name in layer} == {"bias"}
    first, second = (np.asarray(state.params["encoder"][f"layer{i}"]["kernel"]) for i in range(2))
    bias = [np.asarray(state.params["decoder"][f"layer{i}"]["bias"]) for i in range(2)]
    codes = rows(7, 3, seed=1)
    np.testing.assert_allclose(
        jax.jit(learner.decode)(state, codes), np.tanh(codes @ second.T + bias[0]) @ first.T + bias[1], atol=1e-5
    )


def test_more_sparsity_is_less_activity() -> None:
    found = []
    for sparsity in (0.0, 0.1, 0.5, 2.0):
        learner = Autoencoder(hidden=(), code=8, sparsity=sparsity, learning_rate=0.01, passes=20, batch=100)
        x = rows(400)
        found.append(float(np.abs(transform(learner, fit(learner, x), x, ONE_DEVICE)).sum(1).mean()))
    assert all(more > less for more, less in pairwise(found)), found


@pytest.mark.parametrize("corrupt", ["zero", "gaussian"])
def test_the_denoising_objective_is_its_expectation_in_closed_form(corrupt: str) -> None:
    # a linear net A: E |x - A(x + s e)|² = |x - Ax|² + s² |A|²;  with m ~ B(1 - c), a = 1 - c:
    # E |x - A(x m)|² = |x - a Ax|² + a c Σ_j x_j² |A_j|²
    share = 0.3
    learner = Autoencoder(corruption=share, corrupt=corrupt, **ONE_LAYER)
    x = np.repeat(rows(4), 20_000, axis=0)
    params = first(learner, x).params
    weight = np.ones(len(x), np.float32)
    A = (np.asarray(params["encoder"]["layer0"]["kernel"]) @ np.asarray(params["decoder"]["layer0"]["kernel"])).T
    small = x[::20_000]
    if corrupt == "gaussian":
        exact = np.square(small - small @ A.T).sum(1).mean() + share**2 * np.square(A).sum()
    else:
        scatter = (np.square(small) @ np.square(A).sum(0)).mean()
        exact = np.square(small - (1 - share) * small @ A.T).sum(1).mean() + share * (1 - share) * scatter
    assert float(learner.objective(params, KEY, x, weight)[0]) == pytest.approx(exact, rel=0.01)
    plain = Autoencoder(corrupt=corrupt, **ONE_LAYER).objective(params, KEY, x, weight)[0]
    assert float(plain) == pytest.approx(np.square(small - small @ A.T).sum(1).mean(), rel=1e-4)


def adam(g: list[np.ndarray]) -> np.ndarray:
    first, second = np.zeros_like(g[0]), np.zeros_like(g[0])
    for one in g:
        first, second = 0.9 * first + 0.1 * one, 0.999 * second + 0.001 * one**2
    return first / (1 - 0.9 ** len(g)) / (np.sqrt(second / (1 - 0.999 ** len(g))) + 1e-8)


def velocity(g: list[np.ndarray]) -> np.ndarray:
    return sum(0.9 ** (len(g) - 1 - i) * one for i, one in enumerate(g))  # type: ignore[return-value]


DIRECTIONS = {
    "adagrad": lambda g: g[-1] / np.sqrt(0.1 + sum(one**2 for one in g)),
    "adam": adam,
    "momentum": velocity,
    "nesterov": lambda g: g[-1] + 0.9 * velocity(g),
    "sgd": lambda g: g[-1],
}


@pytest.mark.parametrize("optimiser", sorted(DIRECTIONS))
def test_optimisers_take_the_steps_of_their_formulas(optimiser: str) -> None:
    learner = Autoencoder(optimiser=optimiser, learning_rate=0.01, weight_decay=0.1, schedule="constant", **ONE_LAYER)
    x, weight = rows(), np.ones(40, np.float32)
    state, seen = first(learner, x), []
    step, gradient = jax.jit(learner.step), jax.jit(jax.grad(lambda p: learner.objective(p, KEY, x, weight)[0]))
    for _ in range(4):
        slope = gradient(state.params)
        seen.append(np.asarray(slope["encoder"]["layer0"]["kernel"], np.float64))
        before = np.asarray(state.params["encoder"]["layer0"]["kernel"])
        state, _ = step(KEY, state, x, weight)
        expected = 0.9 * before - 0.01 * DIRECTIONS[optimiser](seen)
        np.testing.assert_allclose(state.params["encoder"]["layer0"]["kernel"], expected, atol=2e-6)


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        ("constant", lambda t, p: 0.01),
        ("cosine", lambda t, p: 0.01 * (1 + np.cos(np.pi * p / 4)) / 2),
        ("exponential", lambda t, p: 0.01 * np.exp(-0.002 * t)),
        ("power", lambda t, p: 0.01 * 500**0.75 / (500 + t) ** 0.75),
    ],
)
def test_schedules_in_closed_form(schedule: str, formula: Any) -> None:
    settings = {**ONE_LAYER, "passes": 4}
    learner = Autoencoder(schedule=schedule, learning_rate=0.01, decay=0.002, power=0.75, **settings)
    x, weight = rows(), np.ones(40, np.float32)
    state = first(learner, x)
    for count, done in ((0, 0), (1, 1), (1000, 3)):
        at = state._replace(count=np.int32(count), passes=np.int32(done))
        rate = jax.jit(learner.step)(KEY, jax.tree.map(np.asarray, at), x, weight)[1]["rate"]
        assert float(rate) == pytest.approx(formula(count, done), rel=1e-5)
    assert int(learner.finish(KEY, state).passes) == 1


def test_a_batch_without_weight_changes_nothing() -> None:
    learner, x = Autoencoder(hidden=(4,), code=3, kind="binary", optimiser="momentum"), rows()
    state = fit(learner, x).state
    after, _ = jax.jit(learner.step)(KEY, state, x, np.zeros(40, np.float32))
    jax.tree.map(np.testing.assert_array_equal, after, state)


def test_binary_codes_are_balanced_and_distinct_and_survive_as_bits() -> None:
    seen, unseen = digits()
    learner = Autoencoder((64,), 32, "binary", loss="cross_entropy", learning_rate=3e-3, passes=15, batch=50)
    run = fit(learner, seen)
    values = transform(learner, run, unseen, ONE_DEVICE)
    bits = values > 0
    assert learner.hash
    assert not Autoencoder().hash
    assert 0.3 < bits.mean(0).min() < bits.mean(0).max() < 0.7
    assert len(np.unique(np.packbits(bits, axis=1), axis=0)) > 0.95 * len(bits)
    decode = jax.jit(learner.decode)
    np.testing.assert_array_equal(decode(run.state, bits), decode(run.state, values))
    assert row_error(learner, run.state, unseen) < pca_error(seen, unseen, 6)  # 32 bits against six floats


def test_binary_codes_are_standardised_by_the_statistics_of_training() -> None:
    learner, x = Autoencoder((4,), 3, "binary", batch=40, passes=1), rows()
    before = first(learner, x)
    after, _ = jax.jit(learner.step)(
        KEY, before, x, np.ones(40, np.float32)
    )  # the first step's statistics are those of x before it
    values = np.asarray(jax.jit(learner.encode)(after._replace(params=before.params), x))
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(0), 1, atol=1e-4)


def test_noise_on_the_code_drives_it_to_its_ends() -> None:
    seen, unseen = digits()
    middle = []
    for noise in (0.0, 4.0):
        learner = Autoencoder((64,), 16, "sigmoid", code_noise=noise, learning_rate=3e-3, passes=8, batch=50)
        codes = transform(learner, fit(learner, seen), unseen, ONE_DEVICE)
        middle.append(float(((codes > 0.1) & (codes < 0.9)).mean()))
    assert middle[1] < 0.5 * middle[0], middle


def test_a_deep_net_says_digits_better_than_pca() -> None:
    seen, unseen = digits()
    learner = Autoencoder((64, 32), 8, activation="gelu", learning_rate=3e-3, passes=40, batch=50)
    assert row_error(learner, fit(learner, seen).state, unseen) < 0.9 * pca_error(seen, unseen, 8)


def test_kernels_split_over_the_model_axis_train_alike() -> None:
    learner, x = Autoencoder((16, 8), 4, "binary", passes=1, batch=40), rows(200, 12)
    states = []
    for mesh in (make_mesh(1, devices=jax.devices()[:1]), make_mesh(4), make_mesh(2, 2)):
        run = fit(learner, x, mesh)
        states.append(on_host(run.state))
    kernel = run.state.params["encoder"]["layer0"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (12, 8)
    for other in states[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), states[0], other)


def test_mnist_in_64_bits_beats_pca_in_16_floats(data_folder: Path) -> None:
    def images(name: str, count: int) -> np.ndarray:
        raw = gzip.decompress((data_folder / "mnist" / f"{name}-images-idx3-ubyte.gz").read_bytes())
        return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784)[:count].astype(np.float32) / 255

    seen, unseen = images("train", 6_000), images("t10k", 1_000)
    learner = Autoencoder((256,), 64, "binary", loss="cross_entropy", learning_rate=2e-3, passes=8, batch=100)
    run = fit(learner, seen)
    bits = transform(learner, run, unseen, ONE_DEVICE) > 0
    assert row_error(learner, run.state, unseen) < pca_error(seen, unseen, 16)
    assert 0.25 < bits.mean(0).min() < bits.mean(0).max() < 0.75
    assert len(np.unique(np.packbits(bits, axis=1), axis=0)) > 950


def test_settings_are_checked_and_go_through_json() -> None:
    learner = Autoencoder(hidden=(4, 2), code=3, kind="binary")
    assert from_json(to_json(learner)) == learner
    for wrong in ({"loss": "mse"}, {"code": 0}, {"corruption": 1.5}, {"learning_rate": 0.0}, {"hidden": (0,)}):
        with pytest.raises(SettingsError):
            Autoencoder(**wrong)
