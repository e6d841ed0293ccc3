"""Vectors that somebody gives, and their ids: arrays and files checked before anything is made of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmfeat.errors import DataError, ShapeError, UsageError

__all__ = ["as_names", "as_vectors", "check_directions"]


def as_vectors(vectors: Any) -> np.ndarray:
    """Vectors (n, d) float32 of an .npy file or an array. UsageError, ShapeError, DataError: they are none, or not finite."""
    if not isinstance(vectors, np.ndarray):
        try:
            vectors = np.load(vectors, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UsageError(
                "vectors come in an .npy file of numbers", f"{vectors}: {_why(error)}", "save them with numpy.save"
            ) from error
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or not vectors.size:
        raise ShapeError(
            "vectors are numbers of shape (n, d)", f"{vectors.dtype} {vectors.shape}", "one row per item, at least one"
        )
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(vectors, np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(
            "vectors are finite in float32", f"NaN or infinity in {len(bad):,} rows, the first is row {bad[0]}",
            "leave these rows out",
        )  # fmt: skip
    return vectors


def _why(error: Exception) -> str:
    """What NumPy or the system says of a file, without advice to open it unsafely."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "no array, or one of Python objects, which are never opened" if "pickle" in str(error) else str(error)


def as_names(ids: Any, count: int, name: str) -> list[str]:
    """The ids of so many vectors: of a text file with one a line, of a list, or `name#row=0` and so on."""
    if ids is None:
        return [f"{name}#row={row}" for row in range(count)]
    if isinstance(ids, str | os.PathLike):
        try:
            ids = Path(ids).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                "ids are a UTF-8 text file, one id a line", f"{ids}: {_why(error)}", "check the path"
            ) from error
    if len(ids) != count:
        raise ShapeError("every vector has one id", f"{len(ids)} ids for {count} vectors", "make them match")
    return [str(one) for one in ids]


def check_directions(vectors: np.ndarray, names: Sequence[str], metric: str) -> None:
    """DataError where vectors (n, d) that are compared by cosine have no direction: zeros, which often mean a failed item."""
    from mmfeat.indexes.kinds import name_some

    bad = np.flatnonzero(~vectors.any(axis=1)).tolist() if metric == "cosine" else []
    if bad:
        raise DataError(
            "vectors have a direction where they are compared by cosine",
            f"{len(bad):,} of zeros alone: {name_some([names[row] for row in bad])}",
            "leave these rows out, or compare by l2",
        )
