"""LLC against a direct constrained solve in float64, its invariances, and its host path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmfeat.errors import SettingsError
from mmfeat.learner import default_batches, start, train
from mmfeat.learners.kmeans import KMeans, KMeansState
from mmfeat.learners.llc import Llc
from mmfeat.settings import from_json, to_json


def rows(count: int = 400, width: int = 24) -> np.ndarray:
    """Rows (count, width) float32 of length 1, none below 0, like SIFT."""
    x = np.random.default_rng(0).gamma(0.5, size=(count, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def codebook(means: np.ndarray) -> KMeansState:
    """A finished codebook of these means."""
    book = KMeans(len(means), passes=1)
    return book.init(__import__("jax").random.key(0), rows())._replace(means=means)


def dense(codes: Any, clusters: int) -> np.ndarray:
    """CSR to (n, K)."""
    starts, index, value = codes
    out = np.zeros((len(starts) - 1, clusters), np.float32)
    out[np.repeat(np.arange(len(out)), np.diff(starts)), index] = value
    return out


def direct(means: np.ndarray, x: np.ndarray, k: int, beta: float) -> np.ndarray:
    """min ‖x - Bᵀ w‖² + β tr(C) ‖w‖², 1ᵀ w = 1, by its KKT system, row by row in float64; B is never shifted by x."""
    out = np.zeros((len(x), len(means)))
    for row, code in zip(x.astype(np.float64), out, strict=True):
        square = ((row - means) ** 2).sum(1)
        near = np.argsort(square)[:k]
        B, ridge = means[near].astype(np.float64), beta * square[near].sum()
        system = np.zeros((k + 1, k + 1))
        system[:k, :k] = 2 * (B @ B.T + ridge * np.eye(k))
        system[k, :k] = system[:k, k] = 1
        code[near] = np.linalg.solve(system, np.r_[2 * B @ row, 1])[:k]
    return out


@pytest.mark.parametrize(("clusters", "k", "beta"), [(64, 5, 1e-4), (64, 5, 1e-2), (40, 8, 1e-3), (9, 1, 1e-4)])
def test_it_is_the_constrained_solve(clusters: int, k: int, beta: float) -> None:
    means, x = rows()[:clusters], rows()[100:]
    state, learner = codebook(means), Llc(KMeans(clusters), k, beta)
    exact = direct(means, x, k, beta)
    codes, sparse = np.asarray(learner.encode(state, x)), dense(learner.host_sparse(state, x), clusters)
    assert np.abs(sparse - exact).max() < 1e-6
    assert np.abs(codes - exact).max() < 2e-6
    np.testing.assert_allclose(codes.sum(1), 1, atol=1e-6)
    assert ((codes != 0).sum(1) <= k).all()


def test_neither_scale_nor_origin_matter() -> None:
    means, x = rows()[:30], rows()[100:200]
    learner = Llc(KMeans(30))
    plain = np.asarray(learner.encode(codebook(means), x))
    np.testing.assert_allclose(learner.encode(codebook(512 * means), 512 * x), plain, atol=1e-5)
    np.testing.assert_allclose(learner.encode(codebook(means + 1), x + 1), plain, atol=1e-3)


def test_a_row_between_two_codewords_is_their_mixture() -> None:
    means = np.eye(4, dtype=np.float32)
    x = (0.7 * means[:1] + 0.3 * means[1:2]).astype(np.float32)
    np.testing.assert_allclose(Llc(KMeans(4), 2, 1e-6).encode(codebook(means), x), [[0.7, 0.3, 0, 0]], atol=1e-5)


def test_equal_codewords_share_a_row() -> None:
    means = np.tile(rows()[:1], (4, 1))
    for x in (means[:1], rows()[1:2]):
        for codes in (
            Llc(KMeans(4), 4).encode(codebook(means), x),
            dense(Llc(KMeans(4), 4).host_sparse(codebook(means), x), 4),
        ):
            np.testing.assert_allclose(codes, np.full((1, 4), 0.25), atol=1e-5)


def test_it_trains_as_its_codebook() -> None:
    book = KMeans(8, passes=3)
    states = [train(each, start(each, rows()), default_batches(each, rows())).state for each in (Llc(book), book)]
    np.testing.assert_array_equal(states[0].means, states[1].means)
    assert from_json(to_json(Llc(book, 3, 1e-3))) == Llc(book, 3, 1e-3)


def test_mistakes_are_told() -> None:
    with pytest.raises(SettingsError, match="neighbours=6 of 5"):
        Llc(KMeans(5), 6)
    with pytest.raises(SettingsError, match=r"beta=0\.0"):
        Llc(beta=0.0)
