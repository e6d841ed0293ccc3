"""mypy sees mmfeat as typed, the moved folders among it: errors planted in a copy are reported, right uses are not."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOVED = ("indexes", "pipelines", "cli")

PLANTED = '''"""Planted."""
import numpy as np
from mmfeat.arrays import pack_bits
from mmfeat.errors import UsageError
from mmfeat.indexes.kinds import find_kind

right: np.ndarray = pack_bits(np.ones((1, 8)))
kind, metric = find_kind("binary-flat")
wrong: str = pack_bits(np.ones((1, 8)))  # planted: assignment
find_kind(3)  # planted: arg-type
UsageError("only the rule")  # planted: call-arg
kind.no_such_field  # planted: attr-defined
def untyped(x):  # planted: no-untyped-def
    return x
'''


def _staged(folder: Path) -> Path:
    """mmfeat and its moved folders in one tree, as in the wheel, by links; with a planted file in each moved folder."""
    package = folder / "mmfeat"
    package.mkdir()
    source = Path(importlib.import_module("mmfeat").__path__[0])
    for part in source.iterdir():
        if part.name not in (*MOVED, "__pycache__"):
            (package / part.name).symlink_to(part)
    for name in MOVED:
        (package / name).mkdir()
        for part in Path(importlib.import_module(f"mmfeat.{name}").__path__[0]).glob("*.py"):
            (package / name / part.name).symlink_to(part)
        (package / name / "planted.py").write_text(PLANTED, encoding="utf-8")
    return folder


def test_planted_errors_are_found_in_every_moved_folder(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed; the development group has it")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary"]
    ran = subprocess.run(
        [*command, "--cache-dir", str(tmp_path / "cache"), "-p", "mmfeat"],
        cwd=_staged(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    expected = {
        (number, line.rpartition("planted: ")[2])
        for number, line in enumerate(PLANTED.splitlines(), 1)
        if "# planted: " in line
    }
    assert len(expected) == 5
    for name in MOVED:
        pattern = rf"^mmfeat/{name}/planted\.py:(\d+): error: .*\[([a-z-]+)\]$"
        found = {(int(number), code) for number, code in re.findall(pattern, ran.stdout, re.MULTILINE)}
        assert found == expected, ran.stdout


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(importlib.import_module("mmfeat").__path__[0]) / "py.typed").is_file()
