"""Merging: the living rows of all segments in one new segment, in the order they have, written as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from mmfeat.indexes.segments import join_schemas, write_blocks
from mmfeat.indexes.snapshot import Snapshot
from mmfeat.indexes.structures import structure_of

__all__ = ["living_blocks", "merge"]

GROUP = 1 << 16  # rows that are written at once, and held in memory


def merge(snapshot: Snapshot, generation: int) -> dict[str, Any]:
    """Write the merged segment; the manifest's new lists, {} when there is nothing to merge.

    However rows were added, the same living rows in the same order give the same bytes.
    """
    if len(snapshot.segments) < 2 and not len(snapshot.dead):
        return {}
    if not snapshot.alive:
        return {"segments": (), "tombstones": ()}
    shape = (snapshot.alive, snapshot.kind.width(snapshot.manifest.dim))
    codes = (codes for codes, _ in living_blocks(snapshot, parts=False))
    parts = (table for _, table in living_blocks(snapshot, codes=False))
    structure = structure_of(snapshot.kind, snapshot.metric)
    piece = write_blocks(snapshot.root, generation, shape, np.dtype(snapshot.kind.dtype), codes, parts, structure)
    return {"segments": (piece,), "tombstones": ()}


def living_blocks(
    snapshot: Snapshot, rows: int = GROUP, codes: bool = True, parts: bool = True
) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """Codes (b, w) and parts of the living rows in their order, `rows` at once but for the last block.

    A part that is not wanted comes empty. Every table has all columns that any segment has.
    """
    if not snapshot.alive:
        return
    schema = join_schemas([segment.schema for segment in snapshot.segments])
    held: list[tuple[np.ndarray, pa.Table]] = []
    count = 0
    for values, table, length in _pieces(snapshot, schema, rows, codes, parts):
        begin = 0
        while begin < length:
            step = min(rows - count, length - begin)
            held.append((values[begin : begin + step], table.slice(begin, step)))
            begin, count = begin + step, count + step
            if count == rows:
                yield _joined(held)
                held, count = [], 0
    if held:
        yield _joined(held)


def _joined(held: list[tuple[np.ndarray, pa.Table]]) -> tuple[np.ndarray, pa.Table]:
    return np.concatenate([codes for codes, _ in held]), pa.concat_tables([table for _, table in held]).combine_chunks()


def _pieces(
    snapshot: Snapshot, schema: pa.Schema, rows: int, codes: bool, parts: bool
) -> Iterator[tuple[np.ndarray, pa.Table, int]]:
    """Living codes, their parts under the common schema, and how many, piece by piece of each segment."""
    for segment, start in zip(snapshot.segments, snapshot.starts[:-1].tolist(), strict=True):
        empty = schema.empty_table()
        tables = segment.read_blocks(rows) if parts else None
        begin = 0
        while begin < segment.piece.rows:
            table = next(tables) if tables else empty
            end = begin + len(table) if parts else min(begin + rows, segment.piece.rows)
            keep = snapshot.living[start + begin : start + end]
            values = segment.codes[begin:end][keep] if codes else segment.codes[:0]
            if parts:
                table = pa.concat_tables([empty, table.filter(pa.array(keep))], promote_options="permissive")
                table = table.select(schema.names)
            yield values, table, int(keep.sum())
            begin = end
