"""Items as people name them: by the id, by the path of a file that an index holds, or by a picture that it does not hold."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmfeat.errors import UsageError

if TYPE_CHECKING:
    from mmfeat.pipelines.searching import Searcher

__all__ = ["Places", "ids_of", "places_of"]

_FEW = 32  # names that are looked up one by one: quicker than importing what looks up many


class Places(NamedTuple):
    """rows: of the index, by name. codes: of pictures that are not in it, encoded. missing: names that are neither."""

    rows: dict[str, int]
    codes: dict[str, np.ndarray]
    missing: tuple[str, ...]


def places_of(searcher: Searcher, names: Sequence[str]) -> Places:
    """Where each name leads. UsageError: a picture that is not in the index cannot be read or encoded."""
    from mmfeat.pipelines.queries import read_queries

    rows = _rows_named(searcher, list(dict.fromkeys(names)))
    for name in names:
        if name not in rows:
            found = (searcher.index.snapshot.row_named(id) for id in ids_of(searcher, name))
            row = next((row for row in found if row >= 0), -1)
            if row >= 0:
                rows[name] = row
    files = [name for name in dict.fromkeys(names) if name not in rows and Path(name).is_file()]
    codes: dict[str, np.ndarray] = {}
    for query in read_queries(searcher, list(files)) if files else []:
        if query.error is not None or query.code is None:
            why = query.error.came if query.error is not None else "it has no code"
            raise UsageError(
                "a label is of an item, or of a picture that can be read", f"{query.name}: {why}", "leave it out"
            )
        codes[query.name] = query.code
    missing = tuple(name for name in dict.fromkeys(names) if name not in rows and name not in codes)
    return Places(rows, codes, missing)


def ids_of(searcher: Searcher, name: str) -> Iterator[str]:
    """The ids that the path of an existing file may have in the index."""
    from mmfeat.media.ids import make_id

    path, mark, fragment = name.partition("#")
    whole = Path(name) if Path(name).exists() else Path(path)
    if not whole.exists():
        return
    rest = "" if whole == Path(name) else mark + fragment
    resolved = whole.resolve()
    info = searcher.index.info
    for first, root in [*info.get("roots", []), ["", info.get("root", "")]]:
        if not root or "://" in root:
            continue
        place = Path(root)
        below = place if place.is_dir() else place.parent
        for shown in dict.fromkeys((resolved, Path(os.path.abspath(whole)))):
            if shown != below and shown.is_relative_to(below):
                relative = shown.relative_to(below).as_posix()
                yield make_id(f"{first}/{relative}" if first else relative) + rest


def _rows_named(searcher: Searcher, names: list[str]) -> dict[str, int]:
    """The living rows of the names that are ids."""
    snapshot = searcher.index.snapshot
    if len(names) <= _FEW:
        found = [snapshot.row_named(name) for name in names]
    else:
        import pyarrow as pa

        found = snapshot.rows_of(pa.array(names, pa.large_string())).tolist()
    return {name: row for name, row in zip(names, found, strict=True) if row >= 0}
