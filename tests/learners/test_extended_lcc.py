"""Extended local coordinates: their layout, what they are without tangents, and principal axes by NumPy."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from mmfeat.errors import SettingsError
from mmfeat.learner import default_batches, start, train
from mmfeat.learners.extended_lcc import ExtendedLcc
from mmfeat.learners.kmeans import KMeans
from mmfeat.learners.lcc import Lcc
from mmfeat.settings import from_json, to_json

CODER = Lcc(KMeans(3, passes=3, batch=100), penalty=0.05, neighbours=2)
LEARNER = ExtendedLcc(CODER, tangents=2, scale=0.5, rounds=8)


def rows() -> np.ndarray:
    """Three clouds (600, 8) float32, each with two long axes of its own."""
    draw, parts = np.random.default_rng(0), []
    for number in range(3):
        axes = np.linalg.qr(draw.normal(size=(8, 8)))[0]
        spread = np.array([1, 0.5, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])
        parts.append(draw.normal(size=(200, 8)) * spread @ axes.T + 6 * np.eye(8)[number])
    return np.concatenate(parts).astype(np.float32)


def learned(learner: Any) -> Any:
    """The state after all passes, as NumPy arrays."""
    run = train(learner, start(learner, rows()), default_batches(learner, rows()))
    return jax.tree.map(np.asarray, run.state)


def test_tangents_are_the_principal_axes_of_each_cluster() -> None:
    state = learned(LEARNER)
    means = state.coder.codebook.means
    owner = ((rows()[:, None, :] - means) ** 2).sum(2).argmin(1)
    for number in range(3):
        rest = (rows() - means[number])[owner == number].astype(np.float64)
        axes = np.linalg.svd(rest, full_matrices=False)[2][:2]
        assert len(rest) == 200
        np.testing.assert_allclose(np.abs(axes @ state.tangents[number]), np.eye(2), atol=1e-3)
        np.testing.assert_allclose(state.tangents[number].T @ state.tangents[number], np.eye(2), atol=1e-5)


def test_the_layout() -> None:
    state = learned(LEARNER)
    codes = np.asarray(LEARNER.encode(state, rows()[::50])).reshape(-1, 3, 3)
    plain = np.asarray(CODER.encode(state.coder, rows()[::50]))
    np.testing.assert_allclose(codes[:, :, 0], 0.5 * plain, rtol=1e-6)
    for row, code, gamma in zip(rows()[::50], codes, plain, strict=True):
        for v in range(3):
            exact = gamma[v] * (row - state.coder.codebook.means[v]) @ state.tangents[v]
            np.testing.assert_allclose(code[v, 1:], exact, atol=2e-5)


def test_without_tangents_it_is_lcc() -> None:
    state, alone = learned(LEARNER), learned(CODER)
    np.testing.assert_array_equal(state.coder.codebook.means, alone.codebook.means)
    codes = np.asarray(LEARNER.encode(state, rows()))[:, ::3]
    np.testing.assert_allclose(codes / 0.5, np.asarray(CODER.encode(alone, rows())), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(LEARNER.prototypes(state), alone.codebook.means)


def test_a_linear_map_of_the_codes_is_a_function_to_second_order() -> None:
    learner = ExtendedLcc(Lcc(KMeans(12, passes=5), 0.01, neighbours=6, sums_to_one=True), tangents=3, rounds=5)
    draw = np.random.default_rng(0)
    x = draw.uniform(-1, 1, (400, 3)).astype(np.float32)
    y, errors = np.sin(2 * x[:, 0]) * x[:, 1] + x[:, 2] ** 2, []
    state = train(learner, start(learner, x), default_batches(learner, x)).state
    for codes in (np.asarray(learner.encode(state, x)), np.asarray(learner.coder.encode(state.coder, x))):
        weights = np.linalg.lstsq(codes[:200].T @ codes[:200] + 1e-4 * np.eye(codes.shape[1]), codes[:200].T @ y[:200])[
            0
        ]
        errors.append(np.square(codes[200:] @ weights - y[200:]).mean())
    assert errors[0] < 0.5 * errors[1]


def test_few_rows_span_few_axes() -> None:
    learner = ExtendedLcc(Lcc(KMeans(1, passes=1), neighbours=1), tangents=2, rounds=2)
    x = np.array([[1, 0, 0], [-1, 0, 0]], np.float32)
    state = train(learner, start(learner, x), default_batches(learner, x)).state
    np.testing.assert_allclose(np.abs(state.tangents[0]), [[1, 0], [0, 0], [0, 0]], atol=1e-6)


def test_settings_and_mistakes() -> None:
    assert from_json(to_json(LEARNER)) == LEARNER
    assert (LEARNER.passes, LEARNER.batch) == (11, 100)
    for wrong in ({"tangents": 0}, {"rounds": 0}, {"scale": 0.0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            ExtendedLcc(**wrong)
    with pytest.raises(SettingsError, match="tangents=2 of 1"):
        LEARNER.init(jax.random.key(0), np.zeros((4, 1), np.float32))


def test_the_sparse_codes_of_the_host_are_the_dense_ones() -> None:
    state = learned(LEARNER)
    starts, index, value = LEARNER.host_sparse(state, rows())
    back = np.zeros((600, 9), np.float32)
    back[np.repeat(np.arange(600), np.diff(starts)), index] = value
    codes = np.asarray(jax.jit(LEARNER.encode)(state, rows()))
    np.testing.assert_allclose(back, codes, atol=2e-5)
    assert 0 < (codes == 0).mean() < 1
