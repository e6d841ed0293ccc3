"""Labels of items: from a file or a table, or else from the sub-folders."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmfeat.errors import DataError, UsageError
from mmfeat.media.ids import make_id

__all__ = ["COLUMNS", "folder_labels", "label_columns", "read_records"]

COLUMNS = ("label", "split", "group")


def label_columns(
    ids: Sequence[str],
    labels: str | os.PathLike[str] | pa.Table | None,
    own: Sequence[tuple[str | None, str | None, str | None] | None] | None = None,
) -> dict[str, list[str | None]]:
    """Columns label, split and group for these ids.

    own: what the source of an item says of it, (label, split, group), None where its folder is its label. `labels` go before.

    labels: a CSV or Parquet file, or a table, with a column `id` (as in the table of items) or `path` (relative to
    the root), and at least one of `label`, `split`, `group`. Without a column `label`, and without `labels`, the
    labels are the sub-folders; a file that `labels` does not list has none. Raises UsageError for a file that cannot
    be used, DataError where it contradicts itself or names none of the items.
    """
    said = [(one, None, None) for one in folder_labels(ids)]
    if own is not None:
        said = [folder if mine is None else mine for folder, mine in zip(said, own, strict=True)]  # type: ignore[misc]
    columns: dict[str, list[str | None]] = {name: [one[place] for one in said] for place, name in enumerate(COLUMNS)}
    if labels is None:
        return columns
    names, records = read_records(labels)
    key = "id" if "id" in names else "path"
    given = [name for name in COLUMNS if name in names]
    if key not in names or not given:
        raise UsageError(
            "labels have a column `id` or `path` and one of `label`, `split`, `group`",
            f"columns {names}",
            "rename them",
        )
    found = _by_id(records, key, given)
    if ids and not found.keys() & set(ids):
        raise DataError(
            "labels name the items that were found",
            f"{len(found):,} names such as {next(iter(found), '')!r} against items such as {ids[0]!r}",
            "write paths relative to the folder that is walked",
        )
    for number, name in enumerate(given):
        columns[name] = [found[id][number] if id in found else None for id in ids]
    return columns


def folder_labels(ids: Sequence[str]) -> list[str | None]:
    """The first component of each id that has more than one, else None.

    >>> folder_labels(["cat/a.jpg", "b.jpg", "dog/old/c.jpg"])
    ['cat', None, 'dog']
    """
    return [id.partition("/")[0] if "/" in id else None for id in ids]


def read_records(labels: str | os.PathLike[str] | pa.Table) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns' names and the rows of a CSV or Parquet file, or of a table. Raises UsageError where it is none."""
    try:
        if not isinstance(labels, pa.Table):
            path = Path(labels)
            if path.suffix.lower() not in (".parquet", ".pq"):
                with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
                    reader = csv.DictReader(file)
                    return list(reader.fieldnames or []), list(reader)
            labels = pq.read_table(path)
    except (OSError, csv.Error, pa.ArrowException) as error:
        raise UsageError(
            "labels are a CSV or Parquet file", str(error)[:200], "check the file's name and form"
        ) from error
    wanted = [name for name in labels.column_names if name in ("id", "path", *COLUMNS)]
    return list(labels.column_names), labels.select(wanted).to_pylist()


def _by_id(records: list[dict[str, Any]], key: str, given: list[str]) -> dict[str, tuple[str | None, ...]]:
    found: dict[str, tuple[str | None, ...]] = {}
    for record in records:
        if record[key] in (None, ""):
            raise DataError(f"every label has its {key}", "a row without one", "fill it or delete the row")
        id = str(record[key])
        if key == "path":
            id = make_id(os.path.normpath(id))
        values = tuple(None if record[name] in (None, "") else str(record[name]) for name in given)
        if not all(value is None or value.isprintable() for value in values):
            raise DataError("a label is printable text in UTF-8", f"{values!r} of {id}", "save the file as UTF-8")
        if found.setdefault(id, values) != values:
            raise DataError("an item has one label", f"{found[id]} and {values} for {id}", "delete one of the rows")
    return found
