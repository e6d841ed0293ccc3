"""Compaction, generations that are kept and gone back to, damage that is named, export."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures_faults import tree
from fixtures_index import make, state

from mmfeat.errors import BusyError, DamagedError, UsageError
from mmfeat.files import hold_lock
from mmfeat.indexes import compaction, create, export, newest_whole, open_index, rollback, verify_index


def answers(path: Path) -> list:
    index = open_index(path)
    hits = index.search(np.arange(20, dtype=np.uint8).reshape(10, 2) % 16, 7)
    return [
        list(zip(index.ids_at(row), near.tolist(), strict=True))
        for row, near in zip(hits.row, hits.distance, strict=True)
    ]


def test_compaction_changes_no_answer_and_lets_old_generations_go(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")
    before, parts = answers(index.path), index.parts_at([index.row_of(i) for i in index.ids.to_pylist()]).to_pylist()
    old = open_index(index.path)
    index.compact()
    info = index.info_dict()
    assert (info["count"], info["rows"], info["tombstones"], info["segments"]) == (10, 10, 0, 1)
    assert info["generations_kept"] == [4, 5]
    assert answers(index.path) == before
    assert index.parts_at(range(10)).to_pylist() == parts
    assert index.verify() == []
    there = {p.relative_to(index.path).as_posix() for p in index.path.glob("*/*")}
    assert "generations/gen-000003.json" not in there
    assert "segments/seg-000002" in there  # generation 4 refers to it
    assert not [p for p in (index.path / "extras").iterdir() if p.is_file() and p.read_bytes() == b"old"]
    index.compact()
    assert index.generation == 5  # nothing to do
    index.compact(keep=1)
    assert index.generation == 6
    assert [p.name for p in (index.path / "generations").iterdir()] == ["gen-000006.json"]
    assert [p.name for p in (index.path / "segments").iterdir()] == ["seg-000005"]
    assert answers(index.path) == before
    assert old.ids_at([0, 3]) == ["f/0.jpg", "f/3.jpg"]  # its files are gone, and it answers
    assert old.search(np.zeros((1, 2), np.uint8), 2).row.tolist() == [[0, 8]]
    assert old.parts_at([11])["t0"].to_pylist() == [1.5]
    with pytest.raises(UsageError, match="none is kept"):
        rollback(index.path)


def test_an_index_without_rows_is_compacted(tmp_path: Path) -> None:
    index = create(tmp_path / "x.index", dim=8)
    index.add(["a", "b"], np.zeros((2, 1), np.uint8))
    index.remove(["a", "b"])
    index.compact(1)
    assert (len(index), index.info_dict()["rows"], index.verify()) == (0, 0, [])
    index.add(["a"], np.zeros((1, 1), np.uint8))
    assert open_index(index.path).ids.to_pylist() == ["a"]


@pytest.mark.parametrize("group", [1 << 16, 7])
def test_merged_bytes_tell_nothing_of_how_rows_were_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    monkeypatch.setattr(compaction, "GROUP", group)
    codes = np.random.default_rng(0).integers(0, 256, (40, 3), dtype=np.uint8)
    ids = [f"n{i}" for i in range(40)]
    merged = []
    for name, cuts in (("a", [0, 40]), ("b", [0, 1, 13, 26, 40]), ("c", [0, 20, 40])):
        index = create(tmp_path / name, dim=24)
        for begin, end in itertools.pairwise(cuts):
            index.add(ids[begin:end], codes[begin:end])
        index.add(["gone"], codes[:1])
        index.remove(["gone"])
        index.compact(1)
        np.testing.assert_array_equal(index.codes_at(range(40)), codes)
        merged.append([p.read_bytes() for p in sorted(index.path.glob("segments/*/*"))])
    assert merged[0] == merged[1] == merged[2]


def test_a_rollback_is_a_generation_that_equals_an_older_one(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")
    states = {4: state(index.path)[1:]}
    for number in (3, 2):  # one step further each time
        held = rollback(index.path)
        states[number] = state(index.path)[1:]
        assert held.snapshot.manifest.restores == number
        assert held.verify() == []
    assert "f/2.jpg" in states[3][0]
    assert len(states[2][0]) == 10
    assert rollback(index.path, 4).generation == 7
    assert state(index.path)[1:] == states[4]
    assert state(shutil.copytree(index.path, tmp_path / "copy"))[1:] == states[4]
    open_index(index.path).remove(["g.jpg"])
    rollback(index.path)
    assert state(index.path)[1:] == states[4]
    with pytest.raises(UsageError, match=r"got 12, not 9, 8, 7, 6, 5, 4, 3, 2, 1"):
        rollback(index.path, 12)
    with hold_lock(index.path / "lock"), pytest.raises(BusyError):
        rollback(index.path)
    with pytest.raises(UsageError, match=r"current\.json"):
        rollback(tmp_path)


def test_no_rollback_ends_where_the_index_was_being_made(tmp_path: Path) -> None:
    """An index begins empty: nobody who names no generation means that one."""
    index = make(tmp_path / "x.index")
    before = state(index.path)[1:]
    refuse = lambda manifest: manifest.generation > 2  # noqa: E731 - as a build says it of its steps
    rollback(index.path, accept=refuse)  # 3
    with pytest.raises(UsageError, match="steps of making the index: 2, 1"):
        rollback(index.path, accept=refuse)
    rollback(index.path, accept=lambda manifest: True)  # 2, which holds something
    with pytest.raises(UsageError, match="steps of making the index: 1"):
        rollback(index.path)
    assert len(rollback(index.path, 1)) == 0  # it can still be named
    rollback(index.path, 4)
    assert state(index.path)[1:] == before


def harm(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harmed", "to", "holds"),
    [
        ("current.json", 4, False),
        ("generations/gen-000004.json", 3, False),
        ("tombstones/dead-000004.npy", 3, False),
        ("segments/seg-000003/codes.npy", 2, False),
        ("segments/seg-000002/parts.parquet", 1, False),
        ("generations/gen-000002.json", 4, True),
    ],
)
def test_a_good_generation_is_never_lost(tmp_path: Path, harmed: str, to: int, holds: bool) -> None:
    index = make(tmp_path / "x.index")
    good = {}
    for number in (1, 2, 3, 4):
        copy = shutil.copytree(index.path, tmp_path / f"{number}.index")
        rollback(copy, number)
        good[number] = state(copy)[1:]
    harm(index.path / harmed)
    assert [problem.split(":")[0] for problem in verify_index(index.path)] == [harmed]
    assert newest_whole(index.path) == (to, holds)
    if holds:
        assert state(index.path)[1:] == good[to]
        open_index(index.path).compact(1)
        assert verify_index(index.path) == []
        return
    with pytest.raises(DamagedError, match="mmfeat index rollback"):
        open_index(index.path)
    rollback(index.path)
    assert state(index.path)[1:] == good[to]
    opened = open_index(index.path)
    opened.add(["more"], np.zeros((1, 2), np.uint8))
    opened.compact(1)
    assert verify_index(index.path) == []


def test_what_is_damaged_everywhere_is_said(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")
    index.compact(1)
    harm(index.path / "segments" / "seg-000005" / "codes.npy")
    before = tree(index.path)
    assert newest_whole(index.path) == (None, False)
    with pytest.raises(UsageError, match="none is kept"):
        rollback(index.path)
    with pytest.raises(DamagedError, match="generation 5: segments"):
        rollback(index.path, 5)
    with pytest.raises(UsageError, match="never overwritten"):
        create(index.path, dim=8)
    (index.path / "current.json").unlink()
    with pytest.raises(UsageError, match="never overwritten"):
        create(index.path, dim=8)
    assert {**tree(index.path), "current.json": before["current.json"]} == before


def test_every_flipped_bit_is_named(tmp_path: Path) -> None:
    """60 flips here, 600 in `make soak`."""
    index = make(tmp_path / "x.index")
    files = sorted(p for p in index.path.rglob("*") if p.is_file() and p.name != "lock")
    rng = np.random.default_rng(0)
    for path in rng.choice(np.array(files, object), 60):
        data = bytearray(path.read_bytes())
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        whole = path.read_bytes()
        path.write_bytes(data)
        name = path.relative_to(index.path).as_posix()
        assert [problem.split(":")[0] for problem in verify_index(index.path)] == [name]
        path.write_bytes(whole)
    assert verify_index(index.path) == []


@pytest.mark.parametrize("kind", ["binary-flat", "float-flat"])
def test_an_export_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(compaction, "GROUP", 3)
    if kind == "binary-flat":
        index = make(tmp_path / "x.index")
    else:
        index = create(tmp_path / "x.index", kind=kind, dim=3)
        index.add(list("abcdefgh"), np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32))
    count = export(index, tmp_path / "out" / "x.parquet")
    table = pq.read_table(tmp_path / "out" / "x.parquet")
    ids = index.ids.to_pylist()
    assert (count, table["id"].to_pylist()) == (len(ids), ids)
    rows = [index.row_of(one) for one in ids]
    np.testing.assert_array_equal(np.array(table[1].to_pylist(), index.codes_at(rows).dtype), index.codes_at(rows))
    assert table.drop_columns(table.column_names[1]).to_pylist() == index.parts_at(rows).to_pylist()
    with pytest.raises(UsageError, match="never overwritten"):
        export(index, tmp_path / "out" / "x.parquet")
    assert export(index, tmp_path / "out" / "x.parquet", overwrite=True) == count
    with pytest.raises(UsageError, match="holds something"):
        export(create(tmp_path / "y.index", dim=8), tmp_path / "y.parquet")
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_removal_that_was_cut_short_is_finished_by_the_next_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make(tmp_path / "x.index")
    monkeypatch.setattr("mmfeat.indexes.store.prune", lambda root, current: None)
    index.compact(1)
    assert len(os.listdir(index.path / "generations")) == 5
    monkeypatch.undo()
    open_index(index.path).remove(["g.jpg"])
    assert sorted(os.listdir(index.path / "generations")) == ["gen-000005.json", "gen-000006.json"]
    assert os.listdir(index.path / "segments") == ["seg-000005"]
