"""What became of files since an index was written: new, changed, the same, gone.

A file with the size and the time of change it had is the same; one with another time but the same sha256 is too. Of what
cannot be looked at (an unreadable folder, a link to a disk that is not there) nothing is concluded: its codes stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmfeat.errors import MediaError
from mmfeat.indexes.item_log import read_log

if TYPE_CHECKING:
    from mmfeat.indexes.store import Index
    from mmfeat.media.items import Items

__all__ = ["REMOVED", "Plan", "compare", "known_items"]

REMOVED = "removed from the index"  # the reason of an item that somebody took out: its file may be there

_LABELS = ("label", "split", "group")


class Plan(NamedTuple):
    """What is to be done. Numbers of rows of the items that were found now, or (`gone`) of the known ones.

    encode: pictures without a code, or with that of other contents; `new` of them were not known.
    same: pictures whose code (or whose failure) stands; known: the row of each in the table of known items.
    touched: those of `same` with another time of change or other labels; relabel: those of them with a code and another label.
    out: rows that have a code but are no pictures any more; told: rows that could not be read or are no pictures, and were
    not known so. gone: known items that are no more.
    """

    encode: np.ndarray
    new: int
    same: np.ndarray
    known: np.ndarray
    touched: np.ndarray
    relabel: np.ndarray
    out: np.ndarray
    told: np.ndarray
    gone: np.ndarray


def known_items(index: Index, of: Callable[[pa.ChunkedArray], np.ndarray] | None = None) -> pa.Table:
    """The table of all items the index knows of, or those of a mask of ids; empty for an index of vectors."""
    from mmfeat.media.items import SCHEMA

    table = read_log(index.snapshot, of)
    return SCHEMA.empty_table() if table is None else table.select(SCHEMA.names).cast(SCHEMA)


def compare(known: pa.Table, alive: np.ndarray, items: Items, ids: pa.Array, retry: bool = False) -> Plan:
    """Compare what is known with what was found.

    known: a table of items, within the scope of what was walked. alive: (len(known),) bool, whether the id has a code.
    ids: those of `items` as the index names them. retry: what failed before is to be encoded again.
    """
    before = pc.fill_null(pc.index_in(ids, value_set=known["id"].combine_chunks()), -1).to_numpy()
    has_code = np.where(before >= 0, alive[before] if len(alive) else False, False)
    found = pc.equal(items.table["status"], "found").to_numpy()
    stands = _stands(known, has_code, items, before, found, retry)
    unseen = _unseen(items)
    plain = ~found & ~unseen
    told = np.flatnonzero(
        ~found & ~(unseen & has_code) & ~_equal(known, items, before, ("bytes", "mtime_ns", "status", "reason"))
    )
    same = np.flatnonzero(stands)
    labelled = _equal(known, items, before, _LABELS)
    moved = ~_equal(known, items, before, ("bytes", "mtime_ns"))
    return Plan(
        encode=np.flatnonzero(found & ~stands),
        new=int(np.count_nonzero(found & ~stands & (before < 0))),
        same=same,
        known=before[same],
        touched=np.flatnonzero(stands & (moved | ~labelled)),
        relabel=np.flatnonzero(stands & has_code & ~labelled),
        out=np.flatnonzero(plain & has_code),
        told=told,
        gone=_gone(known, before, ids, unseen),
    )


def _column(known: pa.Table, name: str, before: np.ndarray) -> pa.ChunkedArray:
    """A column of the known items for each row that was found, null where it was not known."""
    return known[name].take(pa.array(before, mask=before < 0))


def _equal(known: pa.Table, items: Items, before: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Whether a row was known and is the same in all these columns."""
    same = before >= 0
    for name in names:
        old, new = _column(known, name, before), items.table[name]
        equal = pc.fill_null(pc.equal(old, new), False).to_numpy()
        same = same & (equal | (pc.is_null(old).to_numpy() & pc.is_null(new).to_numpy()))
    return same


def _stands(
    known: pa.Table, has_code: np.ndarray, items: Items, before: np.ndarray, found: np.ndarray, retry: bool
) -> np.ndarray:
    """Which pictures need no encoding: what is known of them holds."""
    status, width = _column(known, "status", before), _column(known, "width", before)
    done, failed = (pc.fill_null(pc.equal(status, one), False).to_numpy() for one in ("done", "failed"))
    coded = done & has_code
    failed = failed & pc.is_valid(width).to_numpy() & (not retry)  # not those whose header was unreadable then
    removed = pc.fill_null(pc.equal(_column(known, "reason", before), REMOVED), False).to_numpy()
    unmoved = _equal(known, items, before, ("bytes", "mtime_ns"))
    stands = found & (removed | (unmoved & (coded | failed)))
    shas = _column(known, "sha256", before)
    for row in np.flatnonzero(found & coded & ~stands & _equal(known, items, before, ("bytes",))):
        stands[row] = _sha256(items, int(row)) == shas[int(row)].as_py()
    return stands


def _sha256(items: Items, row: int) -> str | None:
    """The sha256 of an item as it is now; None where it cannot be read."""
    from mmfeat.media.contents import content_sha256, read_content

    place, fragment = items.place_of(row)
    try:
        return content_sha256(read_content(place, fragment, items.table["bytes"][row].as_py()), fragment)
    except (OSError, MediaError):
        return None


def _unseen(items: Items) -> np.ndarray:
    """Rows of what could not be looked at: they failed, and have neither size nor time."""
    nothing = pc.and_(pc.equal(items.table["bytes"], 0), pc.equal(items.table["mtime_ns"], 0))
    return pc.fill_null(pc.and_(nothing, pc.equal(items.table["status"], "failed")), False).to_numpy()


def _gone(known: pa.Table, before: np.ndarray, ids: pa.Array, unseen: np.ndarray) -> np.ndarray:
    """Known items that were not found, but for those below a folder that could not be looked at."""
    missing = np.ones(len(known), bool)
    missing[before[before >= 0]] = False
    for name in ids.filter(pa.array(unseen)).to_pylist():
        missing &= ~_begins(known["id"], f"{name}/")
    return np.flatnonzero(missing)


def _begins(ids: Any, prefix: str) -> np.ndarray:
    return pc.starts_with(ids, prefix).to_numpy()
