"""Keeping an index: what was added, changed or deleted in its folders; more folders or vectors; items taken out; compaction.

Only what changed is read and encoded, by the index's own model, and only that is written. The work is cut like a build: what
is done when it is interrupted stays, and the same call goes on from there.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmfeat.arrays import pack_bits
from mmfeat.errors import MismatchError, UsageError
from mmfeat.indexes.item_log import GONE, ITEMS, as_bytes, later, log_entry
from mmfeat.indexes.segments import as_ids
from mmfeat.pipelines.building import alone, chunks
from mmfeat.pipelines.changes import REMOVED, Plan, compare, known_items
from mmfeat.pipelines.extracting import counted_on, encode_items, parts_table, settle
from mmfeat.pipelines.fitting import some_reasons
from mmfeat.pipelines.origins import Origin, Scope, added_roots, described, find_scope, origins_of, scopes_of, walked

if TYPE_CHECKING:
    from mmfeat.indexes.store import Index
    from mmfeat.media.items import Items
    from mmfeat.model import Model
    from mmfeat.stages import Report

__all__ = ["Update", "add_to_index", "add_vectors", "compact_index", "remove_from_index", "update_index"]


@dataclasses.dataclass
class Update:
    """What an update found and did, in items. `why`: the first reasons of those that newly failed.

    new, changed: encoded now. same: neither read nor written. deleted: taken out, their files are gone or are no pictures
    any more. relabelled: the same picture under another label. complete: False when it was interrupted.
    """

    path: Path
    new: int = 0
    changed: int = 0
    same: int = 0
    deleted: int = 0
    relabelled: int = 0
    failed: int = 0
    count: int = 0
    generation: int = 0
    segments: int = 0
    complete: bool = True
    why: str = ""

    @property
    def exit_code(self) -> int:
        """0 all well, 1 some items newly failed."""
        return 1 if self.failed else 0


def update_index(
    path: str | os.PathLike[str],
    places: Sequence[str | os.PathLike[str]] = (),
    *,
    model: Model | None = None,
    retry: bool = False,
    report: Report | None = None,
) -> Update:
    """Bring an index up to its folders: new and changed pictures are encoded, those of deleted files go.

    places: folders (or files) of the index to look at; all it was built from unless told. retry: try again what failed before.
    model: must be the index's own. A place that is not there now is an error: nothing is deleted because a disk is not mounted.
    """
    from mmfeat.indexes import open_index

    with alone(Path(path)):
        index = open_index(path)
        scopes = scopes_of(index) if not places else [_known_scope(index, place) for place in places]
        return _run(index, scopes, {}, model, retry, report)


def _known_scope(index: Index, place: str | os.PathLike[str]) -> Scope:
    scope = find_scope(index, place)
    if scope is None:
        there = ", ".join(place for one in origins_of(index) for place in one.places)
        raise UsageError(
            "an update looks at what the index was made from",
            f"{place}, not in {there}",
            "add it with `mmfeat index add`",
        )
    return scope


def add_to_index(
    path: str | os.PathLike[str],
    places: Sequence[str | os.PathLike[str]],
    *,
    labels: str | os.PathLike[str] | None = None,
    pages: str | None = None,
    model: Model | None = None,
    report: Report | None = None,
) -> Update:
    """Encode more pictures with the index's own model and add them.

    places: folders or files. In a folder of the index what is new or changed there is added; another becomes a folder of the
    index, and its name stands before its ids. labels: a file of labels for such new folders. pages: "first" (unless told) or
    "all", of TIFFs in such folders. Nothing is taken out.
    """
    _check_pages(pages)
    from mmfeat.indexes import open_index

    with alone(Path(path)):
        index = open_index(path)
        scopes, origins = [], origins_of(index)
        for place in places:
            scope = find_scope(index, place)
            if scope is None:
                origin = _new_origin(index, origins, place, labels, pages or "first")
                origins.append(origin)
                scope = Scope(origin, (), origin.places)
            elif labels is not None:
                raise UsageError(
                    "labels are given with a new folder", f"{place}, which the index knows", "leave --labels out"
                )
            elif pages not in (None, scope.origin.pages):
                raise UsageError(
                    f"a folder that the index knows is taken as it was, with its {scope.origin.pages} pages",
                    f"{place} with --pages {pages}",
                    "leave --pages out, or build the index again",
                )
            scopes.append(dataclasses.replace(scope, whole=False))
        return _run(index, scopes, _with_origins(index, origins), model, False, report, removed=False)


def _check_pages(pages: str | None) -> None:
    if pages not in (None, "first", "all"):
        raise UsageError('pages are "first" or "all"', repr(pages), "choose one of them")


def _new_origin(index: Index, origins: list[Origin], place: str | os.PathLike[str], labels: Any, pages: str) -> Origin:
    if not Path(place).exists():
        raise UsageError("what is added exists", str(place), "check the path")
    from mmfeat.media.tables import is_table

    path = Path(os.path.abspath(place))
    prefix = f"{path.name}/" if path.is_dir() or is_table(str(path)) else path.name
    one = described([place], labels, prefix)
    origin = Origin(prefix, tuple(one["places"]), one["labels"], pages)
    names = [other.prefix.rstrip("/") for other in origins]
    if path.name in names or not path.name or origin.owns(index.ids).any():
        raise UsageError("what is added has a name of its own", f"{place}: ids begin with {path.name}", "rename it")
    return origin


def _with_origins(index: Index, origins: list[Origin]) -> dict[str, Any]:
    """The info of the index with these origins; `roots` is how a search finds files."""
    roots = added_roots(origins)
    old = [root for root in index.info.get("roots", []) if root not in roots]
    return {
        **index.info,
        "roots": old + roots,
        "origins": [{**dataclasses.asdict(one), "places": list(one.places)} for one in origins],
    }


def _run(
    index: Index, scopes: list[Scope], info: dict[str, Any], model: Model | None, retry: bool, report: Report | None,
    removed: bool = True,
) -> Update:  # fmt: skip
    if model is not None and model.sha256 != index.model:
        raise MismatchError("an index grows by the model that made it", model.sha256[:12], "use the index's own model")
    update = Update(index.path)
    try:
        for scope in scopes:
            _Job(index, scope, model, report, update).run(info, retry, removed)
    except KeyboardInterrupt:
        update.complete = False
    update.count, update.generation = len(index), index.generation
    update.segments = len(index.snapshot.segments)
    return update


class _Change(NamedTuple):
    """Part of a generation: rows to write under their ids, with their codes; ids to remove; what is told of items."""

    parts: pa.Table
    codes: np.ndarray
    remove: pa.Array
    told: pa.Table


class _Job:
    """The update of one scope."""

    def __init__(self, index: Index, scope: Scope, model: Model | None, report: Report | None, update: Update) -> None:
        self.index, self.scope, self.given, self.report, self.update = index, scope, model, report, update
        self.items: Items
        self.ids: pa.Array
        self.coded: np.ndarray  # (n,) bool, whether an item has a code in the index

    @cached_property
    def model(self) -> Model:
        """The index's own model, read when there is something to encode."""
        from mmfeat.mesh import use_compile_cache
        from mmfeat.model import load

        use_compile_cache()
        return self.given or load(self.index.extra("model"))

    def run(self, info: dict[str, Any], retry: bool, removed: bool) -> None:
        """Look, compare, and write what is to change. removed: whether what somebody took out stays out."""
        known = known_items(self.index, self.scope.mask)
        alive = self.index.snapshot.rows_of(known["id"].combine_chunks().cast(pa.large_string())) >= 0
        self.items, self.ids = walked(self.scope, known, self.report)
        if not removed:
            known, alive = _without_removed(known, alive)
        plan = compare(known, alive, self.items, self.ids, retry)
        self.coded = _places(self.ids, known["id"].filter(pa.array(alive)))
        gone = plan.gone if self.scope.whole else plan.gone[:0]
        self.update.same += len(plan.same)
        self.update.new += plan.new
        self.update.changed += len(plan.encode) - plan.new
        first = [self.settled(known, alive, plan, gone)]
        base, whole = 0, len(plan.encode)
        for rows in chunks(plan.encode):
            self.write([*first, self.encoded(rows, counted_on(self.report, base, whole))], info)
            base, first = base + len(rows), []
        if first:
            self.write(first, info)

    def settled(self, known: pa.Table, alive: np.ndarray, plan: Plan, gone: np.ndarray) -> _Change:
        """All that needs no encoding: what is gone, other labels, other times, what is no picture."""
        states = known.select(["status", "reason", "sha256"]).take(plan.known)
        self.items = self.items.with_status(plan.same, *(states[name].to_pylist() for name in states.column_names))
        old = known["id"].take(gone[alive[gone]]).combine_chunks()
        out = pa.concat_arrays([old.cast(pa.string()), self.ids.take(pa.array(plan.out))])
        parts = self.parts(plan.relabel)
        codes = self.index.codes_at(self.index.snapshot.known_rows(as_ids(parts["id"])))
        ended = known.take(gone)
        ended = ended.set_column(
            ended.schema.get_field_index("status"), "status", pa.array([GONE] * len(gone), pa.string())
        )
        told = self.named(np.union1d(plan.touched, plan.told))
        self.update.deleted += len(out)
        self.update.relabelled += len(plan.relabel)
        self.count_failed(plan.told)
        return _Change(parts, codes, out, pa.concat_tables([told, ended.cast(told.schema)]))

    def encoded(self, rows: np.ndarray, report: Report | None) -> _Change:
        """New and changed pictures; those that cannot be decoded any more lose their code."""
        encoded = encode_items(self.model, self.items, rows, report)
        self.items = settle(self.items, rows, encoded.failures, encoded.sha256)
        failed = np.setdiff1d(rows, encoded.rows)
        lost = failed[self.coded[failed]]
        parts = self.parts(encoded.rows)
        codes = pack_bits(encoded.features) if self.model.hash else encoded.features
        self.count_failed(failed)
        return _Change(parts, codes, self.ids.take(pa.array(lost)), self.named(rows))

    def write(self, changes: list[_Change], info: dict[str, Any]) -> None:
        """One generation, of at most one segment."""
        some = [change for change in changes if len(change.parts)]
        parts = pa.concat_tables([change.parts for change in some]) if some else None
        self.index.change(
            parts["id"] if parts is not None else (),
            np.concatenate([change.codes for change in some]) if some else None,
            parts,
            remove=pa.concat_arrays([change.remove for change in changes]),
            extras=log_entry(self.index.snapshot, pa.concat_tables([change.told for change in changes])),
            info=info or None,
        )

    def parts(self, rows: np.ndarray) -> pa.Table:
        """The parts table under the ids of the index."""
        return parts_table(self.items, rows).set_column(0, "id", self.ids.take(pa.array(rows)))

    def named(self, rows: np.ndarray) -> pa.Table:
        """The table of these items under the ids of the index."""
        from mmfeat.media.items import SCHEMA

        table = self.items.table.take(pa.array(rows))
        return table.set_column(0, SCHEMA.field("id"), self.ids.take(pa.array(rows))).cast(SCHEMA)

    def count_failed(self, rows: np.ndarray) -> None:
        """Note those of these rows that newly failed."""
        status, reason = (self.items.table[name].take(pa.array(rows)).to_pylist() for name in ("status", "reason"))
        failed = {int(row): why or "" for row, one, why in zip(rows, status, reason, strict=True) if one == "failed"}
        self.update.failed += len(failed)
        if failed and not self.update.why:
            self.update.why = some_reasons(self.items, failed, 3)


def _without_removed(known: pa.Table, alive: np.ndarray) -> tuple[pa.Table, np.ndarray]:
    keep = ~pc.fill_null(pc.equal(known["reason"], REMOVED), False).to_numpy()
    return known.filter(pa.array(keep)), alive[keep]


def _places(ids: pa.Array, some: Any) -> np.ndarray:
    return np.asarray(pc.is_in(ids, value_set=some.combine_chunks()).to_numpy(zero_copy_only=False))


def add_vectors(
    path: str | os.PathLike[str],
    vectors: str | os.PathLike[str] | np.ndarray,
    ids: str | os.PathLike[str] | list[str] | None = None,
) -> Update:
    """Add vectors (n, d) to an index of vectors, made into codes by its model if it has one; an id that is there is replaced.

    vectors: an .npy file or an array. ids: a text file with one id a line, or a list; default `name.npy#row=0` and so on.
    """
    from mmfeat.indexes import open_index
    from mmfeat.pipelines.given_vectors import as_names, as_vectors, check_directions

    values = as_vectors(vectors)
    names = as_names(ids, len(values), "vectors.npy" if isinstance(vectors, np.ndarray) else Path(vectors).name)
    with alone(Path(path)):
        index = open_index(path)
        if "root" in index.info:
            raise UsageError("pictures are added to an index of pictures", f"vectors for {path}", "name a folder")
        if "model" in index.extras:
            from mmfeat.model import load

            model = load(index.extra("model"))
            values = model.encode_bits(values) if model.hash else model.encode(values)
        else:
            check_directions(values, names, index.metric)
        there = int((index.snapshot.rows_of(as_ids(names)) >= 0).sum())
        index.add(names, values)
    return Update(index.path, new=len(names) - there, changed=there, count=len(index), generation=index.generation)


def remove_from_index(path: str | os.PathLike[str], ids: Sequence[str] = (), where: str | None = None) -> list[str]:
    """Take items out, and note that they are to stay out when the index is updated; returns their ids.

    where: a condition (see `indexes.filters`); what meets it goes too. UsageError: an id that is not in the index, and then
    nothing is removed.
    """
    from mmfeat.indexes import open_index

    with alone(Path(path)):
        index = open_index(path)
        names = list(dict.fromkeys(ids))
        if where is not None:
            from mmfeat.indexes.filters import rows_where

            rows = np.flatnonzero(rows_where(index.snapshot, where) & index.snapshot.living)
            names = list(dict.fromkeys([*names, *index.ids_at(rows)]))
        wanted = pa.array(names, pa.string())
        known = known_items(index, lambda ids: pc.is_in(ids, value_set=wanted).to_numpy())
        for name, value in (("status", "skipped"), ("reason", REMOVED)):
            place = known.schema.get_field_index(name)
            known = known.set_column(place, known.schema.field(place), pa.array([value] * len(known), pa.string()))
        index.change(remove=names, extras=log_entry(index.snapshot, known))
        return names


def compact_index(path: str | os.PathLike[str], keep: int = 2) -> Index:
    """Merge segments and the tables of items, drop removed rows, keep the last `keep` generations; see `Index.compact`."""
    from mmfeat.indexes import open_index

    with alone(Path(path)):
        index = open_index(path)
        tables = later(index.snapshot)
        index.compact(keep, extras={ITEMS: as_bytes(known_items(index))} if tables else None, drop=tables)
        return index
