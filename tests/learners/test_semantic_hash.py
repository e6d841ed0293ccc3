"""Semantic hashing: bits that are distinct, balanced and near for what is near, by both ways of rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from mmfeat.arrays import pack_bits
from mmfeat.errors import SettingsError
from mmfeat.evaluate.retrieval import hamming_distances, mean_average_precision
from mmfeat.learner import Run, default_batches, start, train, transform
from mmfeat.learners.autoencoder import Autoencoder, unrolled
from mmfeat.learners.semantic_hash import SemanticHash
from mmfeat.mesh import make_mesh
from mmfeat.pipelines.datasets import mnist
from mmfeat.settings import from_json, to_json

NOISE = {"noise": 4.0, "straight_through": 0.0}  # the papers'
ONE_DEVICE = make_mesh(1, devices=jax.devices()[:1])
NET = Autoencoder((64,), activation="gelu", loss="cross_entropy", learning_rate=1e-2, passes=20, batch=100)


def fit(learner: Any, x: np.ndarray, state: Any = None) -> Run:
    return train(
        learner, start(learner, x, ONE_DEVICE, state=state), default_batches(learner, x, mesh=ONE_DEVICE), ONE_DEVICE
    )


def digits() -> tuple[np.ndarray, np.ndarray]:
    x = load_digits().data.astype(np.float32) / 16
    return x[:1400], x[1400:]


def row_error(learner: Any, state: Any, x: np.ndarray) -> float:
    return float(np.square(np.asarray(jax.jit(learner.reconstruct)(state, x)) - x).sum(1).mean())


def distinct(bits: np.ndarray) -> int:
    return len(np.unique(np.packbits(bits, axis=1), axis=0))


@pytest.mark.parametrize("rounding", ["noise", "straight_through"])
def test_codes_are_balanced_distinct_and_say_more_than_pca(rounding: str) -> None:
    seen, unseen = digits()
    learner = SemanticHash(32, rounding, NOISE[rounding], NET)
    run = fit(learner, seen)
    values = transform(learner, run, unseen, ONE_DEVICE)
    bits = values > 0
    assert 0.25 < bits.mean(0).min() < bits.mean(0).max() < 0.75
    assert distinct(bits) > (0.95 if rounding == "straight_through" else 0.75) * len(bits)
    decode = jax.jit(learner.decode)
    np.testing.assert_array_equal(decode(run.state, bits), decode(run.state, values))
    centred = seen - seen.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:4]
    rest = unseen - seen.mean(0)
    assert (
        row_error(learner, run.state, unseen) < np.square(rest - rest @ axes.T @ axes).sum(1).mean()
    )  # 32 bits, 4 floats
    # a picture's address is nearer to that of the same picture one grey level away than to a stranger's
    shaken = np.clip(unseen + np.random.default_rng(0).normal(scale=1 / 16, size=unseen.shape), 0, 1).astype(np.float32)
    moved = (transform(learner, run, shaken, ONE_DEVICE) > 0) != bits
    strangers = bits != np.roll(bits, 1, axis=0)
    assert moved.mean() < 0.25 * strangers.mean()


def test_noise_saturates_the_units_it_is_put_on() -> None:
    seen, unseen = digits()
    middle = []
    for noise in (0.01, 4.0):
        learner = SemanticHash(16, "noise", noise, NET)
        codes = np.asarray(jax.jit(learner.autoencoder.encode)(fit(learner, seen).state, unseen))
        middle.append(float(((codes > 0.1) & (codes < 0.9)).mean()))
    assert middle[1] < 0.6 * middle[0], middle


def test_without_standardisation_rounding_has_less_to_say() -> None:
    # the trap: a net that rounds σ(z) as it comes has bits that hardly ever change
    x = load_digits().data.astype(np.float32) / 16 + 3.0  # far from 0, as raw data are
    learner = SemanticHash(16, noise=0.0, net=Autoencoder((), passes=0))
    state = jax.jit(learner.init)(jax.random.key(0), x)
    raw = np.asarray(jax.jit(learner.encode)(state, x)) > 0  # mean 0, deviation 1: nothing has been seen
    seen = fit(SemanticHash(16, noise=0.0, net=Autoencoder((), passes=1, learning_rate=1e-9)), x).state
    after = np.asarray(jax.jit(learner.encode)(seen, x)) > 0
    assert distinct(raw) < 0.2 * distinct(after)
    assert np.abs(after.mean(0) - 0.5).max() < 0.2


def test_straight_through_is_the_binary_autoencoder() -> None:
    x = digits()[0][:200]
    net = Autoencoder((8,), 5, "binary", passes=2, batch=50)
    one, two = fit(net, x), fit(SemanticHash(5, noise=0.0, net=Autoencoder((8,), passes=2, batch=50)), x)
    jax.tree.map(np.testing.assert_array_equal, one.state, two.state)
    assert SemanticHash(5, noise=0.0, net=net).autoencoder == net
    noisy = SemanticHash(5, "noise", 2.5, net).autoencoder
    assert (noisy.kind, noisy.code, noisy.code_noise) == ("sigmoid", 5, 2.5)


def test_it_starts_from_pretrained_layers() -> None:
    draw, x = np.random.default_rng(0), digits()[0][:100]
    layers: list[Any] = [
        tuple(draw.normal(size=size).astype(np.float32) for size in ((wide, out), (out,), (wide,)))
        for wide, out in ((64, 6), (6, 4))
    ]
    learner = SemanticHash(4, "noise", 4.0, Autoencoder((6,), activation="sigmoid", passes=1, batch=100))
    state = fit(learner, x, unrolled(learner.autoencoder, layers)).state
    np.testing.assert_allclose(state.params["encoder"]["layer0"]["kernel"], layers[0][0], atol=2e-3)
    assert int(state.count) == 1


def test_bits_of_a_denoising_net_are_cut_through_the_middle_of_clean_rows() -> None:
    x = digits()[0]
    net = Autoencoder((64,), corruption=0.5, learning_rate=1e-9, passes=1, batch=len(x))
    for rounding in ("noise", "straight_through"):
        learner = SemanticHash(16, rounding, net=net)
        values = transform(learner, fit(learner, x), x, ONE_DEVICE)
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(values.std(0), 1, atol=1e-4)


def test_noise_on_rounded_bits_brings_like_pictures_together() -> None:
    seen, unseen = digits()
    labels = load_digits().target
    relevant = labels[1400:, None] == labels[None, :1400]
    scores = []
    for noise in (0.0, 1.0):
        learner = SemanticHash(32, noise=noise, net=NET)
        run = fit(learner, seen)
        near, far = (pack_bits(transform(learner, run, x, ONE_DEVICE)) for x in (unseen, seen))
        scores.append(mean_average_precision(hamming_distances(near, far), relevant))
    assert scores[1] > scores[0] + 0.03, scores


@pytest.mark.parametrize(("rounding", "share"), [("noise", 0.5), ("straight_through", 0.95)])
def test_mnist_addresses_differ(data_folder: Path, rounding: str, share: float) -> None:
    images = mnist(data_folder).train[:2_000].reshape(-1, 784).astype(np.float32) / 255
    net = Autoencoder((128,), activation="gelu", loss="cross_entropy", passes=8, batch=50, learning_rate=3e-3)
    learner = SemanticHash(32, rounding, NOISE[rounding], net)
    bits = transform(learner, fit(learner, images), images, ONE_DEVICE) > 0
    assert distinct(bits) > share * len(bits)
    assert 0.25 < bits.mean(0).min() < bits.mean(0).max() < 0.75


def test_settings_are_checked_and_go_through_json() -> None:
    learner = SemanticHash(16, "noise", 2.0, NET)
    assert from_json(to_json(learner)) == learner
    assert (learner.passes, learner.batch, learner.hash) == (20, 100, True)
    for wrong in ({"bits": 0}, {"rounding": "sign"}, {"noise": -1.0}, {"rounding": "noise", "noise": 0.0}):
        with pytest.raises(SettingsError, match="SemanticHash"):
            SemanticHash(**wrong)
