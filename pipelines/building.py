"""Building a search index from pictures.

The index can be searched while it grows: the first segment stands after 500 pictures, and every later one doubles what is there.
An interrupted build keeps what it has; the same call goes on from there, and notices files that have changed since.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmfeat.arrays import pack_bits
from mmfeat.errors import BusyError, DataError, MismatchError, UsageError
from mmfeat.files import canonical_json, check_writable
from mmfeat.indexes.item_log import ITEMS, as_bytes, later, log_entry
from mmfeat.pipelines.changes import compare, known_items
from mmfeat.pipelines.extracting import counted_on, encode_items, parts_table, settle
from mmfeat.pipelines.fitting import fit_job, is_items, prepare, some_reasons, walk_items
from mmfeat.pipelines.index_types import MEASURED, check_type, say_if_few, type_of_bits, type_of_vectors
from mmfeat.pipelines.origins import described
from mmfeat.pipelines.roots import absolute

if TYPE_CHECKING:
    from mmfeat.indexes.manifest import Manifest
    from mmfeat.indexes.store import Index
    from mmfeat.media.items import Items
    from mmfeat.model import Model
    from mmfeat.pipelines.extracting import Encoded
    from mmfeat.stages import Report

__all__ = ["Build", "alone", "build_index", "chunks", "is_empty", "was_finished"]

FIRST, LARGEST, SAMPLE = 500, 65_536, 2_000


@dataclasses.dataclass(frozen=True)
class Build:
    """What a build ended in. `complete` is False when it was interrupted: what is there can be searched.

    why: the first reasons of the files that failed.
    """

    path: Path
    items: int
    done: int
    failed: int
    skipped: int
    new_failures: int
    check: dict[str, Any]
    complete: bool = True
    why: str = ""

    @property
    def exit_code(self) -> int:
        """0 all well, 1 some items newly failed, 3 nothing could be read."""
        return 3 if not self.done else 1 if self.new_failures else 0


def chunks(rows: np.ndarray) -> list[np.ndarray]:
    """Rows cut at 500, 1,000, 2,000, 4,000 …: few segments, and the first one soon."""
    cuts, size, first = [], FIRST, 0
    while first < len(rows):
        cuts.append(rows[first : first + size])
        first += size
        size = min(max(first, FIRST), LARGEST)
    return cuts


def build_index(
    data: Any,
    path: str | os.PathLike[str],
    *,
    model: Model | None = None,
    recipe: Any = None,
    settings: dict[str, Any] | None = None,
    kind: str | None = None,
    labels: Any = None,
    pages: str = "first",
    seed: int = 0,
    overwrite: bool = False,
    report: Report | None = None,
    after: Callable[[Index, Items, bool], None] | None = None,
) -> Build:
    """Index a folder of pictures (or several), learning a model from them unless one is given.

    recipe, settings, pages: as for `mmfeat.fit`; without a recipe `recommending.usual_recipe` names it. labels: a file of labels;
    sub-folders otherwise.
    kind: the type of the index (`mmfeat.indexes.kinds`), flat unless told; "auto": see `index_types`.
    after: called with (index, items, complete) whenever a segment has been added, and at the end.
    """
    items = data if is_items(data) else walk_items(data, labels, report, pages)
    if not len(items.images):
        raise DataError(
            "an index of pictures needs a picture that can be read",
            f"{len(items):,} files: {some_reasons(items)}",
            "name another folder",
        )
    check_writable(path)
    with alone(Path(path)):
        info = _places(data, items, labels, pages)
        wanted = _Wanted(model, recipe, settings, kind, seed)
        index, model = _begin(Path(path), items, info, wanted, overwrite, report)
        sample = np.sort(np.random.default_rng(seed).permutation(len(items.images))[:SAMPLE])
        grow = _Growth(index, model, items, set(items.images[sample].tolist()), report, after)
        try:
            grow.run()
        except KeyboardInterrupt:
            return grow.end(complete=False)
        grow.check(seed)
        return grow.end(complete=True)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Make the folder and hold a lock on it (no file is left); it goes again if nothing came of it. BusyError."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows: the index locks every single change
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError("one build at a time makes an index", f"another at {path}", "wait for it to end") from error
        yield
    finally:
        os.close(handle)
        with contextlib.suppress(OSError):
            path.rmdir()


class _Wanted(NamedTuple):
    """What is to be built: with this model, or one that is learned; as this type."""

    model: Model | None
    recipe: Any
    settings: dict[str, Any] | None
    kind: str | None
    seed: int


def _begin(
    path: Path, items: Items, info: dict[str, Any], wanted: _Wanted, overwrite: bool, report: Report | None
) -> tuple[Index, Model]:
    """A new index with its model inside, or the unfinished one of the same call."""
    from mmfeat.indexes import create, open_index
    from mmfeat.indexes.creation import check_free

    index = open_index(path) if (path / "current.json").exists() and not overwrite else None
    if index is not None and not is_empty(index):
        return _go_on(index, info, wanted)
    check_free(path, overwrite=True)
    model = wanted.model
    if model is None:
        recipe, settings = _recipe(wanted, items, report)
        job = prepare(recipe, items, settings=settings, report=report, seed=wanted.seed)
        check_type(wanted.kind, job.chain.hash)
        model = fit_job(job, seed=wanted.seed, report=report)
    check_type(wanted.kind, model.hash)
    kind = _type(wanted, model, items, report)
    index = create(path, kind=kind, dim=_width(model), model=model.sha256, info=info, overwrite=True)
    say_if_few(kind, len(items.images), report)
    with tempfile.TemporaryDirectory() as folder:
        saved = model.save(Path(folder) / "model")
        index.attach({"model": saved, "build.json": canonical_json({"complete": False})})
    return index, model


def _recipe(wanted: _Wanted, items: Items, report: Report | None) -> tuple[Any, dict[str, Any] | None]:
    """The recipe and its settings: those that are wanted, or the usual ones for such pictures."""
    from mmfeat.pipelines.recommending import usual_recipe

    if wanted.recipe is not None:
        return wanted.recipe, wanted.settings
    usual = usual_recipe(items, wanted.seed, report)
    return usual.recipe, {**usual.settings, **(wanted.settings or {})}


def was_finished(root: Path, manifest: Manifest) -> bool:
    """Whether a generation of an index is no step of a build that was still going on."""
    piece = manifest.extras.get("build.json")
    return piece is None or bool(json.loads((root / piece.path).read_bytes())["complete"])


def _go_on(index: Index, info: dict[str, Any], wanted: _Wanted) -> tuple[Index, Model]:
    """The unfinished index and its model."""
    from mmfeat.model import load

    if "build.json" not in index.extras or json.loads(index.extra("build.json").read_bytes())["complete"]:
        raise UsageError(
            "a finished index is never overwritten unasked", str(index.path), "choose another name or pass --overwrite"
        )
    held = load(index.extra("model"))
    if wanted.model is not None and wanted.model.sha256 != held.sha256:
        raise MismatchError(
            "an interrupted build goes on with its own model",
            wanted.model.sha256[:12],
            "leave the model out, or --overwrite",
        )
    if wanted.kind not in (None, "auto", index.kind):
        raise MismatchError(
            f"an interrupted build goes on as {index.kind}", str(wanted.kind), "leave the type out, or --overwrite"
        )
    if len(index.info.get("origins", ())) < 2 and index.info != info:
        index.change(info=info)  # other pages, labels or places than those it was begun with
    return index, held


def _type(wanted: _Wanted, model: Model, items: Items, report: Report | None) -> str:
    """The index type; for floats and "auto" some pictures are encoded to measure with."""
    if model.hash:
        return type_of_bits(wanted.kind, len(items.images), report)
    vectors = None
    if wanted.kind == "auto":
        order = np.random.default_rng(wanted.seed).permutation(items.images)[:MEASURED]
        vectors = encode_items(model, items, np.sort(order), report).features
    return type_of_vectors(wanted.kind, vectors, "l2", wanted.seed, report)


def _places(data: Any, items: Items, labels: Any, pages: str) -> dict[str, Any]:
    """What the index keeps of where its items come from: for finding them, and for its updates (`origins`)."""
    info: dict[str, Any] = {
        "root": absolute(items.root),
        "roots": [[name, absolute(root)] for name, root in items.roots],
    }
    if not is_items(data):
        places = [data] if isinstance(data, str | os.PathLike) else list(data)
        info["origins"] = [described(places, labels, pages=pages)]
    return info


def is_empty(index: Index) -> bool:
    """Whether it was made and nothing more: the disk was full, or the process was killed."""
    return not len(index) and not index.extras


def _width(model: Model) -> int:
    """How many bits or floats the model gives, found by encoding one small picture."""
    probe = np.full((64, 64, 3), 127, np.uint8)
    return int(model.encode(model.source([probe]), small=True).shape[1])


class _Growth:
    """An index while it grows."""

    def __init__(
        self, index: Index, model: Model, items: Items, sample: set[int], report: Report | None, after: Any
    ) -> None:
        self.index, self.model, self.items = index, model, items
        self.sample, self.report, self.after = sample, report, after or (lambda index, items, complete: None)
        self.rows: list[np.ndarray] = []  # of the sample, as they come; their features stand in `floats`
        self.floats: list[np.ndarray] = []
        self.checked: dict[str, Any] = {}
        self.known = known_items(index)

    def run(self) -> None:
        """Encode and add what is not in the index yet or has changed since, chunk by chunk; take out what is gone."""
        ids, pictures = self.items.table["id"].combine_chunks(), self.items.images
        alive = self.index.snapshot.rows_of(self.known["id"].combine_chunks().cast(pa.large_string())) >= 0
        plan = compare(self.known, alive, self.items, ids)
        gone = self.known["id"].take(plan.gone[alive[plan.gone]]).combine_chunks()
        out = pa.concat_arrays([gone.cast(ids.type), ids.take(pa.array(plan.out))])
        if len(out):
            self.index.remove(out)
        states = self.known.select(["status", "reason", "sha256"]).take(plan.known)
        if len(plan.same):
            self.items = self.items.with_status(plan.same, *(states[name].to_pylist() for name in states.column_names))
        base = 0
        for rows in chunks(pictures):
            missing = rows[np.isin(rows, plan.encode)]
            if len(missing):
                self.add(missing, counted_on(self.report, base + len(rows) - len(missing), len(pictures)))
            base += len(rows)

    def add(self, rows: np.ndarray, report: Report | None) -> None:
        """One segment."""
        encoded = encode_items(self.model, self.items, rows, report)
        self.keep(encoded)
        self.items = settle(self.items, rows, encoded.failures, encoded.sha256)
        if len(encoded.rows):
            codes = pack_bits(encoded.features) if self.model.hash else encoded.features
            parts = parts_table(self.items, encoded.rows)
            told = log_entry(self.index.snapshot, self.items.table.take(pa.array(rows)))
            self.index.change(parts["id"], codes, parts, extras=told)
        self.after(self.index, self.items, False)

    def keep(self, encoded: Encoded) -> None:
        """Keep the features of items of the sample for the self-check."""
        wanted = [place for place, row in enumerate(encoded.rows) if int(row) in self.sample]
        self.rows.append(encoded.rows[wanted])
        self.floats.append(encoded.features[wanted])

    def check(self, seed: int) -> None:
        """The self-check. What of the sample an earlier, interrupted run has encoded is encoded again."""
        from mmfeat.pipelines.self_check import self_check

        status = self.items.table["status"].to_pylist()
        kept = {int(row) for rows in self.rows for row in rows}
        missing = [row for row in sorted(self.sample) if row not in kept and status[row] == "done"]
        if missing:
            self.keep(encode_items(self.model, self.items, np.array(missing), self.report))
        if len(self.index):
            floats = np.concatenate(self.floats)[np.argsort(np.concatenate(self.rows))]
            self.checked = self_check(self.index, self.model, self.items, floats, seed=seed, report=self.report)

    def end(self, complete: bool) -> Build:
        """Write down how it ended."""
        extras: dict[str, Any] = {
            "build.json": canonical_json({"complete": complete}),
            ITEMS: as_bytes(self.items.table),
        }
        if self.checked:
            extras["self-check.json"] = canonical_json(self.checked)
        self.index.change(extras=extras, drop=later(self.index.snapshot))
        self.after(self.index, self.items, complete)
        count = self.items.count
        table = self.items.table
        failed = [row for row, status in enumerate(table["status"].to_pylist()) if status == "failed"]
        ids, reasons = self.items.ids, table["reason"].to_pylist()
        return Build(
            self.index.path, len(self.items), len(self.index), len(failed), count("skipped"),
            len({ids[row] for row in failed} - _failed(self.known)), self.checked, complete,
            some_reasons(self.items, {row: reasons[row] or "" for row in failed}, 3) if failed else "",
        )  # fmt: skip


def _failed(known: pa.Table) -> set[str]:
    return set(known["id"].filter(pc.equal(known["status"], "failed")).to_pylist())
