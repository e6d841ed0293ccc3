"""Wherever a model of features is named, an index that keeps one stands for it: the same features, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures_command import run
from fixtures_pictures import write_folder

import mmfeat
from mmfeat.indexes import open_index
from mmfeat.pipelines.building import build_index
from mmfeat.pipelines.finding_models import find_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `photos` of two classes, `some.model` learned from it, and `some.index` made by that model."""
    root = tmp_path_factory.mktemp("home")
    photos = write_folder(root / "photos", 16, side=32)
    model = mmfeat.fit("pixel-codes", photos, settings={"side": 8, "bits": 8})
    model.save(root / "some.model")
    build_index(photos, root / "some.index", model=model)
    return root


def test_features_of_an_index_are_those_of_its_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> None:
    arrays = []
    for name in ("some.model", "some.index"):
        out = tmp_path / f"{name}.features"
        code, _, err = run(monkeypatch, capsys, "extract", home / name, home / "photos", "-o", out, "-q")
        assert (code, err) == (0, "")
        arrays.append(np.load(out / "parts" / "part-00000.npy"))
    assert np.array_equal(*arrays)
    stored = open_index(home / "some.index")
    assert np.array_equal(arrays[1], stored.codes_at(np.arange(len(stored))))
    assert find_model(home / "some.index").sha256 == find_model(home / "some.model").sha256


def test_another_index_and_a_classifier_are_made_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> None:
    words = ("index", "build", home / "photos", "-o", tmp_path / "other.index", "--model", home / "some.index", "-q")
    assert run(monkeypatch, capsys, *words)[0] == 0
    assert open_index(tmp_path / "other.index").model == open_index(home / "some.index").model
    words = ("classify", "fit", home / "photos", "-o", tmp_path / "c", "--model", home / "some.index", "--c", "1", "-q")
    code, out, _ = run(monkeypatch, capsys, *words)
    assert code == 0
    assert "2 classes" in out


def test_an_index_without_a_model_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "v.npy", np.eye(6))
    assert run(monkeypatch, capsys, "index", "build", tmp_path / "v.npy", "-o", tmp_path / "v.index", "-q")[0] == 0
    for words in (
        ("extract", tmp_path / "v.index", home / "photos", "-o", tmp_path / "f"),
        ("show", tmp_path / "v.index"),
    ):
        code, out, err = run(monkeypatch, capsys, *words, "-q")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "an index of vectors as they were given" in err


def test_an_index_is_no_classifier(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> None:
    words = ("classify", "predict", home / "some.index", home / "photos", "-o", tmp_path / "a.csv", "-q")
    code, _, err = run(monkeypatch, capsys, *words)
    assert code == 2
    assert "an index. Make one with `mmfeat teach INDEX --save MODEL`" in err
