"""Death at every write, fsync, rename and removal of every change of an index; power cuts; full disks.

Every change dies at every place in one of the four ways, in each of them with MMFEAT_CHECK_ALL=1.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixtures_faults import faults, tree
from fixtures_index import CHANGES, make, state

from mmfeat.errors import DamagedError, UsageError
from mmfeat.indexes import create, open_index, structures, verify_index

ENDS = ("killed", "power", "torn", "full")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of `faults` nothing waits for the disk, and nothing is remembered of what was verified."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)


def places(how: str, most: int) -> range:
    """Where to die: each place in one of the ends."""
    return range(most) if os.environ.get("MMFEAT_CHECK_ALL") else range(ENDS.index(how), most, len(ENDS))


def copy(source: Path, target: Path) -> Path:
    """The same index again; pieces never change, so linking them is enough."""
    return shutil.copytree(source, target, copy_function=os.link)


def settled(path: Path) -> dict[str, bytes]:
    """What lies there once the next writer has cleared away what was left."""
    open_index(path).attach({})
    return tree(path)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("name", CHANGES)
def test_a_death_at_any_change_leaves_the_old_or_the_new_generation(tmp_path: Path, name: str, how: str) -> None:
    action = CHANGES[name]
    start = make(tmp_path / "start.index").path
    old = state(start)
    done = copy(start, tmp_path / "done.index")
    action(done)
    new, undisturbed = state(done), settled(done)
    assert new != old
    seen = set()
    for at in places(how, 500):
        path = copy(start, tmp_path / f"{at}.index")
        with faults(at, how, seed=at) as disk, contextlib.suppress(OSError):
            action(path)
        after = state(path)
        assert after in (old, new), at
        assert verify_index(path) == []
        seen.add(after == new)
        assert disk.dead or after == new  # what was said to be done holds, whatever comes
        if after == old:
            action(path)
        assert state(path) == new
        assert settled(path) == undisturbed, at
        shutil.rmtree(path)
        if not disk.dead:
            break
    assert seen == {False, True}
    assert 5 < at < 490


@pytest.mark.parametrize("how", ENDS)
def test_a_death_while_creating_leaves_nothing_or_an_index(tmp_path: Path, how: str) -> None:
    for at in places(how, 100):
        path = tmp_path / f"{at}.index"
        with faults(at, how, seed=at) as disk, contextlib.suppress(OSError):
            create(path, dim=8)
        if not (path / "current.json").exists():
            assert disk.dead
            with pytest.raises(UsageError):
                open_index(path)
            create(path, dim=8)
        assert open_index(path).generation == 1
        assert verify_index(path) == []
        assert not list(path.rglob("*.tmp"))
        if not disk.dead:
            break
    assert 5 < at < 90


@pytest.mark.parametrize(
    "forgotten",
    ["mmfeat.indexes.segments.sync_folder", "mmfeat.indexes.extras.sync_folder", "mmfeat.files.sync_folder"],
)
def test_a_name_that_is_not_made_durable_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    """The disk that fails is a test only if it finds what is forgotten."""
    start = make(tmp_path / "start.index").path
    monkeypatch.setattr(forgotten, lambda folder: None)
    found = 0
    for seed in range(8):
        path = copy(start, tmp_path / f"{seed}.index")
        with faults(1000, "torn", seed):
            CHANGES["add"](path)
        try:
            found += state(path)[0] != 5  # it was said to be done
        except DamagedError:
            found += 1
    assert found


def test_contents_that_are_not_made_durable_are_found(tmp_path: Path) -> None:
    start = make(tmp_path / "start.index").path
    with faults(1000, "power") as disk:
        disk.unsynced = Forgetful()
        CHANGES["add"](start)
    with pytest.raises(DamagedError):
        state(start)


class Forgetful(dict):
    """Unsynced files of which none is ever synced."""

    def pop(self, *key: object) -> None:  # type: ignore[override]
        pass


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("name", ["add", "compact"])
@pytest.mark.parametrize("kind", ["binary-hnsw", "binary-ivf"])
def test_structures_of_faiss_end_the_same_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, how: str
) -> None:
    monkeypatch.setattr(structures, "LEAST", 1)
    codes = np.random.default_rng(0).integers(0, 256, (60, 2), dtype=np.uint8)
    index = create(tmp_path / "start.index", kind=kind, dim=16)
    index.add([str(i) for i in range(40)], codes[:40])
    index.add([str(i) for i in range(30, 50)], codes[40:])

    def action(path: Path) -> None:
        if name == "add":
            open_index(path).add([str(i) for i in range(45, 65)], codes[:20])
        else:
            open_index(path).compact(1)

    done = copy(index.path, tmp_path / "done.index")
    action(done)
    undisturbed = settled(done)
    assert any(path.endswith("structure.faiss") for path in undisturbed)
    for at in places(how, 200):
        path = copy(index.path, tmp_path / f"{at}.index")
        with faults(at, how, seed=at) as disk, contextlib.suppress(OSError):
            action(path)
        assert verify_index(path) == []
        if open_index(path).generation == index.generation:
            action(path)
        assert settled(path) == undisturbed, at
        shutil.rmtree(path)
        if not disk.dead:
            break
    assert 5 < at < 190
