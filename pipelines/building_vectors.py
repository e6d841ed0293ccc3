"""Building a search index from vectors that exist already."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import DataError, ShapeError, UsageError
from mmfeat.files import canonical_json, check_writable
from mmfeat.pipelines.building import Build, is_empty
from mmfeat.pipelines.fitting import fit_job, prepare
from mmfeat.pipelines.index_types import check_type, type_of_bits, type_of_vectors

if TYPE_CHECKING:
    from mmfeat.model import Model
    from mmfeat.stages import Report

__all__ = ["as_names", "as_vectors", "build_from_vectors"]


def build_from_vectors(
    vectors: str | os.PathLike[str] | np.ndarray,
    path: str | os.PathLike[str],
    *,
    ids: str | os.PathLike[str] | list[str] | None = None,
    recipe: Any = None,
    settings: dict[str, Any] | None = None,
    metric: str = "l2",
    kind: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    report: Report | None = None,
) -> Build:
    """Index vectors that exist already: (n, d) floats in an .npy file or an array.

    ids: a text file with one id a line, or a list; default `name.npy#row=0` and so on.
    recipe: None keeps the floats (`metric` "l2", "cosine" or "ip"); "vector-codes" learns compact bits from them.
    kind: the type of the index (`mmfeat.indexes.kinds`), flat unless told; "auto" measures types on a sample (`choosing`).
    """
    from mmfeat.indexes import create, open_index

    check_writable(path)
    name = "vectors.npy" if isinstance(vectors, np.ndarray) else Path(vectors).name
    values = as_vectors(vectors)
    names = as_names(ids, len(values), name)
    model: Model | None = None
    if recipe is None:
        check_type(kind, False, metric)
    else:
        job = prepare(recipe, values, settings=settings)
        check_type(kind, job.chain.hash)
        if job.decode is not None:
            raise UsageError("codes of vectors are made by a recipe for vectors", f"{recipe}", "try vector-codes")
        model = fit_job(job, seed=seed, report=report)
    codes = values if model is None else model.encode_bits(values) if model.hash else model.encode(values)
    hashed = model is not None and model.hash
    index = create(
        path,
        kind=type_of_bits(kind, len(codes), report) if hashed else type_of_vectors(kind, codes, metric, seed, report),
        dim=codes.shape[1] if not hashed else int(model.encode(values[:1]).shape[1]),  # type: ignore[union-attr]
        metric=None if hashed else metric,
        model=model.sha256 if model else None,
        info={"vectors": name},
        overwrite=overwrite or ((Path(path) / "current.json").exists() and is_empty(open_index(path))),
    )
    with tempfile.TemporaryDirectory() as folder:
        extras: dict[str, Any] = {"build.json": canonical_json({"complete": True})}
        if model is not None:
            extras["model"] = model.save(Path(folder) / "model")
        index.add(names, codes, extras=extras)
    return Build(index.path, len(values), len(index), 0, 0, 0, {}, True)


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
