"""The index: a folder of generations, each a manifest naming immutable segments; writing makes the next generation.

    X.index/current.json            names the generation that holds; switched last, atomically (`manifest`)
    X.index/generations/            one manifest per generation, each naming its parent
    X.index/segments/               codes and parts (`segments`)
    X.index/tombstones/             rows that were removed or replaced
    X.index/extras/                 the model, tables and pages kept with the index (`extras`)
    X.index/lock                    held by the one writer

Adding writes one segment and one manifest, whatever the size of the index. A kill at any instant leaves the old
generation or the new one; what an unfinished writer left is ignored, and removed by the next writer. A reader goes on
answering from the generation it opened. Ids are strings, unique among living rows: adding a living id replaces it.
`compact` merges segments and lets old generations go (`generations` says which), `rollback` goes back to a kept one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from mmfeat.errors import ShapeError, UsageError
from mmfeat.files import hold_lock
from mmfeat.indexes import asking
from mmfeat.indexes.compaction import merge
from mmfeat.indexes.extras import put_extras, sweep
from mmfeat.indexes.generations import prune, unpruned, walk_back
from mmfeat.indexes.kinds import as_codes, as_count, to_unit
from mmfeat.indexes.manifest import differs, read_current, switch_to
from mmfeat.indexes.ranges import Balls
from mmfeat.indexes.search import Hits
from mmfeat.indexes.segments import as_ids, as_table, join_schemas, write_dead, write_segment
from mmfeat.indexes.snapshot import Snapshot, load_snapshot
from mmfeat.indexes.structures import Effort, structure_of
from mmfeat.indexes.verify import check_contents, verify_index

__all__ = ["Extras", "Index", "open_index"]

Extras = Mapping[str, Path | str | bytes]


def open_index(path: str | os.PathLike[str]) -> Index:
    """Open the generation that holds now.

    Manifest and file sizes are checked every time, contents on the first open of each file.
    UsageError: not an index, or of a later format. DamagedError: names the files that are not what they were.
    """
    return Index(load_snapshot(Path(path)))


class Index:
    """An open index. Searching is safe from many threads; an object that writes moves on to the new generation.

    Made by `creation.create` and `open_index`; a context manager that lets go of the files at the end.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.path = snapshot.root
        self._open: Snapshot | None = snapshot

    @property
    def snapshot(self) -> Snapshot:
        """The generation that this object answers from, opened."""
        if self._open is None:
            raise UsageError("a closed index answers nothing", str(self.path), "open it again")
        return self._open

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the mapped files."""
        self._open = None

    def __len__(self) -> int:
        return self.snapshot.alive

    def __repr__(self) -> str:
        if self._open is None:
            return f"<Index {self.path}: closed>"
        return (
            f"<Index {self.path}: {len(self):,} rows, {self.kind} {self.dim} {self.metric}, "
            f"generation {self.generation}>"
        )

    @property
    def kind(self) -> str:
        """The index type."""
        return self.snapshot.manifest.kind

    @property
    def dim(self) -> int:
        """Bits or floats of one vector."""
        return self.snapshot.manifest.dim

    @property
    def metric(self) -> str:
        """What is measured: hamming, l2, cosine or ip."""
        return self.snapshot.manifest.metric

    @property
    def model(self) -> str | None:
        """The sha256 of the model that made the vectors, if one did."""
        return self.snapshot.manifest.model

    @property
    def info(self) -> dict[str, Any]:
        """What the maker wanted kept."""
        return dict(self.snapshot.manifest.info)

    @property
    def generation(self) -> int:
        """The number of the generation that this object answers from."""
        return self.snapshot.manifest.generation

    @property
    def ids(self) -> pa.Array:
        """The ids of the living rows, in the order of rows: an Arrow array of strings, read when first asked for."""
        return self.snapshot.ids

    @property
    def extras(self) -> tuple[str, ...]:
        """The names of what is attached."""
        return tuple(sorted(self.snapshot.manifest.extras))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Snapshot]:
        """Hold the lock, move on to the generation that holds, and clear away what a killed writer left."""
        old = self.snapshot
        with hold_lock(self.path / "lock"):
            current = read_current(self.path)
            if current != old.current:
                self._open = load_snapshot(self.path)
            sweep(self.path, current.generation)
            if unpruned(self.path, self.snapshot.manifest):
                prune(self.path, current)
            yield self.snapshot

    def _switch(self, snapshot: Snapshot, **changes: Any) -> None:
        """Make a generation with these changes the one that holds; none where nothing changes."""
        if not differs(snapshot.manifest, changes):
            return
        new = {"generation": snapshot.manifest.generation + 1, "parent": snapshot.current, "restores": None}
        manifest = dataclasses.replace(snapshot.manifest, **{**new, **changes})
        self._open = Snapshot(self.path, switch_to(self.path, manifest), manifest, snapshot.segments)

    def add(
        self, ids: Sequence[str] | pa.Array, codes: Any, parts: pa.Table | None = None, extras: Extras | None = None
    ) -> None:
        """Add vectors under ids; an id that is alive is replaced. All of it holds at once, or nothing.

        ids: n strings without repetition. codes: (n, bytes) uint8 packed bits, or (n, d) float32; for "cosine" they
        are stored scaled to length 1. parts: a table of n rows (path, label, t0, t1, x, y, w, h, shard, row, …).
        extras: as for `attach`. Nothing to add and nothing to attach makes no generation.

        ShapeError: dtype, width or lengths. DataError: not finite, or padding bits set. UsageError: ids. BusyError.
        """
        self.change(ids, codes, parts, extras=extras)

    def remove(self, ids: Sequence[str] | pa.Array) -> int:
        """Remove rows by id; returns how many. An id that is not alive is a UsageError, and then nothing is removed."""
        return self.change(remove=ids)

    def attach(self, extras: Extras) -> None:
        """Keep files or folders with the index: name → bytes, or a path that is copied. A name that is there is replaced."""
        self.change(extras=extras)

    def change(
        self,
        ids: Sequence[str] | pa.Array = (),
        codes: Any = None,
        parts: pa.Table | None = None,
        *,
        remove: Sequence[str] | pa.Array = (),
        extras: Extras | None = None,
        drop: Sequence[str] = (),
        info: Mapping[str, Any] | None = None,
    ) -> int:
        """Several changes that hold at once, in one generation, or not at all; returns how many rows were removed by id.

        ids, codes, parts, extras: as for `add` and `attach`. remove: living ids. drop: names of extras that go.
        info: replaces what the maker wanted kept. What changes nothing makes no generation.
        """
        with self._writing() as snapshot:
            number, names = snapshot.manifest.generation + 1, as_ids(ids)
            changes = self._added(snapshot, number, names, codes, parts) if codes is not None or len(names) else {}
            gone = snapshot.known_rows(as_ids(remove))
            dead = snapshot.rows_of(names)
            dead = np.union1d(dead[dead >= 0], gone)
            if len(dead):
                changes["tombstones"] = (*snapshot.manifest.tombstones, write_dead(self.path, number, dead))
            kept = {name: piece for name, piece in snapshot.manifest.extras.items() if name not in drop}
            changes["extras"] = put_extras(self.path, number, kept, extras or {})
            if info is not None:
                changes["info"] = dict(info)
            self._switch(snapshot, **changes)
        return len(gone)

    def _added(self, snapshot: Snapshot, number: int, names: pa.Array, codes: Any, parts: Any) -> dict[str, Any]:
        """Write the segment of some rows; the manifest's new list of segments."""
        codes = as_codes(snapshot.kind, snapshot.manifest.dim, codes, names)
        if len(codes) != len(names):
            raise ShapeError("every vector has an id", f"{len(codes)} vectors, {len(names)} ids", "make them match")
        table = as_table(names, parts)
        join_schemas([table.schema, *(segment.schema for segment in snapshot.segments)])
        if not len(names):
            return {}
        if snapshot.metric == "cosine":
            codes = to_unit(codes)
        piece = write_segment(self.path, number, codes, table, structure_of(snapshot.kind, snapshot.metric))
        return {"segments": (*snapshot.manifest.segments, piece)}

    def compact(self, keep: int = 2, *, extras: Extras | None = None, drop: Sequence[str] = ()) -> None:
        """Merge all segments into one without the removed rows, and keep only the last `keep` generations.

        The order of rows stays, so every search answers as before. What has nothing to merge is not written again.
        extras, drop: as for `change`. Memory does not grow with the index.
        """
        keep = as_count(keep, "at least one generation is kept, the one that holds", "keep 1 or more")
        with self._writing() as snapshot:
            number = snapshot.manifest.generation + 1
            changes = merge(snapshot, number)
            kept = {name: piece for name, piece in snapshot.manifest.extras.items() if name not in drop}
            changes["extras"] = put_extras(self.path, number, kept, extras or {})
            before = [link.generation for link in walk_back(self.path, snapshot.current)]
            if differs(snapshot.manifest, changes) or before[:keep][-1] != snapshot.manifest.oldest:
                self._switch(snapshot, **changes, oldest=[number, *before][:keep][-1])
                prune(self.path, self.snapshot.current)

    def extra(self, name: str) -> Path:
        """Where an attached file or folder lies, its contents checked. UsageError: none of that name. DamagedError."""
        piece = self.snapshot.manifest.extras.get(name)
        if piece is None:
            there = ", ".join(self.extras) or "nothing is attached"
            raise UsageError(f"the index has no extra {name!r}", there, "choose one of these")
        check_contents(self.path, [piece])
        return self.path / piece.path

    def search(
        self, queries: Any, k: int = 10, *, allow: Any = None, where: str | None = None, effort: Effort | None = None
    ) -> Hits:
        """The k nearest living rows to each query, in the order of (distance, row); exactly, in a flat type.

        queries: (q, bytes) uint8 or (q, d) float32, as for `add`. allow: which rows may answer, a bool mask over all
        rows (those of `info_dict()["rows"]`, dead ones included) or a sequence of ids (unknown ones allow nothing).
        where: a condition on the columns of the parts, see `filters`. effort: how hard types with a structure try.
        Returns `Hits` of width min(k, rows that may answer).
        """
        return asking.search(self.snapshot, queries, k, allow, where, effort or Effort())

    def within(self, queries: Any, radius: float, *, allow: Any = None, where: str | None = None) -> Balls:
        """All living rows at a distance of at most `radius` (bits, or a distance of floats), exactly, in every type."""
        return asking.within(self.snapshot, queries, radius, allow, where)

    def search_together(
        self, queries: Any, k: int = 10, *, how: str = "mean", allow: Any = None, where: str | None = None
    ) -> Hits:
        """The k rows nearest to all queries together, exactly: one answer (1, k'); how: "mean" or "min" of the distances."""
        return asking.together(self.snapshot, queries, k, how, allow, where)

    def search_ids(self, ids: Sequence[str] | pa.Array, k: int = 10, **more: Any) -> Hits:
        """`search` with items of the index as queries; each finds itself too. UsageError: ids that are not alive."""
        import pyarrow.compute as pc

        names = as_ids(ids, unique=False)
        once = names.unique()
        places = pc.index_in(names, value_set=once).to_numpy()
        snapshot = self.snapshot
        return self.search(snapshot.codes_at(snapshot.known_rows(once)[places]), k, **more)

    def ids_at(self, rows: Any) -> list[str]:
        """The ids of rows (n,), for example `hits.row[0]`."""
        return self.snapshot.ids_at(rows)

    def parts_at(self, rows: Any) -> pa.Table:
        """The parts of rows (n,): `id` and the columns that were given, null where a row has none."""
        return self.snapshot.parts_at(rows)

    def codes_at(self, rows: Any) -> np.ndarray:
        """The stored vectors (n, w) of rows (n,)."""
        return self.snapshot.codes_at(rows)

    def row_of(self, item: str) -> int:
        """The row of a living id. UsageError: there is none."""
        return int(self.snapshot.known_rows(as_ids([item]))[0])

    def info_dict(self) -> dict[str, Any]:
        """Counts and sizes, JSON-able: rows include dead ones, bytes are of this generation, disk of all that is kept."""
        manifest = self.snapshot.manifest
        return {
            "path": str(self.path),
            "kind": manifest.kind,
            "metric": manifest.metric,
            "dim": manifest.dim,
            "model": manifest.model,
            "info": dict(manifest.info),
            "generation": manifest.generation,
            "count": len(self),
            "rows": manifest.rows,
            "tombstones": manifest.dead,
            "segments": len(manifest.segments),
            "generations_kept": [manifest.oldest, manifest.generation],
            "extras": list(self.extras),
            "bytes": sum(record.bytes for piece in manifest.pieces() for record in piece.files.values()),
            "bytes_on_disk": _disk_bytes(self.path),
        }

    def verify(self) -> list[str]:
        """Read every byte of the index on disk; one sentence per damaged file, [] when all is well."""
        return verify_index(self.path)


def _disk_bytes(root: Path) -> int:
    """Bytes of all files below a folder; one that a writer takes away meanwhile counts nothing."""
    total = 0
    for path in root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total
