"""The table of items: one row for every file found, each ending in exactly one status with its reason.

A row begins as "found" (a picture whose header could be read), "failed" or "skipped", and a found one ends as "done"
or "failed".
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmfeat.errors import DamagedError, ShapeError, UsageError
from mmfeat.files import writing
from mmfeat.media.ids import split_id
from mmfeat.media.remote import Url, as_url

__all__ = ["KINDS", "SCHEMA", "STATUSES", "Items"]

KINDS = ("image", "video", "audio", "other")
STATUSES = ("found", "done", "failed", "skipped")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("bytes", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("label", pa.string()),
        pa.field("split", pa.string()),
        pa.field("group", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
_ROW_GROUP = 1 << 20
_KEY = b"mmfeat"


@dataclass(frozen=True, eq=False)
class Items:
    """Files below a root and what is known of them.

    root: the folder, or the URL, that ids are relative to (for several roots: what their paths have in common, for
        looking at only).
    table: a pyarrow Table of `SCHEMA`: id, kind ("image", "video", "audio", "other"), bytes, mtime_ns, sha256 (null
        until read), width and height in px as shown (null where the header cannot be read), label, split, group,
        status, reason.
    roots: for several roots, pairs (first component of the ids, what it stands for); empty for one.
    """

    root: Path | Url
    table: pa.Table
    roots: tuple[tuple[str, Path | Url], ...] = ()

    def __post_init__(self) -> None:
        if not self.table.schema.equals(SCHEMA):
            raise ShapeError("a table of items has fixed columns", str(self.table.schema.names), f"give {SCHEMA.names}")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.count(status):,} {status}" for status in STATUSES if self.count(status))
        return f"Items({str(self.root)!r}: {counts or 'empty'})"

    @property
    def ids(self) -> list[str]:
        """The ids, row by row."""
        return list(self.table["id"].to_pylist())

    @property
    def images(self) -> np.ndarray:
        """Rows (n,) int64 of the pictures that wait to be decoded: kind "image", status "found"."""
        waits = pc.and_(pc.equal(self.table["kind"], "image"), pc.equal(self.table["status"], "found"))
        return np.flatnonzero(waits.to_numpy())

    def count(self, status: str) -> int:
        """How many rows have this status."""
        if status not in STATUSES:
            raise UsageError(f"a status is one of {', '.join(STATUSES)}", repr(status), "write one of them")
        return int(pc.sum(pc.equal(self.table["status"], status), min_count=0).as_py())

    def path_of(self, row: int) -> Path | Url:
        """Where the file of a row lies (of a member of a tar: the tar's path and the member's name behind it).

        Raises UsageError for an id that leads out of the root.
        """
        path, _ = split_id(self.table["id"][int(row)].as_py())
        if path.startswith("/") or ".." in path.split("/"):
            raise UsageError("an id names a file below the root", repr(path), "build the table again with walk")
        first, _, rest = path.partition("/")
        for name, place in self.roots:
            if name == first:
                return place / rest if rest else place
        return self.root / path

    def place_of(self, row: int) -> tuple[str, dict[str, Any]]:
        """What `contents` opens: the path or URL of a row, and the fragment of its id."""
        return os.fspath(self.path_of(row)), split_id(self.table["id"][int(row)].as_py())[1]

    def select(self, rows: Sequence[int] | np.ndarray) -> Items:
        """The items of these rows, in this order."""
        return replace(self, table=self.table.take(pa.array(np.asarray(rows, np.int64))))

    def with_status(
        self,
        rows: Sequence[int] | np.ndarray,
        status: str | Sequence[str],
        reasons: str | Sequence[str | None] | None = None,
        sha256s: Sequence[str | None] | None = None,
    ) -> Items:
        """The same items with these rows' status and reason replaced, and their sha256 where it is given.

        status and reasons: one for all rows, or one for each. Raises ShapeError where lengths differ, UsageError for
            another status.
        """
        rows = np.asarray(rows, np.int64)
        columns: dict[str, Any] = {"status": status, "reason": reasons}
        if sha256s is not None:
            columns["sha256"] = sha256s
        table = self.table
        for name, values in columns.items():
            listed = [values] * len(rows) if values is None or isinstance(values, str) else list(values)
            if len(listed) != len(rows):
                raise ShapeError(f"one {name} for each row", f"{len(listed)} for {len(rows)} rows", "pass as many")
            if name == "status" and not set(listed) <= set(STATUSES):
                raise UsageError(f"a status is one of {', '.join(STATUSES)}", repr(set(listed)), "write one of them")
            column = np.array(table[name].to_pylist(), dtype=object)
            column[rows] = listed
            number = table.schema.get_field_index(name)
            table = table.set_column(number, SCHEMA.field(name), pa.array(column, pa.string(), from_pandas=False))
        return replace(self, table=table)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write as Parquet, atomically; the same items give the same bytes. The roots go into the schema's metadata."""
        note = {"root": os.fspath(self.root), "roots": [[name, os.fspath(place)] for name, place in self.roots]}
        table = self.table.combine_chunks().replace_schema_metadata({_KEY: json.dumps(note).encode("ascii")})
        with writing(path) as file:
            pq.write_table(table, file, row_group_size=_ROW_GROUP, compression="zstd", version="2.6")

    @classmethod
    def read(cls, path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Items:
        """Read what `write` wrote; `root` replaces the recorded one when the files have moved. Raises DamagedError."""
        try:
            table = pq.read_table(path)
            note = json.loads((table.schema.metadata or {})[_KEY])
            table = table.replace_schema_metadata(None).cast(SCHEMA)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            raise DamagedError(f"{path} must hold a table of items", str(error)[:200], "build it again") from error
        if root is not None:
            return cls(_place(root), table, tuple((name, _place(root) / name) for name, _ in note["roots"]))
        return cls(_place(note["root"]), table, tuple((name, _place(place)) for name, place in note["roots"]))


def _place(root: str | os.PathLike[str]) -> Path | Url:
    return as_url(root) or Path(root)
