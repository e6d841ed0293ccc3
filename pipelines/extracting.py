"""Extraction: every picture of a table to one row of features, in parts that are each written once (`shards`).

A part with a receipt is done: a rerun makes what is missing. Where files have come, gone or changed since, the features of
all others are taken from the parts that are there, and the folder ends as if it had been made anew, to the byte.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from mmfeat.errors import DamagedError, MismatchError, SettingsError, UsageError
from mmfeat.files import check_writable, read_json, write_json
from mmfeat.pipelines.merging import Extraction, finish
from mmfeat.pipelines.shards import (
    Part,
    Pool,
    check_part,
    cut,
    earlier,
    failed_before,
    fingerprint,
    hold,
    name_of,
    settle,
    write_part,
)

if TYPE_CHECKING:
    from mmfeat.media.items import Items
    from mmfeat.model import Model
    from mmfeat.stages import Report

__all__ = ["Encoded", "Extraction", "counted_on", "encode_items", "extract", "parts_table", "read_features", "settle"]

PART = 4096
FORMAT = "mmfeat features 2"


class Encoded(NamedTuple):
    """Some items, encoded: rows of the table that could be read, in order, their features, and what became of all."""

    rows: np.ndarray
    features: np.ndarray
    failures: dict[int, str]
    sha256: dict[int, str]


def counted_on(report: Report | None, base: int, whole: int) -> Report | None:
    """The same report for a part of the work: it counts on from `base` to `whole`."""
    return report and (lambda what, done, total, metrics: report(what, base + done, whole, metrics))


def encode_items(model: Model, items: Items, rows: np.ndarray, report: Report | None = None) -> Encoded:
    """Encode these rows of a table (at least one)."""
    from mmfeat.arrays import Locals
    from mmfeat.media.source import ImageSource

    source = ImageSource(items, model.decode, rows=rows)
    features: np.ndarray | None = None
    good = np.zeros(len(rows), bool)
    done = 0
    for places, values, read in model.stream(source):
        if isinstance(values, Locals):
            raise UsageError("features are one row per picture", "local descriptors", "end the chain with Pool()")
        if features is None:
            features = np.zeros((len(rows), *values.shape[1:]), np.float32)
        finite = read & np.isfinite(values).all(axis=1)
        for place in places[read & ~finite]:
            source.failures.setdefault(int(rows[place]), "its features are not finite numbers")
        features[places[finite]] = values[finite]
        good[places[finite]] = True
        done += len(places)
        if report:
            report("encoding", done, len(rows), {})
    if features is None:
        features = np.zeros((len(rows), 0), np.float32)
    return Encoded(rows[good], features[good], dict(source.failures), dict(source.sha256))


def parts_table(items: Items, rows: np.ndarray, shard: int = 0) -> pa.Table:
    """The table of a part: one row per vector; whole items have no times and no box."""
    count = len(rows)
    none = pa.nulls(count, pa.float64())
    return pa.table(
        {
            "id": items.table["id"].take(rows),
            "label": items.table["label"].take(rows),
            **{name: none for name in ("t0", "t1", "x", "y", "w", "h")},
            "shard": pa.array(np.full(count, shard, np.int32)),
            "row": pa.array(np.arange(count, dtype=np.int32)),
        }
    )


def extract(
    model: Model,
    items: Items,
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    part: int | None = None,
    shard: tuple[int, int] | None = None,
    retry_failed: bool = False,
    report: Report | None = None,
) -> Extraction:
    """Write the features of all pictures of a table. Called again on the same folder it makes what is missing.

    dtype: "bits" (the default of a hash), "float32" (the default otherwise) or "float16".
    part: pictures a part, 4,096 unless told; a folder keeps what it was begun with.
    shard: (k, n) with k from 1 to n: only every n-th part, from the k-th on. `merging.merge` joins them. The table must be
        the one the folder was begun with: `found.parquet` in it.
    retry_failed: read files again that failed before and have not changed since.

    Files that are new or have changed (id, bytes, mtime) are read, all others are not. MismatchError: the folder is of another
    model. BusyError: another process is at it.
    """
    dtype = dtype or ("bits" if model.hash else "float32")
    if dtype not in ("bits", "float32", "float16") or (dtype == "bits" and not model.hash):
        raise SettingsError('features are "float32", "float16", or "bits" of a hash', dtype, "choose one of these")
    if part is not None and part < 1:
        raise SettingsError("a part holds at least one picture", str(part), "leave it out for 4,096")
    folder = Path(path)
    wanted = {"format": FORMAT, "model": model.sha256, "dtype": dtype, "items": fingerprint(items)}
    _begin(folder, items, {**wanted, "part": part or PART})
    with hold(folder, shard):
        size = _go_on(folder, items, wanted if part is None else {**wanted, "part": part}, shard)
        return _Run(model, items, folder, dtype, cut(items.images, size), shard, retry_failed, report).run()


def _begin(folder: Path, items: Items, described: dict[str, Any]) -> None:
    """Make the folder, whole or not at all; somebody else may be quicker."""
    check_writable(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if folder.exists():
        if not (folder / "features.json").is_file():
            raise UsageError("what exists is never overwritten unasked", str(folder), "choose another name")
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{folder.name[:80]}.{uuid.uuid4().hex}.tmp"
    aside.mkdir()
    try:
        (aside / "parts").mkdir()
        items.write(aside / "found.parquet")
        write_json(aside / "features.json", described)
        os.rename(aside, folder)  # refused where there is a folder that is not empty: no other shard's is replaced
    except OSError:
        if not (folder / "features.json").is_file():
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _go_on(folder: Path, items: Items, wanted: dict[str, Any], shard: tuple[int, int] | None) -> int:
    """Check that the folder was begun with the same model, and bring it to this table; how many pictures a part has."""
    found = read_json(folder / "features.json")
    for name, value in wanted.items():
        if name != "items" and found.get(name) != value:
            raise MismatchError(
                f"{folder} goes on with the {name} it was begun with",
                f"{value}",
                "choose another folder, or delete this one",
            )
    if found["items"] != wanted["items"]:
        if shard is not None:
            raise MismatchError(
                f"shards of {folder} go on with the items it was begun with",
                "pictures or labels that are others or have changed",
                f"give {folder / 'found.parquet'} as data, or extract once without --shard",
            )
        _set_aside(folder)
        items.write(folder / "found.parquet")
        write_json(folder / "features.json", {**found, **wanted})
    elif shard is None:
        items.write(folder / "found.parquet")  # files that are no pictures may have come or gone
    (folder / "parts").mkdir(exist_ok=True)
    return int(found["part"])


def _set_aside(folder: Path) -> None:
    """Parts of another table become earlier ones, which lend what has not changed."""
    if any((folder / "parts").glob("part-*.json")):
        last = max((int(old.name.rpartition("-")[2]) for old in earlier(folder)), default=0)
        aside = folder / f"earlier-{last + 1:04}"
        os.rename(folder / "parts", aside)
        if (folder / "items.parquet").exists():
            os.rename(folder / "items.parquet", aside / "items.parquet")


class _Run:
    """One process's work on a features folder."""

    def __init__(
        self, model: Model, items: Items, folder: Path, dtype: str, plan: list[np.ndarray], shard: tuple[int, int] | None,
        retry: bool, report: Report | None,
    ) -> None:  # fmt: skip
        self.model, self.items, self.folder, self.dtype, self.plan = model, items, folder, dtype, plan
        self.shard, self.retry, self.report = shard, retry, report
        self.pool = Pool([path.with_suffix("") for old in earlier(folder) for path in sorted(old.glob("part-*.json"))])
        self.made = 0

    def run(self) -> Extraction:
        """Make the parts that are missing; a whole run ends in `finish`."""
        first, step = (self.shard[0] - 1, self.shard[1]) if self.shard else (0, 1)
        numbers = range(first, len(self.plan), step)
        parts: dict[int, Part] = {}
        repaired = []
        whole, base = sum(len(self.plan[number]) for number in numbers), 0
        for number in numbers:
            stem, rows = self.folder / "parts" / name_of(number), self.plan[number]
            for aside in stem.parent.glob(f".{stem.name}.*.tmp"):  # of a run that was killed
                aside.unlink()
            parts[number], damaged = self.part(stem, number, rows, base, whole)
            repaired += [stem.name] if damaged else []
            base += len(rows)
        if self.shard is None:
            return finish(self.folder, self.items, self.plan, parts, self.made, tuple(repaired))
        failed = [row for part in parts.values() for row in part.failures]
        ids = {self.items.table["id"][row].as_py() for row in failed} - failed_before(self.folder)
        return Extraction(self.folder, whole - len(failed), len(failed), 0, len(ids), self.made, tuple(repaired), False)

    def part(self, stem: Path, number: int, rows: np.ndarray, base: int, whole: int) -> tuple[Part, bool]:
        """One part, made if it has to be; and whether it was damaged."""
        try:
            part = check_part(stem, self.items, rows)
        except (FileNotFoundError, DamagedError) as error:
            return self.make(stem, number, rows, self.pool, base, whole), isinstance(error, DamagedError)
        if self.retry and part.failures:
            part = self.make(stem, number, rows, Pool([stem]), base, whole)
        return part, False

    def make(self, stem: Path, number: int, rows: np.ndarray, pool: Pool, base: int, whole: int) -> Part:
        """Write one part: what the pool has is taken from it, the rest is encoded."""
        place = pool.find(self.items, rows)
        part = self._known_failures(rows[place < 0], pool)
        missing = np.array(
            [row for row, at in zip(rows, place, strict=True) if at < 0 and int(row) not in part.failures], np.int64
        )
        values: dict[int, np.ndarray] = {}
        width, kind = pool.width, np.dtype(np.uint8 if self.dtype == "bits" else self.dtype)
        if len(missing):
            encoded = encode_items(self.model, self.items, missing, counted_on(self.report, base, whole))
            features = self._as_kept(encoded.features)
            width = features.shape[1:]
            values |= zip(map(int, encoded.rows), features, strict=True)
            part.failures.update(encoded.failures)
            part.sha256.update(encoded.sha256)
            self.made += len(missing)
        if (place >= 0).any():
            kept, sha = pool.take(place[place >= 0])
            values |= zip(map(int, rows[place >= 0]), kept, strict=True)
            part.sha256.update(
                (int(row), one) for row, one in zip(rows[place >= 0], sha, strict=True) if one is not None
            )
        good = np.array([row for row in rows if int(row) in values], np.int64)
        block = np.stack([values[int(row)] for row in good]) if len(good) else np.zeros((0, *width), kind)
        write_part(stem, parts_table(self.items, good, number), block, self.items, rows, part)
        return part

    def _known_failures(self, rows: np.ndarray, pool: Pool) -> Part:
        """What is known of files that failed and have not changed; nothing where they are to be tried again."""
        part = Part({}, {})
        if pool.failed and not self.retry:
            for row, facts in zip(rows, self.items.table.take(rows).to_pylist(), strict=True):
                if (said := pool.failure(facts["id"], facts["bytes"], facts["mtime_ns"])) is not None:
                    part.failures[int(row)] = said["reason"]
                    part.sha256.update({int(row): said["sha256"]} if said["sha256"] is not None else {})
        return part

    def _as_kept(self, features: np.ndarray) -> np.ndarray:
        from mmfeat.arrays import pack_bits

        return pack_bits(features) if self.dtype == "bits" else features.astype(self.dtype)


def read_features(path: str | os.PathLike[str]) -> tuple[list[str], np.ndarray]:
    """All ids of a features folder and their rows, in order. Parts without a receipt are not there yet and are left out."""
    import pyarrow.parquet as pq

    folder = Path(path)
    if not (folder / "features.json").is_file():
        raise UsageError("a features folder holds features.json", str(path), "make one with `mmfeat extract`")
    ids: list[str] = []
    values = []
    for receipt in sorted((folder / "parts").glob("part-*.json")):
        values.append(np.load(receipt.with_suffix(".npy"), allow_pickle=False, mmap_mode="r"))
        ids += pq.read_table(receipt.with_suffix(".parquet"), columns=["id"])["id"].to_pylist()
    if not values:
        raise UsageError("a features folder holds finished parts", str(path), "run `mmfeat extract` again")
    return ids, np.concatenate(values)
