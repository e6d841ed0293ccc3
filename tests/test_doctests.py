"""The examples in docstrings give what they say, module by module under their real names."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import sys

import pytest

MOVED = ("indexes", "pipelines", "cli")  # folders at the top that are packages of mmfeat


def _modules() -> list[str]:
    names = {"mmfeat", *(f"mmfeat.{name}" for name in MOVED)}
    for package in list(names):
        path = importlib.import_module(package).__path__
        names |= {info.name for info in pkgutil.walk_packages(path, f"{package}.")}
    return sorted(names)


MODULES = _modules()


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_all_modules_are_walked_and_some_have_examples() -> None:
    assert {"mmfeat.arrays", "mmfeat.learners.lsh", *(f"mmfeat.{name}" for name in MOVED)} <= set(MODULES)
    finder = doctest.DocTestFinder(exclude_empty=True)
    assert sum(len(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name))) > 20


def test_no_module_stands_under_a_second_name() -> None:
    assert not [name for name in sys.modules if name.split(".")[0] in MOVED]
