"""Making an index where there is none, or in place of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmfeat.errors import DamagedError, UsageError
from mmfeat.files import canonical_json, hold_lock, sync_folder
from mmfeat.indexes.extras import FOLDERS, sweep
from mmfeat.indexes.generations import numbers, prune
from mmfeat.indexes.kinds import as_count, find_kind
from mmfeat.indexes.manifest import Manifest, read_current, switch_to
from mmfeat.indexes.snapshot import Snapshot
from mmfeat.indexes.store import Index
from mmfeat.indexes.structures import check_kind

__all__ = ["check_free", "create"]


def create(
    path: str | os.PathLike[str],
    *,
    kind: str = "binary-flat",
    dim: int,
    metric: str | None = None,
    model: str | None = None,
    info: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Index:
    """Make an empty index.

    kind: "binary-flat" (metric "hamming"), "float-flat" ("l2", the default, "cosine" or "ip"), or another of `kinds`.
    dim: bits of a binary code (any number; codes are packed as `mmfeat.arrays.pack_bits` does) or floats of a vector.
    model: sha256 of the model that makes the vectors. info: JSON values to keep.
    overwrite: replace an index that is there; a folder that is no index is never touched.

    UsageError: the path is taken, or a wrong kind, metric, dim or info. BusyError: somebody writes there.
    """
    root = Path(path)
    chosen, measure = find_kind(kind, metric)
    dim = as_count(dim, "dim is a whole number of at least 1", "pass the bits or floats of one vector")
    check_kind(chosen, dim, measure)
    try:
        canonical_json(info)
    except (TypeError, ValueError) as error:
        raise UsageError(
            "info holds JSON values", str(error), "convert it to plain numbers, strings and lists"
        ) from error
    check_free(root, overwrite)
    root.mkdir(parents=True, exist_ok=True)
    with hold_lock(root / "lock"):
        before = check_free(root, overwrite)
        sweep(root, before)
        for name in FOLDERS:
            (root / name).mkdir(exist_ok=True)
        sync_folder(root)
        new = before + 1
        manifest = Manifest(new, None, chosen.name, measure, dim, model, dict(info or {}), oldest=new)
        current = switch_to(root, manifest)
        sync_folder(root.parent)
        prune(root, current)
    return Index(Snapshot(root, current, manifest))


def check_free(root: Path, overwrite: bool) -> int:
    """The generation that a new index at `root` comes after (0 where there is none); UsageError when it may not be."""
    if not root.exists():
        return 0
    if (root / "current.json").is_file() or max(numbers(root), default=0) > 1:  # one that lost current.json is one too
        if not overwrite:
            raise UsageError("what exists is never overwritten unasked", str(root), "choose another name or overwrite")
        try:
            return read_current(root).generation
        except DamagedError:
            return max(numbers(root), default=0)
    ours = {"lock", *FOLDERS}  # the folder of a creation that did not finish counts as empty
    if not root.is_dir() or any(p.name not in ours and not p.name.startswith(".current.json.") for p in root.iterdir()):
        raise UsageError("an index is made where nothing is, or in place of an index", str(root), "choose another name")
    return 0
