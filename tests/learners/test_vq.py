"""Vector quantisation against a loop in float64, its limits, and its host path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmfeat.errors import SettingsError
from mmfeat.learner import default_batches, start, train
from mmfeat.learners.kmeans import KMeans, KMeansState
from mmfeat.learners.vq import Vq
from mmfeat.settings import from_json, to_json

BOOK = KMeans(12, passes=3)


def rows(count: int = 300, width: int = 6) -> np.ndarray:
    """Rows (count, width) float32 away from the origin."""
    return (np.random.default_rng(0).normal(size=(count, width)) + 2).astype(np.float32)


def codebook() -> KMeansState:
    """A codebook of BOOK on these rows."""
    return train(BOOK, start(BOOK, rows()), default_batches(BOOK, rows())).state


def dense(codes: Any, clusters: int) -> np.ndarray:
    """CSR to (n, K)."""
    starts, index, value = codes
    out = np.zeros((len(starts) - 1, clusters), np.float32)
    out[np.repeat(np.arange(len(out)), np.diff(starts)), index] = value
    return out


def loop(means: np.ndarray, x: np.ndarray, beta: float, k: int) -> np.ndarray:
    """The definition row by row, in float64."""
    out = np.zeros((len(x), len(means)))
    for row, code in zip(x.astype(np.float64), out, strict=True):
        square = ((row - means) ** 2).sum(1)
        near = np.argsort(square)[:k]
        code[near] = np.exp(-beta * (square[near] - square.min()))
        code /= code.sum()
    return out


@pytest.mark.parametrize("neighbours", [1, 4, 12, None])
def test_soft_assignment_is_the_loop(neighbours: int | None) -> None:
    state, learner = codebook(), Vq(BOOK, soft=0.7, neighbours=neighbours)
    exact = loop(np.asarray(state.means, np.float64), rows(), 0.7, neighbours or 12)
    np.testing.assert_allclose(learner.encode(state, rows()), exact, atol=2e-6)
    np.testing.assert_allclose(dense(learner.host_sparse(state, rows()), 12), exact, atol=2e-6)


def test_hard_assignment_is_the_codebook_s() -> None:
    state, learner = codebook(), Vq(BOOK)
    wanted = np.asarray(BOOK.encode(state, rows()))
    np.testing.assert_array_equal(learner.encode(state, rows()), wanted)
    starts, _, value = learner.host_sparse(state, rows())
    np.testing.assert_array_equal(starts, np.arange(301))
    np.testing.assert_array_equal(value, np.ones(300))
    np.testing.assert_array_equal(dense(learner.host_sparse(state, rows()), 12), wanted)


def test_the_limit_of_soft_assignment_is_hard() -> None:
    state = codebook()
    for neighbours in (3, None):
        codes = np.asarray(Vq(BOOK, soft=1e7, neighbours=neighbours).encode(state, rows()))
        np.testing.assert_allclose(codes, np.asarray(Vq(BOOK).encode(state, rows())), atol=1e-3)


def test_all_neighbours_are_all_codewords() -> None:
    state = codebook()
    among = [Vq(BOOK, soft=0.5, neighbours=k).encode(state, rows()) for k in (12, None)]
    np.testing.assert_allclose(np.asarray(among[0]), np.asarray(among[1]), atol=2e-6)


def test_it_trains_as_its_codebook() -> None:
    learner = Vq(BOOK)
    assert (learner.passes, learner.batch, learner.init_rows) == (3, BOOK.batch, BOOK.init_rows)
    state = train(learner, start(learner, rows()), default_batches(learner, rows())).state
    np.testing.assert_array_equal(state.means, codebook().means)
    assert from_json(to_json(Vq(KMeans(7), soft=2.0, neighbours=None))) == Vq(KMeans(7), soft=2.0, neighbours=None)


def test_mistakes_are_told() -> None:
    with pytest.raises(SettingsError, match=r"soft=0\.0"):
        Vq(soft=0.0)
    with pytest.raises(SettingsError, match="neighbours=5 of 3"):
        Vq(KMeans(3), soft=1.0)
    assert Vq(KMeans(3)).neighbours == 5  # of no use to the hard code, hence no mistake
