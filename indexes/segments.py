"""Segments and tombstones: the immutable pieces that rows are made of.

    segments/seg-000007/codes.npy       (n, bytes) uint8 or (n, d) float32, what any tool reads
    segments/seg-000007/structure.faiss beside them, if the type has a structure (`structures`)
    segments/seg-000007/parts.parquet   one row per vector: id, and the columns that were given
    tombstones/dead-000007.npy          (t,) int64, the rows that generation 7 buried

Rows are numbered through the segments of a generation in their order. Large files are mapped, small ones read: either
way a reader keeps what it opened, even when the files are deleted meanwhile.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmfeat.errors import DamagedError, ShapeError, UsageError
from mmfeat.files import sync_folder, writing
from mmfeat.indexes.kinds import Kind, name_some
from mmfeat.indexes.manifest import Piece, record_files
from mmfeat.indexes.structures import open_structure

__all__ = ["Segment", "as_ids", "as_table", "join_schemas", "read_dead", "write_blocks", "write_dead"]
__all__ += ["write_segment"]

SMALL = 1 << 20  # bytes of a file that is read rather than mapped


def as_ids(ids: Any, unique: bool = True) -> pa.Array:
    """Ids as an Arrow array of strings (n,); UsageError when they are not strings or, with `unique`, repeat."""
    if isinstance(ids, str | bytes):
        raise UsageError("ids are a sequence of strings", f"one string {ids!r}", "wrap it in a list")
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    try:
        array = ids.cast(pa.large_string()) if isinstance(ids, pa.Array) else pa.array(ids, pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeEncodeError, TypeError) as error:
        raise UsageError("ids are a sequence of strings", str(error), "convert them with str") from error
    if array.null_count:
        raise UsageError("every vector has an id", f"{array.null_count} without one", "give each a string")
    if unique and len(array):
        import pyarrow.compute as pc  # late: its import takes longer than a search

        counts = array.value_counts()
        repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        if len(repeated):
            raise UsageError(
                "an id is given once", f"twice or more: {name_some(repeated)}", "leave out the repetitions"
            )
    return array


def as_table(ids: pa.Array, parts: pa.Table | None) -> pa.Table:
    """The parts table of a segment: the column `id` and then those of `parts`, one row per id in the same order."""
    if parts is None:
        return pa.table({"id": ids})
    if parts.num_rows != len(ids):
        raise ShapeError("parts have one row per id", f"{parts.num_rows} rows and {len(ids)} ids", "make them match")
    if "id" in parts.column_names:
        if not as_ids(parts["id"], unique=False).equals(ids):
            raise UsageError("the column id of parts equals the ids", "other ids", "drop the column or put it in order")
        parts = parts.drop_columns("id")
    return parts.add_column(0, "id", ids)


def join_schemas(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of all segments together; UsageError when a column changes its type beyond widening."""
    try:
        return pa.unify_schemas([schema.remove_metadata() for schema in schemas], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UsageError("a column of parts keeps its type", str(error), "convert the column") from error


def write_segment(
    root: Path, generation: int, codes: np.ndarray, table: pa.Table, structure: Callable[[Path], list[Path]]
) -> Piece:
    """Write codes (n, w) and their parts durably; nothing refers to them yet. structure: see `structures.structure_of`."""
    return write_blocks(root, generation, codes.shape, codes.dtype, [codes], [table], structure)


def write_blocks(
    root: Path,
    generation: int,
    shape: tuple[int, ...],
    dtype: np.dtype,
    codes: Iterable[np.ndarray],
    parts: Iterable[pa.Table],
    structure: Callable[[Path], list[Path]],
) -> Piece:
    """The same from blocks as they come: codes of this shape (n, w) in all, at least one table of parts, n rows in all.

    Tables have one schema and become one row group each: other blocks give other bytes of parts.parquet, not of codes.npy.
    """
    folder = root / "segments" / f"seg-{generation:06d}"
    folder.mkdir(parents=True)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with writing(folder / "codes.npy") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in codes:
            file.write(np.ascontiguousarray(block).data)
    tables = iter(parts)
    first = next(tables)
    with writing(folder / "parts.parquet") as file, pq.ParquetWriter(file, first.schema) as writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table.combine_chunks(), row_group_size=max(len(table), 1))
    more = structure(folder)
    sync_folder(folder.parent)
    files = record_files(root, [folder / "codes.npy", folder / "parts.parquet", *more])
    return Piece(folder.relative_to(root).as_posix(), shape[0], files)


def write_dead(root: Path, generation: int, rows: np.ndarray) -> Piece:
    """Write the rows (t,) that a generation buries."""
    path = root / "tombstones" / f"dead-{generation:06d}.npy"
    path.parent.mkdir(exist_ok=True)
    with writing(path) as file:
        np.lib.format.write_array(file, np.sort(rows).astype(np.int64), allow_pickle=False)
    return Piece(path.relative_to(root).as_posix(), len(rows), record_files(root, [path]))


def _load(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size <= SMALL:
            return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise DamagedError(f"{path} must hold an array", str(error), "restore it or build the index again") from error


def read_dead(root: Path, piece: Piece) -> np.ndarray:
    """The rows (t,) int64 that a list of tombstones buries."""
    return _load(root / piece.path)


class Segment:
    """One opened segment: its codes (n, w), and its ids and parts when they are asked for."""

    def __init__(self, root: Path, piece: Piece, kind: Kind, metric: str, dim: int) -> None:
        folder = root / piece.path
        dtype, width = kind.dtype, kind.width(dim)
        self.piece = piece
        self.structure = open_structure(folder, kind, metric)
        self.codes = _load(folder / "codes.npy")
        if self.codes.shape != (piece.rows, width) or self.codes.dtype != dtype:
            raise DamagedError(
                f"{folder / 'codes.npy'} must be {np.dtype(dtype)} ({piece.rows}, {width})",
                f"{self.codes.dtype} {self.codes.shape}",
                "restore it or build the index again",
            )
        path = folder / "parts.parquet"
        small = path.stat().st_size <= SMALL
        # Memory of Arrow's own: when its threads let go of Python's while the process ends, they take it down (SIGABRT).
        name = os.fsencode(path)  # Arrow encodes texts itself, and refuses names that are not UTF-8
        self._source = (pa.OSFile(name) if small else pa.memory_map(name)).read_buffer()
        self._columns: dict[str, pa.Array] = {}

    def read(self, columns: list[str] | None) -> pa.Table:
        """These columns of the parts table (n rows), or all."""
        try:
            return pq.ParquetFile(pa.BufferReader(self._source)).read(columns=columns)
        except (pa.ArrowException, OSError) as error:
            where = f"{self.piece.path}/parts.parquet"
            raise DamagedError(f"{where} must hold a table", str(error), "restore it or build again") from error

    def column(self, name: str) -> pa.Array:
        """A column of the parts table (n,), kept once it was read. KeyError where there is none of that name."""
        if name not in self._columns:
            column = self.read([name])[name]
            self._columns[name] = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        return self._columns[name]

    @functools.cached_property
    def ids(self) -> pa.Array:
        """The ids of all rows (n,) large strings, dead ones included."""
        ids = self.column("id")
        return ids if ids.type == pa.large_string() else ids.cast(pa.large_string())

    @functools.cached_property
    def parts(self) -> pa.Table:
        """The parts table (n rows)."""
        return pa.Table.from_arrays([self.column(name) for name in self.schema.names], names=self.schema.names)

    def rows_named(self, name: str) -> np.ndarray:
        """The rows (m,) of one id, dead ones included.

        Its bytes are compared with those of all ids, from the end: a tenth of a second less than importing what Arrow
        looks values up with (and pandas, which Arrow imports with it where it is there).
        """
        _, limits, letters = self.ids.buffers()
        if not len(self.ids) or letters is None:
            return np.empty(0, np.int64)
        wanted, text = name.encode(errors="replace"), np.frombuffer(letters, np.uint8)
        limit = np.frombuffer(limits, np.int64)[self.ids.offset :][: len(self.ids) + 1]
        rows = np.flatnonzero(np.diff(limit) == len(wanted))
        before_suffix = max(len(wanted) - 4, 0)  # the letters of an extension are those of most others
        for place in [*reversed(range(before_suffix)), *range(before_suffix, len(wanted))]:
            rows = rows[text[limit[rows] + place] == wanted[place]]
        return rows

    def read_blocks(self, rows: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The parts table in pieces of at most so many rows."""
        try:
            file = pq.ParquetFile(pa.BufferReader(self._source))
            for batch in file.iter_batches(rows, columns=columns):
                yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as error:
            where = f"{self.piece.path}/parts.parquet"
            raise DamagedError(f"{where} must hold a table", str(error), "restore it or build again") from error

    @functools.cached_property
    def schema(self) -> pa.Schema:
        """The columns of the parts table."""
        return pq.read_schema(pa.BufferReader(self._source))
