"""docs/reading-back.md: its blocks run as they stand. What is not installed is skipped with a sentence."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_extracting import PlainModel
from fixtures_pictures import write_folder

from mmfeat.media.decode import decode
from mmfeat.media.walk import walk
from mmfeat.pipelines.extracting import extract

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "reading-back.md").read_text("utf-8")
BLOCKS = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
CODE = {title: re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE) for title, text in BLOCKS}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A place with `photos.features`, and the bits of every picture by its id."""
    place = tmp_path_factory.mktemp("reading")
    root = write_folder(place / "photos", 10, side=32)
    (root / "china" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    items = walk(root)
    extract(PlainModel(), items, place / "photos.features", part=4)  # type: ignore[arg-type]
    bits = {items.ids[row]: (decode(items.path_of(row), PlainModel.decode) > 127).reshape(-1) for row in items.images}
    return place, bits


def run(title: str, monkeypatch: pytest.MonkeyPatch, place: Path, blocks: int = 1) -> dict[str, Any]:
    monkeypatch.chdir(place)
    found: dict[str, Any] = {}
    for code in CODE[title][:blocks]:
        for module in re.findall(r"^import (\w+)", code, re.MULTILINE):
            if importlib.util.find_spec(module) is None:
                pytest.skip(f"{module} is not installed; this block is run by hand")
        exec(compile(code, title, "exec"), found)
    return found


def test_numpy_and_arrow(monkeypatch: pytest.MonkeyPatch, wanted: tuple[Path, dict[str, np.ndarray]]) -> None:
    found = run("NumPy and Arrow", monkeypatch, wanted[0], blocks=2)
    assert found["ids"] == list(wanted[1])
    np.testing.assert_array_equal(found["bits"], np.stack(list(wanted[1].values())))


def test_pandas(monkeypatch: pytest.MonkeyPatch, wanted: tuple[Path, dict[str, np.ndarray]]) -> None:
    table = run("pandas", monkeypatch, wanted[0])["table"]
    assert list(table["id"]) == list(wanted[1])
    assert sorted(set(table["label"])) == ["china", "flower"]
    for row, bits in zip(table["features"], wanted[1].values(), strict=True):
        np.testing.assert_array_equal(np.unpackbits(row, bitorder="little"), bits)


def test_duckdb(monkeypatch: pytest.MonkeyPatch, wanted: tuple[Path, dict[str, np.ndarray]]) -> None:
    found = run("DuckDB", monkeypatch, wanted[0])
    assert [(label, count) for label, count, _ in found["rows"]] == [("china", 5), ("flower", 5)]
    assert [id for id, _ in found["why"]] == ["china/broken.jpg"]


def test_pytorch(monkeypatch: pytest.MonkeyPatch, wanted: tuple[Path, dict[str, np.ndarray]]) -> None:
    found = run("PyTorch", monkeypatch, wanted[0])
    assert tuple(found["features"].shape) == (len(wanted[1]), 8)
    assert len(found["dataset"]) == len(wanted[1])


def test_one_row(monkeypatch: pytest.MonkeyPatch, wanted: tuple[Path, dict[str, np.ndarray]]) -> None:
    one = run("One row", monkeypatch, wanted[0])["one"]
    np.testing.assert_array_equal(np.unpackbits(one, bitorder="little"), list(wanted[1].values())[3])


def test_every_file_of_the_table_is_there_and_no_other(wanted: tuple[Path, dict[str, np.ndarray]]) -> None:
    named = set(re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE))
    found = {re.sub(r"\d{5}", "00042", str(path.relative_to(wanted[0] / "photos.features")))
             for path in (wanted[0] / "photos.features").rglob("*") if path.is_file() and path.name != ".lock"}  # fmt: skip
    assert named == found
