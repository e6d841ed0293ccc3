"""Ranking measures against every order of the ties, written out, and against scikit-learn where nothing is tied."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from mmfeat.errors import DataError, ShapeError, UsageError
from mmfeat.evaluate import retrieval
from mmfeat.evaluate.retrieval import (
    average_precision,
    drop_diagonal,
    hamming_distances,
    mean_average_precision,
    precision_at,
)


def orders(distances, relevant):
    """Relevance, place by place, of every order that sorts the distances; each is equally likely."""
    for order in permutations(range(len(distances))):
        ranked = [distances[i] for i in order]
        if ranked == sorted(ranked):
            yield [relevant[i] for i in order]


def plain_ap(ranked):
    hits = [place for place, hit in enumerate(ranked, 1) if hit]
    return sum(n / place for n, place in enumerate(hits, 1)) / len(hits) if hits else 0.0


@st.composite
def small_rankings(draw):
    count = draw(st.integers(1, 6))
    distances = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    return distances, draw(st.lists(st.booleans(), min_size=count, max_size=count)), draw(st.integers(1, count))


@settings(max_examples=60, deadline=None)
@given(small_rankings())
def test_equals_the_mean_over_all_orders_of_ties(case):
    distances, relevant, k = case
    every = list(orders(distances, relevant))
    d, r = np.array([distances]), np.array([relevant])
    np.testing.assert_allclose(average_precision(d, r)[0], np.mean([plain_ap(ranked) for ranked in every]), atol=1e-12)
    expected = np.mean([np.mean(ranked[:k]) for ranked in every])
    np.testing.assert_allclose(precision_at(d, r, k)[0], expected, atol=1e-12)


def test_equals_scikit_learn_without_ties(monkeypatch):
    monkeypatch.setattr(retrieval, "BLOCK", 1000)  # 3 queries at a time: the blocks join
    rng = np.random.default_rng(0)
    distances, relevant = rng.normal(size=(20, 300)), rng.random((20, 300)) < 0.1
    expected = [average_precision_score(r, -d) for d, r in zip(distances, relevant, strict=True)]
    np.testing.assert_allclose(average_precision(distances, relevant), expected, rtol=1e-12)
    np.testing.assert_allclose(mean_average_precision(distances, relevant), np.mean(expected), rtol=1e-12)


def test_all_tied_is_the_average_precision_of_a_random_order():
    rng = np.random.default_rng(1)
    relevant = np.arange(30) < 7
    drawn = [plain_ap(rng.permutation(relevant)) for _ in range(4000)]
    closed = average_precision(np.zeros((1, 30), int), relevant[None])[0]
    assert abs(closed - np.mean(drawn)) < 4 * np.std(drawn) / np.sqrt(len(drawn))


def test_infinite_distances_are_ties_and_queries_without_hits_count_zero():
    distances = np.array([[0.0, np.inf, np.inf], [0.0, 1.0, 2.0]])
    relevant = np.array([[False, True, False], [False, False, False]])
    np.testing.assert_allclose(average_precision(distances, relevant), [(1 / 2 + 1 / 3) / 2, 0.0])
    np.testing.assert_allclose(mean_average_precision(distances, relevant), (1 / 2 + 1 / 3) / 4)


@pytest.mark.parametrize("width", [1, 7, 8, 16, 17])
def test_hamming_distances_equal_unpacked_bits(width, monkeypatch):
    monkeypatch.setattr(retrieval, "BLOCK", 64)
    rng = np.random.default_rng(width)
    a, b = (rng.integers(0, 256, (n, width), np.uint8) for n in (9, 25))
    bits_a, bits_b = np.unpackbits(a, axis=1), np.unpackbits(b, axis=1)
    np.testing.assert_array_equal(hamming_distances(a, b), (bits_a[:, None] != bits_b[None]).sum(axis=2))


def test_leave_one_out_drops_only_the_item_itself():
    matrix = np.arange(16).reshape(4, 4)
    expected = np.array([np.delete(row, i) for i, row in enumerate(matrix)])
    np.testing.assert_array_equal(drop_diagonal(matrix), expected)


def test_bad_input_is_named():
    good, hits = np.zeros((2, 3)), np.zeros((2, 3), bool)
    with pytest.raises(ShapeError, match="one shape"):
        average_precision(good, hits[:, :2])
    with pytest.raises(ShapeError, match="int64"):
        average_precision(good, hits.astype(np.int64))
    with pytest.raises(DataError, match="NaN"):
        average_precision(np.full((2, 3), np.nan), hits)
    with pytest.raises(DataError, match="at least one"):
        average_precision(np.zeros((0, 3)), np.zeros((0, 3), bool))
    for k in (0, 4):
        with pytest.raises(UsageError, match="between 1 and the 3"):
            precision_at(good, hits, k)
    with pytest.raises(ShapeError, match="one width"):
        hamming_distances(np.zeros((2, 3), np.uint8), np.zeros((2, 4), np.uint8))
    with pytest.raises(ShapeError, match="square"):
        drop_diagonal(good)
