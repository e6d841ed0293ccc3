"""Exactness where FAISS alone is not exact: ties, equal vectors, offsets, company, filters."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import faiss
import numpy as np
import pytest

from mmfeat.errors import DataError, ShapeError, UsageError
from mmfeat.indexes import Index, create, hamming, open_index
from mmfeat.indexes.floats import nearest_by
from mmfeat.indexes.hamming import nearest


def names(count: int) -> list[str]:
    return [f"n{i:05d}" for i in range(count)]


def filled(path: Path, codes: np.ndarray, dim: int, metric: str | None = None) -> Index:
    index = create(path, kind="binary-flat" if codes.dtype == np.uint8 else "float-flat", dim=dim, metric=metric)
    index.add(names(len(codes)), codes)
    return index


@pytest.mark.parametrize("k", [1, 10, 300, 3000])
@pytest.mark.parametrize("queries", [1, 2, 70])
def test_hamming_ties_stand_in_the_order_of_rows(k: int, queries: int) -> None:
    rng = np.random.default_rng(k)
    codes = rng.integers(0, 3, (3000, 2), dtype=np.uint8)
    asked = rng.integers(0, 3, (queries, 2), dtype=np.uint8)
    full = np.bitwise_count(asked[:, None] ^ codes).sum(axis=2)
    order = np.argsort(full, axis=1, kind="stable")[:, :k]
    distance, row = nearest(codes, asked, k)
    np.testing.assert_array_equal(row, order)
    np.testing.assert_array_equal(distance, np.take_along_axis(full, order, axis=1))


@pytest.mark.parametrize("width", [1, 3, 8, 16, 24])
@pytest.mark.parametrize("k", [1, 7, 300])
def test_without_faiss_the_scan_is_the_same(k: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(width)
    codes = rng.integers(0, 3, (300, width), np.uint8)  # few bits: many ties
    queries = codes[[5, 7]] ^ 1
    expected = nearest(codes, queries, k)
    monkeypatch.delitem(sys.modules, "faiss")
    monkeypatch.setattr(hamming, "library", None)  # it is not asked
    for ours, theirs in zip(nearest(codes, queries, k), expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_hamming_leaves_the_number_of_threads_alone() -> None:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        nearest(np.zeros((5, 1), np.uint8), np.zeros((1, 1), np.uint8), 2)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
@pytest.mark.parametrize("offset", [0.0, 3000.0])
def test_floats_equal_float64_and_do_not_depend_on_company(metric: str, offset: float) -> None:
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(2000, 24)) + offset
    codes[500:900] = codes[100:500]  # equal vectors: more ties than candidates
    codes[1000:1400] = codes[0]
    if metric == "cosine":
        codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    codes = codes.astype(np.float32)
    asked = codes[:64].copy()
    x, y = asked.astype(np.float64)[:, None], codes.astype(np.float64)
    square = ((x - y) ** 2).sum(axis=2)
    full = {"l2": np.sqrt(square), "cosine": square / 2, "ip": -(x * y).sum(axis=2)}[metric].astype(np.float32)
    order = np.argsort(full, axis=1, kind="stable")[:, :12]
    distance, row = nearest_by(metric)(codes, asked, 12)
    np.testing.assert_array_equal(row, order)
    np.testing.assert_array_equal(distance, np.take_along_axis(full, order, axis=1))
    for i in (0, 9):
        alone = nearest_by(metric)(codes, asked[i : i + 1], 12)
        np.testing.assert_array_equal(alone[1][0], row[i])
        np.testing.assert_array_equal(alone[0][0], distance[i])


def test_distances_beyond_float32_are_still_ordered() -> None:
    codes = np.array([[3e38], [-3e38], [2e38], [1.0]], np.float32)
    distance, row = nearest_by("l2")(codes, np.array([[3e38]], np.float32), 4)
    assert row.tolist() == [[0, 2, 3, 1]]
    assert distance[0, 0] == 0
    assert np.isinf(distance[0, 3])


def test_cosine_ignores_length_and_zero_vectors_have_no_direction(tmp_path: Path) -> None:
    codes = np.array([[0, 0], [5, 0], [0, 0.1], [-3, 0], [1, 1]], np.float32)
    index = filled(tmp_path / "x.index", codes, 2, "cosine")
    hits = index.search(np.array([[100, 0], [0, 0]], np.float32), 5)
    assert hits.row.tolist() == [[1, 4, 0, 2, 3], [0, 1, 2, 3, 4]]
    np.testing.assert_allclose(hits.distance[0], [0, 1 - 0.5**0.5, 1, 1, 2], atol=1e-7)
    np.testing.assert_array_equal(hits.distance[1], np.ones(5))
    np.testing.assert_allclose(np.linalg.norm(index.codes_at([1, 2, 3, 4]), axis=1), 1, atol=1e-7)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.4, 0.9, 1.0])
def test_a_filter_never_shortens_an_answer(tmp_path: Path, share: float) -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 256, (2000, 2), dtype=np.uint8)
    index = filled(tmp_path / "x.index", codes, 16)
    mask = rng.random(2000) < share
    # The nearest rows of the first query are all left out: more of them than any margin.
    mask[np.argsort(np.bitwise_count(codes ^ codes[0]).sum(axis=1))[:200]] = False
    asked = codes[:40]
    full = np.bitwise_count(asked[:, None] ^ codes).sum(axis=2)
    full[:, ~mask] = 1000
    order = np.argsort(full, axis=1, kind="stable")[:, : min(10, mask.sum())]
    for allow in (mask, [f"n{i:05d}" for i in np.flatnonzero(mask)] * 2):
        hits = index.search(asked, 10, allow=allow)
        np.testing.assert_array_equal(hits.row, order)


def test_an_empty_index_answers_with_no_columns(tmp_path: Path) -> None:
    for kind, dtype in (("binary-flat", np.uint8), ("float-flat", np.float32)):
        index = create(tmp_path / f"{kind}.index", kind=kind, dim=8)
        asked = np.zeros((3, index.dim if dtype is np.float32 else 1), dtype)
        for shape in (index.search(asked, 5), index.search(asked, 5, allow=["a"])):
            assert shape.row.shape == shape.distance.shape == (3, 0)
        index.add([], np.zeros((0, asked.shape[1]), dtype))
        assert index.generation == 1
        index.add(["a"], asked[:1])
        assert index.search(asked, 5).row.shape == (3, 1)
        assert index.search(asked[:0], 5).row.shape == (0, 1)
        index.remove(["a"])
        assert index.search(asked, 5).row.shape == (3, 0)
        assert index.ids.to_pylist() == []
        assert index.parts_at([]).num_rows == 0


def test_wrong_vectors_are_refused_with_their_ids(tmp_path: Path) -> None:
    bits = create(tmp_path / "b.index", dim=30)
    floats = create(tmp_path / "f.index", kind="float-flat", dim=3)
    good = np.zeros((2, 4), np.uint8)
    for bad in (good[:, :3], good.astype(np.int32), good[0], np.zeros((2, 30), bool)):
        with pytest.raises(ShapeError, match=r"30 bits packed to uint8 of shape \(n, 4\)"):
            bits.add(["a", "b"], bad)
        with pytest.raises(ShapeError):
            bits.search(bad)
    with pytest.raises(ShapeError, match="2 vectors, 1 ids"):
        bits.add(["a"], good)
    padded = np.array([[0, 0, 0, 63], [0, 0, 0, 64]], np.uint8)
    with pytest.raises(DataError, match="1 that are not: 'b'"):
        bits.add(["a", "b"], padded)
    with pytest.raises(DataError, match="rows 1"):
        bits.search(padded)
    broken = np.ones((5, 3), np.float32)
    broken[[0, 2, 3, 4], [0, 1, 2, 0]] = [np.nan, np.inf, -np.inf, np.nan]
    with pytest.raises(DataError, match="4 that are not: 'a', 'c', 'd' and 1 more"):
        floats.add(list("abcde"), broken)
    with pytest.raises(ShapeError, match="float64"):
        floats.search(np.ones((1, 3)))
    with pytest.raises(UsageError, match="got 0"):
        bits.search(good, 0)
    with pytest.raises(ShapeError, match="mask"):
        bits.search(good, allow=np.ones(3, bool))
    assert len(bits) == len(floats) == 0


def test_threads_may_search_while_one_writes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 256, (300, 4), dtype=np.uint8)
    index = filled(tmp_path / "x.index", codes, 32)
    reader = open_index(index.path)
    expected = reader.search(codes[:20], 7)
    wrong: list[str] = []

    def ask() -> None:
        for _ in range(30):
            hits = reader.search(codes[:20], 7)
            if not np.array_equal(hits.row, expected.row):
                wrong.append("reader")
            if not (index.search(codes[:1], 1).distance == 0).all():
                wrong.append("writer")

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(8):
        index.add([f"more{i}", "n00001"], codes[[i + 20, 1]])
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(index) == 308
    assert (reader.generation, len(reader)) == (2, 300)


@pytest.mark.parametrize("metric", ["hamming", "l2"])
def test_counts_may_be_numpy_numbers_and_nothing_else_than_whole(metric: str, tmp_path: Path) -> None:
    codes = np.eye(8, dtype=np.uint8 if metric == "hamming" else np.float32)
    index = filled(tmp_path / "i", codes, np.int64(64 if metric == "hamming" else 8))
    for k in (np.int64(3), np.uint8(3)):
        np.testing.assert_array_equal(index.search(codes[:2], k).row, index.search(codes[:2], 3).row)
    for wrong in (0, -1, 2.5, "3", None):
        with pytest.raises(UsageError, match=f"k is a whole number of at least 1; got {wrong}"):
            index.search(codes[:2], wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"dim is a whole number of at least 1; got 2\.5"):
        create(tmp_path / "j", dim=2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("removed", [3, 30, 200, 2500])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_removed_rows_that_lie_together_leave_the_next_ones(tmp_path: Path, removed: int, dtype: type) -> None:
    """However many of the nearest were removed, the answer is that of the rows that are left."""
    rng = np.random.default_rng(removed)
    codes = rng.integers(0, 256, (6000, 4)).astype(dtype)
    asked = codes[[0, 17]]
    full = (
        np.bitwise_count(asked[:, None] ^ codes).sum(axis=2)
        if dtype is np.uint8
        else np.sqrt(((asked[:, None].astype(np.float64) - codes) ** 2).sum(axis=2)).astype(np.float32)
    )
    order = np.argsort(full, axis=1, kind="stable")
    gone = order[0, :removed]
    index = filled(tmp_path / "x.index", codes, 32 if dtype is np.uint8 else 4)
    index.remove([f"n{i:05d}" for i in gone])
    for query in (0, 1):  # the removed rows are the nearest of the first, and anywhere for the second
        left = order[query][~np.isin(order[query], gone)][:9]
        found = index.search(asked[query : query + 1], 9)
        np.testing.assert_array_equal(found.row[0], left)
        np.testing.assert_array_equal(found.distance[0], full[query][left])
