"""`mmfeat teach`: labels by ids, paths and numbers, kept in a file; what it prints, writes and ends with."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from fixtures_command import run
from fixtures_pictures import write_folder
from PIL import Image

from mmfeat.pipelines.building import build_index


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("teach")
    folder = write_folder(root / "pictures", 48, side=48)
    build_index(folder, root / "i", recipe="pixel-codes", settings={"side": 8, "bits": 24})
    return root / "i"


Patch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]


def labels_in(path: Path) -> dict[str, str]:
    return {row["id"]: row["label"] for row in csv.DictReader(path.read_text().splitlines()) if row["label"]}


def asked_in(path: Path) -> list[str]:
    return [row["id"] for row in csv.DictReader(path.read_text().splitlines()) if row["asked"]]


def test_a_lesson_in_three_rounds(monkeypatch: Patch, capsys: Capture, index: Path, tmp_path: Path) -> None:
    kept, page, table = tmp_path / "china.csv", tmp_path / "p.html", tmp_path / "r.csv"
    path = index.parent / "pictures" / "china" / "crop 002.jpg"
    code, out, err = run(
        monkeypatch, capsys, "teach", index, "--labels", kept, "--yes", "china/crop 000.jpg", path, "--ask", 6,
        "--html", page, "--out", table,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "48 items ranked after 2 yes, and 23 items drawn at random taken for no" in out
    assert "--yes 1 2 --no rest" in out
    assert labels_in(kept) == {"china/crop 000.jpg": "yes", "china/crop 002.jpg": "yes"}
    asked = asked_in(kept)
    assert 1 <= len(asked) <= 6
    assert len(list(csv.DictReader(table.read_text().splitlines()))) == 48
    assert "Label these next" in page.read_text()

    code, out, _ = run(monkeypatch, capsys, "teach", index, "--labels", kept, "--yes", 1, "--no", "rest", "--ask", 6)
    assert code == 0
    assert labels_in(kept) == {
        "china/crop 000.jpg": "yes", "china/crop 002.jpg": "yes", asked[0]: "yes", **dict.fromkeys(asked[1:], "no"),
    }  # fmt: skip
    assert not set(asked_in(kept)) & set(asked)

    text = kept.read_text().splitlines()
    number = next(place for place, line in enumerate(text) if line.endswith(",,1"))
    text[number] = text[number].replace(",,1", ",no,1")  # filled in by hand
    kept.write_text("\n".join(text) + "\n")
    before = len(labels_in(kept))
    code, out, _ = run(monkeypatch, capsys, "teach", index, "--labels", kept)
    assert code == 0
    assert len(labels_in(kept)) == before
    assert len(set(asked_in(kept)) & set(labels_in(kept))) == 0


def test_several_classes_by_a_file_that_stays_as_it_is(
    monkeypatch: Patch, capsys: Capture, index: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "l.csv"
    text = "id,label\nchina/crop 000.jpg,roof\nflower/crop 001.jpg,petal\nflower/crop 003.jpg,leaf\nno.jpg,leaf\n"
    kept.write_text(text)
    code, out, err = run(monkeypatch, capsys, "teach", index, "--labels", kept, "--html", tmp_path / "p.html")
    assert code == 1  # a label of nothing
    assert "no.jpg" in err
    assert "1 leaf, 1 petal, 1 roof" in out
    assert kept.read_text() == text
    code, out, _ = run(monkeypatch, capsys, "teach", index, "--labels", kept, "--as", "roof=china/crop 002.jpg")
    assert labels_in(kept)["china/crop 002.jpg"] == "roof"
    code, out, _ = run(monkeypatch, capsys, "teach", index, "--labels", kept, "--as", "leaf=1", "petal=rest")
    assert "petal" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "begins with a few labels"),
        (["--no", "china/crop 000.jpg"], "begins with one yes"),
        (["--yes", "nowhere.jpg"], "nowhere.jpg"),
        (["--yes", "china/crop 000.jpg", "--no", "china/crop 000.jpg"], "one label"),
        (["--labels", "{tmp}/none.csv"], "begun with --yes"),
        (["--yes", "china/crop 000.jpg", "--out", "{tmp}/r.txt"], ".csv or .parquet"),
        (["--yes", "china/crop 000.jpg", "--html", "{tmp}"], "a result is a file"),
        (["--yes", "china/crop 000.jpg", "--labels", "{tmp}/l.parquet"], "kept in a CSV file"),
        (["--as", "china"], "CLASS=ITEM"),
        (["--yes"], "--yes"),
        (["--labels", "{tmp}/asked.csv", "--yes", "9"], "numbered from 1 to 1"),
    ],
)
def test_wrong_calls(
    words: list[str], said: str, monkeypatch: Patch, capsys: Capture, index: Path, tmp_path: Path
) -> None:
    (tmp_path / "asked.csv").write_text("id,label,asked\nchina/crop 000.jpg,,1\n")
    code, _, err = run(monkeypatch, capsys, "teach", index, *(word.format(tmp=tmp_path) for word in words))
    assert code == 2
    assert said in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked.csv"]


def slopes(root: Path, count: int, seed: int) -> Path:
    """Noisy grey pictures that grow brighter downwards ("down") or to the right ("right")."""
    draw = np.random.default_rng(seed)
    for kind, slope in (("down", np.mgrid[:32, :32][0]), ("right", np.mgrid[:32, :32][1])):
        (root / kind).mkdir(parents=True)
        for number in range(count):
            grey = draw.uniform(2, 6) * slope + draw.normal(60, 25, (32, 32))
            Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(root / kind / f"{number:02}.png")
    return root


def test_what_was_taught_is_kept_for_new_pictures(monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> None:
    index, kept, answers = tmp_path / "i", tmp_path / "down.model", tmp_path / "a.csv"
    build_index(slopes(tmp_path / "pictures", 20, 0), index, recipe="pixel-codes", settings={"side": 8, "bits": 16})
    yes, no = ([f"{kind}/{number:02}.png" for number in range(4)] for kind in ("down", "right"))
    words = ("teach", index, "--yes", *yes, "--no", *no, "--save", kept)
    code, out, err = run(monkeypatch, capsys, *words)
    assert (code, err) == (0, "")
    assert f"--save {kept} --overwrite" in out
    assert f"mmfeat classify predict {kept} NEW" in out
    new = slopes(tmp_path / "new", 10, 1)
    code, _, err = run(monkeypatch, capsys, "classify", "predict", kept, new, "-o", answers, "-q")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(answers.read_text().splitlines()))
    assert {"p_no", "p_yes"} <= rows[0].keys()
    right = [(row["label"] == "yes") == row["id"].startswith("down/") for row in rows]
    assert sum(right) >= 0.9 * len(rows)
    best = sorted(rows, key=lambda row: -float(row["p_yes"]))[:8]
    assert all(row["id"].startswith("down/") for row in best)
    code, _, err = run(monkeypatch, capsys, *words)
    assert code == 2
    assert "--overwrite" in err
    assert run(monkeypatch, capsys, *words, "--overwrite")[0] == 0
    code, _, err = run(monkeypatch, capsys, "teach", index, "--yes", yes[0], "--overwrite")
    assert (code, "no --save" in err) == (2, True)
