"""Random histories of an index against a plain list of rows and a brute-force search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmfeat.errors import UsageError
from mmfeat.indexes import Index, create, open_index, segments, snapshot

METRICS = {"hamming": "binary-flat", "l2": "float-flat", "cosine": "float-flat", "ip": "float-flat"}


def draw(rng: np.random.Generator, metric: str, count: int, dim: int) -> np.ndarray:
    """Vectors on a coarse grid, or out of a few (one is zero) for cosine: ties and equal vectors are common."""
    if metric == "cosine":
        few = np.random.default_rng(99).normal(size=(40, dim)).astype(np.float32)
        few[0] = 0
        return few[rng.integers(0, 40, count)]
    if metric == "hamming":
        return np.packbits(rng.integers(0, 2, (count, dim)).astype(bool), axis=1, bitorder="little")
    return rng.integers(-1, 2, (count, dim)).astype(np.float32)


def measure(metric: str, query: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Distances of one query to all codes by the definition."""
    if metric == "hamming":
        return np.bitwise_count(codes ^ query).sum(axis=1).astype(np.int32)
    x, y = query.astype(np.float64), codes.astype(np.float64)
    if metric == "l2":
        return np.sqrt(((y - x) ** 2).sum(axis=1)).astype(np.float32)
    if metric == "ip":
        return (-(y @ x)).astype(np.float32)
    norm = np.linalg.norm(x) * np.linalg.norm(y, axis=1)
    return (1 - np.divide(y @ x, norm, out=np.zeros(len(y)), where=norm > 0)).astype(np.float32)


class Reference:
    """Rows as a list: id, code, alive, label."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.rows: list[tuple[str, np.ndarray, str]] = []
        self.alive: list[bool] = []

    def bury(self, name: str) -> None:
        for i, row in enumerate(self.rows):
            if row[0] == name:
                self.alive[i] = False

    def living(self) -> list[str]:
        return [row[0] for row, alive in zip(self.rows, self.alive, strict=True) if alive]

    def check(self, index: Index, queries: np.ndarray, k: int, allow: set[str] | None) -> None:
        may = [i for i, a in enumerate(self.alive) if a and (allow is None or self.rows[i][0] in allow)]
        hits = index.search(queries, k, allow=None if allow is None else sorted(allow))
        assert hits.row.shape == hits.distance.shape == (len(queries), min(k, len(may)))
        assert hits.row.dtype == np.int64
        if not may:
            return
        codes = np.stack([self.rows[i][1] for i in may])
        for query, distance, row in zip(queries, hits.distance, hits.row, strict=True):
            expected = measure(self.metric, query, codes)
            order = np.argsort(np.round(expected, 5), kind="stable")[:k]
            assert row.tolist() == [may[i] for i in order]
            np.testing.assert_allclose(distance, expected[order], atol=2e-7, rtol=2e-7)
            assert index.ids_at(row) == [self.rows[i][0] for i in row]
            assert index.parts_at(row)["label"].to_pylist() == [self.rows[i][2] for i in row]


def play(folder: Path, metric: str, dim: int, seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    path = folder / "Bilder – 写真.index"
    index = create(path, kind=METRICS[metric], dim=dim, metric=metric)
    reference = Reference(metric)
    generation = 1
    for step in range(steps):
        living = reference.living()
        action = rng.choice(["add", "upsert", "remove", "reopen"], p=[0.4, 0.2, 0.25, 0.15])
        if action in ("add", "upsert"):
            names = [f"step{step}/ä{i}.jpg" for i in range(rng.integers(1, 30))]
            if action == "upsert" and living:
                names[: len(living)] = rng.choice(living, min(len(names), len(living)), replace=False).tolist()
            codes = draw(rng, metric, len(names), dim)
            labels = [f"{step}.{i}" for i in range(len(names))]
            index.add(names, codes, pa.table({"label": labels}))
            for name, code, label in zip(names, codes, labels, strict=True):
                reference.bury(name)
                reference.rows.append((name, code, label))
                reference.alive.append(True)
            generation += 1
        elif action == "remove" and living:
            names = rng.choice(living, rng.integers(1, len(living) + 1), replace=False).tolist()
            assert index.remove(names) == len(names)
            for name in names:
                reference.bury(name)
            generation += 1
        else:
            index = open_index(path)
        assert index.generation == generation
        assert len(index) == len(reference.living())
        assert index.ids.to_pylist() == reference.living()
        living = reference.living()
        allow = set(rng.choice(living, rng.integers(0, len(living) + 1))) | {"nobody"} if living else {"nobody"}
        queries = draw(rng, metric, 3, dim)
        for k in (1, 4, 500):
            reference.check(index, queries, k, None)
            reference.check(index, queries, k, allow)
    assert index.verify() == []


@pytest.mark.parametrize(("metric", "dim"), [("hamming", 30), ("hamming", 64), ("l2", 5), ("cosine", 3), ("ip", 4)])
@pytest.mark.parametrize(("seed", "small"), [(0, 1 << 20), (1, 1 << 20), (2, 0), (3, 300)])
def test_random_history_equals_brute_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, dim: int, seed: int, small: int
) -> None:
    # Nothing, something or everything counts as small: segments are mapped and searched one by one, or read and joined.
    monkeypatch.setattr(segments, "SMALL", small)
    monkeypatch.setattr(snapshot, "SMALL", small)
    play(tmp_path, metric, dim, seed, steps=12)


def test_same_history_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        play(tmp_path / name, "hamming", 12, seed=7, steps=8)
    first = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    second = {p.relative_to(tmp_path / "b"): p.read_bytes() for p in (tmp_path / "b").rglob("*") if p.is_file()}
    assert first == second
    assert len(first) > 10


def test_search_ids_row_of_and_codes_at(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = draw(rng, "hamming", 40, 16)
    index = create(tmp_path / "x.index", dim=16)
    index.add([f"n{i}" for i in range(25)], codes[:25])
    index.add([f"n{i}" for i in range(20, 35)], codes[25:])
    assert [index.row_of(name) for name in ("n3", "n20", "n34")] == [3, 25, 39]
    np.testing.assert_array_equal(index.codes_at([39, 0, 26]), codes[[39, 0, 26]])
    asked = ["n20", "n3", "n20"]
    np.testing.assert_array_equal(index.search_ids(asked, 5).row, index.search(codes[[25, 3, 25]], 5).row)
    with pytest.raises(UsageError, match="'nowhere'"):
        index.search_ids(["n3", "nowhere"])
    with pytest.raises(UsageError, match=r"0\.\.39"):
        index.ids_at([40])
