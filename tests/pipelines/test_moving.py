"""`mmfeat index move`: an index follows its folders, and nothing but their places becomes another."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixtures_command import run
from fixtures_faults import faults, tree
from fixtures_pictures import write_folder
from fixtures_sources import png, write_tar

import mmfeat
from mmfeat.errors import UsageError
from mmfeat.indexes import open_index, rollback, verify_index
from mmfeat.model import Model
from mmfeat.pipelines import updating
from mmfeat.pipelines.building import build_index
from mmfeat.pipelines.building_vectors import build_from_vectors
from mmfeat.pipelines.duplicates import find_duplicates
from mmfeat.pipelines.moving import move_index
from mmfeat.pipelines.updating import add_to_index, update_index


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    photos = write_folder(tmp_path_factory.mktemp("pictures"), 12, side=32)
    return mmfeat.fit("pixel-codes", photos, settings={"side": 8, "bits": 24})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", 12, side=32)


@pytest.fixture
def index(folder: Path, tmp_path: Path, model: Model) -> Path:
    return build_index(folder, tmp_path / "photos.index", model=model).path


def heavy(index: Path) -> dict[str, bytes]:
    """All but manifests: codes, tables, what is attached."""
    return {name: data for name, data in tree(index).items() if not name.startswith(("generations", "current"))}


def test_a_folder_moves_and_nothing_is_encoded_again(
    index: Path, folder: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, held = heavy(index), open_index(index).info
    now = tmp_path / "disk" / "pictures of 1998"
    now.parent.mkdir()
    shutil.copytree(folder, now, copy_function=shutil.copy)  # with other times
    shutil.rmtree(folder)
    with pytest.raises(UsageError):
        update_index(index, model=model)
    moved = move_index(index, [now])
    assert (moved.pairs, moved.looked, moved.found) == (((str(folder), str(now)),), 12, 12)
    assert heavy(index) == before
    assert verify_index(index) == []
    fresh = build_index(now, tmp_path / "fresh", model=model).path
    assert open_index(index).info == open_index(fresh).info
    monkeypatch.setattr(updating, "encode_items", lambda *a, **k: pytest.fail("encoded again"))
    assert update_index(index).same == 12
    answer = mmfeat.open(index).search(now / "china" / "crop 000.jpg", k=1)
    assert (answer[0].neighbours[0].distance, answer[0].neighbours[0].path) == (0, now / "china" / "crop 000.jpg")
    assert "data:image" in answer._repr_html_()
    # it looks at the pictures: what cannot be opened is like nothing
    alike = find_duplicates(index, agreement=0.01).groups
    assert alike
    assert all(one.path == now / one.id for group in alike for one in group)
    generation = open_index(index).generation
    assert move_index(index, [now]).pairs == ()
    assert open_index(index).generation == generation
    rollback(index, moved.generation - 1)
    assert open_index(index).info == held


def test_several_folders_and_files_move_one_by_one(tmp_path: Path, model: Model) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    one, two = write_folder(old / "one", 4, side=32), write_folder(old / "two", 4, side=32, seed=1)
    more, loose = write_folder(tmp_path / "more", 2, side=32, seed=2), tmp_path / "loose.png"
    loose.write_bytes(png(5))
    (one / "labels.csv").write_text("id,label\none/china/crop 000.jpg,roof\n")
    index = build_index([one, two], tmp_path / "i", model=model, labels=one / "labels.csv").path
    add_to_index(index, [more, loose], model=model)
    ids = open_index(index).ids.to_pylist()
    old.rename(new)
    assert move_index(index, [new], old=old).found == 8
    more.rename(tmp_path / "other name")
    assert move_index(index, [tmp_path / "other name"], old=more).found == 2
    loose.rename(new / "loose.png")
    with pytest.raises(UsageError, match="2 for 4"):
        move_index(index, [new / "one", new / "two"])
    places = [new / "one", new / "two", tmp_path / "other name", new / "loose.png"]
    assert move_index(index, places).pairs == ((str(loose), str(new / "loose.png")),)
    searcher = mmfeat.open(index)
    for item in ids:
        path = searcher.path_of(item)
        assert isinstance(path, Path)
        assert path.is_file()
    result = update_index(index, model=model)
    assert (result.same, result.new, result.changed, result.deleted, result.relabelled) == (11, 0, 0, 0, 0)
    assert open_index(index).ids.to_pylist() == ids
    (new / "one").rename(new / "uno")
    with pytest.raises(UsageError, match="ids begin with 'one'"):
        move_index(index, [new / "uno"], old=new / "one")
    with pytest.raises(UsageError, match="--from names a place"):
        move_index(index, [new], old=tmp_path / "elsewhere")


def test_a_shard_moves(tmp_path: Path, model: Model) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    tar = write_tar(tmp_path / "a" / "some.tar", {f"{number}.png": png(number) for number in range(5)})
    index = build_index(tar, tmp_path / "i", model=model).path
    tar.rename(tmp_path / "b" / "some.tar")
    with pytest.raises(UsageError, match="stays a file"):
        move_index(index, [tmp_path / "b"])
    assert move_index(index, [tmp_path / "b" / "some.tar"]).found == 5
    assert update_index(index, model=model).same == 5


def test_what_does_not_hold_the_files_is_refused(index: Path, folder: Path, tmp_path: Path) -> None:
    before = tree(index)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match=r"got 0 of 12 looked for in .*empty; missing is"):
        move_index(index, [empty])
    with pytest.raises(UsageError, match="0 of 12"):
        move_index(index, [folder.parent])  # one too high
    with pytest.raises(UsageError, match="exists"):
        move_index(index, [tmp_path / "nowhere"])
    np.save(tmp_path / "v.npy", np.eye(4))
    with pytest.raises(UsageError, match="one of vectors"):
        move_index(build_from_vectors(tmp_path / "v.npy", tmp_path / "v").path, [folder])
    with pytest.raises(UsageError):
        move_index(tmp_path / "no.index", [folder])
    assert not (tmp_path / "no.index").exists()
    assert tree(index) == before
    (empty / "china").mkdir()
    shutil.copy(folder / "china" / "crop 000.jpg", empty / "china")
    assert move_index(index, [empty], force=True).found == 1


@pytest.mark.parametrize("how", ["killed", "power", "torn", "full"])
def test_a_move_that_died_did_or_did_not_happen(index: Path, folder: Path, tmp_path: Path, how: str) -> None:
    now, held = folder.rename(tmp_path / "now"), open_index(index).info
    for at in range(60):
        path = shutil.copytree(index, tmp_path / f"{at}")
        with faults(at, how, seed=at) as disk, contextlib.suppress(OSError):
            move_index(path, [now])
        assert verify_index(path) == []
        assert open_index(path).info in (held, {**held, **moved_info(held, now)})
        move_index(path, [now])
        assert open_index(path).info == moved_info(held, now)
        assert heavy(path) == heavy(index)
        if not disk.dead:
            break
    assert 3 < at < 59


def moved_info(info: dict, now: Path) -> dict:
    return {**info, "root": str(now), "origins": [{**info["origins"][0], "places": [str(now)]}]}


def test_the_command(
    index: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = folder.rename(tmp_path / "now")
    code, out, err = run(monkeypatch, capsys, "index", "move", index, now)
    assert (code, err) == (0, "")
    assert out.startswith(f"{folder} is now {now}\n{index}: 12 of 12 files looked for are there; generation")
    assert "nothing moved" in run(monkeypatch, capsys, "index", "move", index, now)[1]
    assert run(monkeypatch, capsys, "index", "rollback", index)[0] == 0
    words = ("index", "move", index, now, "--from", folder, "--json")
    said = json.loads(run(monkeypatch, capsys, *words)[1])
    assert (said["moved"], said["looked_for"], said["found"]) == ([[str(folder), str(now)]], 12, 12)
    assert run(monkeypatch, capsys, "search", index, "china/crop 000.jpg", "--html", tmp_path / "p.html")[0] == 0
    assert (tmp_path / "p.html").read_text().count("data:image") > 5
