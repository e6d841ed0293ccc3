"""The end of an extraction: all parts are checked against the plan, counted, and said in one table.

`merge` does it for parts that several processes or machines have made; a run of one process ends in the same function.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmfeat.errors import DamagedError, DataError, MismatchError, UsageError
from mmfeat.files import read_json
from mmfeat.pipelines.shards import Part, check_part, cut, earlier, failed_before, fingerprint, hold, name_of, settle

if TYPE_CHECKING:
    from mmfeat.media.items import Items

__all__ = ["Extraction", "finish", "merge"]


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What an extraction ended in: counts by status, and how many failed that had not failed before.

    made: pictures that were encoded in this run; the others were there. repaired: parts that were damaged and made again.
    complete: False for one shard of several.
    """

    path: Path
    done: int
    failed: int
    skipped: int
    new_failures: int
    made: int = 0
    repaired: tuple[str, ...] = ()
    complete: bool = True

    @property
    def exit_code(self) -> int:
        """0 all well, 1 some items newly failed, 3 nothing could be read (a shard may have had nothing to do)."""
        if not self.done and (self.complete or self.failed):
            return 3
        return 1 if self.new_failures else 0


def merge(path: str | os.PathLike[str]) -> Extraction:
    """Join the parts of a features folder, wherever they were made: check every one of them, then write items.parquet.

    Every item found ends in exactly one status: parts that are missing raise DataError, damaged ones, and items that are
    double or of another part, DamagedError; all are named. BusyError while a shard is at work.
    """
    from mmfeat.media.items import Items

    folder = Path(path)
    if not (folder / "features.json").is_file():
        raise UsageError("a features folder holds features.json", str(path), "make one with `mmfeat extract`")
    described = read_json(folder / "features.json")
    items = Items.read(folder / "found.parquet")
    if fingerprint(items) != described["items"]:
        raise MismatchError("found.parquet is the table that features.json speaks of", "another", "extract again")
    with hold(folder, None):
        plan = cut(items.images, described["part"])
        missing, damaged, parts = [], [], {}
        for number, rows in enumerate(plan):
            try:
                parts[number] = check_part(folder / "parts" / name_of(number), items, rows)
            except FileNotFoundError:
                missing.append(name_of(number))
            except DamagedError as error:
                damaged.append(f"{error.rule}; {error.came}")
        foreign = {path.stem for path in (folder / "parts").glob("part-*.json")} - set(map(name_of, range(len(plan))))
        damaged += [f"{name} is no part of this table" for name in sorted(foreign)]
        if damaged:
            raise DamagedError(
                f"{folder}: every part is whole", _some(damaged), "delete what is named and extract again"
            )
        if missing:
            raise DataError(f"{folder}: all {len(plan)} parts are there", f"{len(missing)} missing: {_some(missing)}",
                            "run their shards, or extract without --shard")  # fmt: skip
        return finish(folder, items, plan, parts)


def finish(
    folder: Path,
    items: Items,
    plan: list[np.ndarray],
    parts: Mapping[int, Part],
    made: int = 0,
    repaired: tuple[str, ...] = (),
) -> Extraction:
    """Write items.parquet from parts that have been checked, and clear away what earlier runs left."""
    before = failed_before(folder)
    failures = {row: reason for part in parts.values() for row, reason in part.failures.items()}
    sha256 = {row: value for part in parts.values() for row, value in part.sha256.items()}
    items = settle(items, np.concatenate([*plan, np.zeros(0, np.int64)]), failures, sha256)
    if items.count("found") or sum(map(items.count, ("done", "failed", "skipped"))) != len(items):
        raise DamagedError(f"{folder}: every item ends in one status", repr(items), "extract again")
    items.write(folder / "items.parquet")
    for old in earlier(folder):
        shutil.rmtree(old)
    for rest in (*folder.glob(".lock-*"), *folder.glob(".*.tmp"), *(folder / "parts").glob(".*.tmp")):
        rest.unlink(missing_ok=True)
    failed = {id for id, status in zip(items.ids, items.table["status"].to_pylist(), strict=True) if status == "failed"}
    return Extraction(
        folder, items.count("done"), len(failed), items.count("skipped"), len(failed - before), made, repaired
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
