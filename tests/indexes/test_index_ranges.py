"""Balls, several examples, two stages: against brute force."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from test_index_sequences import draw, measure

from mmfeat.errors import UsageError
from mmfeat.indexes import Index, create
from mmfeat.indexes.two_stage import TwoStage


def filled(path: Path, codes: np.ndarray, dim: int, metric: str = "hamming", names: list[str] | None = None) -> Index:
    kind = "binary-flat" if codes.dtype == np.uint8 else "float-flat"
    index = create(path, kind=kind, dim=dim, metric=metric)
    index.add(names or [f"n{i}" for i in range(len(codes))], codes)
    return index


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 60), st.just(2))),
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(2))),
    st.integers(0, 17),
)
def test_a_hamming_ball_holds_exactly_its_points(codes: np.ndarray, asked: np.ndarray, radius: int) -> None:
    """The property of a semantic hash: every point at distance <= r, and no other."""
    with tempfile.TemporaryDirectory() as folder:
        index = filled(Path(folder) / "i", codes, 16)
        balls = index.within(asked, radius)
        assert len(balls.limits) == len(asked) + 1
        for i, query in enumerate(asked):
            full = [sum((int(a) ^ int(b)).bit_count() for a, b in zip(query, code, strict=True)) for code in codes]
            expected = sorted((d, row) for row, d in enumerate(full) if d <= radius)
            distance, row = balls.of(i)
            assert list(zip(distance.tolist(), row.tolist(), strict=True)) == expected


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
@pytest.mark.parametrize("offset", [0.0, 500.0])
def test_balls_of_floats_are_exact_at_their_edge(metric: str, offset: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    codes = (rng.normal(size=(400, 7)) + offset).astype(np.float32)
    codes[100:160] = codes[:60]
    index = filled(tmp_path / "i", codes, 7, metric)
    index.remove([f"n{i}" for i in range(0, 400, 9)])
    asked = codes[:25]
    hits = index.search(asked, 30)
    radius = float(hits.distance[3, 20])  # exactly a distance that occurs
    balls = index.within(asked, radius)
    every = index.search(asked, len(index))
    for i in range(25):
        inside = every.distance[i] <= np.float32(radius)
        np.testing.assert_array_equal(balls.of(i)[1], every.row[i][inside])
        np.testing.assert_array_equal(balls.of(i)[0], every.distance[i][inside])
    assert len(balls.of(3)[1]) >= 21


def test_a_radius_is_a_number(tmp_path: Path) -> None:
    index = filled(tmp_path / "i", np.zeros((3, 1), np.uint8), 8)
    for wrong in (-1, "two", None, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="a radius is a number of at least 0"):
            index.within(np.zeros((1, 1), np.uint8), wrong)  # type: ignore[arg-type]
    assert index.within(np.zeros((0, 1), np.uint8), 3).limits.tolist() == [0]


@pytest.mark.parametrize("metric", ["hamming", "l2", "cosine"])
@pytest.mark.parametrize("how", ["mean", "min"])
def test_several_examples_together(metric: str, how: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    codes, asked = draw(rng, metric, 200, 16), draw(rng, metric, 4, 16)
    index = filled(tmp_path / "i", codes, 16, metric)
    index.remove(["n3", "n50"])
    full = np.stack([measure(metric, query, codes) for query in asked]).astype(np.float64)
    joined = getattr(full, how)(axis=0)
    joined[[3, 50]] = np.inf
    hits = index.search_together(asked, 12, how=how)
    assert hits.row.shape == (1, 12)
    np.testing.assert_allclose(hits.distance[0], np.sort(joined)[:12], atol=2e-6)
    np.testing.assert_allclose(joined[hits.row[0]], hits.distance[0], atol=2e-6)
    with pytest.raises(UsageError, match="mean or min"):
        index.search_together(asked, how="max")


@pytest.mark.parametrize("radius", [None, 0, 5, 9])
def test_two_stages_rank_the_candidates_of_the_first(radius: int | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    codes = rng.integers(0, 256, (300, 2), dtype=np.uint8)
    floats = rng.normal(size=(300, 6)).astype(np.float32)
    order = rng.permutation(300)
    short = filled(tmp_path / "s", codes, 16)
    long = filled(tmp_path / "l", floats[order], 6, "l2", [f"n{i}" for i in order])
    long.remove(["n17"])
    short.remove(["n4", "n5"])
    asked, vectors = codes[:20], floats[:20]
    hits = TwoStage(short, long).search(asked, vectors, 5, candidates=40, radius=radius)
    assert hits.row.shape == (20, 5)
    may = np.ones(300, bool)
    may[[4, 5, 17]] = False
    for i in range(20):
        bits = measure("hamming", asked[i], codes).astype(float)
        bits[~may] = np.inf
        nearest = np.argsort(bits, kind="stable")[: 40 if radius is None else 5]
        ball = np.flatnonzero(bits <= radius) if radius is not None else nearest
        candidates = ball if len(ball) >= 5 else nearest
        ranked = candidates[np.argsort(measure("l2", vectors[i], floats[candidates]))][:5]
        assert long.ids_at(hits.row[i]) == [f"n{j}" for j in ranked]
    with pytest.raises(UsageError, match="a short and a long code"):
        TwoStage(short, long).search(asked, vectors[:3])


def test_two_stages_of_other_items_are_refused(tmp_path: Path) -> None:
    codes = np.arange(6, dtype=np.uint8).reshape(3, 2)
    one = filled(tmp_path / "one", codes, 16)
    other = filled(tmp_path / "other", codes, 16, names=["x", "y", "z"])
    with pytest.raises(UsageError, match="no id that both hold"):
        TwoStage(one, other).search(codes[:1], codes[:1], 2)
