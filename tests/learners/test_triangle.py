"""Triangle features against NumPy in float64."""

from __future__ import annotations

import jax
import numpy as np

from mmfeat.learner import default_batches, start, train
from mmfeat.learners.kmeans import KMeans
from mmfeat.learners.triangle import Triangle
from mmfeat.settings import from_json, to_json

LEARNER = Triangle(KMeans(20, passes=2))


def rows() -> np.ndarray:
    """Rows (300, 9) float32 away from the origin."""
    return (np.random.default_rng(0).normal(size=(300, 9)) + 2).astype(np.float32)


def test_it_is_its_definition() -> None:
    state = train(LEARNER, start(LEARNER, rows()), default_batches(LEARNER, rows())).state
    z = np.linalg.norm(rows()[:, None, :].astype(np.float64) - np.asarray(state.means), axis=2)
    exact = np.maximum(0, z.mean(axis=1, keepdims=True) - z)
    codes = np.asarray(jax.jit(LEARNER.encode)(state, rows()))
    np.testing.assert_allclose(codes, exact, atol=2e-6)
    assert 0.3 < (codes > 0).mean() < 0.7
    np.testing.assert_array_equal(codes.argmax(1), np.asarray(LEARNER.codebook.encode(state, rows())).argmax(1))


def test_it_trains_as_its_codebook() -> None:
    book = LEARNER.codebook
    states = [train(each, start(each, rows()), default_batches(each, rows())).state for each in (LEARNER, book)]
    np.testing.assert_array_equal(states[0].means, states[1].means)
    assert from_json(to_json(LEARNER)) == LEARNER


def test_one_codeword_has_no_average_to_be_nearer_than() -> None:
    learner = Triangle(KMeans(1, passes=1))
    state = learner.init(jax.random.key(0), rows())
    np.testing.assert_array_equal(learner.encode(state, rows()), np.zeros((300, 1)))
