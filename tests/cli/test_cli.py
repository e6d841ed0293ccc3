"""The command line: what it takes, prints and ends with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures_command import run
from fixtures_pictures import write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), 24)


SMALL = ("--recipe", "pixel-codes", "--set", "side=8", "--set", "bits=24", "-q")


def test_the_main_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    index, page = tmp_path / "photos.index", tmp_path / "out.html"
    code, out, err = run(monkeypatch, capsys, "index", "build", folder, "-o", index, *SMALL)
    assert (code, err) == (0, "")
    assert "24 indexed" in out
    assert "found at rank 1" in out
    query = folder / "china" / "crop 000.jpg"
    code, out, _ = run(monkeypatch, capsys, "search", index, query, "-k", 3, "--html", page, "--json")
    assert code == 0
    neighbours = json.loads(out)["results"][0]["neighbours"]
    assert neighbours[0] == {"id": "china/crop 000.jpg", "distance": 0, "label": "china"}
    assert len(neighbours) == 3
    assert page.read_text().startswith("<!doctype html>") or page.read_text().startswith("<!DOCTYPE html>")
    code, out, _ = run(monkeypatch, capsys, "search", index, "china/crop 000.jpg")
    assert code == 0
    assert "china/crop 000.jpg" in out
    code, out, _ = run(monkeypatch, capsys, "index", "info", index)
    assert code == 0
    assert "binary-flat" in out
    code, out, _ = run(monkeypatch, capsys, "index", "info", index, "--html", tmp_path / "index.html")
    assert (tmp_path / "index.html").read_text().count("data:image/") > 10
    code, out, _ = run(monkeypatch, capsys, "index", "info", index, "--json")
    assert json.loads(out)["count"] == 24
    code, out, err = run(monkeypatch, capsys, "index", "build", folder, "-o", index, *SMALL)
    assert code == 2
    assert "--overwrite" in err


def test_fit_then_extract(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    code, out, _ = run(
        monkeypatch, capsys, "fit", "pixel-codes", folder, "-o", model, "--set", "side=8", "--set", "bits=24", "-q"
    )
    assert code == 0
    assert "24 pictures" in out
    code, out, _ = run(monkeypatch, capsys, "extract", model, folder, "-o", tmp_path / "f", "-q")
    assert code == 0
    assert "24 done, 0 failed" in out
    code, _, err = run(monkeypatch, capsys, "fit", "pixel-codes", folder, "-o", model)
    assert code == 2
    assert "never overwritten" in err
    code, _, err = run(monkeypatch, capsys, "index", "build", folder, "-o", tmp_path / "i", "--model", model, "-q")
    assert code == 0


def test_a_learner_by_name_and_its_plan(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    code, out, _ = run(
        monkeypatch, capsys, "fit", "lsh", folder, "--plan", "--set", "learner.bits=16", "--set", "side=8"
    )
    assert code == 0
    lines = out.splitlines()
    assert lines[1].split()[0] == "Lsh"
    assert "MB each" in lines[-1]


def test_recipes_are_listed_with_hyphens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(monkeypatch, capsys, "recipes")
    assert code == 0
    assert "image-retrieval" in out
    code, out, _ = run(monkeypatch, capsys, "recipes", "pixel_codes")
    assert "bits = 128" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["search", "nowhere.index", "a.jpg"], 2, "nowhere.index"),
        (["index", "build", "nowhere", "-o", "{tmp}/i"], 2, "nowhere"),
        (["index", "build", "{tmp}", "-o", "{tmp}/i"], 3, ""),
        (["fit", "no-such-recipe", "{folder}", "-o", "{tmp}/m"], 2, "image-retrieval"),
        (["fit", "pixel-codes", "{folder}", "-o", "{tmp}/m", "--set", "bitts=3"], 2, "bits"),
        (["fit", "pixel-codes", "{folder}", "-o", "{tmp}/m", "--set", "bits"], 2, "name=value"),
        (["fit", "pixel-codes", "{folder}", "-o", "{tmp}/m", "--set", "bits=many"], 2, "like 128"),
        (["fit", "pixel-codes", "{folder}"], 2, "-o MODEL"),
        (["extract", "{folder}", "{folder}", "-o", "{tmp}/f"], 2, "model.json"),
        (["search", "x.index", "a.jpg", "-k", "0"], 2, ""),
        (["nonsense"], 2, ""),
        (["index", "build", "{folder}", "-o", "{tmp}/i", "--model", "m", "--recipe", "r"], 2, "Leave one of them out"),
        (["index", "build", "{folder}", "-o", "{tmp}/i", "--ids", "ids.txt"], 2, "--ids is for vectors"),
        (
            ["index", "build", "{folder}", "-o", "{tmp}/i", "--metric", "l2"],
            2,
            "--metric is for vectors kept as floats",
        ),
        (["index", "build", "{folder}", "-o", "{tmp}/i", "--recipe", "vector-codes"], 2, "learns from vectors"),
        (["index", "build", "v.npy", "-o", "{tmp}/i", "--model", "m"], 2, "--model is for pictures"),
        (["index", "build", "v.npy", "-o", "{tmp}/i", "--labels", "l.csv"], 2, "--labels is for pictures"),
        (["index", "build", "v.npy", "-o", "{tmp}/i", "--set", "bits=8"], 2, "--set is for a recipe"),
        (["index", "build", "v.npy", "w.npy", "-o", "{tmp}/i"], 2, "one .npy file"),
        (["index", "build", "nowhere.npy", "-o", "{tmp}/i"], 2, "nowhere.npy: No such file"),
        (["fit", "pixel-codes", "{folder}", "-o", "{tmp}/m", "--seed", "-1"], 2, "--seed"),
        (["fit", "pixel-codes", "{folder}", "-o", "{tmp}/m", "--devices", "100000"], 2, "256 devices"),
        (["fit", "pixel-codes", "{folder}", "-o", "{folder}", "--overwrite"], 2, "which holds something else"),
        (["search", "{tmp}", "a.jpg", "--html", "{folder}"], 2, "--html names a file"),
        (["search", "{tmp}", "-x.jpg"], 2, "is written after --"),
    ],
)
def test_wrong_calls_get_a_sentence_and_a_code(
    words: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
) -> None:
    words = [word.format(tmp=tmp_path, folder=folder) for word in words]
    ended, _, err = run(monkeypatch, capsys, *words)
    assert ended == code
    assert said in err
    assert "Traceback" not in err
    assert err.startswith("mmfeat: ")
    assert len(err.splitlines()) == 1


def test_help_and_version_import_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['mmfeat', '--help']\nfrom mmfeat.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print(sorted({'jax', 'numpy', 'faiss', 'pyarrow', 'PIL', 'rich', 'sklearn'} & set(sys.modules)))"
    import mmfeat

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(mmfeat.__file__).parent.parent,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "search" in done.stdout


def test_vectors_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.save(tmp_path / "v.npy", np.eye(6, dtype=np.float32))
    code, out, _ = run(
        monkeypatch, capsys, "index", "build", tmp_path / "v.npy", "-o", tmp_path / "i", "--metric", "cosine"
    )
    assert code == 0
    assert "6 indexed" in out
    code, out, _ = run(monkeypatch, capsys, "search", tmp_path / "i", "v.npy#row=2", "-k", 1, "--json")
    assert json.loads(out)["results"][0]["neighbours"][0]["id"] == "v.npy#row=2"
