"""Finds learners, descriptors, recipes and experiments: by listing their folders, and through the entry points of other packages.

One file is one algorithm: dropping a file into `mmfeat/learners/` is all it takes. Another package offers its own with

    [project.entry-points."mmfeat.learners"]
    my_learner = "my_package.my_module:MyLearner"

and likewise "mmfeat.descriptors", "mmfeat.recipes" and "mmfeat.reproductions". A name is the class name in snake case:
`KMeans` is "kmeans".
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import pkgutil
import re
from functools import cache
from pathlib import Path
from typing import Any

from mmfeat.errors import SettingsError

__all__ = ["class_named", "descriptors", "hyphens", "learners", "name_of", "recipes", "reproductions"]

_FOLDERS = {
    "learners": ("mmfeat.learners", "mmfeat.classify"),
    "descriptors": ("mmfeat.descriptors",),
    "recipes": ("mmfeat.pipelines",),
    "reproductions": ("mmfeat.pipelines.reproductions",),
}
_OTHERS = {
    "chain": "mmfeat.chain:Chain",
    "decode": "mmfeat.media.decode:Decode",
    "join": "mmfeat.chain:Join",
    "normalise": "mmfeat.pool:Normalise",
    "places": "mmfeat.pool:Places",
    "pool": "mmfeat.pool:Pool",
    "signs": "mmfeat.pool:Signs",
    "thin": "mmfeat.pool:Thin",
}


def name_of(cls: type) -> str:
    """The name of a settings class: its own name in snake case."""
    return _snake(cls.__name__)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def hyphens(name: str) -> str:
    """A name as the command line prints it; it takes both forms."""
    return name.replace("_", "-")


def _is_kind(kind: str, cls: Any) -> bool:
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)) or cls.__name__.startswith("_"):
        return False
    if kind == "recipes":
        return all(callable(getattr(cls, name, None)) for name in ("chain", "decode"))
    if kind == "reproductions":
        return callable(getattr(cls, "measure", None))
    functions = ("init", "step", "finish", "encode") if kind == "learners" else ("__call__",)
    return all(callable(getattr(cls, name, None)) for name in functions)


def _own(kind: str) -> dict[str, type]:
    found: dict[str, type] = {}
    for folder in _FOLDERS[kind]:
        package = importlib.import_module(folder)
        for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
            if info.ispkg or info.name.startswith("_"):
                continue
            module = importlib.import_module(f"{folder}.{info.name}")
            for cls in vars(module).values():
                if _is_kind(kind, cls) and cls.__module__ == module.__name__:
                    found[name_of(cls)] = cls
    return found


@cache
def _places(kind: str) -> dict[str, tuple[str, str]]:
    """Where the classes of our own folders stand, by name: (module, class), read from the sources. Nothing is imported.

    A model names some five classes; importing all learners to find these would take longer than a search.
    """
    found: dict[str, tuple[str, str]] = {}
    for folder in _FOLDERS[kind]:
        for place in importlib.import_module(folder).__path__:
            for path in sorted(Path(place).glob("[!_]*.py")):
                for line in re.finditer(r"^class ([A-Z]\w*)", path.read_text(encoding="utf-8"), re.MULTILINE):
                    found.setdefault(_snake(line[1]), (f"{folder}.{path.stem}", line[1]))
    return found


def _load(kind: str, point: importlib.metadata.EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        raise SettingsError(
            f"what an entry point of mmfeat.{kind} names can be imported",
            f"{type(error).__name__}: {error} from {point.value}",
            "mend or remove that package",
        ) from error


@cache
def _found(kind: str) -> dict[str, type]:
    found = _own(kind)
    for point in importlib.metadata.entry_points(group=f"mmfeat.{kind}"):
        cls = _load(kind, point)
        if not _is_kind(kind, cls):
            raise SettingsError(
                f"an entry point of mmfeat.{kind} names one of its {kind}", point.value, "mend or remove that package"
            )
        if found.setdefault(name_of(cls), cls) is not cls:
            raise SettingsError("every name is taken once", f"{name_of(cls)} from {point.value}", "rename that class")
    return dict(sorted(found.items()))


def learners() -> dict[str, type]:
    """Every learner by name, classifiers among them."""
    return dict(_found("learners"))


def descriptors() -> dict[str, type]:
    """Every descriptor by name."""
    return dict(_found("descriptors"))


def recipes() -> dict[str, type]:
    """Every recipe by name (snake case)."""
    return dict(_found("recipes"))


def reproductions() -> dict[str, type]:
    """Every experiment by name (snake case)."""
    return dict(_found("reproductions"))


def class_named(name: str) -> type:
    """The settings class of this name, of whatever kind; hyphens count as underscores."""
    name = name.replace("-", "_")
    if name in _OTHERS:
        module, _, attribute = _OTHERS[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    for kind in _FOLDERS:  # learners first: a chain of known learners never imports a recipe
        if name in _places(kind):
            module, attribute = _places(kind)[name]
            found = getattr(importlib.import_module(module), attribute)
            if _is_kind(kind, found):
                return found
    for kind in _FOLDERS:
        if name in _found(kind):
            return _found(kind)[name]
    names = [known for kind in _FOLDERS for known in _found(kind)]
    raise SettingsError("a name is one of " + ", ".join([*names, *_OTHERS]), name, "check the spelling")
