"""Soft threshold codes against NumPy in float64, and as the first step of iterative thresholding."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from mmfeat.errors import SettingsError
from mmfeat.lasso import shrink
from mmfeat.learner import default_batches, start, train
from mmfeat.learners.dictionary import Dictionary
from mmfeat.learners.soft_threshold import SoftThreshold
from mmfeat.settings import from_json, to_json

LEARNER = SoftThreshold(Dictionary(12, passes=2, batch=100), threshold=0.7)


def rows() -> np.ndarray:
    """Rows (300, 9) float32."""
    return np.random.default_rng(0).normal(size=(300, 9)).astype(np.float32)


def test_it_is_its_definition() -> None:
    state = train(LEARNER, start(LEARNER, rows()), default_batches(LEARNER, rows())).state
    z = rows().astype(np.float64) @ np.asarray(state.phi, np.float64).T
    exact = np.concatenate([np.maximum(0, z - 0.7), np.maximum(0, -z - 0.7)], axis=1)
    codes = np.asarray(jax.jit(LEARNER.encode)(state, rows()))
    np.testing.assert_allclose(codes, exact, atol=2e-6)
    assert 0.05 < (codes > 0).mean() < 0.4
    positive = SoftThreshold(LEARNER.dictionary, threshold=0.7, halves=False)
    np.testing.assert_array_equal(positive.encode(state, rows()), codes[:, :12])
    first = np.asarray(shrink(z.astype(np.float32), np.float32(0.7)))  # of thresholding, from codes of 0
    np.testing.assert_allclose(codes[:, :12] - codes[:, 12:], first, atol=2e-6)


def test_it_trains_as_its_dictionary() -> None:
    inner = LEARNER.dictionary
    states = [train(each, start(each, rows()), default_batches(each, rows())).state for each in (LEARNER, inner)]
    np.testing.assert_array_equal(states[0].phi, states[1].phi)
    assert from_json(to_json(LEARNER)) == LEARNER


def test_no_threshold_below_nothing() -> None:
    with pytest.raises(SettingsError, match="threshold"):
        SoftThreshold(threshold=-0.1)
