"""The plan of the house holds: who sees whom, what an import costs, what a module shows."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fixtures_imports as reading
import pytest

import mmfeat

SOURCES = reading.modules()


def test_imports_point_one_way() -> None:
    assert reading.violations(SOURCES) == []


def test_no_module_imports_itself_through_others() -> None:
    assert reading.cycles(SOURCES) == []


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("mmfeat.indexes.store", "import jax", "indexes never see JAX"),
        ("mmfeat.indexes.store", "from mmfeat.mesh import make_mesh", "indexes may not see mesh"),
        ("mmfeat.indexes.store", "from mmfeat import learner", "indexes may not see learner"),
        ("mmfeat.learners.vlad", "from mmfeat.media.decode import Decode", "learners may not see media"),
        ("mmfeat.learners.vlad", "def f():\n    import mmfeat.media.walk", "learners may not see media"),
        ("mmfeat.learners.vlad", "import importlib\nimportlib.import_module('mmfeat.media')", "may not see media"),
        ("mmfeat.learners.vlad", "from ..media import walk", "say it in full"),
        ("mmfeat.learners.vlad", "from mmfeat.model import Model", "learners may not see model"),
        ("mmfeat.learners.vlad", "import typer", "only cli may"),
        ("mmfeat.model", "from mmfeat.indexes.store import Index", "model may not see indexes"),
        ("mmfeat.evaluate.retrieval", "import mmfeat.pipelines", "evaluate may not see pipelines"),
        ("mmfeat.pipelines.demo", "from mmfeat.cli import main", "pipelines may not see cli"),
        ("mmfeat.errors", "from mmfeat.arrays import Images", "errors may not see arrays"),
        ("mmfeat.arrays", "from mmfeat.learner import Run", "arrays may not see learner"),
        ("mmfeat.cli.fit", "from pipelines.fitting import fit", "say it in full"),
        ("mmfeat.cli.fit", "import pickle", "nothing that is read may be executed"),
        ("mmfeat.novelty", "import os", "novelty has no place in the plan"),
        ("mmfeat", "from mmfeat.model import Model", "mmfeat itself is lazy"),
    ],
)
def test_a_planted_violation_is_found(name: str, line: str, said: str) -> None:
    found = reading.violations({name: line})
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mmfeat.indexes.store", "import faiss, numpy, pyarrow\nfrom mmfeat import files"),
        ("mmfeat.cli.fit", "from mmfeat.indexes.store import Index\nimport mmfeat"),
        ("mmfeat.learners.vlad", "from mmfeat.learners.kmeans import KMeans"),
        ("mmfeat", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mmfeat.model import Model"),
    ],
)
def test_what_is_allowed_is_allowed(name: str, line: str) -> None:
    assert reading.violations({name: line}) == []


def test_a_planted_ring_is_found() -> None:
    ring = {"mmfeat.a": "import mmfeat.b", "mmfeat.b": "from mmfeat.c import X", "mmfeat.c": "from mmfeat import a"}
    assert reading.cycles(ring | {"mmfeat.c": "from mmfeat.a import Y"}) == [
        "mmfeat.a -> mmfeat.b -> mmfeat.c -> mmfeat.a"
    ]
    assert reading.cycles(ring | {"mmfeat.c": "def late():\n    import mmfeat.a"}) == []


HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "faiss", "librosa", "av", "matplotlib", "numba", "sklearn", "scipy")


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh process holds after some code."""
    code += "; import sys, json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    return set(json.loads(ran.stdout.splitlines()[-1]))


def _environment() -> dict[str, str]:
    """This process's, with the mmfeat that is tested on the path."""
    return os.environ | {"PYTHONPATH": str(Path(str(mmfeat.__file__)).parents[1])}


@pytest.mark.parametrize(
    "code",
    [
        "import mmfeat; mmfeat.Images, mmfeat.Locals, mmfeat.MmfeatError",
        "import mmfeat.registry, mmfeat.settings, mmfeat.files, mmfeat.stream",
        "import mmfeat.media.decode, mmfeat.learners, mmfeat.descriptors, mmfeat.classify, mmfeat.pipelines, mmfeat.indexes",
        "import mmfeat.cli.main",
    ],
)
def test_an_import_is_cheap(code: str) -> None:
    assert loaded_after(code) & set(HEAVY) == set()


def test_an_index_is_searched_without_jax() -> None:
    assert "jax" not in loaded_after("import mmfeat.indexes.store, mmfeat.indexes.search")


def definitions(source: str) -> Iterator[tuple[ast.FunctionDef | ast.ClassDef, bool]]:
    """Functions and classes of a module and methods of its classes; whether each is public."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            public = not node.name.startswith("_")
            yield node, public
            if isinstance(node, ast.ClassDef):
                inner = (each for each in node.body if isinstance(each, ast.FunctionDef))
                yield from ((each, public and not each.name.startswith("_")) for each in inner)


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_says_what_it_is_and_shows(name: str) -> None:
    tree, found = ast.parse(SOURCES[name]), list(definitions(SOURCES[name]))
    assert ast.get_docstring(tree), "a module has a docstring"
    assert [node.name for node, public in found if public and not ast.get_docstring(node)] == [], "no docstring"
    public = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    public = {each for each in public if not each.startswith("_")}
    shown = {
        each
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AugAssign) and "__all__" in ast.unparse(node)
        for each in ast.literal_eval(node.value)
    }
    assert shown or not public, "a module with public names has __all__"
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | public
    bound = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert shown <= names | bound | {"__version__"} or "__getattr__" in SOURCES[name], (
        f"{shown - names - bound} is not there"
    )


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_is_read_in_one_sitting(name: str) -> None:
    """At most 400 lines, and no function of more than 60."""
    assert len(SOURCES[name].splitlines()) <= 400
    functions = [node for node, _ in definitions(SOURCES[name]) if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 60] == []
