"""Fits a chain stage by stage: each learner trains on a seeded sample of what the stages before it give.

Only that sample is kept, in memory or, when large, in a temporary file. Pictures are read once for the first learner, and once more
after every stage that joins locals into rows; local descriptors are never stored whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmfeat.arrays import Images, Locals, take_rows
from mmfeat.chain import Chain, Join, is_fixed, needs_of
from mmfeat.encoder import Encoder
from mmfeat.errors import DataError, SettingsError
from mmfeat.gathering import GatheredRows
from mmfeat.learner import default_batches, fetched, sample, start, train
from mmfeat.log import PassLog
from mmfeat.mesh import default_mesh
from mmfeat.resume import Kept
from mmfeat.stream import ArraySource, Batch, Batches, Source, Subset, as_source, permutation

__all__ = ["Fitted", "Report", "encode_sizes", "encode_source", "fit_chain"]

Report = Callable[[str, int, int, Mapping[str, Any]], None]  # (what, done, total, metrics)

_LOCALS_PER_ITEM = 32  # a large collection gives at least so many locals per sampled item


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """What fitting gives: the chain (classes filled in), a state per stage, the shapes each `init` saw, and the log of passes."""

    chain: Chain
    states: tuple[Any, ...]
    forms: tuple[Any, ...]
    log: tuple[Mapping[str, Any], ...] = ()


def encode_sizes(source: Source, mesh: Mesh, small: bool = False) -> Mapping[int, int] | int:
    """The one padded shape per group at which everything is encoded: rows per batch.

    Vectors: 4,096 rows, or 64 MB of them. Pictures: as many as make about a million pixels, between 8 and 256; Locals in
    memory likewise, by their values. `small` gives the second shape, for single queries. Each is rounded up to the devices
    along "data".
    """
    devices = mesh.shape["data"]
    if small:
        return devices
    shapes = getattr(source, "shapes", None)
    while shapes is None and isinstance(source, Subset):
        source = source.source
        shapes = getattr(source, "shapes", None)
    x = source.x if isinstance(source, ArraySource) else None
    x = x["x"] if isinstance(x, Mapping) else x
    if isinstance(x, Images | Locals):
        shapes = [x[0].shape[1:3]]
    if shapes is None:
        width = int(np.prod(np.shape(x)[1:])) if isinstance(x, np.ndarray | jax.Array) else 1
        rows = min(4096, 2 ** int(np.log2(max(2**24 / max(width, 1), 1))))  # 64 MB of very wide ones
        return -(-rows // devices) * devices
    sizes = {}
    for group, (height, width) in enumerate(shapes):
        rows = 2 ** int(np.log2(max(2**20 / (height * width), 1)))
        sizes[group] = -(-int(np.clip(rows, 8, 256)) // devices) * devices
    return sizes


def encode_source(
    encoder: Encoder, source: Source, small: bool = False, most: int | None = None
) -> Iterator[tuple[np.ndarray, Any, np.ndarray]]:
    """Yields (rows (r,), features of those rows, on the host, read (r,) bool) batch by batch; Locals stay Locals.

    A batch is fetched when the next one is already at work. most: vectors come in batches of at most so many rows.
    """
    sizes = encode_sizes(source, encoder.mesh, small)
    if most is not None and isinstance(sizes, int):
        devices = encoder.mesh.shape["data"]
        sizes = min(sizes, -(-most // devices) * devices)
    waiting: tuple[Batch, Any] | None = None
    for batch in Batches(source, sizes).read():
        out = encoder(batch.x["x"] if isinstance(batch.x, Mapping) else batch.x)
        if waiting is not None:
            yield _fetched(*waiting)
        waiting = batch, out
    if waiting is not None:
        yield _fetched(*waiting)


def _fetched(batch: Batch, out: Any) -> tuple[np.ndarray, Any, np.ndarray]:
    count = len(batch.rows)
    return batch.rows, take_rows(jax.tree.map(np.asarray, out), slice(count)), batch.weight[:count] > 0


def fit_chain(
    chain: Chain,
    data: Any,
    *,
    labels: np.ndarray | None = None,
    classes: int = 0,
    seed: int = 0,
    mesh: Mesh | None = None,
    report: Report | None = None,
    after: Callable[[int, Any, Any], None] | None = None,
    kept: Kept | None = None,
) -> Fitted:
    """Fit every learner of a chain.

    data: a source, or arrays: rows (n, d), `Images`, a dict with the keys the learners need.
    labels: (n,) int32 into the classes, -1 for unlabelled; learners that need "y" get them, and `classes` as their number.
    report: called as work proceeds, with what is done and metrics.
    after: called with (stage number, fitted learner, its state) when a learner is done.
    kept: where passes are kept, and what a killed fit kept there (`mmfeat.resume`).
    """
    if chain.fit_rows is None and "y" in needs_of(chain):
        raise SettingsError(
            "fit_rows=None streams rows without labels", "a learner that needs y", "give fit_rows a number"
        )
    mesh = mesh or default_mesh()
    work = _Work(as_source(data), labels, classes, seed, mesh, report, after, kept)
    stages, states, forms, _ = work.fit(chain, (), (), None, False)
    return Fitted(Chain(*stages, fit_rows=chain.fit_rows), states, forms, tuple(work.log))


class _Work:
    """The parts of `fit_chain` that share its arguments. A sample is a dict: x, and whatever else the source's rows carry."""

    def __init__(
        self,
        source: Source,
        labels: Any,
        classes: int,
        seed: int,
        mesh: Mesh,
        report: Report | None,
        after: Callable[[int, Any, Any], None] | None,
        kept: Kept | None,
    ) -> None:
        self.source, self.labels, self.classes, self.seed, self.mesh = source, labels, classes, seed, mesh
        self.report = report or (lambda what, done, total, metrics: None)
        self.after = after or (lambda number, stage, state: None)
        self.log: list[Mapping[str, Any]] = []
        self.kept = kept

    def fit(
        self,
        chain: Chain,
        before: tuple[Any, ...],
        known: tuple[Any, ...],
        cache: Any,
        onward: bool,
        at: int | None = None,
    ) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...], Any]:
        """Fit a chain behind the stages `before`, whose states are `known`: its stages, states, forms, and `cache` at its end.

        cache: the sample the stages before gave; None: one is gathered from the source, and not handed on: branches that gather
        for themselves have other rows. onward: whether a learner comes after the chain, which wants the sample. at: the place
        of the stage that this chain is a branch of.
        """
        stages, states, forms = list(chain.stages), list[Any](), list[Any]()
        learns, own = [not is_fixed(stage) for stage in stages], False
        for number, stage in enumerate(stages):
            place = at if at is not None else len(before) + number
            later = onward or any(learns[number + 1 :])
            form = None
            here = (*before, *stages[:number]), (*known, *states)
            if isinstance(stage, Join):
                stages[number], state, form, cache = self._fit_join(stage, *here, cache, later, place)
            elif is_fixed(stage):
                state = ()
                keep = cache is not None and later and not getattr(stage, "locals", False)
                cache = self.advance(stage, (), cache) if keep else None
            else:
                if "y" in stage.needs and hasattr(stage, "classes") and self.classes:
                    stages[number] = stage = dataclasses.replace(stage, classes=self.classes)
                most = min(chain.fit_rows or 2**62, getattr(stage, "most_rows", None) or 2**62)
                if cache is None:
                    cache, own = self.gather(*here, most if most < 2**62 else None), True
                passes = PassLog(place, type(stage).__name__)
                state, form = self.train(stage, cache, passes)
                self.log += passes.rows
                cache = self.advance(stage, state, cache) if not stage.locals and later else None
            states.append(state)
            forms.append(form)
            if at is None and learns[number]:
                self.after(number, stages[number], state)
        return tuple(stages), tuple(states), tuple(forms), None if own else cache

    def _fit_join(
        self, join: Join, before: tuple[Any, ...], known: tuple[Any, ...], cache: Any, later: bool, place: int
    ) -> tuple[Join, tuple[Any, ...], tuple[Any, ...], Any]:
        """Fit the branches one after another; the joined sample, where all of them still have theirs."""
        branches, states, forms, caches = [], list[Any](), list[Any](), list[Any]()
        for branch in join.branches:
            stages, some, form, own = self.fit(branch, before, known, cache, later, place)
            branches.append(Chain(*stages, fit_rows=branch.fit_rows))
            states.append(some)
            forms.append(form)
            caches.append(own)
        new = Join(*branches, weights=join.weights)
        joined = None
        if cache is not None and all(isinstance(own, Mapping) for own in caches):
            keys = [key for key in ("x", "x2") if key in caches[0]]
            joined = {**caches[0], **{key: np.asarray(new.joined([own[key] for own in caches])) for key in keys}}
        return new, tuple(states), tuple(forms), joined

    def gather(self, stages: tuple[Any, ...], states: tuple[Any, ...], limit: int | None) -> Any:
        """The seeded sample on which the next learner trains: rows of the stages' output, as many as `limit` (`fit_rows`)."""
        if limit is None:
            return self._stream(stages, states)
        count = len(self.source)
        order = permutation(count, self.seed, 2**61)
        encoder = Encoder(stages, states, self.mesh)
        has_locals = self._gives_locals(encoder)
        if not stages and not has_locals:
            return self._read(np.sort(order[:limit]))
        items = min(count, max(limit // _LOCALS_PER_ITEM, 1)) if has_locals else min(count, limit)
        chosen = np.sort(order[:items])
        return self._collect(encoder, chosen, -(-limit // items) if has_locals else 1, limit)

    def _gives_locals(self, encoder: Encoder) -> bool:
        if not encoder.parts:
            return isinstance(self.source.read(np.arange(1))[0], Locals)
        for _, out, _ in encode_source(encoder, Subset(self.source, np.arange(1))):
            return isinstance(out, Locals)
        return False

    def _collect(self, encoder: Encoder, chosen: np.ndarray, per_item: int, limit: int) -> Any:
        values: Any
        parts = GatheredRows()
        owners: list[np.ndarray] = []
        done, has_locals = 0, False
        for rows, out, read in encode_source(encoder, Subset(self.source, chosen)):
            has_locals = isinstance(out, Locals)
            if has_locals:
                values, owner = _some_locals(out, chosen[rows], read, per_item, self.seed)
            else:
                values, owner = out[read], chosen[rows][read]
            parts.add(values)
            owners.append(owner)
            done += len(rows)
            self.report("reading", done, len(chosen), {})
        owner = np.concatenate(owners)
        if not len(owner):
            raise DataError(
                "learning needs items that can be read", f"none of {len(chosen)}", "see the reasons in the table"
            )
        order = np.argsort(owner, kind="stable")  # batches come by bucket: put the items' order back
        order = order[np.sort(permutation(len(order), self.seed, 2**60)[:limit])]
        sample = {"x": parts.take(order), **({} if has_locals else self._rest(owner[order], encoder))}
        return self._with_labels(sample, owner[order])

    def _rest(self, rows: np.ndarray, encoder: Encoder) -> dict[str, Any]:
        """What rows of a dict carry besides x: labels, and of pairs the second half, encoded like the first, and `same`."""
        if not (isinstance(self.source, ArraySource) and isinstance(self.source.x, Mapping)):
            return {}
        rest = take_rows({key: value for key, value in self.source.x.items() if key != "x"}, rows)
        return {key: _encode_all(encoder, value) if key == "x2" else np.asarray(value) for key, value in rest.items()}

    def _read(self, rows: np.ndarray) -> Any:
        x, weight = self.source.read(rows)
        if not weight.any():
            raise DataError(
                "learning needs items that can be read", f"none of {len(rows)}", "see the reasons in the table"
            )
        x = jax.tree.map(np.asarray, x)
        x = take_rows(x, weight > 0) if not weight.all() else x
        return self._with_labels(dict(x) if isinstance(x, Mapping) else {"x": x}, rows[weight > 0])

    def _with_labels(self, x: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
        return x if self.labels is None else {**x, "y": np.asarray(self.labels, np.int32)[rows]}

    def _stream(self, stages: tuple[Any, ...], states: tuple[Any, ...]) -> Source:
        return self.source if not stages else _Encoded(self.source, Encoder(stages, states, self.mesh), stages)

    def advance(self, stage: Any, state: Any, cache: Any) -> Any:
        """The sample one stage further on."""
        if not isinstance(cache, Mapping):
            return None  # streamed: the next learner reads the source again
        encoder = Encoder((stage,), (state,), self.mesh)
        found = {key: _encode_all(encoder, value) if key in ("x", "x2") else value for key, value in cache.items()}
        return found if found["x"] is not None else None

    def train(self, stage: Any, cache: Any, passes: PassLog) -> tuple[Any, Any]:
        """Train one learner on the sample: its state on the host, the form of what its `init` saw; `passes` gets its metrics."""
        name = type(stage).__name__
        source = as_source(cache["x"] if isinstance(cache, Mapping) and stage.needs == ("x",) else cache)
        batches = default_batches(stage, source, self.seed, self.mesh)
        total = max(batches.steps * stage.passes, 1)
        rows = sample(batches, stage.init_rows)
        run = start(stage, rows, self.mesh, self.seed)
        run = self.kept.next(run, passes) if self.kept else run

        def after(run: Any, metrics: Any) -> None:
            passes.add(metrics, run.step)
            if self.kept is not None and not metrics:
                self.kept.pass_done(run, passes, stage.passes)
            self.report(f"learning {name}", run.step, total, metrics)

        run = train(stage, run, batches, self.mesh, after, together=True)
        return fetched(stage, run), jax.tree.map(lambda leaf: (leaf.shape[1:], str(leaf.dtype)), _picked(stage, rows))


def _encode_all(encoder: Encoder, x: Any) -> np.ndarray | None:
    """The features of all rows of an array; None where they become Locals, which are sampled from the source instead."""
    rows = GatheredRows()
    for _, out, _ in encode_source(encoder, ArraySource(x)):
        if isinstance(out, Locals):
            return None
        rows.add(out)
    return rows.take(np.arange(rows.count))


def _picked(stage: Any, rows: Any) -> dict[str, Any]:
    return {name: rows[name] for name in stage.needs} if isinstance(rows, Mapping) else {"x": rows}


def _some_locals(
    out: Locals, items: np.ndarray, read: np.ndarray, per_item: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """At most `per_item` locals of each item, chosen by (seed, item) alone: values (r, d), and the item of each (r,)."""
    values, owners = [], []
    for place in np.flatnonzero(read):
        valid = np.flatnonzero(out.weight[place] > 0)
        random = np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, items[place]], np.uint64)))
        chosen = np.sort(random.permutation(len(valid))[:per_item])
        values.append(out.values[place][valid[chosen]])
        owners.append(np.full(len(chosen), items[place]))
    if not values:
        return out.values[:0, 0], np.zeros(0, np.int64)
    return np.concatenate(values), np.concatenate(owners)


@dataclasses.dataclass(frozen=True, eq=False)
class _Encoded:
    """A source seen through the first stages of a chain, encoded anew whenever it is read."""

    source: Source
    encoder: Encoder
    stages: tuple[Any, ...]

    @property
    def groups(self) -> np.ndarray:
        """One group: encoded rows share one shape."""
        return np.zeros(len(self.source), np.int32)

    def __len__(self) -> int:
        return len(self.source)

    def read(self, rows: np.ndarray) -> tuple[Any, np.ndarray]:
        """Features of these rows, and 0 for those that could not be read."""
        found: np.ndarray | None = None
        weight = np.zeros(len(rows), np.float32)
        most = 2 ** int(np.ceil(np.log2(len(rows))))  # small steps are not padded to thousands of rows
        for places, out, read in encode_source(self.encoder, Subset(self.source, rows), most=most):
            if isinstance(out, Locals):
                raise SettingsError(
                    "fit_rows=None streams vectors", "local descriptors", "give fit_rows a number: locals are sampled"
                )
            found = np.zeros((len(rows), *out.shape[1:]), np.float32) if found is None else found
            found[places], weight[places] = out, read
        return found, weight
