"""A table of paths as a source of items: CSV or Parquet with a column `path` (or `id`), and `label`, `split`, `group` if known.

Paths are relative to the table's folder, and so are the ids. A path may lead into a tar shard; an id may name a row or a page.
A table that `Items.write` wrote is taken as it is, without looking at any file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmfeat.errors import DataError, UsageError
from mmfeat.media.entries import Entry
from mmfeat.media.folders import check
from mmfeat.media.ids import make_id, split_id
from mmfeat.media.labels import COLUMNS, read_records
from mmfeat.media.tars import split_member

__all__ = ["entries", "is_items", "is_table"]

_ENDS = (".csv", ".parquet", ".pq")


def is_table(place: str) -> bool:
    """Whether a path names a table."""
    return place.lower().endswith(_ENDS) and os.path.isfile(place)


def is_items(place: str) -> bool:
    """Whether a path names a table of items that mmfeat wrote."""
    if not is_table(place) or place.lower().endswith(".csv"):
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return b"mmfeat" in (pq.read_schema(place).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def entries(place: Path, before: str = "") -> Iterator[Entry]:
    """One entry a row. A path that leads out of the table's folder, or to nothing, is an entry with its trouble.

    Raises UsageError for a table without paths, DataError where it names a file twice with other facts.
    """
    names, records = read_records(place)
    key = "path" if "path" in names else "id"
    if key not in names:
        raise UsageError("a table of files has a column `path` or `id`", f"columns {names}", "rename one")
    given = any(name in names for name in COLUMNS)
    said: dict[str, tuple[str | None, ...]] = {}
    for record in records:
        if record[key] in (None, ""):
            raise DataError(f"every row of a table has its {key}", "a row without one", "fill it or delete the row")
        entry = _entry(place.parent, before, str(record[key]), key)
        texts = [record.get(name) for name in COLUMNS]
        labels = tuple(None if text in (None, "") else str(text) for text in texts)
        if not all(text is None or text.isprintable() for text in labels):
            raise DataError("a label is printable text in UTF-8", f"{labels!r} of {entry.id}", "save the file as UTF-8")
        if entry.id in said:
            if said[entry.id] != labels:
                raise DataError("a table says one thing of a file", f"{said[entry.id]} and {labels} of {entry.id}",
                                "delete one of the rows")  # fmt: skip
            continue
        said[entry.id] = labels
        yield entry._replace(labels=labels if given else None)  # type: ignore[arg-type]


def _entry(folder: Path, before: str, text: str, key: str) -> Entry:
    path = os.path.relpath(os.path.join(folder, text), folder)
    fragment: dict[str, Any] = {}
    try:
        if key == "id":
            path, fragment = split_id(text)
        id = make_id(f"{before}{path}", **fragment)
    except UsageError:
        safe = make_id(text.replace("/", "%2F")).replace("%252F", "%2F")  # a name, so that the row has an id
        return Entry(safe, text, ("failed", "the path of a table's row leads out of the table's folder"))
    place = os.fspath(folder / path)
    if fragment or split_member(place) is not None:
        return Entry(id, place)
    return check(id, place)
