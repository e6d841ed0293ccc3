"""`make test` tests the wheel: what is imported, here and by the programs that tests start, is the installed package."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("mmfeat", "mmfeat.arrays", "mmfeat.indexes", "mmfeat.pipelines", "mmfeat.cli")

pytestmark = pytest.mark.skipif(
    not os.environ.get("MMFEAT_INSTALLED"),
    reason="only `make test` promises that the installed wheel is what is tested",
)


@pytest.mark.parametrize("name", PARTS)
def test_imports_come_from_the_environment(name: str) -> None:
    file = Path(str(importlib.import_module(name).__file__)).resolve()
    assert file.is_relative_to(Path(sys.prefix).resolve()), f"{name} is {file}, not the installed wheel"
    assert "site-packages" in file.parts


def test_a_started_program_imports_the_wheel_too() -> None:
    code = "import mmfeat.indexes; print(mmfeat.__file__); print(mmfeat.indexes.__file__)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for line in ran.stdout.split():
        assert Path(line).resolve().is_relative_to(Path(sys.prefix).resolve()), line


def test_every_module_of_the_checkout_is_in_the_wheel() -> None:
    folders = {"mmfeat": "mmfeat", "mmfeat/indexes": "indexes", "mmfeat/pipelines": "pipelines", "mmfeat/cli": "cli"}
    wheel = Path(importlib.import_module("mmfeat").__path__[0]).parent
    for inside, outside in folders.items():
        for file in (ROOT / outside).rglob("*.py"):
            assert (wheel / inside / file.relative_to(ROOT / outside)).is_file(), f"{file} is missing from the wheel"
