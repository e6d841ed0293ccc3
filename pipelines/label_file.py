"""The file in which a person keeps labels while teaching: CSV with the columns id, label and asked.

    id,label,asked
    barn/a.jpg,yes,
    barn/b.jpg,no,
    coast/c.jpg,,1

A row without a label is a question; its number in `asked` answers for its id until the next questions take its place. The
file may be filled in by hand, in a spreadsheet, or by `--yes`, `--no` and `--as`. Other columns are kept as they are.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmfeat.errors import DataError, UsageError

__all__ = ["LabelFile", "read_label_file"]

OWN = ("id", "label", "asked")


@dataclasses.dataclass
class LabelFile:
    """The rows of a file of labels, by id, in their order. columns: those of the file. kept: it is one that `write` wrote."""

    rows: dict[str, dict[str, str]]
    columns: tuple[str, ...] = OWN
    kept: bool = False

    @property
    def labels(self) -> dict[str, str]:
        """Label by id, of the rows that have one."""
        return {id: row["label"] for id, row in self.rows.items() if row["label"]}

    @property
    def asked(self) -> dict[int, str]:
        """The id behind each number that was asked last."""
        return {int(row["asked"]): id for id, row in self.rows.items() if row.get("asked", "").isdecimal()}

    def answer(self, labels: Mapping[str, str]) -> None:
        """Put labels in; a row that is there gets the new label."""
        for id, label in labels.items():
            self.rows.setdefault(id, {"id": id})["label"] = label

    def rename(self, ids: Mapping[str, str]) -> None:
        """Put ids where items were named otherwise, by a path; the label that was said last holds."""
        rows: dict[str, dict[str, str]] = {}
        for name, row in self.rows.items():
            id = ids.get(name, name)
            if row["label"] or id not in rows:
                rows[id] = {**rows.get(id, {}), **row, "id": id}
        self.rows = rows

    def ask(self, ids: Sequence[str]) -> None:
        """Questions for these ids, numbered from 1, in the place of all earlier ones."""
        self.rows = {id: {**row, "asked": ""} for id, row in self.rows.items() if row["label"]}
        for number, id in enumerate(ids, 1):
            self.rows.setdefault(id, {"id": id, "label": ""})["asked"] = str(number)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""
        from mmfeat.files import write_bytes

        out = io.StringIO()
        columns = (*self.columns, *(name for name in OWN if name not in self.columns))
        writer = csv.DictWriter(out, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows.values())
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, out.getvalue().encode("utf-8", "surrogateescape"))


def read_label_file(path: str | os.PathLike[str]) -> LabelFile:
    """Read labels of CSV or Parquet with the columns id (or path) and label; nothing is there yet: an empty file.

    UsageError: it cannot be read, or has other columns. DataError: an id stands there with two labels.
    """
    from mmfeat.media.labels import read_records

    if not Path(path).exists():
        return LabelFile({})
    names, records = read_records(path)
    key = "id" if "id" in names else "path"
    if key not in names or "label" not in names:
        raise UsageError(
            "labels have a column `id` or `path`, and `label`", f"columns {names} in {path}", "rename them"
        )
    rows: dict[str, dict[str, str]] = {}
    for record in records:
        row = {name: "" if value is None else str(value).strip() for name, value in record.items() if name is not None}
        id = row[key]
        if not id:
            raise DataError(f"every label has its {key}", f"a row without one in {path}", "fill it or delete the row")
        if id in rows and rows[id]["label"] and row["label"] and rows[id]["label"] != row["label"]:
            raise DataError(
                "an item has one label", f"{rows[id]['label']} and {row['label']} for {id} in {path}", "delete one row"
            )
        if id not in rows or row["label"]:
            rows[id] = {"id": id, **row}
    return LabelFile(rows, tuple(names), "asked" in names)
