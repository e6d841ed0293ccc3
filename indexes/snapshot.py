"""One generation, opened: its rows, which of them live, and how ids, rows, codes and parts lead to one another.

A snapshot never changes. A reader holds one, a writer makes the next; threads may share it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmfeat.errors import DamagedError, ShapeError, UsageError
from mmfeat.indexes.kinds import find_kind, name_some
from mmfeat.indexes.manifest import Current, Manifest, read_current, read_manifest
from mmfeat.indexes.search import Block, restrict, ways_of
from mmfeat.indexes.segments import SMALL, Segment, as_ids, join_schemas, read_dead
from mmfeat.indexes.verify import check_pieces

__all__ = ["Snapshot", "load_snapshot"]

_JOINED = 1 << 26  # bytes that neighbouring small segments are joined to


def load_snapshot(root: Path) -> Snapshot:
    """Open the generation that holds: manifest and all sizes checked, contents too when they are new to this user.

    A writer that replaces the index meanwhile (`overwrite`) makes this start again.
    """
    for last in (False, False, True):
        current = read_current(root)
        try:
            manifest = read_manifest(root, current)
            find_kind(manifest.kind, manifest.metric)
            check_pieces(root, manifest)
            return Snapshot(root, current, manifest)
        except (DamagedError, FileNotFoundError):
            if last or read_current(root) == current:
                raise
    raise RuntimeError("unreachable")


class Snapshot:
    """The rows of one generation. `known` are segments already open, by path."""

    def __init__(self, root: Path, current: Current, manifest: Manifest, known: Sequence[Segment] = ()) -> None:
        self.root, self.current, self.manifest = root, current, manifest
        self.kind, self.metric = find_kind(manifest.kind, manifest.metric)
        have = {segment.piece.path: segment for segment in known}
        self.segments = [
            have.get(piece.path) or Segment(root, piece, self.kind, self.metric, manifest.dim)
            for piece in manifest.segments
        ]
        self.starts = np.cumsum([0, *(piece.rows for piece in manifest.segments)], dtype=np.int64)
        self.rows, self.alive = manifest.rows, manifest.rows - manifest.dead
        # Read now, not when needed: an index replaced meanwhile would take the file away.
        dead = [read_dead(root, piece) for piece in manifest.tombstones]
        self.dead = np.concatenate(dead) if dead else np.empty(0, np.int64)
        self.ways = ways_of(self.kind, self.metric)
        self.filtered: dict[str, tuple[list[Block], list[Block]]] = {}  # by text of `where`, see `filters`

    @functools.cached_property
    def living(self) -> np.ndarray:
        """Which rows (rows,) bool are alive."""
        mask = np.ones(self.rows, bool)
        mask[self.dead] = False
        return mask

    @functools.cached_property
    def blocks(self) -> list[Block]:
        """The codes as contiguous blocks: large segments as they are, neighbouring small ones joined in memory."""
        runs: list[list[Segment]] = []
        size = 0
        for segment in self.segments:
            small = segment.codes.nbytes <= SMALL and segment.structure is None
            if not small or not size or size + segment.codes.nbytes > _JOINED:
                runs.append([])
                size = 0
            runs[-1].append(segment)
            size = size + segment.codes.nbytes if small else 0
        blocks, start = [], 0
        for run in runs:
            codes = run[0].codes if len(run) == 1 else np.concatenate([segment.codes for segment in run])
            blocks.append(Block(start, codes, None, len(codes), run[0].structure))
            start += len(codes)
        return restrict(blocks, self.living) if len(self.dead) else blocks

    @functools.cached_property
    def all_ids(self) -> pa.ChunkedArray:
        """The ids of all rows, dead ones included."""
        return pa.chunked_array([segment.ids for segment in self.segments], pa.large_string())

    @functools.cached_property
    def ids(self) -> pa.Array:
        """The ids of the living rows, in the order of rows."""
        ids = self.all_ids.filter(pa.array(self.living)) if len(self.dead) else self.all_ids
        return ids.chunk(0) if ids.num_chunks == 1 else pa.concat_arrays(ids.chunks or [pa.array([], ids.type)])

    def rows_of(self, ids: pa.Array) -> np.ndarray:
        """The living row (n,) int64 of each id, -1 where there is none. Ids must not repeat."""
        found = np.full(len(ids), -1, np.int64)
        if not self.rows or not len(ids):
            return found
        import pyarrow.compute as pc  # late: its import takes longer than a search

        match = pc.fill_null(pc.index_in(self.all_ids, value_set=ids), -1).to_numpy()
        row = np.flatnonzero(match >= 0)
        if len(self.dead):
            row = row[self.living[row]]
        found[match[row]] = row
        return found

    def row_named(self, name: str) -> int:
        """The living row of one id, -1 where there is none."""
        for segment, start in zip(self.segments, self.starts.tolist(), strict=False):
            rows = segment.rows_named(name) + start
            rows = rows[self.living[rows]] if len(self.dead) else rows
            if len(rows):
                return int(rows[0])
        return -1

    def known_rows(self, ids: pa.Array) -> np.ndarray:
        """As `rows_of`, but an id that is not alive is a UsageError naming up to three."""
        rows = self.rows_of(ids)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            some = name_some([ids[int(i)] for i in missing])
            raise UsageError("ids must be in the index", f"{len(missing)} that are not: {some}", "check them")
        return rows

    def allowed_blocks(self, allow: Any) -> list[Block]:
        """The blocks where only rows under a mask (rows,) bool, or with one of these ids, may answer."""
        if isinstance(allow, np.ndarray) and allow.dtype == bool:
            if allow.shape != (self.rows,):
                raise ShapeError(f"a mask has one value per row, ({self.rows},)", f"{allow.shape}", "see info_dict")
            return restrict(self.blocks, allow)
        rows = self.rows_of(as_ids(allow, unique=False).unique())
        mask = np.zeros(self.rows, bool)
        mask[rows[rows >= 0]] = True
        return restrict(self.blocks, mask)

    def _places(self, rows: Any) -> list[tuple[Segment, np.ndarray, np.ndarray]]:
        """For each segment touched: the segment, where in `rows` (n,) it is, and which of its own rows."""
        rows = np.asarray(rows, np.int64) if len(rows) else np.empty(0, np.int64)
        if rows.ndim != 1:
            raise ShapeError("rows are one-dimensional", f"shape {rows.shape}", "pass hits.row[i] for query i")
        outside = rows[(rows < 0) | (rows >= self.rows)]
        if len(outside):
            raise UsageError(f"rows are in 0..{self.rows - 1}", str(outside[:3].tolist()), "use rows of a search")
        which = np.searchsorted(self.starts, rows, side="right") - 1
        where = [(int(i), np.flatnonzero(which == i)) for i in np.flatnonzero(np.bincount(which))]
        return [(self.segments[i], place, rows[place] - self.starts[i]) for i, place in where]

    def ids_at(self, rows: Any) -> list[str]:
        """The ids of rows (n,)."""
        return self.values_at("id", rows)

    def values_at(self, column: str, rows: Any) -> list[Any]:
        """What one column of the parts holds at rows (n,); None where a row has none."""
        out: list[Any] = [None] * len(rows)
        for segment, places, inner in self._places(rows):
            if column in segment.schema.names:
                values = segment.column(column)
                for place, row in zip(places.tolist(), inner.tolist(), strict=True):
                    out[place] = values[row].as_py()
        return out

    def codes_at(self, rows: Any) -> np.ndarray:
        """The codes (n, w) of rows (n,)."""
        out = np.empty((len(rows), self.kind.width(self.manifest.dim)), self.kind.dtype)
        for segment, places, inner in self._places(rows):
            out[places] = segment.codes[inner]
        return out

    def parts_at(self, rows: Any) -> pa.Table:
        """The parts of rows (n,): every column any segment has, null where a segment lacks it."""
        schema = join_schemas([pa.schema({"id": pa.large_string()}), *(segment.schema for segment in self.segments)])
        places = self._places(rows)
        if not places:
            return schema.empty_table()
        tables = [segment.parts.take(pa.array(inner)) for segment, _, inner in places]
        table = pa.concat_tables([schema.empty_table(), *tables], promote_options="permissive").select(schema.names)
        order = np.argsort(np.concatenate([place for _, place, _ in places]), kind="stable")
        return table.take(pa.array(order))
