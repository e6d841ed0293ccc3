"""NT-Xent against a plain enumeration and optax, the net against its own parts, and what is learned from pictures that move."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from mmfeat.errors import SettingsError
from mmfeat.evaluate.retrieval import drop_diagonal, mean_average_precision
from mmfeat.learner import start, train, transform
from mmfeat.learners.contrastive import Contrastive, nt_xent
from mmfeat.networks import _patches, forward, statistics, strip
from mmfeat.stream import Batches, as_source

DRAW = np.random.default_rng(11)
SMALL = Contrastive(side=8, channels=1, augment="digits", widths=(6, 8), hidden=16, code=8, batch=64, passes=4)


def units(rows: int, width: int) -> np.ndarray:
    """Random rows of length 1."""
    z = DRAW.normal(size=(rows, width)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_the_loss_is_that_of_the_paper() -> None:
    z, temperature = units(10, 4), 0.3
    total, first = 0.0, 0
    for i in range(10):
        others = [j for j in range(10) if j != i]
        scores = {j: float(np.exp(z[i] @ z[j] / temperature)) for j in others}
        total -= np.log(scores[(i + 5) % 10] / sum(scores.values()))
        first += max(scores, key=scores.__getitem__) == (i + 5) % 10
    loss, nearest = nt_xent(jnp.asarray(z), jnp.ones(10, jnp.float32), temperature)
    assert float(loss) == pytest.approx(total / 10, rel=1e-5)
    assert float(nearest) == pytest.approx(first / 10)


def test_rows_without_weight_are_neither_rows_nor_negatives() -> None:
    z = units(12, 5)
    weight = np.tile(np.array([1, 1, 0, 1, 0, 1], np.float32), 2)
    some, _ = nt_xent(jnp.asarray(z), jnp.asarray(weight), 0.5)
    alone, _ = nt_xent(jnp.asarray(z[weight > 0]), jnp.ones(8, jnp.float32), 0.5)
    assert float(some) == pytest.approx(float(alone), rel=1e-6)


def test_identical_pairs_far_from_all_others_have_the_least_loss() -> None:
    z = np.tile(np.eye(4, dtype=np.float32), (2, 1))
    loss, nearest = nt_xent(jnp.asarray(z), jnp.ones(8, jnp.float32), 0.2)
    assert float(loss) == pytest.approx(np.log(np.exp(5) + 6) - 5, rel=1e-5)
    assert float(nearest) == 1


def test_the_first_layer_is_a_convolution() -> None:
    x = DRAW.normal(size=(1, 9, 8, 1)).astype(np.float32)
    kernel = DRAW.normal(size=(5, 5)).astype(np.float32)
    ours = np.asarray(_patches(jnp.asarray(x))) @ kernel.reshape(25)
    np.testing.assert_allclose(ours[0], signal.correlate2d(x[0, :, :, 0], kernel, "same")[::2, ::2], atol=1e-4)


def test_normalised_layers_have_mean_bias_and_deviation_scale_over_the_rows_that_count() -> None:
    state = SMALL.init(jax.random.key(0), np.zeros((1, 64), np.float32))
    images = DRAW.uniform(size=(20, 8, 8, 1)).astype(np.float32)
    weight = (np.arange(20) < 14).astype(np.float32)
    _, z, seen = forward(SMALL._merge(state.params), jnp.asarray(images), jnp.asarray(weight))
    np.testing.assert_allclose(z[:14].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(z[:14].std(axis=0), 1, atol=1e-3)
    _, again, _ = forward(SMALL._merge(state.params), jnp.asarray(images[:3]), known=seen)
    np.testing.assert_allclose(again, z[:3], atol=1e-5)
    assert {name: pair[0].shape for name, pair in statistics(state.params).items()} == {
        "conv0": (6,), "conv1": (8,), "embed": (16,), "project": (8,)
    }  # fmt: skip
    np.testing.assert_array_equal(strip(SMALL._merge(state.params))["embed"]["scale"], state.params["embed"]["scale"])


def test_the_gradient_is_that_of_finite_differences() -> None:
    settings = dataclasses.replace(SMALL, widths=(3,), hidden=4, code=3)
    x = DRAW.uniform(size=(6, 64)).astype(np.float32)
    state = settings.init(jax.random.key(1), x)
    weight, key = jnp.ones(6, jnp.float32), jax.random.key(2)

    def loss(kernel: jax.Array) -> jax.Array:
        params = {**state.params, "project": {"map": {"kernel": kernel}}}
        return settings.objective(params, key, x, weight)[0]

    kernel = state.params["project"]["map"]["kernel"]
    along = jnp.asarray(DRAW.normal(size=kernel.shape).astype(np.float32))
    slope = float((jax.grad(loss)(kernel) * along).sum())
    step = 1e-2
    assert slope == pytest.approx(
        float(loss(kernel + step * along) - loss(kernel - step * along)) / (2 * step), rel=2e-2
    )


def strokes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bars of one of two slants at random places, in noise: (count, 64) rows, and which slant."""
    kind = DRAW.integers(0, 2, count)
    x = DRAW.uniform(0, 0.6, size=(count, 8, 8))
    for i in range(count):
        y, at = DRAW.integers(1, 4, 2)
        for j in range(4):
            x[i, y + j, at + (j if kind[i] else 3 - j)] = 1
    return x.reshape(count, 64).astype(np.float32), kind


def agreement(codes: np.ndarray, kind: np.ndarray) -> float:
    """Mean average precision of the other rows of the same kind, by cosine."""
    codes = codes - codes.mean(axis=0)
    codes = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    return mean_average_precision(drop_diagonal(-codes @ codes.T), drop_diagonal(kind[:, None] == kind[None, :]))


def test_it_learns_what_stays_the_same() -> None:
    x, _ = strokes(768)
    settings = dataclasses.replace(SMALL, passes=12, learning_rate=5e-3)
    values: list[float] = []
    run = start(settings, x, seed=0)
    run = train(
        settings,
        run,
        Batches(as_source(x), 64, seed=0),
        after=lambda _, m: values.append(float(m["objective"])) if m else None,
    )
    assert np.mean(values[-12:]) < np.mean(values[:12]) - 0.2
    test, truth = strokes(256)
    codes = transform(settings, run, test)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, rtol=1e-5)
    assert agreement(codes, truth) > agreement(test, truth) + 0.05
    wide = transform(dataclasses.replace(settings, output="embedding"), run, test)
    assert wide.shape == (256, 16)
    assert wide.min() == 0  # after a rectifier


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"8 x 8 px with 1 channels: 64 values; got rows of 60"):
        SMALL.init(jax.random.key(0), np.ones((2, 60), np.float32))
    with pytest.raises(SettingsError, match="augment is one of"):
        Contrastive(augment="letters")
    with pytest.raises(SettingsError, match="at least one convolution"):
        Contrastive(widths=())
    with pytest.raises(SettingsError, match="temperature"):
        Contrastive(temperature=0)
