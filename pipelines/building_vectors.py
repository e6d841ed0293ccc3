"""Building a search index from vectors that exist already."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import UsageError
from mmfeat.files import canonical_json, check_writable
from mmfeat.pipelines.building import Build, is_empty
from mmfeat.pipelines.fitting import fit_job, prepare
from mmfeat.pipelines.given_vectors import as_names, as_vectors, check_directions
from mmfeat.pipelines.index_types import check_type, say_if_few, type_of_bits, type_of_vectors

if TYPE_CHECKING:
    from mmfeat.model import Model
    from mmfeat.stages import Report

__all__ = ["build_from_vectors"]


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
        check_directions(values, names, metric)
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
    say_if_few(index.kind, len(codes), report)
    with tempfile.TemporaryDirectory() as folder:
        extras: dict[str, Any] = {"build.json": canonical_json({"complete": True})}
        if model is not None:
            extras["model"] = model.save(Path(folder) / "model")
        index.add(names, codes, extras=extras)
    return Build(index.path, len(values), len(index), 0, 0, 0, {}, True)
