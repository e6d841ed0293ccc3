"""The costly part of learning a classifier, kept while it is made: the fitted model of features, and the features it gives.

    OUTPUT.fit/learner-1.kept     the passes of its learners (`mmfeat.resume`)
    OUTPUT.fit/features.model     the model, as soon as all of them have ended
    OUTPUT.fit/features/          a features folder of the training pictures, in parts (`extracting`)

The same command goes on from there and ends in the same bytes; another one, other files, labels or settings begin anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import DamagedError
from mmfeat.pipelines.labelled_data import Matrix, none_readable
from mmfeat.resume import FEATURES, MODEL, keeping

if TYPE_CHECKING:
    from mmfeat.media.items import Items
    from mmfeat.model import Model
    from mmfeat.pipelines.fitting import Job
    from mmfeat.resume import Kept
    from mmfeat.stages import Report

__all__ = ["encoded", "keep", "learned"]

PART = 512  # pictures: what an interruption costs at the most


def keep(
    folder: str | os.PathLike[str] | None, what: Job | Model, items: Items, seed: int, told: Mapping[str, Any]
) -> AbstractContextManager[Kept | None]:
    """What a job keeps in this folder (None: nothing).

    what: the job that learns the features, or the model that is given. items: the labelled pictures. told: what else was told.
    """
    import jax

    from mmfeat.files import canonical_json, sha256_bytes
    from mmfeat.model import Model
    from mmfeat.pipelines.fitting import identity_of, versions
    from mmfeat.pipelines.shards import fingerprint

    if folder is None:
        return keeping(None, {})
    of = {"model": what.sha256} if isinstance(what, Model) else identity_of(what, seed)
    given = {name: repr(value) for name, value in told.items()}
    identity = {
        "features of": of, "labelled": fingerprint(items), "seed": seed, "told": sha256_bytes(canonical_json(given)),
        "devices": len(jax.devices()), "versions": versions(),
    }  # fmt: skip
    return keeping(folder, identity)


def learned(job: Job, seed: int, report: Report | None, kept: Kept | None) -> Model:
    """The model of features: the one that was kept, or learned now from the last pass that was."""
    from mmfeat.model import load
    from mmfeat.pipelines.fitting import fit_job

    if kept is None:
        return fit_job(job, seed=seed, report=report)
    place = kept.root / MODEL
    if place.exists():
        try:
            return load(place)
        except DamagedError:
            shutil.rmtree(place)
    model = fit_job(job, seed=seed, report=report, kept=kept)
    model.save(place)
    return model


def encoded(
    model: Model, items: Items, rows: np.ndarray, report: Report | None, kept: Kept
) -> tuple[Matrix, np.ndarray, dict[int, str]]:
    """As `labelled_data.encode_pictures`; the features lie in parts on disk, of which those that are there are not made again."""
    from mmfeat.pipelines.extracting import extract

    some = items.select(rows)
    extract(model, some, kept.root / FEATURES, dtype="float32", part=PART, report=report)
    failures = _failures(kept, some, rows)
    good = np.array([row for row in rows.tolist() if row not in failures], np.int64)
    if not len(good):
        raise none_readable(items, rows, failures)
    stems = sorted((kept.root / FEATURES / "parts").glob("part-*.npy"))
    arrays = [np.load(path, mmap_mode="r", allow_pickle=False) for path in stems]
    return Matrix([array for array in arrays if len(array)]), good, failures


def _failures(kept: Kept, some: Items, rows: np.ndarray) -> dict[int, str]:
    """Why rows have no features, as the finished folder says."""
    import pyarrow.parquet as pq

    table = pq.read_table(kept.root / FEATURES / "items.parquet", columns=["id", "status", "reason"])
    row_of = dict(zip(some.ids, rows.tolist(), strict=True))
    return {
        row_of[id]: reason or ""
        for id, status, reason in zip(*(column.to_pylist() for column in table.columns), strict=True)
        if status == "failed"
    }
