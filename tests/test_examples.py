"""Every file in examples/ runs, as a program of its own, in a folder of its own, in seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mmfeat

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example(file: Path, tmp_path: Path) -> None:
    home = str(Path(str(mmfeat.__file__)).resolve().parent.parent)
    env = {**os.environ, "PYTHONPATH": home, "PYTHONWARNINGS": "default"}
    ran = subprocess.run(
        [sys.executable, str(file)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip(), "an example shows something"


def test_examples_are_numbered() -> None:
    assert [file.name[:2] for file in EXAMPLES] == [f"{number:02}" for number in range(1, len(EXAMPLES) + 1)]
