"""Codes in one pass: how near their objective comes to the least one, and the encoder's formulas by hand."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from mmfeat import lasso
from mmfeat.errors import SettingsError
from mmfeat.learner import default_batches, start, train, transform
from mmfeat.learners.dictionary import Dictionary
from mmfeat.learners.predictive_sparse import PredictiveSparse


def rows(count: int = 3000, width: int = 12, seed: int = 0) -> np.ndarray:
    """Smooth rows of length 1."""
    x = np.cumsum(np.random.default_rng(seed).normal(size=(count, width)), axis=1)
    x -= x.mean(axis=1, keepdims=True)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def value(x: np.ndarray, phi: np.ndarray, codes: np.ndarray, lam: float) -> float:
    return float((0.5 * ((x - codes @ phi) ** 2).sum(1) + lam * np.abs(codes).sum(1)).mean())


def test_the_objective_of_its_codes_is_within_5_percent_of_the_least() -> None:
    """On rows it has not seen, with the dictionary it has learned."""
    learner = PredictiveSparse(Dictionary(24, lam=0.1, passes=30, batch=128), layers=5, learning_rate=5e-3)
    x, new = rows(), rows(500, seed=1)
    run = train(learner, start(learner, x), default_batches(learner, x))
    phi = np.asarray(run.state.dictionary.phi)
    best = np.asarray(learner.dictionary.codes(phi, new))
    codes = transform(learner, run, new)
    reached, least = value(new, phi, codes, 0.1), value(new, phi, best, 0.1)
    assert least <= reached <= 1.05 * least
    assert (codes == 0).mean() > 0.3
    assert np.linalg.norm(phi, axis=1).max() <= 1 + 1e-5


def test_it_begins_as_ista() -> None:
    x = rows(50)
    learner = PredictiveSparse(Dictionary(20, lam=0.1), layers=4)
    state = learner.init(jax.random.key(0), x)
    phi = np.asarray(state.dictionary.phi, np.float64)
    gram = phi @ phi.T
    step = 1 / float(lasso.largest_eigenvalue(gram.astype(np.float32)))
    codes = np.zeros((50, 20))
    for _ in range(4):
        v = codes + step * (x @ phi.T - codes @ gram)
        codes = np.sign(v) * np.maximum(np.abs(v) - 0.1 * step, 0)
    np.testing.assert_allclose(learner.encode(state, x), codes, atol=1e-5)


def test_the_tanh_of_the_paper() -> None:
    x = rows(50)
    learner = PredictiveSparse(Dictionary(20, lam=0.1), encoder="tanh")
    state = learner.init(jax.random.key(0), x)
    state = state._replace(encoder={name: leaf + 0.25 for name, leaf in state.encoder.items()})
    kernel, bias, gain = (np.asarray(state.encoder[name]) for name in ("kernel", "bias", "gain"))
    np.testing.assert_allclose(learner.encode(state, x), gain * np.tanh(x @ kernel + bias), atol=1e-5)


@pytest.mark.parametrize("encoder", ["shrink", "tanh"])
def test_it_learns(encoder: str) -> None:
    """The objective of the codes falls; the targets lie below them, and above the least."""
    x, found = rows(1000), []
    learner = PredictiveSparse(Dictionary(16, lam=0.1, passes=6, batch=100), encoder, learning_rate=5e-3)
    train(
        learner,
        start(learner, x),
        default_batches(learner, x),
        after=lambda run, metrics: found.append([float(each) for each in metrics.values()]) if metrics else None,
    )
    objective, target = np.array(found).T
    assert objective[-10:].mean() < 0.95 * objective[:10].mean()
    assert (target <= objective + 1e-6).all()


def test_targets_are_the_least_of_the_joint_objective() -> None:
    """No small change of z* lowers ½ ‖x - z φ‖² + λ ‖z‖₁ + α/2 ‖z - F(x)‖²."""
    x, draw = rows(20).astype(np.float64), np.random.default_rng(3)
    learner = PredictiveSparse(Dictionary(15, lam=0.1), alpha=0.7)
    state = learner.init(jax.random.key(0), x)
    phi, near = np.asarray(state.dictionary.phi, np.float64), draw.normal(size=(20, 15)) * 0.3
    z = np.asarray(learner._targets(state.dictionary.phi, x.astype(np.float32), near.astype(np.float32)), np.float64)

    def joint(z: np.ndarray) -> np.ndarray:
        rest = 0.5 * ((x - z @ phi) ** 2).sum(1) + 0.35 * ((z - near) ** 2).sum(1)
        return rest + 0.1 * np.abs(z).sum(1)

    for _ in range(50):
        assert (joint(z + draw.normal(size=z.shape) * 0.01) > joint(z) - 1e-6).all()
    assert (joint(z) < joint(near)).all()


def test_positive_and_halves_are_the_dictionary_s() -> None:
    x = rows(40)
    for book, width in ((Dictionary(9, positive=True), 9), (Dictionary(9, halves=True), 18)):
        learner = PredictiveSparse(book)
        codes = np.asarray(learner.encode(learner.init(jax.random.key(0), x), x))
        assert codes.shape == (40, width)
        assert codes.min() >= 0


def test_mistakes_are_told() -> None:
    for wrong in ({"encoder": "relu"}, {"layers": 0}, {"alpha": 0}):
        with pytest.raises(SettingsError):
            PredictiveSparse(**wrong)
