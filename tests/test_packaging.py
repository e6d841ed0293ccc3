"""What is shipped is what is here: packages, templates, dependencies, version, the checkout's finder, entry points."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import fixtures_imports as reading
import pytest

import mmfeat
from mmfeat import registry

ROOT = reading.ROOT
SOURCES = reading.modules()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
TOOLS = PROJECT["tool"]["setuptools"]


def normal(name: str) -> str:
    """A requirement's distribution name, without version and extras."""
    head = name.replace("_", "-").lower()
    return head[: next((i for i, sign in enumerate(head) if not (sign.isalnum() or sign in "-.")), len(head))]


def test_every_package_is_listed() -> None:
    """One that is missing works in an editable install and vanishes from the wheel."""
    folders = [file.parent for top in ("mmfeat", *reading.MOVED) for file in (ROOT / top).rglob("__init__.py")]
    names = [".".join(folder.relative_to(ROOT).parts) for folder in folders]
    assert sorted(TOOLS["packages"]) == sorted(
        name if name.startswith("mmfeat") else f"mmfeat.{name}" for name in names
    )
    assert TOOLS["package-dir"] == {f"mmfeat.{name}": name for name in reading.MOVED}
    lonely = {file.parent for top in ("mmfeat", *reading.MOVED) for file in (ROOT / top).rglob("*.py")} - set(folders)
    assert lonely == set(), "a folder of modules needs __init__.py"


def test_what_is_not_python_is_shipped_too() -> None:
    others = {file for top in ("mmfeat", *reading.MOVED) for file in (ROOT / top).rglob("*") if file.is_file()}
    others = {file for file in others if file.suffix != ".py" and "__pycache__" not in file.parts}
    shipped = {
        file
        for name, patterns in TOOLS["package-data"].items()
        for pattern in patterns
        for file in ROOT.joinpath(*name.split(".")).glob(pattern)
    }
    assert others - shipped == set(), "not among package-data"


def test_every_import_is_declared() -> None:
    declared = {normal(each) for each in PROJECT["project"]["dependencies"]}
    extras = {normal(each) for some in PROJECT["project"]["optional-dependencies"].values() for each in some}
    known = packages_distributions()
    hidden = {
        "faiss": ["faiss-cpu"],
        "PIL": ["pillow"],
        "av": ["av"],
        "pillow_heif": ["pillow-heif"],
        "sklearn": ["scikit-learn"],
    }
    for name, source in SOURCES.items():
        for module, line, outside in reading.imports(source):
            top = module.partition(".")[0]
            if top in ("", "mmfeat", *sys.stdlib_module_names):
                continue
            found = {normal(each) for each in known.get(top) or hidden.get(top) or [top]}
            if top == "jaxlib":
                found.add("jax")
            where = f"{name}, line {line}: {top} ({', '.join(found)})"
            assert found & (declared | extras), f"{where} is not declared in pyproject.toml"
            assert not outside or found & declared, f"{where} is optional: import it where it is used"


def test_what_is_declared_is_imported() -> None:
    known = packages_distributions()
    used = {module.partition(".")[0] for source in SOURCES.values() for module, _, _ in reading.imports(source)}
    used = {normal(each) for top in used for each in known.get(top, [top])}
    unused = {normal(each) for each in PROJECT["project"]["dependencies"]} - used
    assert unused <= {"scipy", "numba", "librosa", "soundfile"}, "a dependency that nothing imports"


def test_the_version_is_said_once() -> None:
    assert mmfeat.__version__ == PROJECT["project"]["version"]


def python(code: str, folder: Path, *path: Path) -> str:
    """What a fresh process prints that is started in `folder`, with only `path` added to the module path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    ran = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_checkout_works_without_installing(tmp_path: Path) -> None:
    code = """
import importlib, sys
import mmfeat, mmfeat.indexes, mmfeat.pipelines.searching, mmfeat.cli
from mmfeat.indexes import store
assert mmfeat.open is mmfeat.pipelines.searching.open
print(mmfeat.indexes.__file__)
print([name for name in ("indexes", "pipelines", "cli") if name in sys.modules])
for name in ("mmfeat.tests", "mmfeat.examples", "mmfeat.no_such_part"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(name)
"""
    assert python(code, tmp_path, ROOT).splitlines() == [str(ROOT / "indexes" / "__init__.py"), "[]"]


def distribution(site: Path, points: str, code: str) -> None:
    """A distribution of someone else, as an installer would leave it."""
    (site / "someones.py").write_text(code)
    facts = site / "someones-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: someones\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(points)


NOVEL = """
from dataclasses import dataclass
from mmfeat.learners.lsh import Lsh

@dataclass(frozen=True)
class NovelHash(Lsh):
    planes: int = 3

@dataclass(frozen=True)
class Upside:
    def __call__(self, x):
        return -x

@dataclass(frozen=True)
class Plain:
    pass
"""


def test_another_package_adds_a_learner_and_a_descriptor(tmp_path: Path) -> None:
    points = "[mmfeat.learners]\nany = someones:NovelHash\n[mmfeat.descriptors]\nup = someones:Upside\n"
    distribution(tmp_path, points, NOVEL)
    code = """
from mmfeat import registry, settings
cls = registry.learners()["novel_hash"]
assert registry.class_named("novel-hash") is cls and "upside" in registry.descriptors()
print(settings.from_json(settings.to_json(cls(planes=5))))
"""
    home = Path(str(mmfeat.__file__)).parents[1]
    assert python(code, tmp_path, tmp_path, home) == "NovelHash(bits=64, centre=True, orthogonal=False, planes=5)"


@pytest.mark.parametrize(
    ("point", "said"),
    [("someones:Plain", "an entry point of mmfeat.learners names one"), ("someones:Lsh2", "every name is taken once")],
)
def test_a_wrong_entry_point_is_named(tmp_path: Path, point: str, said: str) -> None:
    twin = "\n@dataclass(frozen=True)\nclass Lsh2(Lsh):\n    pass\nLsh2.__name__ = 'Lsh'\n"
    distribution(tmp_path, f"[mmfeat.learners]\nany = {point}\n", NOVEL + twin)
    code = """
from mmfeat import errors, registry
try:
    registry.learners()
except errors.SettingsError as error:
    print(error)
"""
    found = python(code, tmp_path, tmp_path, Path(str(mmfeat.__file__)).parents[1])
    assert said in found
    assert point in found


def test_every_module_can_be_imported() -> None:
    for name in SOURCES:
        importlib.import_module(name)
    assert {"indexes", "pipelines", "cli"} & set(sys.modules) == set()
    assert set(registry.learners()) >= {"lsh"}
