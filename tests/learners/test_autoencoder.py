"""The autoencoder against PCA, closed forms, and its figures on digits. Its losses and penalties: tests/test_objectives.py."""

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
from scipy.special import expit
from sklearn.datasets import load_digits

from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import Run, default_batches, start, train, transform
from mmfeat.learners.autoencoder import Autoencoder, AutoencoderState, unrolled
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


def test_a_step_is_the_optimisers_with_the_schedules_rate_and_the_decay() -> None:
    learner = Autoencoder(
        optimiser="nesterov", learning_rate=0.02, weight_decay=0.1, decay=0.5, power=1.0, schedule="power", **ONE_LAYER
    )
    x, weight = rows(), np.ones(40, np.float32)
    state = first(learner, x)
    gradient = jax.jit(jax.grad(lambda p: learner.objective(p, KEY, x, weight)[0]))
    velocity: Any = 0.0
    for count in range(3):
        slope = np.asarray(gradient(state.params)["encoder"]["layer0"]["kernel"], np.float64)
        velocity = slope + 0.9 * velocity
        rate = 0.02 / (1 + 0.5 * count)
        expected = 0.9 * np.asarray(state.params["encoder"]["layer0"]["kernel"]) - rate * (slope + 0.9 * velocity)
        state, metrics = jax.jit(learner.step)(KEY, state, x, weight)
        assert float(metrics["rate"]) == pytest.approx(rate)
        np.testing.assert_allclose(state.params["encoder"]["layer0"]["kernel"], expected, atol=2e-6)
    assert int(state.count) == 3
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


def test_fixed_noise_follows_the_row_wherever_it_stands() -> None:
    learner = Autoencoder((4,), 3, "sigmoid", code_noise=4.0, fixed_noise=True)
    x = rows(400)
    state = first(learner, x)
    value = jax.jit(lambda key, x: learner.objective(state.params, key, x, np.ones(len(x), np.float32))[0])
    assert value(KEY, x) == value(jax.random.key(1), x)
    assert float(value(KEY, x)) == pytest.approx(float(value(KEY, x[::-1])), rel=1e-5)
    noise = np.asarray(learner._noise(KEY, jax.numpy.asarray(x)))
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(1, abs=0.1)
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.15
    fresh = Autoencoder((4,), 3, "sigmoid", code_noise=4.0)
    assert not np.array_equal(
        fresh._noise(KEY, jax.numpy.asarray(x)), fresh._noise(jax.random.key(1), jax.numpy.asarray(x))
    )


def test_pretrained_layers_are_unrolled_into_encoder_and_decoder() -> None:
    draw, widths = np.random.default_rng(0), (5, 4, 3)
    layers: list[Any] = [
        tuple(draw.normal(size=shape).astype(np.float32) for shape in ((wide, out), (out,), (wide,)))
        for wide, out in pairwise(widths)
    ]
    (first_kernel, up, down), (second_kernel, top, back) = layers
    x = rows(7)
    codes = expit(x @ first_kernel + up) @ second_kernel + top
    said = expit(codes @ second_kernel.T + back) @ first_kernel.T + down
    for tied in (False, True):
        learner = Autoencoder((4,), 3, activation="sigmoid", tied=tied, batch=7, passes=1, learning_rate=1e-3)
        state = unrolled(learner, layers)
        assert str(jax.tree.structure(state)) == str(jax.tree.structure(first(learner, x)))
        np.testing.assert_allclose(jax.jit(learner.encode)(state, x), codes, atol=1e-5)
        np.testing.assert_allclose(jax.jit(learner.reconstruct)(state, x), said, atol=1e-4)
        run = train(
            learner,
            start(learner, x, ONE_DEVICE, state=state),
            default_batches(learner, x, mesh=ONE_DEVICE),
            ONE_DEVICE,
        )
        assert row_error(learner, run.state, x) < row_error(learner, state, x)
    bits = Autoencoder((4,), 3, "binary", "sigmoid")
    assert "bias" not in unrolled(bits, layers).params["encoder"]["layer1"]
    for wrong in (layers[:1], layers[::-1], []):
        with pytest.raises(ShapeError, match="widths d -> 4 -> 3"):
            unrolled(learner, wrong)


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
    for wrong in (
        {"sparse": "kl"},
        {"contraction": -1.0},
        {"loss": "mse"},
        {"code": 0},
        {"corruption": 1.5},
        {"learning_rate": 0.0},
        {"hidden": (0,)},
    ):
        with pytest.raises(SettingsError):
            Autoencoder(**wrong)
