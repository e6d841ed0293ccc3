"""docs/promises.md: every promise says where it ends, and names tests that are there. One of a whole job is held here."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures_pictures import write_folder

import mmfeat

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "promises.md").read_text("utf-8").strip()
PROMISES = [block for block in PAGE.split("\n\n") if block.startswith("**")]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def first_words(block: str) -> str:
    return " ".join(block.split("**")[1].split()[:6])


def runs_in(source: str) -> set[str]:
    """What pytest runs in a file: functions and classes that are called so, and laws."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            law = any(isinstance(each, ast.Name) and each.id == "law" for each in node.decorator_list)
            found |= {node.name} if law or node.name.startswith(("test_", "Test")) else set()
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            found |= {name for name in names if name.startswith("Test")}
    return found


@pytest.mark.parametrize("block", PROMISES, ids=first_words)
def test_a_promise_is_held_by_tests_that_are_there(block: str) -> None:
    said, ends, held = re.split(r"Not promised:|Held by:", block)
    assert said.startswith("**")
    assert "**" in said[2:]
    assert len(ends.strip()) > 20
    named = NAMED.findall(held)
    assert named
    assert len(named) == held.count("::"), "a test is named as `path::name`"
    for path, name in named:
        assert name in runs_in((ROOT / path).read_text("utf-8")), f"{path} has no {name}"


def test_every_paragraph_is_a_heading_a_promise_or_the_introduction() -> None:
    rest = [block for block in PAGE.split("\n\n") if block not in PROMISES and not block.startswith("#")]
    assert len(rest) == 1
    assert len(PROMISES) >= 20
    assert PAGE.count("Held by:") == PAGE.count("Not promised:") == len(PROMISES)


def test_what_is_not_a_test_is_not_taken_for_one() -> None:
    source = "def test_a(): ...\ndef helper(): ...\n@law\ndef b(): ...\nTestC = f()\nclass D: ...\nif 1:\n    def test_e(): ..."
    assert runs_in(source) == {"test_a", "b", "TestC"}


JOB = """
import sys
from mmfeat.pipelines.building import build_index
from mmfeat.pipelines.fitting import fit
model = fit("pixel-codes", sys.argv[1], settings={"side": 8, "bits": 16}, seed=int(sys.argv[3]))
model.save(sys.argv[2] + ".model")
build_index(sys.argv[1], sys.argv[2] + ".index", model=model)
"""


def test_a_whole_job_depends_on_its_seed_and_on_nothing_else(tmp_path: Path) -> None:
    """Learned, encoded and indexed three times, in processes whose sets and dicts of text have other orders."""
    folder = write_folder(tmp_path / "photos", 20, side=32)
    home = str(Path(str(mmfeat.__file__)).parent.parent)
    bytes_of = {}
    for name, seed, order in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1)):
        words = [sys.executable, "-c", JOB, str(folder), str(tmp_path / name), str(seed)]
        ran = subprocess.run(
            words, env={**os.environ, "PYTHONPATH": home, "PYTHONHASHSEED": str(order)}, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        files = [tmp_path / f"{name}.model" / "model.safetensors", tmp_path / f"{name}.model" / "model.json"]
        files += sorted((tmp_path / f"{name}.index" / "segments").rglob("*.*"))
        bytes_of[name] = {path.name: path.read_bytes() for path in files if path.is_file()}
    assert {"model.safetensors", "model.json", "codes.npy", "parts.parquet"} <= set(bytes_of["a"])
    assert bytes_of["a"] == bytes_of["b"]
    for name in ("model.safetensors", "codes.npy"):
        assert bytes_of["a"][name] != bytes_of["c"][name]
