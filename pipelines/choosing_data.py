"""The vectors that a choice is measured on, and the index that is built of it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmfeat.errors import UsageError
from mmfeat.files import check_writable

__all__ = ["Given", "build_chosen", "read_vectors"]

_ADDED = 1 << 20  # rows of a segment


@dataclasses.dataclass(frozen=True)
class Given:
    """Vectors (n, d) float32 with their ids, how they are measured, and what they came from."""

    vectors: np.ndarray
    ids: pa.Array
    metric: str
    source: str
    parts: pa.Table | None = None


def read_vectors(path: str | os.PathLike[str], metric: str | None = None) -> Given:
    """From an .npy file, or the living rows of an index of floats with its parts. metric: default "l2", or the index's."""
    from mmfeat.indexes import open_index
    from mmfeat.indexes.segments import as_ids

    if not Path(path).is_dir():
        from mmfeat.pipelines.given_vectors import as_names, as_vectors, check_directions

        vectors = as_vectors(path)
        names = as_names(None, len(vectors), Path(path).name)
        check_directions(vectors, names, metric or "l2")
        return Given(vectors, as_ids(names), metric or "l2", Path(path).name)
    index = open_index(path)
    if not index.kind.startswith("float"):
        raise UsageError(
            "types are compared on floats", f"{path}, which holds bits", "give the vectors that the bits were made of"
        )
    rows = index.snapshot.rows_of(index.ids)
    return Given(index.codes_at(rows), index.ids, metric or index.metric, str(path), index.parts_at(rows))


def build_chosen(given: Given, kind: str, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Index all vectors as this type."""
    from mmfeat.indexes import create

    check_writable(path)
    index = create(
        path,
        kind=kind,
        dim=given.vectors.shape[1],
        metric=given.metric,
        info={"vectors": given.source},
        overwrite=overwrite,
    )
    for start in range(0, len(given.vectors), _ADDED):
        part = slice(start, start + _ADDED)
        parts = None if given.parts is None else given.parts.slice(start, _ADDED).drop_columns("id")
        index.add(given.ids[part], given.vectors[part], parts)
