"""Whole jobs that die at a write, fsync, rename or removal: the same call again ends as if nothing had been.

Compared to the byte: tables, vectors, codes, models. A few places here, every place with MMFEAT_CHECK_ALL=1.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures_faults import faults, tree
from fixtures_pictures import crops, write_folder
from PIL import Image

import mmfeat
from mmfeat.errors import MmfeatError
from mmfeat.indexes import open_index, verify_index
from mmfeat.media.walk import walk
from mmfeat.model import Model, load
from mmfeat.pipelines import building, extracting
from mmfeat.pipelines.building import build_index
from mmfeat.pipelines.extracting import extract
from mmfeat.pipelines.updating import add_to_index, compact_index, remove_from_index, update_index

ENDS = ("killed", "power", "torn", "full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_folder(tmp_path_factory.mktemp("faulty"), 6, side=32)
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 50)
    return root


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return mmfeat.fit("pixel-codes", folder, settings={"side": 8, "bits": 5})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    """Outside of `faults` nothing waits for the disk; the model is compiled once; two segments and more for six pictures."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    monkeypatch.setattr("mmfeat.model.load", lambda path: model if load(path).sha256 == model.sha256 else load(path))
    monkeypatch.setattr(building, "FIRST", 3)
    monkeypatch.setattr(extracting, "PART", 3)
    monkeypatch.setattr("mmfeat.pipelines.self_check.self_check", lambda *a, **k: {"items": 0})


def places(how: str, most: int, step: int) -> range:
    return range(most) if os.environ.get("MMFEAT_CHECK_ALL") else range(3 * ENDS.index(how) + 1, most, step)


def essence(path: Path) -> dict:
    """All that an index says, in bytes, without the numbers of its generations."""
    index = open_index(path)
    segments = [
        (path / name).read_bytes() for piece in index.snapshot.manifest.segments for name in sorted(piece.files)
    ]
    extras = {name: tree(index.extra(name)) or index.extra(name).read_bytes() for name in index.extras}
    ids = index.ids.to_pylist()
    parts = index.parts_at([index.row_of(one) for one in ids]).to_pylist()
    return {"segments": segments, "ids": ids, "parts": parts, "extras": extras, "info": index.info}


@pytest.mark.parametrize("how", ENDS)
def test_a_build_that_died_is_built_to_the_same_bytes(folder: Path, tmp_path: Path, model: Model, how: str) -> None:
    expected = essence(build_index(folder, tmp_path / "whole", model=model).path)
    for at in places(how, 400, 23):
        path = tmp_path / f"{at}"
        with faults(at, how, seed=at) as disk, contextlib.suppress(OSError):
            build_index(folder, path, model=model)
        if (path / "current.json").exists():
            assert verify_index(path) == []
            with contextlib.suppress(MmfeatError):  # a finished one is not built again
                build_index(folder, path, model=model)
        else:
            build_index(folder, path, model=model)
        assert essence(path) == expected, at
        assert verify_index(path) == []
        if not disk.dead:
            break
    assert 60 < at < 370


def changed(folder: Path, target: Path) -> Path:
    """The folder with a new, a changed and a deleted picture."""
    root = shutil.copytree(folder, target)
    for number, name in enumerate(("china/new.png", "flower/crop 001.jpg", "china/late.png", "more.png")):
        Image.fromarray(crops(1, side=32, seed=20 + number)[0][1]).save(root / name)
    (root / "china" / "crop 000.jpg").unlink()
    return root


JOBS: dict[str, Callable[[Path, Path, Model], object]] = {
    "update": lambda path, root, model: update_index(path, model=model),
    "add": lambda path, root, model: add_to_index(path, [root / "china", root / "more.png"], model=model),
    "remove": lambda path, root, model: remove_from_index(path, where="label = 'flower'"),
    "compact": lambda path, root, model: compact_index(path, keep=1),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("name", JOBS)
def test_an_index_whose_upkeep_died_is_kept_to_the_same_bytes(
    folder: Path, tmp_path: Path, model: Model, name: str, how: str
) -> None:
    root = shutil.copytree(folder, tmp_path / "photos")
    start = build_index(root, tmp_path / "start", model=model).path
    shutil.rmtree(root)
    changed(folder, root)
    if name == "compact":
        update_index(start, model=model)
    before = essence(start)
    whole = shutil.copytree(start, tmp_path / "whole")
    JOBS[name](whole, root, model)
    expected = essence(whole)
    assert expected != before
    for at in places(how, 400, 17):
        path = shutil.copytree(start, tmp_path / f"{at}")
        with faults(at, how, seed=at) as disk, contextlib.suppress(OSError):
            JOBS[name](path, root, model)
        assert verify_index(path) == []
        open_index(path)
        JOBS[name](path, root, model)
        after = essence(path)
        assert {**after, "extras": None} == {**expected, "extras": None}, at
        assert log(path) == log(whole)
        assert verify_index(path) == []
        if not disk.dead:
            break
    assert 10 < at < 370


def log(path: Path) -> list:
    from mmfeat.pipelines.changes import known_items

    return sorted(known_items(open_index(path)).to_pylist(), key=lambda row: row["id"])


@pytest.mark.parametrize("how", ENDS)
def test_a_model_is_there_whole_or_not_at_all(tmp_path: Path, model: Model, how: str) -> None:
    expected = tree(model.save(tmp_path / "whole"))
    for at in range(100):
        path = tmp_path / "models" / f"{at}"
        with faults(at, how, seed=at) as disk, contextlib.suppress(OSError):
            model.save(path)
        if not path.exists():
            assert disk.dead
            model.save(path)
        assert load(path).sha256 == model.sha256
        assert tree(path) == expected
        if not disk.dead:
            break
    assert 5 < at < 99


@pytest.mark.parametrize("how", ENDS)
def test_features_whose_extraction_died_are_made_to_the_same_bytes(
    folder: Path, tmp_path: Path, model: Model, how: str
) -> None:
    items = walk(folder)
    extract(model, items, tmp_path / "whole")
    expected = tree(tmp_path / "whole")
    for at in places(how, 400, 9):
        path = tmp_path / f"{at}"
        with faults(at, how, seed=at) as disk, contextlib.suppress(OSError):
            extract(model, items, path)
        extract(model, items, path)
        assert tree(path) == expected, at
        if not disk.dead:
            break
    assert 10 < at < 390
    assert np.load(path / "parts" / "part-00000.npy").shape == (3, 1)
