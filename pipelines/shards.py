"""The parts of a features folder: which items each holds, writing one, checking one, and what an earlier one can lend.

A features folder holds

    features.json                 the model's sha256, the kind of the numbers, rows a part, the sha256 of what was found
    found.parquet                 all items as they were found: the plan; which part an item belongs to follows from it alone
    parts/part-00042.npy          features of a part's items in order, float32 (n, d), float16, or packed bits uint8
    parts/part-00042.parquet      a row for each of these: id, label, split, group, part fields (t0, t1, x, y, w, h: null for
                                  whole items), shard, row, and the file they are of: bytes, mtime_ns, sha256
    parts/part-00042.json         the receipt, written last: sha256 of the two, and the items of the part that failed
    items.parquet                 all items with their final status; there as soon as every part is

A part with a receipt is done. Parts of a table that has changed since lie in `earlier-0001` and lend the features of files
that have not, until the new parts are complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmfeat.errors import BusyError, DamagedError, UsageError
from mmfeat.files import canonical_json, hold_lock, read_json, sha256_file, write_json, writing

if TYPE_CHECKING:
    from mmfeat.media.items import Items

__all__ = [
    "Part",
    "Pool",
    "check_part",
    "cut",
    "earlier",
    "failed_before",
    "fingerprint",
    "hold",
    "name_of",
    "parse_shard",
    "settle",
    "write_part",
]

_FACTS = ("bytes", "mtime_ns", "sha256")


class Part(NamedTuple):
    """What a finished part says: rows of its items that failed and why, and the sha256 of every file that was read."""

    failures: dict[int, str]
    sha256: dict[int, str]


def name_of(number: int) -> str:
    """The name of a part's files, without an extension."""
    return f"part-{number:05}"


def cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """The rows of the pictures, cut into parts: the plan."""
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def fingerprint(items: Items) -> str:
    """The sha256 of all that parts hold of the pictures that were found: other pictures, or other labels, are another plan."""
    names = ["id", "bytes", "mtime_ns", "label", "split", "group"]
    table, sha = items.table.select(names).take(items.images), hashlib.sha256()
    for first in range(0, table.num_rows, 1 << 16):  # in pieces: lists of millions take memory
        sha.update(canonical_json([column.to_pylist() for column in table.slice(first, 1 << 16).columns]))
    return sha.hexdigest()


def parse_shard(text: str) -> tuple[int, int]:
    """`17/512` as (17, 512); raises UsageError.

    >>> parse_shard("1/4")
    (1, 4)
    """
    first, slash, last = text.partition("/")
    numbers = (int(first), int(last)) if slash and first.isdecimal() and last.isdecimal() else (0, 0)
    if not 1 <= numbers[0] <= numbers[1]:
        raise UsageError(
            "a shard is k/n with k from 1 to n", repr(text), "write 1/4, 2/4, 3/4 and 4/4 for four processes"
        )
    return numbers


@contextlib.contextmanager
def hold(folder: Path, shard: tuple[int, int] | None) -> Iterator[None]:
    """Hold the folder: alone, or as one of the shards at work. BusyError where somebody is at it who does not go with that."""
    if shard is None:
        with hold_lock(folder / ".lock"):
            yield
        return
    with _together(folder / ".lock"), hold_lock(folder / f".lock-{shard[0]}-of-{shard[1]}"):
        yield


@contextlib.contextmanager
def _together(path: Path) -> Iterator[None]:
    """A lock that several shards hold at once, and nobody who wants it alone."""
    with open(path, "a+b") as file:
        try:
            import fcntl
        except ImportError:  # Windows: shards hold their own locks only
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            raise BusyError(
                "shards are made beside shards", f"another process that holds {path} alone", "wait for it to end"
            ) from error
        yield


def write_part(stem: Path, table: pa.Table, values: np.ndarray, items: Items, rows: np.ndarray, part: Part) -> None:
    """Write a part; the receipt last. A receipt that is there goes first: without it the part counts as missing."""
    receipt = stem.with_suffix(".json")
    receipt.unlink(missing_ok=True)
    ids, facts = items.table["id"], {name: items.table[name] for name in _FACTS[:2]}
    good = np.array([row for row in rows if int(row) not in part.failures], np.int64)
    for name in ("split", "group"):
        table = table.append_column(pa.field(name, pa.string()), items.table[name].take(good))
    for name, column in facts.items():
        table = table.append_column(name, column.take(good))
    table = table.append_column("sha256", pa.array([part.sha256.get(int(row)) for row in good], pa.string()))
    with writing(stem.with_suffix(".npy")) as file:
        np.save(file, values, allow_pickle=False)
    with writing(stem.with_suffix(".parquet")) as file:
        pq.write_table(table, file)
    failed = {
        ids[row].as_py(): {
            **{name: column[row].as_py() for name, column in facts.items()},
            "sha256": part.sha256.get(row),
            "reason": reason,
        }
        for row, reason in sorted(part.failures.items())
    }
    write_json(
        receipt,
        {
            "rows": len(good),
            "npy": sha256_file(stem.with_suffix(".npy")),
            "parquet": sha256_file(stem.with_suffix(".parquet")),
            "failed": failed,
        },
    )


def check_part(stem: Path, items: Items, rows: np.ndarray) -> Part:
    """What a part says, once everything about it has been checked: bytes against the receipt, items against the plan.

    Raises FileNotFoundError where it is not finished, DamagedError that names the file or the item.
    """
    receipt, table = _whole(stem)
    number = {items.table["id"][int(row)].as_py(): int(row) for row in rows}
    held = table["id"].to_pylist()
    expected = [id for id in number if id not in receipt["failed"]]
    if held != expected or not receipt["failed"].keys() <= number.keys():
        strange = [id for id in (*held, *receipt["failed"]) if id not in number]
        double = sorted({id for id in held if held.count(id) > 1}) if len(set(held)) < len(held) else []
        lost = [id for id in expected if id not in set(held)]
        came = "; ".join(
            f"{what}: {', '.join(some[:3])}"
            for what, some in (("not of it", strange), ("double", double), ("missing", lost))
            if some
        )
        raise DamagedError(f"{stem} holds its items once each", came or "another order", "delete it and extract again")
    sha = dict(zip((number[id] for id in held), table["sha256"].to_pylist(), strict=True))
    sha |= {number[id]: said["sha256"] for id, said in receipt["failed"].items()}
    failures = {number[id]: said["reason"] for id, said in receipt["failed"].items()}
    return Part(failures, {row: value for row, value in sha.items() if value is not None})


def _whole(stem: Path) -> tuple[dict[str, Any], pa.Table]:
    """The receipt of a part and its table, both files as the receipt says. Raises FileNotFoundError, DamagedError."""
    receipt = read_json(stem.with_suffix(".json"))
    for name in ("npy", "parquet"):
        path = stem.with_suffix(f".{name}")
        found = sha256_file(path) if path.exists() else "nothing"
        if not isinstance(receipt, dict) or receipt.get(name) != found:
            raise DamagedError(f"{path} must match its receipt", f"sha256 {found[:12]}", "delete it and extract again")
    return receipt, pq.read_table(stem.with_suffix(".parquet"))


def earlier(folder: Path) -> list[Path]:
    """Folders of parts of earlier tables, the latest first."""
    return sorted(folder.glob("earlier-*"), reverse=True)


class Pool:
    """Features that exist already, by the file they are of: same id, same bytes, same mtime."""

    def __init__(self, stems: Sequence[Path]) -> None:
        self.stems: list[Path] = []
        self.failed: dict[str, dict[str, Any]] = {}
        tables = []
        for stem in stems:
            try:
                receipt, table = _whole(stem)
            except (FileNotFoundError, DamagedError):
                continue  # it lends nothing: its items are read again
            self.failed |= {id: said for id, said in receipt["failed"].items() if id not in self.failed}
            tables.append(table.select(["id", *_FACTS, "row"]).append_column(
                "stem", pa.array(np.full(table.num_rows, len(self.stems), np.int32))))  # fmt: skip
            self.stems.append(stem)
        self.table: Any = pa.concat_tables(tables).combine_chunks() if tables else None

    def find(self, items: Items, rows: np.ndarray) -> np.ndarray:
        """For each of these rows of a table the place in the pool that holds its features, -1 where none does."""
        if self.table is None or not len(rows):
            return np.full(len(rows), -1, np.int64)
        wanted = items.table.select(["id", "bytes", "mtime_ns"]).take(rows)
        place = pc.index_in(wanted["id"], value_set=self.table["id"]).to_numpy(zero_copy_only=False)
        place = (
            np.where(np.isnan(place), -1, place).astype(np.int64) if place.dtype.kind == "f" else place.astype(np.int64)
        )
        for name in ("bytes", "mtime_ns"):
            same = wanted[name].to_numpy() == self.table[name].to_numpy()[np.maximum(place, 0)]
            place = np.where(same, place, -1)
        return place

    def failure(self, id: str, bytes: int, mtime_ns: int) -> dict[str, Any] | None:
        """What is known of a file that failed and has not changed."""
        said = self.failed.get(id)
        return said if said is not None and (said["bytes"], said["mtime_ns"]) == (bytes, mtime_ns) else None

    def take(self, places: np.ndarray) -> tuple[np.ndarray, list[str | None]]:
        """The features (n, d) and the sha256 at these places (at least one)."""
        stems, rows = (self.table[name].to_numpy()[places] for name in ("stem", "row"))
        out: np.ndarray | None = None
        for number in np.unique(stems):
            values = np.load(self.stems[number].with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
            out = np.zeros((len(places), *values.shape[1:]), values.dtype) if out is None else out
            out[stems == number] = values[rows[stems == number]]
        if out is None:
            raise UsageError("something is taken from a pool", "no places", "ask for one at least")
        return out, self.table["sha256"].take(places).to_pylist()

    @property
    def width(self) -> tuple[int, ...]:
        """The shape of one item's features, () where the pool is empty."""
        if not self.stems:
            return ()
        return np.load(self.stems[0].with_suffix(".npy"), mmap_mode="r", allow_pickle=False).shape[1:]


def settle(items: Items, rows: np.ndarray, failures: dict[int, str], sha256: dict[int, str]) -> Items:
    """The table with the outcome of these rows: "failed" with its reason, or "done"."""
    return items.with_status(
        rows,
        ["failed" if int(row) in failures else "done" for row in rows],
        [failures.get(int(row)) for row in rows],
        [sha256.get(int(row)) for row in rows],
    )


def failed_before(folder: Path) -> set[str]:
    """The ids that had failed when the folder was last complete."""
    for place in (folder, *earlier(folder)):
        path = place / "items.parquet"
        if os.path.exists(path):
            table = pq.read_table(path, columns=["id", "status"])
            return set(table.filter(pc.equal(table["status"], "failed"))["id"].to_pylist())
    return set()
