"""Searching a generation: every block of rows is scanned, rows that may not answer are left out, the rest is merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmfeat.indexes.kinds import Scan

__all__ = ["Block", "Hits", "restrict", "search_blocks"]


class Hits(NamedTuple):
    """The neighbours of each query, nearest first, ties in the order of rows.

    distance: (q, k') int32 bits or float32, smaller is nearer (`kinds` says what each metric means).
    row: (q, k') int64, positions in the generation that was searched; `Index.ids_at` turns them into ids.
    k' is the smaller of k and the number of rows that may answer.
    """

    distance: np.ndarray
    row: np.ndarray


class Block(NamedTuple):
    """A contiguous run of rows: codes (n, w), the global row of the first, and which may answer.

    keep: (n,) bool, or None when all do. kept: how many do.
    """

    start: int
    codes: np.ndarray
    keep: np.ndarray | None
    kept: int


def restrict(blocks: Sequence[Block], allowed: np.ndarray) -> list[Block]:
    """The blocks with only the rows that were kept and are True in `allowed` (total rows,)."""
    out = []
    for block in blocks:
        keep = allowed[block.start : block.start + len(block.codes)]
        keep = keep if block.keep is None else keep & block.keep
        kept = int(np.count_nonzero(keep))
        out.append(block._replace(keep=None if kept == len(keep) else keep, kept=kept))
    return out


def search_blocks(scan: Scan, blocks: Sequence[Block], queries: np.ndarray, k: int, distance: type[np.generic]) -> Hits:
    """The k nearest kept rows of all blocks to queries (q, w), equal to a stable sort by (distance, row)."""
    blocks = [block for block in blocks if block.kept]
    if not blocks or not len(queries):
        width = min(k, sum(block.kept for block in blocks))
        return Hits(np.empty((len(queries), width), distance), np.empty((len(queries), width), np.int64))
    found = [_search_block(scan, block, queries, min(k, block.kept)) for block in blocks]
    if len(found) == 1:
        return found[0]
    near = np.concatenate([hits.distance for hits in found], axis=1)
    row = np.concatenate([hits.row for hits in found], axis=1)
    # Blocks come in the order of rows, each sorted by (distance, row): a stable sort by distance merges them.
    order = np.argsort(near, axis=1, kind="stable")[:, :k]
    return Hits(np.take_along_axis(near, order, axis=1), np.take_along_axis(row, order, axis=1))


def _search_block(scan: Scan, block: Block, queries: np.ndarray, k: int) -> Hits:
    if block.keep is None:
        distance, row = scan(block.codes, queries, k)
    elif 2 * block.kept < len(block.codes):
        distance, row = _among_kept(scan, block, queries, k)
    else:
        distance, row = _past_left_out(scan, block, queries, k)
    if block.start:
        row += block.start
    return Hits(distance, row)


def _among_kept(scan: Scan, block: Block, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scan a copy of the kept rows: less to read than testing every row (FAISS's selectors cost 2 to 3 scans)."""
    kept = np.flatnonzero(np.asarray(block.keep))
    distance, row = scan(block.codes[kept], queries, k)
    return distance, kept[row]


def _past_left_out(scan: Scan, block: Block, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scan all rows for some more neighbours and drop those left out; few queries then fall short of k."""
    keep = np.asarray(block.keep)
    width = min(len(block.codes), 2 * k + 16)
    distance, row = scan(block.codes, queries, width)
    kept = keep[row]
    short = np.flatnonzero(np.count_nonzero(kept, axis=1) < k)
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    distance, row = np.take_along_axis(distance, order, axis=1), np.take_along_axis(row, order, axis=1)
    if len(short):
        distance[short], row[short] = _among_kept(scan, block, queries[short], k)
    return distance, row
