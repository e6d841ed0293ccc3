"""Searching a generation: every block of rows is scanned or asked through its structure, the rest is merged.

A structure proposes rows; they are measured again on the exact codes and sorted by (distance, row). Scanned instead, so
exact, are: filters that leave few rows, answers that a structure leaves short, and whatever asks for most of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmfeat.indexes.kinds import Kind, Measure, Scan, measurer, scanner
from mmfeat.indexes.structures import Effort, Structure

__all__ = ["Block", "Hits", "Ways", "gathered", "restrict", "search_blocks", "ways_of"]

FEW = 4096  # rows that are scanned rather than looked for in a structure
SHARE = 0.05  # of the rows of a block: a filter that leaves fewer has them scanned
_GATHERED = 1 << 26  # bytes of codes that are gathered for a filter that is remembered
_MANY, _COPIED = 16, 1 << 28  # queries for which kept rows are copied, and the bytes that this may take
_WIDEST = 1 << 12  # neighbours that are scanned for, with those left out among them, before kept rows are copied
_MORE = 16  # rows proposed beyond k where the structure's own distances are exact
_ELEMENTS = 1 << 21  # of a block of measuring


class Ways(NamedTuple):
    """How codes of a type are scanned and measured exactly, and the dtype of distances."""

    scan: Scan
    measure: Measure
    distance: type[np.generic]


def ways_of(kind: Kind, metric: str) -> Ways:
    """For one type and metric."""
    return Ways(scanner(kind, metric), measurer(kind, metric), kind.distance)


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

    keep: (n,) bool, or None when all do. kept: how many do. structure: over all n rows, if the segment has one.
    rows: (n,) int64, the global rows where the codes are gathered ones; None where they are contiguous from `start` on.
    """

    start: int
    codes: np.ndarray
    keep: np.ndarray | None
    kept: int
    structure: Structure | None = None
    rows: np.ndarray | None = None


def restrict(blocks: Sequence[Block], allowed: np.ndarray) -> list[Block]:
    """The blocks with only the rows that were kept and are True in `allowed` (total rows,)."""
    out = []
    for block in blocks:
        keep = allowed[block.start : block.start + len(block.codes)]
        keep = keep if block.keep is None else keep & block.keep
        kept = int(np.count_nonzero(keep))
        out.append(block._replace(keep=None if kept == len(keep) else keep, kept=kept))
    return out


def gathered(blocks: Sequence[Block]) -> list[Block]:
    """The same rows to be scanned again and again: where less than half of a block is kept, its codes are copied once."""
    out, left = [], _GATHERED
    for block in blocks:
        size = block.kept * block.codes.shape[1] * block.codes.itemsize
        few = block.keep is not None and 2 * block.kept < len(block.codes) and size <= left
        if few and (block.structure is None or not _worth(block, 1)):
            rows = np.flatnonzero(np.asarray(block.keep))
            block = Block(0, block.codes[rows], None, block.kept, None, rows + block.start)
            left -= size
        out.append(block)
    return out


def search_blocks(ways: Ways, blocks: Sequence[Block], queries: np.ndarray, k: int, effort: Effort) -> Hits:
    """The k nearest kept rows of all blocks to queries (q, w).

    Where blocks are scanned the answer equals a stable sort by (distance, row).
    """
    blocks = [block for block in blocks if block.kept]
    if not blocks or not len(queries):
        width = min(k, sum(block.kept for block in blocks))
        return Hits(np.empty((len(queries), width), ways.distance), np.empty((len(queries), width), np.int64))
    found = [_search_block(ways, block, queries, min(k, block.kept), effort) for block in blocks]
    if len(found) == 1:
        return found[0]
    near = np.concatenate([hits.distance for hits in found], axis=1)
    row = np.concatenate([hits.row for hits in found], axis=1)
    # Blocks come in the order of rows, each sorted by (distance, row): a stable sort by distance merges them.
    order = np.argsort(near, axis=1, kind="stable")[:, :k]
    return Hits(np.take_along_axis(near, order, axis=1), np.take_along_axis(row, order, axis=1))


def _search_block(ways: Ways, block: Block, queries: np.ndarray, k: int, effort: Effort) -> Hits:
    if block.structure is not None and not effort.exact and _worth(block, k):
        distance, row = _proposed(ways, block, block.structure, queries, k, effort)
    else:
        distance, row = _scanned(ways.scan, block, queries, k)
    if block.rows is not None:
        row = block.rows[row]
    elif block.start:
        row += block.start
    return Hits(distance, row)


def _worth(block: Block, k: int) -> bool:
    """Whether a structure finds more quickly, and well, what a scan would find."""
    return block.kept > FEW and block.kept >= SHARE * len(block.codes) and 4 * k < block.kept


def _scanned(scan: Scan, block: Block, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    if block.keep is None:
        return scan(block.codes, queries, k)
    size = block.kept * block.codes.shape[1] * block.codes.itemsize
    if 2 * block.kept < len(block.codes) or (len(queries) >= _MANY and size <= _COPIED):
        return _among_kept(scan, block, queries, k)
    return _past_left_out(scan, block, queries, k)


def _proposed(
    ways: Ways, block: Block, structure: Structure, queries: np.ndarray, k: int, effort: Effort
) -> tuple[np.ndarray, np.ndarray]:
    """Ask the structure, measure what it proposes, and scan for the queries that it leaves short of k."""
    width = effort.candidates or (k + _MORE if structure.lossless else max(10 * k, 128))
    if not effort.rerank:
        width = k
    near, row = structure.search(queries, min(max(width, k), len(block.codes)), effort, block.keep)
    rough = structure.as_distance(near).astype(ways.distance)
    near = _measured(ways, block.codes, queries, row) if effort.rerank else rough
    missing = row < 0
    order = np.argsort(np.where(missing, len(block.codes), row), axis=1, kind="stable")
    near = np.where(missing, _last(ways.distance), near)
    near, row = np.take_along_axis(near, order, axis=1), np.take_along_axis(row, order, axis=1)
    order = np.argsort(near, axis=1, kind="stable")[:, :k]
    near, row = np.take_along_axis(near, order, axis=1), np.take_along_axis(row, order, axis=1)
    short = np.flatnonzero(np.count_nonzero(~missing, axis=1) < k)
    if len(short):
        near[short], row[short] = _scanned(ways.scan, block, queries[short], k)
    return near, row


def _last(dtype: type[np.generic]) -> float:
    return float(np.iinfo(np.int32).max) if dtype is np.int32 else np.inf


def _measured(ways: Ways, codes: np.ndarray, queries: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Exact distances (q, c) of the proposed rows (q, c); those of row -1 mean nothing."""
    out = np.empty(row.shape, ways.distance)
    step = max(1, _ELEMENTS // max(1, row.shape[1] * codes.shape[1]))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        out[part] = ways.measure(queries[part, None], codes[np.maximum(row[part], 0)])
    return out


def _among_kept(scan: Scan, block: Block, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scan a copy of the kept rows: less to read than testing every row (FAISS's selectors cost 2 to 3 scans)."""
    kept = np.flatnonzero(np.asarray(block.keep))
    distance, row = scan(block.codes[kept], queries, k)
    return distance, kept[row]


def _past_left_out(
    scan: Scan, block: Block, queries: np.ndarray, k: int, width: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scan all rows for some more neighbours and drop those left out; queries that fall short of k ask for yet more."""
    keep = np.asarray(block.keep)
    if width is None:
        width = k + 16 + 3 * k * (len(keep) - block.kept) // len(keep)
    distance, row = scan(block.codes, queries, min(width, len(keep)))
    kept = keep[row]
    if kept[:, :k].all():  # as most often, where few rows are dead
        return distance[:, :k], row[:, :k]
    short = np.flatnonzero(np.count_nonzero(kept, axis=1) < k)
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    distance, row = np.take_along_axis(distance, order, axis=1), np.take_along_axis(row, order, axis=1)
    if len(short):  # what was removed lay together
        wider = 8 * width
        more = _past_left_out(scan, block, queries[short], k, wider) if wider <= _WIDEST else None
        distance[short], row[short] = more or _among_kept(scan, block, queries[short], k)
    return distance, row
