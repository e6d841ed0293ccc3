"""Extraction: every file of a folder to one row of features, in parts that are each written once.

A features folder holds

    features.json                 the model's sha256, the width, the kind of the numbers
    parts/part-00042.npy          features of a part's items, float32 (n, d), float16, or packed bits uint8
    parts/part-00042.parquet      id, part fields (t0, t1, x, y, w, h: null for whole items), shard, row
    parts/part-00042.json         the receipt: sha256 of the two, and the status of every item of the part
    items.parquet                 all items with their final status, written last

A part with a receipt is done: a rerun makes what is missing.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from mmfeat.errors import MismatchError, SettingsError, UsageError
from mmfeat.files import (
    canonical_json,
    check_writable,
    hold_lock,
    read_json,
    sha256_bytes,
    sha256_file,
    write_json,
    writing,
)

if TYPE_CHECKING:
    from mmfeat.media.items import Items
    from mmfeat.model import Model
    from mmfeat.stages import Report

__all__ = ["Encoded", "Extraction", "counted_on", "encode_items", "extract", "parts_table", "read_features", "settle"]

PART = 4096


class Encoded(NamedTuple):
    """Some items, encoded: rows of the table that could be read, in order, their features, and what became of all."""

    rows: np.ndarray
    features: np.ndarray
    failures: dict[int, str]
    sha256: dict[int, str]


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What an extraction ended in: counts by status, and how many failed that had not failed before."""

    path: Path
    done: int
    failed: int
    skipped: int
    new_failures: int

    @property
    def exit_code(self) -> int:
        """0 all well, 1 some items newly failed, 3 nothing could be read."""
        return 3 if not self.done else 1 if self.new_failures else 0


def counted_on(report: Report | None, base: int, whole: int) -> Report | None:
    """The same report for a part of the work: it counts on from `base` to `whole`."""
    return report and (lambda what, done, total, metrics: report(what, base + done, whole, metrics))


def encode_items(model: Model, items: Items, rows: np.ndarray, report: Report | None = None) -> Encoded:
    """Encode these rows of a table (at least one)."""
    from mmfeat.media.source import ImageSource

    source = ImageSource(items, model.decode, rows=rows)
    features: np.ndarray | None = None
    good = np.zeros(len(rows), bool)
    done = 0
    for places, values, read in model.stream(source):
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
    report: Report | None = None,
) -> Extraction:
    """Write the features of all pictures of a table. Called again on the same folder it makes what is missing.

    dtype: "bits" (the default of a hash), "float32" (the default otherwise) or "float16".
    BusyError: another process is at it.
    """
    dtype = dtype or ("bits" if model.hash else "float32")
    if dtype not in ("bits", "float32", "float16") or (dtype == "bits" and not model.hash):
        raise SettingsError('features are "float32", "float16", or "bits" of a hash', dtype, "choose one of these")
    folder = Path(path)
    _begin(folder, model, items, dtype)
    before = _failed_before(folder)
    with hold_lock(folder / ".lock"):
        for aside in (folder / "parts").glob(".*.tmp"):  # of a run that was killed
            aside.unlink()
        pictures = len(items.images)
        for number, rows in enumerate(_cut(items.images)):
            receipt = folder / "parts" / f"part-{number:05}.json"
            if not receipt.exists():
                part = counted_on(report, number * PART, pictures)
                write_json(receipt, _write_part(receipt.with_suffix(""), number, model, items, rows, dtype, part))
            items = settle(items, rows, *_outcome(read_json(receipt)))
        items.write(folder / "items.parquet")
    failed = {
        item for item, status in zip(items.ids, items.table["status"].to_pylist(), strict=True) if status == "failed"
    }
    return Extraction(folder, items.count("done"), len(failed), items.count("skipped"), len(failed - before))


def settle(items: Items, rows: np.ndarray, failures: dict[int, str], sha256: dict[int, str]) -> Items:
    """The table with the outcome of these rows: "failed" with its reason, or "done"."""
    return items.with_status(
        rows,
        ["failed" if int(row) in failures else "done" for row in rows],
        [failures.get(int(row)) for row in rows],
        [sha256.get(int(row)) for row in rows],
    )


def _cut(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[first : first + PART] for first in range(0, len(rows), PART)]


def _failed_before(folder: Path) -> set[str]:
    """The ids that had failed when the folder was last finished."""
    from mmfeat.media.items import Items

    path = folder / "items.parquet"
    if not path.exists():
        return set()
    table = Items.read(path, folder).table
    return {
        item
        for item, status in zip(table["id"].to_pylist(), table["status"].to_pylist(), strict=True)
        if status == "failed"
    }


def _begin(folder: Path, model: Model, items: Items, dtype: str) -> None:
    """Make the folder, or check that it was begun with the same model and pictures."""
    table = items.table.select(["id", "bytes", "mtime_ns"]).take(items.images)
    wanted = {
        "format": "mmfeat features 1",
        "model": model.sha256,
        "dtype": dtype,
        "part": PART,
        "items": sha256_bytes(canonical_json([column.to_pylist() for column in table.columns])),
    }
    check_writable(folder)
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "features.json").is_file():
            raise UsageError("what exists is never overwritten unasked", str(folder), "choose another name")
        found = read_json(folder / "features.json")
        for name, value in wanted.items():
            if found.get(name) != value:
                raise MismatchError(
                    f"{folder} goes on with the {name} it was begun with",
                    "pictures that are others or have changed" if name == "items" else f"{value}",
                    "choose another folder, or delete this one",
                )
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    write_json(folder / "features.json", wanted)


def _write_part(
    stem: Path, number: int, model: Model, items: Items, rows: np.ndarray, dtype: str, report: Report | None
) -> dict[str, Any]:
    """Write the features and the table of a part; its receipt, which the caller writes last."""
    import pyarrow.parquet as pq

    from mmfeat.arrays import pack_bits

    encoded = encode_items(model, items, rows, report)
    values = pack_bits(encoded.features) if dtype == "bits" else encoded.features.astype(dtype)
    with writing(stem.with_suffix(".npy")) as file:
        np.save(file, values, allow_pickle=False)
    with writing(stem.with_suffix(".parquet")) as file:
        pq.write_table(parts_table(items, encoded.rows, number), file)
    return {
        "rows": len(encoded.rows),
        "npy": sha256_file(stem.with_suffix(".npy")),
        "parquet": sha256_file(stem.with_suffix(".parquet")),
        "failed": {str(row): reason for row, reason in sorted(encoded.failures.items())},
        "sha256": {str(row): value for row, value in sorted(encoded.sha256.items())},
    }


def _outcome(receipt: dict[str, Any]) -> tuple[dict[int, str], dict[int, str]]:
    """Failures and checksums by row, as a receipt keeps them."""
    return tuple({int(row): text for row, text in receipt[name].items()} for name in ("failed", "sha256"))  # type: ignore[return-value]


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
