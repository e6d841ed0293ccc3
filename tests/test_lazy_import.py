"""`import mmfeat` is cheap, and yet everything public is there. (What it brings in: test_architecture.py.)"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import mmfeat


@pytest.mark.parametrize("name", mmfeat.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert name in dir(mmfeat)
    assert getattr(mmfeat, name) is getattr(mmfeat, name)
    if name in mmfeat._HOME:
        assert getattr(mmfeat, name) is getattr(importlib.import_module(mmfeat._HOME[name]), name)


@pytest.mark.parametrize("package", ["mmfeat", "mmfeat.learners", "mmfeat.classify", "mmfeat.descriptors"])
def test_a_name_that_is_not_there_is_said_with_those_that_are(package: str) -> None:
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = module.nonsense
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name) is not None, f"{package}.{name}"


def test_the_moved_folders_are_found_once() -> None:
    finders = [finder for finder in sys.meta_path if type(finder).__name__ == "_CheckoutFinder"]
    assert len(finders) == 1
    importlib.reload(mmfeat)
    assert [finder for finder in sys.meta_path if type(finder).__name__ == "_CheckoutFinder"] == finders


@pytest.mark.parametrize("name", ["mmfeat.tests", "mmfeat.examples", "mmfeat.docs", "mmfeat.nothing", "indexes"])
def test_the_finder_finds_these_three_names_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    finder = next(each for each in sys.meta_path if type(each).__name__ == "_CheckoutFinder")
    assert finder.find_spec(name, None, None) is None
    root = Path(__file__).resolve().parent.parent
    monkeypatch.setattr(mmfeat, "__file__", str(root / "mmfeat" / "__init__.py"))
    monkeypatch.setitem(vars(mmfeat), "__file__", str(root / "mmfeat" / "__init__.py"))
    spec = finder.find_spec("mmfeat.indexes", None, None)
    assert spec is not None
    assert spec.origin == str(root / "indexes" / "__init__.py")
