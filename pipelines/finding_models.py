"""The model somebody names: a model's own folder, or an index that keeps the one it was made with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmfeat.errors import UsageError

if TYPE_CHECKING:
    from mmfeat.model import Model

__all__ = ["find_classifier", "find_model"]


def find_model(path: Path) -> Model:
    """The model in a folder, or the one that an index keeps.

    UsageError: neither of them, or an index of vectors as they were given. MismatchError, DamagedError: it is not what it was.
    """
    from mmfeat.model import load

    if (path / "model.json").is_file() or not (path / "current.json").is_file():
        return load(path)
    from mmfeat.pipelines.searching import open

    searcher = open(path)
    if "model" not in searcher.index.extras:
        raise UsageError(
            "a model is a folder of its own, or kept by an index",
            f"{path}, an index of vectors as they were given",
            "see `mmfeat index info`, or give the folder of a model",
        )
    return searcher.model


def find_classifier(path: Path) -> Model:
    """The classifier in a folder. UsageError: it is an index, or something else."""
    from mmfeat.model import load

    if (path / "current.json").is_file() and not (path / "model.json").is_file():
        raise UsageError(
            "classes are told by a classifier",
            f"{path}, an index",
            "make one with `mmfeat teach INDEX --save MODEL` or `mmfeat classify fit`",
        )
    return load(path)
