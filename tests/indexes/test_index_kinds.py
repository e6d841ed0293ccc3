"""Types with a structure: never a wrong, dead, filtered or missing row, whatever the structure finds; exact codes decide."""

from __future__ import annotations

import threading
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_index_sequences import measure

from mmfeat.errors import DataError, UsageError
from mmfeat.indexes import Index, create, open_index, structures
from mmfeat.indexes import search as searching
from mmfeat.indexes.kinds import find_kind, resolve
from mmfeat.indexes.structures import Effort

BINARY = ("binary-ivf", "binary-ivf:12", "binary-hnsw:8")
FLOATS = ("float:IVF,Flat", "float:IVF8,PQ4x4", "float:PQ4x4", "float:RaBitQ", "float:IVF8,RaBitQ", "float:HNSW8")
FLOATS += ("float:PCAR8,SQ8", "float:HNSW8,SQ8")
METRICS = {"float:PQ4x4": "ip", "float:RaBitQ": "cosine", "float:HNSW8": "cosine", "float:IVF,Flat": "ip"}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Structures for little data, so that tests are quick."""
    monkeypatch.setattr(structures, "LEAST", 300)
    monkeypatch.setattr(searching, "FEW", 100)


def vectors(kind: str, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind.startswith("binary"):
        some = rng.integers(0, 256, (40, 4), dtype=np.uint8)
        return some[rng.integers(0, 40, count)] ^ (1 << rng.integers(0, 8, (count, 4))).astype(np.uint8)
    centres = np.random.default_rng(9).normal(size=(12, 16))
    return (centres[rng.integers(0, 12, count)] + 0.4 * rng.normal(size=(count, 16))).astype(np.float32)


def filled(path: Path, kind: str, count: int = 900, metric: str | None = None) -> Index:
    index = create(path, kind=kind, dim=32 if kind.startswith("binary") else 16, metric=metric)
    index.add([f"n{i:04}" for i in range(count)], vectors(kind, count))
    return open_index(path)


@pytest.mark.parametrize("kind", BINARY + FLOATS)
def test_what_a_structure_proposes_is_measured_exactly(kind: str, tmp_path: Path) -> None:
    index = filled(tmp_path / "i", kind, metric=METRICS.get(kind))
    assert (tmp_path / "i/segments/seg-000002/structure.faiss").stat().st_size > 0
    asked = vectors(kind, 30, seed=1)
    dead = index.search(asked, 1).row[:, 0]
    index.remove(sorted({f"n{row:04}" for row in dead}))
    mask = np.arange(900) % 3 > 0
    codes = index.codes_at(np.arange(900))
    found = 0.0
    for allow, may in ((None, ~np.isin(np.arange(900), dead)), (mask, mask & ~np.isin(np.arange(900), dead))):
        hits = index.search(asked, 7, allow=allow)
        exact = index.search(asked, 7, allow=allow, effort=Effort(exact=True))
        assert hits.row.shape == (30, 7)
        assert may[hits.row].all()
        for i, query in enumerate(asked):
            full = measure(index.metric, query, codes)
            np.testing.assert_allclose(hits.distance[i], full[hits.row[i]], atol=2e-6)
            np.testing.assert_allclose(exact.distance[i], np.sort(full[may])[:7], atol=2e-6)
            assert list(zip(hits.distance[i], hits.row[i], strict=True)) == sorted(
                zip(hits.distance[i], hits.row[i], strict=True)
            )
            found += len(set(hits.row[i]) & set(exact.row[i])) / 7 / 60
    assert found > 0.6


@pytest.mark.parametrize("kind", ["binary-ivf", "binary-hnsw", "float:IVF8,PQ4x4", "float:PQ4x4", "float:HNSW8"])
def test_answers_are_never_short(kind: str, tmp_path: Path) -> None:
    """Filters that leave few, k beyond what a structure finds, and k beyond all rows."""
    index = filled(tmp_path / "i", kind)
    asked = vectors(kind, 6, seed=2)
    for left in (0, 3, 50, 130, 400, 900):
        mask = np.zeros(900, bool)
        mask[np.random.default_rng(left).permutation(900)[:left]] = True
        for k in (1, 20, 120, 1000):
            hits = index.search(asked, k, allow=mask, effort=Effort(nprobe=1, ef=1, candidates=1))
            assert hits.row.shape == (6, min(k, left))
            assert mask[hits.row].all()
            assert all(len(set(row)) == len(row) for row in hits.row.tolist())
            if left <= 100 or 4 * k >= left:  # scanned: exact
                exact = index.search(asked, k, allow=mask, effort=Effort(exact=True))
                np.testing.assert_array_equal(hits.row, exact.row)


def test_effort_belongs_to_one_call(tmp_path: Path) -> None:
    index = filled(tmp_path / "i", "binary-ivf:12")
    asked = vectors("binary-ivf", 40, seed=3)
    exact = index.search(asked, 5, effort=Effort(exact=True))
    every = index.search(asked, 5, effort=Effort(nprobe=12, candidates=899))
    np.testing.assert_array_equal(every.row, exact.row)  # all lists: nothing is missed
    one = index.search(asked, 5, effort=Effort(nprobe=1))
    assert (one.distance >= exact.distance).all()
    assert (one.distance > exact.distance).any()
    wrong: list[int] = []

    def ask(nprobe: int, expected: np.ndarray) -> None:
        for _ in range(15):
            hits = index.search(asked, 5, effort=Effort(nprobe=nprobe, candidates=899 if nprobe == 12 else None))
            if not np.array_equal(hits.row, expected):
                wrong.append(nprobe)

    threads = [threading.Thread(target=ask, args=(n, e.row)) for n, e in ((1, one), (12, every)) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_distances_of_the_structure_itself(tmp_path: Path) -> None:
    """Without re-ranking a structure answers as bare FAISS does."""
    codes, asked = vectors("float", 900), vectors("float", 5, seed=4)
    bare = faiss.index_factory(16, "PCAR8,SQ8")
    bare.train(codes)
    bare.add(codes)
    near, row = bare.search(asked, 4)
    hits = filled(tmp_path / "i", "float:PCAR8,SQ8").search(asked, 4, effort=Effort(rerank=False))
    np.testing.assert_array_equal(hits.row, row)
    np.testing.assert_allclose(hits.distance, np.sqrt(near), rtol=1e-5)


@pytest.mark.parametrize(
    "kind", ["binary-ivf", "binary-hnsw:8", "float:OPQ4_8,PQ4x4", "float:HNSW8", "float:IVF,PQ4x4"]
)
def test_the_same_rows_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    files = []
    for name in "ab":
        filled(tmp_path / name, kind, 400)
        files.append((tmp_path / name / "segments/seg-000002/structure.faiss").read_bytes())
    assert files[0] == files[1]


def test_damage_is_named(tmp_path: Path) -> None:
    index = filled(tmp_path / "i", "binary-hnsw:8", 400)
    path = tmp_path / "i/segments/seg-000002/structure.faiss"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    assert [problem.split(":")[0] for problem in index.verify()] == ["segments/seg-000002/structure.faiss"]


def test_small_segments_are_scanned_and_compaction_builds_what_they_lack(tmp_path: Path) -> None:
    codes = vectors("binary-ivf", 900)
    index = create(tmp_path / "i", kind="binary-ivf", dim=32)
    for start in range(0, 900, 150):
        index.add([f"n{i:04}" for i in range(start, start + 150)], codes[start : start + 150])
    assert not list((tmp_path / "i").glob("segments/*/structure.faiss"))
    before = index.search(codes[:20], 5)
    np.testing.assert_array_equal(before.row, index.search(codes[:20], 5, effort=Effort(exact=True)).row)
    index.remove(["n0000"])
    index.compact()
    assert len(list((tmp_path / "i").glob("segments/*/structure.faiss"))) >= 1
    hits = index.search(codes[1:20], 1)
    assert (hits.distance == 0).all()


def test_what_is_no_type_is_said(tmp_path: Path) -> None:
    for name in (
        "binary",
        "float:",
        "float:IDMap,Flat",
        "float:PQ8,RFlat",
        "binary-ivf:0",
        "float:IVF8,Flat,Refine(Flat)",
    ):
        with pytest.raises(UsageError, match="an index kind is one of"):
            find_kind(name)
    for name, dim in (("float:Nonsense", 16), ("float:PQ5", 16), ("float:IVF8,Nothing", 16)):
        with pytest.raises(UsageError, match=r"a factory string of FAISS; got|fits vectors of 16 dimensions"):
            create(tmp_path / "i", kind=name, dim=dim)
    with pytest.raises(UsageError, match="measures hamming"):
        find_kind("binary-ivf", "l2")
    with pytest.raises(UsageError, match="nprobe is a whole number"):
        create(tmp_path / "j", dim=8).search(np.zeros((1, 1), np.uint8), effort=Effort(nprobe=0))


def test_an_error_of_faiss_is_a_sentence() -> None:
    words = "FAISS must be able to make and search a thing; got AssertionError without a"
    with pytest.raises(DataError, match=words), structures.said("a thing"):
        raise AssertionError
    with pytest.raises(DataError, match="got 'n > 0' failed"), structures.said("a thing"):
        raise RuntimeError("Error in void f() at x.cpp:3: Error: 'n > 0' failed")


@given(st.integers(1, 10**8))
def test_lists_fit_the_rows(rows: int) -> None:
    name, least = resolve("IVF,PQ8", rows)
    lists = int(name.removeprefix("IVF").removesuffix(",PQ8"))
    assert lists & (lists - 1) == 0
    assert lists == 1 or 39 * lists <= rows
    assert lists <= 4 * rows**0.5
    assert least == max(256, lists)


@settings(max_examples=12)
@given(st.data())
def test_random_histories_of_all_types(data: st.DataObject) -> None:
    """Add, replace, remove, filter and reopen in any order: no dead, filtered, doubled or missing row, true distances."""
    import tempfile

    kind = data.draw(st.sampled_from(BINARY + FLOATS))
    with tempfile.TemporaryDirectory() as folder:
        index = create(Path(folder) / "i", kind=kind, dim=32 if kind.startswith("binary") else 16)
        living: dict[str, np.ndarray] = {}
        for step in range(data.draw(st.integers(1, 5))):
            do = data.draw(st.sampled_from(["add", "add", "remove", "compact", "reopen"]))
            if do == "add":
                count, first = data.draw(st.sampled_from([3, 120, 350])), data.draw(st.integers(0, 400))
                codes = vectors(kind, count, seed=step)
                names = [f"n{first + i}" for i in range(count)]
                index.add(names, codes)
                living.update(zip(names, codes, strict=True))
            elif do == "remove" and living:
                gone = sorted(living)[:: data.draw(st.integers(1, 5))]
                index.remove(gone)
                for name in gone:
                    del living[name]
            elif do == "compact":
                index.compact()
            else:
                index = open_index(index.path)
            may = sorted(living)[:: data.draw(st.integers(1, 3))]
            k = data.draw(st.sampled_from([1, 9, 500]))
            asked = vectors(kind, 3, seed=step + 50)
            hits = index.search(asked, k, allow=may)
            assert hits.row.shape == (3, min(k, len(may)))
            for query, distance, row in zip(asked, hits.distance, hits.row, strict=True):
                names = index.ids_at(row)
                assert set(names) <= set(may)
                assert len(set(names)) == len(names)
                if names:
                    true = measure(index.metric, query, np.stack([living[name] for name in names]))
                    np.testing.assert_allclose(distance, true, atol=2e-6)
