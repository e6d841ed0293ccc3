"""The living rows of an index as one Parquet file that pandas, DuckDB, Polars and Arrow read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmfeat.errors import UsageError
from mmfeat.files import check_writable, writing
from mmfeat.indexes.compaction import living_blocks
from mmfeat.indexes.store import Index

__all__ = ["export"]


def export(index: Index, path: str | os.PathLike[str], overwrite: bool = False) -> int:
    """Write every living row, in order: id, then `code` or `vector`, then the columns of the parts; returns how many.

    code: a list of ceil(bits / 8) uint8, packed little-endian (the first bit is the lowest of the first byte).
    vector: a list of float32. Both have one length, so that `np.stack(frame["code"])` is the matrix (n, w).
    Memory does not grow with the index. UsageError: the file is there already.
    """
    path = Path(path)
    if path.is_dir() or (path.exists() and not overwrite):
        raise UsageError("what exists is never overwritten unasked", str(path), "choose another name or --overwrite")
    check_writable(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    name = "code" if index.kind.startswith("binary") else "vector"
    with writing(path) as file:
        writer = None
        for codes, parts in living_blocks(index.snapshot):
            table = parts.add_column(1, name, _lists(codes))
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table, row_group_size=len(table))
        if writer is None:
            raise UsageError("an export holds something", f"{index.path}, which is empty", "add to it first")
        writer.close()
    return len(index)


def _lists(codes: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), codes.shape[1])
