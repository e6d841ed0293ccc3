"""`mmfeat classify`: fit, predict, score from the command line; odd calls and their sentences."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from fixtures_command import run
from fixtures_pictures import write_folder

SMALL = [word for name in ("max_side=48", "components=8", "codewords=4") for word in ("--set", name)]
Patch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Crops of two photographs: one class each; some of the test ones cannot be read."""
    root = tmp_path_factory.mktemp("classify")
    train, test = write_folder(root / "train", 24, 48), write_folder(root / "test", 12, 48, seed=1)
    (test / "china" / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    return train, test


@pytest.fixture(scope="module")
def model(folders: tuple[Path, Path]) -> Path:
    from mmfeat.pipelines.classifying import fit_classifier

    settings = {"max_side": 48, "components": 8, "codewords": 4}
    path = folders[0].parent / "model"
    fit_classifier(folders[0], settings=settings).model.save(path)
    return path


def test_the_main_job(
    monkeypatch: Patch, capsys: Capture, folders: tuple[Path, Path], model: Path, tmp_path: Path
) -> None:
    train, test = folders
    code, out, err = run(monkeypatch, capsys, "classify", "fit", train, "-o", tmp_path / "m", "-q", *SMALL)
    assert (code, err) == (0, "")
    assert "2 classes learned from 24 items" in out
    assert "by cross-validation" in out
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    page, numbers = tmp_path / "r.html", tmp_path / "r.json"
    code, out, err = run(
        monkeypatch, capsys, "classify", "score", model, test, "--html", page, "--json", numbers, "-q"
    )  # fmt: skip
    assert code == 1  # one file could not be read
    assert "torn.jpg" in err
    assert "mean per-class accuracy" in out
    found = json.loads(numbers.read_text())
    assert found["items"] == 12
    assert found["accuracy"] > 0.8
    assert "What is taken for what" in page.read_text()
    code, out, err = run(monkeypatch, capsys, "classify", "predict", model, test, "-o", tmp_path / "p.csv", "-q")
    assert code == 1
    assert "12 done, 1 failed, 0 skipped" in out
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert [*rows[0]] == ["id", "label", "probability", "p_china", "p_flower", "status", "reason"]
    assert [row["id"] for row in rows if row["status"] == "failed"] == ["china/torn.jpg"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["fit", "{train}"], 2, "--output"),
        (["fit", "{train}", "-o", "{model}"], 2, "never overwritten"),
        (["fit", "nowhere", "-o", "{tmp}/m"], 2, "nowhere"),
        (["fit", "{train}/china", "-o", "{tmp}/m", "-q", "--model", "{tmp}"], 2, "model.json"),
        (["fit", "{train}", "-o", "{tmp}/m", "--model", "m", "--recipe", "r"], 2, "leave one of them out"),
        (["fit", "{train}", "-o", "{tmp}/m", "--recipe", "no-such", "-q"], 2, "no-such"),
        (["fit", "{train}", "-o", "{tmp}/m", "--classifier", "tree", "-q", "--model", "{features}"], 2, "linear-svm"),
        (["fit", "{train}", "-o", "{tmp}/m", "--model", "{model}", "-q"], 2, "without classes"),
        (["fit", "{train}", "-o", "{tmp}/m", "--labels", "{tmp}/l.csv", "-q"], 3, "labels name the items"),
        (["predict", "{model}", "{test}", "-o", "{tmp}/p.txt"], 2, ".csv or .parquet"),
        (["predict", "{test}", "{test}", "-o", "{tmp}/p.csv"], 2, "model.json"),
        (["predict", "{model}", "{tmp}/torn", "-o", "{tmp}/p.csv", "-q"], 3, ""),
        (["score", "{model}", "{test}", "--html", "{tmp}"], 2, "results are written to files"),
        (["score", "{model}", "{tmp}/torn", "-q"], 3, "items of its classes"),
    ],
)
def test_wrong_calls_get_a_sentence_and_a_code(
    words: list[str], code: int, said: str, monkeypatch: Patch, capsys: Capture, folders: tuple[Path, Path], model: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "l.csv").write_text("id,label\nnowhere.jpg,a\n")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    features = model.parent / "features"
    if "{features}" in words and not features.exists():
        from mmfeat.model import Model, load

        whole = load(model)
        last = len(whole.chain.stages) - 1
        chain = type(whole.chain)(*whole.chain.stages[:last])
        Model(chain, whole.states[:last], whole.forms[:last], whole.decode).save(features)
    given = {"train": folders[0], "test": folders[1], "model": model, "features": features, "tmp": tmp_path}
    ended, _, err = run(monkeypatch, capsys, "classify", *(word.format(**given) for word in words))
    assert ended == code
    assert said.lower() in err.lower()
    assert "Traceback" not in err
    assert not (tmp_path / "m").exists()
