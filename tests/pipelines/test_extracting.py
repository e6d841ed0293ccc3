"""Extraction: every file one status, every part once, a rerun makes only what is missing."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures_pictures import write_folder
from PIL import Image

from mmfeat.arrays import pack_bits
from mmfeat.errors import BusyError, MismatchError, SettingsError, UsageError
from mmfeat.files import hold_lock
from mmfeat.media.ids import split_id
from mmfeat.media.walk import walk
from mmfeat.model import Model
from mmfeat.pipelines import extracting
from mmfeat.pipelines.extracting import extract, read_features
from mmfeat.pipelines.fitting import fit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_folder(tmp_path_factory.mktemp("pictures"), 30)
    (root / "china" / "broken.jpg").write_bytes((root / "china" / "crop 000.jpg").read_bytes()[:900])
    (root / "notes.txt").write_text("not a picture")
    return root


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return fit("pixel-codes", folder, settings={"side": 8, "bits": 24})


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracting, "PART", 8)


@pytest.mark.usefixtures("_small_parts")
def test_every_file_ends_in_one_status_and_counts_agree(folder: Path, model: Model, tmp_path: Path) -> None:
    result = extract(model, walk(folder), tmp_path / "f")
    assert (result.done, result.failed, result.skipped, result.exit_code) == (30, 1, 1, 1)
    table = pq.read_table(tmp_path / "f" / "items.parquet").to_pydict()
    status = dict(zip(table["id"], table["status"], strict=True))
    assert status["china/broken.jpg"] == "failed"
    assert status["notes.txt"] == "skipped"
    assert all(reason for state, reason in zip(table["status"], table["reason"], strict=True) if state != "done")
    ids, codes = read_features(tmp_path / "f")
    assert ids == [one for one, state in status.items() if state == "done"]
    assert codes.shape == (30, 3)
    direct = model.encode([folder / one for one in ids])
    np.testing.assert_array_equal(codes, pack_bits(direct))


@pytest.mark.usefixtures("_small_parts")
def test_a_rerun_makes_only_what_is_missing_and_ends_the_same(folder: Path, model: Model, tmp_path: Path) -> None:
    extract(model, walk(folder), tmp_path / "f", dtype="float32")
    before = {path: path.read_bytes() for path in sorted((tmp_path / "f").rglob("*")) if path.is_file()}
    times = {path: path.stat().st_mtime_ns for path in before}
    lost = tmp_path / "f" / "parts" / "part-00001.json"
    lost.unlink()
    result = extract(model, walk(folder), tmp_path / "f", dtype="float32")
    assert (result.done, result.new_failures, result.exit_code) == (30, 0, 0)  # the failure is not new
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "f" / "parts" / "part-00000.npy").stat().st_mtime_ns == times[
        tmp_path / "f" / "parts" / "part-00000.npy"
    ]


@pytest.mark.usefixtures("_small_parts")
def test_a_killed_extraction_goes_on(
    folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(model, walk(folder), tmp_path / "whole")
    replace, count = os.replace, [0]

    def dying(source: str, target: str) -> None:
        count[0] += 1
        if count[0] == 5:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(KeyboardInterrupt):
        extract(model, walk(folder), tmp_path / "f")
    monkeypatch.setattr(os, "replace", replace)
    extract(model, walk(folder), tmp_path / "f")
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file():
            assert (tmp_path / "f" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes(), path


def test_another_model_other_items_and_foreign_folders_are_refused(folder: Path, model: Model, tmp_path: Path) -> None:
    items = walk(folder)
    extract(model, items, tmp_path / "f")
    other = fit("pixel-codes", folder, settings={"side": 8, "bits": 16})
    with pytest.raises(MismatchError, match="the model it was begun with"):
        extract(other, items, tmp_path / "f")
    with pytest.raises(MismatchError, match="the items it was begun with"):
        extract(model, items.select(np.arange(5)), tmp_path / "f", shard=(1, 2))
    with pytest.raises(MismatchError, match="the part it was begun with"):
        extract(model, items, tmp_path / "f", part=5)
    with pytest.raises(UsageError, match="never overwritten"):
        extract(model, items, folder)
    with pytest.raises(SettingsError, match="of a hash"):
        extract(
            fit("pixel-features", folder, settings={"side": 8, "learner": None}), items, tmp_path / "g", dtype="bits"
        )


def test_half_precision_is_the_rounded_float(folder: Path, model: Model, tmp_path: Path) -> None:
    extract(model, walk(folder), tmp_path / "f", dtype="float16")
    _, values = read_features(tmp_path / "f")
    assert values.dtype == np.float16
    whole = model.encode(folder)
    np.testing.assert_array_equal(values, whole[np.isfinite(whole).all(axis=1)].astype(np.float16))


@pytest.mark.usefixtures("_small_parts")
def test_features_may_lie_in_the_folder_they_are_of(model: Model, tmp_path: Path) -> None:
    """What mmfeat wrote is not walked, and files that are no pictures do not make it another folder of pictures."""
    root = write_folder(tmp_path, 10)
    model.save(root / "model")
    for number in range(2):
        result = extract(model, walk(root), root / "features")
        assert (result.done, result.skipped, result.exit_code) == (10, number, 0)
        (root / "notes.txt").write_text("new")


def test_one_extraction_at_a_time_and_what_a_killed_one_left_goes(folder: Path, model: Model, tmp_path: Path) -> None:
    extract(model, walk(folder), tmp_path / "f")
    aside = tmp_path / "f" / "parts" / ".part-00000.npy.abc.tmp"
    aside.write_bytes(b"half")
    with hold_lock(tmp_path / "f" / ".lock"), pytest.raises(BusyError):
        extract(model, walk(folder), tmp_path / "f")
    assert aside.exists()
    extract(model, walk(folder), tmp_path / "f")
    assert not aside.exists()


def test_any_name_ends_in_the_table_and_comes_back(model: Model, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pictures", 1)
    data = next((root / "china").iterdir()).read_bytes()
    names = ["日本.jpg".encode(), b"a b'c\"d.jpg", b"two\nlines.jpg", b"\xff\xfe.jpg", b"50% #1.jpg", b"-rf.jpg"]
    for name in names:
        (root / os.fsdecode(name)).write_bytes(data)
    result = extract(model, walk(root), tmp_path / "f")
    assert (result.done, result.failed, result.skipped) == (len(names) + 1, 0, 0)
    ids, codes = read_features(tmp_path / "f")
    assert {os.fsencode(split_id(id)[0]) for id in ids} == {*names, b"china/crop 000.jpg"}
    assert all(id.isprintable() for id in ids)
    assert (codes == codes[0]).all()


def test_files_that_vanish_or_change_after_the_walk_are_failures(model: Model, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pictures", 4)
    items = walk(root)
    first, second, third, fourth = sorted(root.rglob("*.jpg"))
    first.unlink()
    second.write_bytes(second.read_bytes() + b"more")
    third.unlink()
    third.mkdir()
    result = extract(model, items, tmp_path / "f")
    assert (result.done, result.failed, result.exit_code) == (1, 3, 1)
    assert read_features(tmp_path / "f")[0] == [fourth.relative_to(root).as_posix()]
    assert extract(model, walk(root), tmp_path / "f").done == 2  # what is there is read: the one that grew too


@pytest.mark.parametrize("form", ["tar", "npy", "csv", "two", "memory"])
def test_every_source_gives_the_codes_of_the_files(form: str, model: Model, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pictures", 6, side=64)
    files = sorted(root.rglob("*.jpg"))
    wanted = pack_bits(model.encode(files))
    data: object = tmp_path / f"x.{form}"
    if form == "tar":
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            for number, path in enumerate(files):
                archive.add(path, f"{number}.jpg")
    elif form == "npy":
        pixels = np.stack([np.asarray(Image.open(path).resize((64, 64))) for path in files])
        np.save(tmp_path / "x.npy", pixels)
        wanted = pack_bits(model.encode(list(pixels)))
    elif form == "csv":
        (tmp_path / "x.csv").write_text("path\n" + "\n".join(str(path.relative_to(tmp_path)) for path in files))
    elif form == "two":
        data = [root / "china", root / "flower"]
    else:
        store = pytest.importorskip("fsspec", reason="the extra `remote` is not installed").filesystem("memory")
        store.pipe({f"/extracting/{number}.jpg": path.read_bytes() for number, path in enumerate(files)})
        data = "memory://extracting"
    extract(model, walk(data), tmp_path / "f", dtype="bits")  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_features(tmp_path / "f")[1], wanted)
    learned = fit("pixel-codes", data, settings={"side": 4, "bits": 8})
    assert learned.provenance["data"] == "6 pictures"
