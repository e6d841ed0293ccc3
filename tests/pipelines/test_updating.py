"""An index follows its folders: what is new, changed, touched, deleted or broken; more folders; items taken out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixtures_pictures import crops, write_folder
from PIL import Image

import mmfeat
from mmfeat.errors import BusyError, DataError, MismatchError, UsageError
from mmfeat.indexes import Index, open_index, rollback
from mmfeat.indexes.item_log import later
from mmfeat.media.contents import open_content
from mmfeat.model import Model
from mmfeat.pipelines import building, updating
from mmfeat.pipelines.building import alone, build_index
from mmfeat.pipelines.building_vectors import build_from_vectors
from mmfeat.pipelines.changes import known_items
from mmfeat.pipelines.updating import add_to_index, compact_index, remove_from_index, update_index

SMALL = {"side": 12, "bits": 40}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return mmfeat.fit("pixel-codes", write_folder(tmp_path_factory.mktemp("pictures"), 20), settings=dict(SMALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", 12)


@pytest.fixture
def index(folder: Path, tmp_path: Path, model: Model) -> Path:
    return build_index(folder, tmp_path / "photos.index", model=model).path


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids that are encoded from now on."""
    seen: list[str] = []
    for module in (updating, building):
        real = module.encode_items

        def spy(model: Model, items: object, rows: np.ndarray, report: object = None, real: object = real) -> object:
            seen.extend(items.ids[row] for row in rows)  # type: ignore[attr-defined]
            return real(model, items, rows, report)  # type: ignore[operator]

        monkeypatch.setattr(module, "encode_items", spy)
    return seen


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(crops(1, seed=seed)[0][1]).save(path)
    return path


def contents(index: Index) -> dict[str, tuple]:
    """Code and label by id."""
    ids = index.ids.to_pylist()
    rows = [index.row_of(one) for one in ids]
    labels = index.parts_at(rows)["label"].to_pylist()
    codes = index.codes_at(rows).tolist()
    return {one: (code, label) for one, code, label in zip(ids, codes, labels, strict=True)}


def log(index: Index) -> dict[str, tuple]:
    """What is known of every file, by id."""
    names = ["id", "kind", "bytes", "mtime_ns", "sha256", "label", "status", "reason"]
    return {row["id"]: tuple(row.values()) for row in known_items(index).select(names).to_pylist()}


def agree(path: Path, folder: Path, other: Path, model: Model) -> None:
    """The index equals one that is built now."""
    build_index(folder, other, model=model, overwrite=True)
    ours, fresh = open_index(path), open_index(other)
    assert contents(ours) == contents(fresh)
    assert log(ours) == log(fresh)
    assert ours.verify() == []


def test_an_update_touches_only_what_changed(
    index: Path, folder: Path, tmp_path: Path, model: Model, encoded: list[str]
) -> None:
    (folder / "china" / "notes.txt").write_text("not a picture")
    picture(folder / "new" / "a.png", 5)
    picture(folder / "china" / "crop 002.jpg", 6)
    os.utime(folder / "china" / "crop 004.jpg", ns=(1, 1))
    (folder / "flower" / "crop 001.jpg").unlink()
    (folder / "flower" / "crop 003.jpg").write_bytes(b"\xff\xd8\xff no more")
    Image.new("RGB", (40, 40)).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:60])
    result = update_index(index, model=model)
    assert (result.new, result.changed, result.deleted, result.failed) == (2, 1, 2, 2)
    assert (result.same, result.count, result.exit_code) == (9, 11, 1)
    assert sorted(encoded) == ["china/crop 002.jpg", "cut.png", "new/a.png"]
    encoded.clear()
    agree(index, folder, tmp_path / "fresh", model)
    encoded.clear()
    generation, size = result.generation, sum(p.stat().st_size for p in index.rglob("*"))
    again = update_index(index)
    assert (again.new, again.changed, again.deleted, again.failed, again.exit_code) == (0, 0, 0, 0, 0)
    assert (again.generation, encoded) == (generation, [])
    assert sum(p.stat().st_size for p in index.rglob("*")) == size
    assert update_index(index, retry=True, model=model).failed == 1
    assert encoded == ["cut.png"]  # the other cannot be told for a picture


def test_an_update_opens_only_what_changed(
    index: Path, folder: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_to_index(index, [write_folder(tmp_path / "more", 3)], model=model)  # its ids begin with more/
    opened: list[str] = []

    def noted(place: str) -> object:
        opened.append(place)
        return open_content(place)

    monkeypatch.setattr("mmfeat.media.walk.open_content", noted)
    assert update_index(index, model=model).same == 15
    assert opened == []
    changed = sorted(path for path in (tmp_path / "more").rglob("*") if path.is_file())[1]
    picture(changed, 77)
    for places in ([changed], [changed.parent], ()):
        opened.clear()
        os.utime(changed)
        result = update_index(index, places, model=model)
        assert opened == [str(changed)]
    assert (result.changed, result.same, result.deleted) == (0, 15, 0)


def test_an_update_writes_as_much_as_changed(folder: Path, tmp_path: Path, model: Model) -> None:
    for number in range(150):
        shutil.copy(folder / "china" / "crop 000.jpg", folder / "china" / f"copy {number}.jpg")
    index = build_index(folder, tmp_path / "i", model=model).path
    before = open_index(index).info_dict()["bytes_on_disk"]
    picture(folder / "china" / "copy 7.jpg", 3)
    update_index(index, model=model)
    large = open_index(index).info_dict()["bytes_on_disk"] - before
    small = build_index(folder / "flower", tmp_path / "j", model=model).path
    before = open_index(small).info_dict()["bytes_on_disk"]
    picture(folder / "flower" / "crop 001.jpg", 3)
    update_index(small, model=model)
    assert large < 1.1 * (open_index(small).info_dict()["bytes_on_disk"] - before) < 30_000


def test_other_labels_are_written_and_nothing_is_encoded(
    folder: Path, tmp_path: Path, model: Model, encoded: list[str]
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,label\nchina/crop 000.jpg,old\nflower/crop 001.jpg,same\n")
    index = build_index(folder, tmp_path / "i", model=model, labels=table).path
    before = contents(open_index(index))
    encoded.clear()
    table.write_text("id,label\nchina/crop 000.jpg,new\nflower/crop 001.jpg,same\n")
    result = update_index(index)
    assert (result.relabelled, encoded) == (1, [])
    after = contents(open_index(index))
    assert after.pop("china/crop 000.jpg") == (before.pop("china/crop 000.jpg")[0], "new")
    assert after == before


def test_nothing_is_deleted_because_a_disk_is_not_there(index: Path, folder: Path, model: Model) -> None:
    before = contents(open_index(index))
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(UsageError, match="a root exists"):
        update_index(index)
    folder.mkdir()
    with pytest.raises(DataError, match="at least one file"):
        update_index(index)
    folder.rmdir()
    folder.with_name("elsewhere").rename(folder)
    one = folder / "china" / "crop 000.jpg"
    one.rename(folder.parent / "one.jpg")
    one.symlink_to(folder.parent / "one.jpg")
    update_index(index)
    (folder.parent / "one.jpg").rename(folder.parent / "two.jpg")
    result = update_index(index)
    assert result.deleted == 0
    assert contents(open_index(index)) == before
    one.unlink()
    assert update_index(index).deleted == 1


def test_part_of_a_folder(index: Path, folder: Path, tmp_path: Path, model: Model, encoded: list[str]) -> None:
    picture(folder / "china" / "x.png", 5)
    picture(folder / "flower" / "deep" / "y.png", 6)
    (folder / "china" / "crop 000.jpg").unlink()
    (folder / "flower" / "crop 001.jpg").unlink()
    result = update_index(index, [folder / "flower"], model=model)
    assert (result.new, result.deleted, encoded) == (1, 1, ["deep/y.png"])
    assert contents(open_index(index))["flower/deep/y.png"][1] == "flower"
    assert update_index(index, [folder / "china" / "x.png"], model=model).new == 1
    assert update_index(index, [folder / "flower" / "deep"]).same == 1
    assert update_index(index).deleted == 1
    agree(index, folder, tmp_path / "fresh", model)
    with pytest.raises(UsageError, match="index add"):
        update_index(index, [tmp_path])


def test_more_folders_and_files(index: Path, folder: Path, tmp_path: Path, model: Model) -> None:
    more = write_folder(tmp_path / "more", 6, seed=3)
    loose = picture(tmp_path / "loose.png", 9)
    known = picture(folder / "china" / "late.png", 11)
    result = add_to_index(index, [more, loose, known], model=model)
    assert (result.new, result.count) == (8, 20)
    assert add_to_index(index, [more]).same == 6
    found = contents(open_index(index))
    assert found["more/china/crop 000.jpg"][1] == "more"
    assert {"loose.png", "china/late.png"} <= found.keys()
    searcher = mmfeat.open(index)
    for item in ("more/china/crop 000.jpg", "loose.png", "china/late.png"):
        path = searcher.path_of(item)
        assert path is not None
        assert path.is_file(), item
        assert searcher.search(path, k=1)[0].neighbours[0].distance == 0
    (more / "china" / "crop 002.jpg").unlink()
    picture(loose, 12)
    result = update_index(index, model=model)
    assert (result.deleted, result.changed, result.same) == (1, 1, 18)
    both = build_index([folder, more], tmp_path / "both", model=model).path
    assert contents(open_index(both))["more/china/crop 000.jpg"] == found["more/china/crop 000.jpg"]
    assert update_index(both).same == 18
    other = write_folder(tmp_path / "x" / "china", 2)
    with pytest.raises(UsageError, match="a name of its own"):
        add_to_index(index, [other])
    with pytest.raises(UsageError, match="exists"):
        add_to_index(index, [tmp_path / "nowhere"])


def test_what_is_taken_out_stays_out_until_it_is_added(index: Path, folder: Path, model: Model) -> None:
    name = "china/crop 000.jpg"
    assert remove_from_index(index, [name, name]) == [name]
    assert name not in contents(open_index(index))
    picture(folder / name, 8)
    assert update_index(index).same == 12
    assert add_to_index(index, [folder / name], model=model).count == 12
    assert name in contents(open_index(index))
    with pytest.raises(UsageError, match="'nobody'"):
        remove_from_index(index, ["china/crop 002.jpg", "nobody"])
    assert len(open_index(index)) == 12


def test_another_model_and_a_second_writer_are_refused(index: Path, folder: Path) -> None:
    other = mmfeat.fit("pixel-codes", folder, settings={**SMALL, "bits": 32})
    with pytest.raises(MismatchError, match="by the model that made it"):
        update_index(index, model=other)
    with alone(index), pytest.raises(BusyError):
        update_index(index)
    np.save(folder / "v.npy", np.eye(4))
    build_from_vectors(folder / "v.npy", folder.parent / "v")
    with pytest.raises(UsageError, match="one of vectors"):
        update_index(folder.parent / "v")


def test_an_interrupted_update_goes_on(
    index: Path, folder: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, encoded: list[str]
) -> None:
    monkeypatch.setattr(building, "FIRST", 4)
    write_folder(folder / "later", 10, seed=4)
    real, calls = updating.encode_items, []

    def stops(*a: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*a)  # type: ignore[arg-type]

    monkeypatch.setattr(updating, "encode_items", stops)
    half = update_index(index, model=model)
    assert (half.complete, half.count) == (False, 16)
    assert update_index(index, model=model).count == 22
    assert len(encoded) == len(set(encoded)) == 10
    agree(index, folder, tmp_path / "fresh", model)


def test_a_build_that_goes_on_notices_what_changed(
    folder: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, encoded: list[str]
) -> None:
    monkeypatch.setattr(building, "FIRST", 4)
    (folder / "china" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 50)

    def stop(index: Index, *a: object) -> None:
        if len(index) >= 8 and not encoded[12:]:
            raise SystemError  # as a kill: nothing is written any more

    with pytest.raises(SystemError):
        build_index(folder, tmp_path / "i", model=model, after=stop)
    encoded += ["-"] * 12
    picture(folder / "china" / "crop 000.jpg", 7)
    (folder / "china" / "crop 002.jpg").unlink()
    os.utime(folder / "china" / "crop 004.jpg", ns=(1, 1))
    result = build_index(folder, tmp_path / "i", model=model)
    assert (result.done, result.complete) == (11, True)
    index = open_index(tmp_path / "i")
    rows = [index.row_of(f"china/crop {number}.jpg") for number in ("000", "004")]
    first = index.snapshot.segments[0].piece.rows
    assert rows[1] < first <= rows[0]  # one is new; the other was only touched, its code is the first run's
    assert not later(open_index(tmp_path / "i").snapshot)
    monkeypatch.undo()
    agree(tmp_path / "i", folder, tmp_path / "fresh", model)


def test_compacting_and_going_back(index: Path, folder: Path, model: Model) -> None:
    picture(folder / "china" / "crop 000.jpg", 7)
    (folder / "china" / "crop 002.jpg").unlink()
    before = contents(open_index(index))
    update_index(index, model=model)
    opened = open_index(index)
    held, known, tables = contents(opened), log(opened), later(opened.snapshot)
    assert tables
    small = compact_index(index, keep=3)
    assert (contents(small), log(small), later(small.snapshot)) == (held, known, [])
    assert (small.info_dict()["segments"], small.info_dict()["tombstones"]) == (1, 0)
    assert contents(opened) == held  # a reader keeps what it opened
    assert contents(rollback(index)) == held
    assert contents(rollback(index)) == before  # one update of so few items is one generation
    assert open_index(index).verify() == []
