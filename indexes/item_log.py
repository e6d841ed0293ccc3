"""What an index knows of files: the table of its build, and a small table behind it for every later change.

    extra `items.parquet`              all items when the build ended, or when the index was last compacted
    extra `items-00000012.parquet`     the items that generation 12 settled, changed or found gone

A later row of an id takes the place of the earlier one, and one with the status "gone" takes the item away: an update writes
what changed, whatever the size of the whole. All tables have the same columns, `id` and `status` among
them (one table alone need not have a status).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmfeat.errors import DamagedError
from mmfeat.indexes.verify import check_contents

if TYPE_CHECKING:
    from mmfeat.indexes.snapshot import Snapshot

__all__ = ["GONE", "ITEMS", "as_bytes", "later", "log_entry", "read_log"]

ITEMS = "items.parquet"
GONE = "gone"


def later(snapshot: Snapshot) -> list[str]:
    """The names of the later tables, in their order."""
    return sorted(name for name in snapshot.manifest.extras if name.startswith("items-"))


def log_entry(snapshot: Snapshot, table: pa.Table) -> dict[str, bytes]:
    """The extra that tells of these items, for the next generation; {} for none."""
    if not len(table):
        return {}
    return {f"items-{snapshot.manifest.generation + 1:08d}.parquet": as_bytes(table)}


def as_bytes(table: pa.Table) -> bytes:
    """A table as Parquet; the same table gives the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.combine_chunks(), sink)
    return sink.getvalue().to_pybytes()


def read_log(snapshot: Snapshot, of: Callable[[pa.ChunkedArray], np.ndarray] | None = None) -> pa.Table | None:
    """All items known, each once, in the order in which they were first told of; None where no table is kept.

    of: a mask of ids (n,) bool, those that are wanted: a few of many are had sooner.
    """
    names = ([ITEMS] if ITEMS in snapshot.manifest.extras else []) + later(snapshot)
    if not names:
        return None
    check_contents(snapshot.root, [snapshot.manifest.extras[name] for name in names])
    tables = [_read(snapshot, name) for name in names]
    if of is not None:
        tables = [table.filter(pa.array(of(table["id"]))) for table in tables]
    whole = pa.concat_tables([table.select(tables[0].column_names) for table in tables]).combine_chunks()
    if len(names) > 1:
        order = whole["id"].combine_chunks().dictionary_encode()
        last = np.zeros(len(order.dictionary), np.int64)
        np.maximum.at(last, order.indices.to_numpy(), np.arange(len(whole)))
        whole = whole.take(pa.array(last)).filter(pc.not_equal(whole["status"].take(pa.array(last)), GONE))
    return whole


def _read(snapshot: Snapshot, name: str) -> pa.Table:
    path = snapshot.root / snapshot.manifest.extras[name].path
    try:
        return pq.read_table(path).replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        do = "go back with `mmfeat index rollback`, or build it again"
        raise DamagedError(f"{path} must hold a table", str(error)[:200], do) from error
