"""What an open index is asked: nearest rows, rows within a radius, rows near several examples, filtered or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import UsageError
from mmfeat.indexes.kinds import as_codes, as_count, to_unit
from mmfeat.indexes.ranges import Balls, ball_blocks, distance_blocks
from mmfeat.indexes.search import Block, Hits, gathered, restrict, search_blocks
from mmfeat.indexes.structures import Effort

if TYPE_CHECKING:
    from mmfeat.indexes.snapshot import Snapshot

__all__ = ["search", "together", "within"]

REMEMBERED = 4  # filters whose rows are kept with a snapshot


def _queries(snapshot: Snapshot, queries: Any) -> np.ndarray:
    codes = as_codes(snapshot.kind, snapshot.manifest.dim, queries)
    return to_unit(codes) if snapshot.metric == "cosine" else codes


def _blocks(snapshot: Snapshot, allow: Any, where: str | None) -> list[Block]:
    """The blocks with the rows that may answer."""
    if where is None:
        return snapshot.blocks if allow is None else snapshot.allowed_blocks(allow)
    blocks = _filtered(snapshot, where)[0]
    if allow is None:
        return blocks
    mask = np.zeros(snapshot.rows, bool)
    for block in snapshot.allowed_blocks(allow):
        mask[block.start : block.start + len(block.codes)] = True if block.keep is None else block.keep
    return restrict(blocks, mask)


def _filtered(snapshot: Snapshot, where: str) -> tuple[list[Block], list[Block]]:
    """The blocks under a condition, and the same to be scanned again and again; the last few are remembered."""
    found = snapshot.filtered.get(where)
    if found is None:
        from mmfeat.indexes.filters import rows_where

        blocks = restrict(snapshot.blocks, rows_where(snapshot, where))
        found = blocks, gathered(blocks)
        while len(snapshot.filtered) >= REMEMBERED:
            snapshot.filtered.pop(next(iter(snapshot.filtered)), None)
        snapshot.filtered[where] = found
    return found


def search(snapshot: Snapshot, queries: Any, k: int, allow: Any, where: str | None, effort: Effort) -> Hits:
    """See `Index.search`."""
    codes = _queries(snapshot, queries)
    k = as_count(k, "k is a whole number of at least 1", "ask for one neighbour or more")
    for name in ("nprobe", "ef", "candidates"):
        value = getattr(effort, name)
        if value is not None:
            as_count(value, f"{name} is a whole number of at least 1", "leave it out for the default")
    blocks = _filtered(snapshot, where)[1] if where is not None and allow is None else _blocks(snapshot, allow, where)
    return search_blocks(snapshot.ways, blocks, codes, k, effort)


def within(snapshot: Snapshot, queries: Any, radius: float, allow: Any, where: str | None) -> Balls:
    """See `Index.within`."""
    codes = _queries(snapshot, queries)
    try:
        limit = float(radius)
    except (TypeError, ValueError):
        limit = np.nan
    if not np.isfinite(limit) or (limit < 0 and snapshot.metric != "ip"):
        raise UsageError("a radius is a number of at least 0", str(radius), "give bits, or a distance of floats")
    return ball_blocks(snapshot.kind, snapshot.metric, _blocks(snapshot, allow, where), codes, limit)


def together(snapshot: Snapshot, queries: Any, k: int, how: str, allow: Any, where: str | None) -> Hits:
    """See `Index.search_together`."""
    codes = _queries(snapshot, queries)
    k = as_count(k, "k is a whole number of at least 1", "ask for one neighbour or more")
    if how not in ("mean", "min"):
        raise UsageError("several examples are joined by mean or min", repr(how), "choose one of these")
    if not len(codes):
        raise UsageError("there is at least one example", "none", "give one")
    near, rows = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for row, distance in distance_blocks(snapshot.ways, _blocks(snapshot, allow, where), codes):
        joined = distance.mean(axis=0, dtype=np.float64) if how == "mean" else distance.min(axis=0)
        order = np.argsort(joined, kind="stable")[:k]
        near.append(joined[order].astype(np.float32))
        rows.append(row[order])
    all_near, all_rows = np.concatenate(near), np.concatenate(rows)
    order = np.argsort(all_near, kind="stable")[:k]
    return Hits(all_near[order][None], all_rows[order][None])
