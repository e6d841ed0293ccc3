"""Fits a chain stage by stage: each learner trains on a seeded sample of what the stages before it give.

Only that sample is kept, in memory or, when large, in a temporary file. Pictures are read once for the first learner, and once more
after every stage that joins locals into rows; local descriptors are never stored whole.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmfeat.arrays import Images, Locals, take_rows
from mmfeat.chain import Chain, Encoder, Pool, is_fixed
from mmfeat.errors import DataError, SettingsError
from mmfeat.learner import default_batches, finished, sample, start, train
from mmfeat.mesh import default_mesh, on_host
from mmfeat.stream import ArraySource, Batch, Batches, Source, Subset, as_source, permutation

__all__ = ["Fitted", "Report", "encode_sizes", "encode_source", "fit_chain"]

Report = Callable[[str, int, int, Mapping[str, Any]], None]  # (what, done, total, metrics)

_IN_MEMORY = 2**30  # bytes of a sample that stay in memory
_LOCALS_PER_ITEM = 8  # a large collection gives at least so many locals per sampled item


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """What fitting gives: the chain (classes filled in), a state per stage, and the shapes each learner's `init` saw."""

    chain: Chain
    states: tuple[Any, ...]
    forms: tuple[Any, ...]


def encode_sizes(source: Source, mesh: Mesh, small: bool = False) -> Mapping[int, int] | int:
    """The one padded shape per group at which everything is encoded: rows per batch.

    Vectors: 4,096 rows. Pictures: as many as make about a million pixels, between 8 and 256. `small` gives the second
    shape, for single queries. Each is rounded up to the devices along "data".
    """
    devices = mesh.shape["data"]
    if small:
        return devices
    shapes = getattr(source, "shapes", None)
    while shapes is None and isinstance(source, Subset):
        source = source.source
        shapes = getattr(source, "shapes", None)
    if shapes is None and isinstance(source, ArraySource) and isinstance(source.x, Images):
        shapes = [source.x.pixels.shape[1:3]]
    if shapes is None:
        return -(-4096 // devices) * devices
    sizes = {}
    for group, (height, width) in enumerate(shapes):
        rows = 2 ** int(np.log2(max(2**20 / (height * width), 1)))
        sizes[group] = -(-int(np.clip(rows, 8, 256)) // devices) * devices
    return sizes


def encode_source(
    encoder: Encoder, source: Source, small: bool = False
) -> Iterator[tuple[np.ndarray, Any, np.ndarray]]:
    """Yields (rows (r,), features of those rows, on the host, read (r,) bool) batch by batch; Locals stay Locals.

    A batch is fetched when the next one is already at work.
    """
    waiting: tuple[Batch, Any] | None = None
    for batch in Batches(source, encode_sizes(source, encoder.mesh, small)).read():
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
) -> Fitted:
    """Fit every learner of a chain.

    data: a source, or arrays: rows (n, d), `Images`, a dict with the keys the learners need.
    labels: (n,) int32 into the classes, -1 for unlabelled; learners that need "y" get them, and `classes` as their number.
    report: called as work proceeds, with what is done and metrics.
    after: called with (stage number, fitted learner, its state) when a learner is done.
    """
    mesh = mesh or default_mesh()
    source = as_source(data)
    work = _Work(chain, source, labels, seed, mesh, report)
    stages = list(chain.stages)
    states: list[Any] = []
    forms: list[Any] = []
    cache: Any = None
    last = max((i for i, stage in enumerate(stages) if not is_fixed(stage)), default=-1)
    for number, stage in enumerate(stages):
        if is_fixed(stage):
            keep = cache is not None and not isinstance(stage, Pool) and number < last
            cache = work.advance(stage, (), cache) if keep else None
            states.append(())
            forms.append(None)
            continue
        if "y" in stage.needs and hasattr(stage, "classes") and classes:
            stages[number] = stage = dataclasses.replace(stage, classes=classes)
        if cache is None:
            cache = work.gather(tuple(stages[:number]), tuple(states))
        state, form = work.train(stage, cache)
        states.append(state)
        forms.append(form)
        if after:
            after(number, stage, state)
        cache = work.advance(stage, state, cache) if not stage.locals and number < last else None
    return Fitted(Chain(*stages, fit_rows=chain.fit_rows), tuple(states), tuple(forms))


class _Work:
    """The parts of `fit_chain` that share its arguments. A sample is a dict: x, and whatever else the source's rows carry."""

    def __init__(self, chain: Chain, source: Source, labels: Any, seed: int, mesh: Mesh, report: Report | None) -> None:
        self.chain, self.source, self.labels, self.seed, self.mesh = chain, source, labels, seed, mesh
        self.report = report or (lambda what, done, total, metrics: None)
        self.folder: tempfile.TemporaryDirectory[str] | None = None

    def gather(self, stages: tuple[Any, ...], states: tuple[Any, ...]) -> Any:
        """The seeded sample on which the next learner trains: rows of the stages' output, as many as `fit_rows`."""
        limit = self.chain.fit_rows
        if limit is None:
            return self._stream(stages, states)
        count = len(self.source)
        order = permutation(count, self.seed, 2**61)
        if not stages:
            return self._read(np.sort(order[:limit]))
        encoder = Encoder(stages, states, self.mesh)
        has_locals = self._gives_locals(encoder)
        items = min(count, max(limit // _LOCALS_PER_ITEM, 1)) if has_locals else min(count, limit)
        chosen = np.sort(order[:items])
        return self._collect(encoder, chosen, -(-limit // items) if has_locals else 1, limit)

    def _gives_locals(self, encoder: Encoder) -> bool:
        for _, out, _ in encode_source(encoder, Subset(self.source, np.arange(1))):
            return isinstance(out, Locals)
        return False

    def _collect(self, encoder: Encoder, chosen: np.ndarray, per_item: int, limit: int) -> Any:
        parts: list[np.ndarray] = []
        owners: list[np.ndarray] = []
        done = 0
        for rows, out, read in encode_source(encoder, Subset(self.source, chosen)):
            if isinstance(out, Locals):
                values, owner = _some_locals(out, chosen[rows], read, per_item, self.seed)
            else:
                values, owner = out[read], chosen[rows][read]
            parts.append(values)
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
        return self._with_labels({"x": self._store(parts, order)}, owner[order])

    def _store(self, parts: list[np.ndarray], order: np.ndarray) -> np.ndarray:
        width = parts[0].shape[1:]
        size = len(order) * int(np.prod(width)) * 4
        if size <= _IN_MEMORY:
            return np.concatenate(parts)[order]
        self.folder = tempfile.TemporaryDirectory(prefix="mmfeat-")
        path = Path(self.folder.name) / "sample.npy"
        out = np.lib.format.open_memmap(path, "w+", np.float32, (len(order), *width))
        place = np.full(sum(map(len, parts)), -1)
        place[order] = np.arange(len(order))
        first = 0
        for part in parts:
            to = place[first : first + len(part)]
            out[to[to >= 0]] = part[to >= 0]
            first += len(part)
        return out

    def _read(self, rows: np.ndarray) -> Any:
        x, weight = self.source.read(rows)
        x = jax.tree.map(np.asarray, x)
        x = take_rows(x, weight > 0) if not weight.all() else x
        return self._with_labels(dict(x) if isinstance(x, Mapping) else {"x": x}, rows[weight > 0])

    def _with_labels(self, x: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
        return x if self.labels is None else {**x, "y": np.asarray(self.labels, np.int32)[rows]}

    def _stream(self, stages: tuple[Any, ...], states: tuple[Any, ...]) -> Source:
        if any("y" in stage.needs for stage in self.chain.stages if not is_fixed(stage)):
            raise SettingsError(
                "fit_rows=None streams rows without labels", "a learner that needs y", "give fit_rows a number"
            )
        return self.source if not stages else _Encoded(self.source, Encoder(stages, states, self.mesh), stages)

    def advance(self, stage: Any, state: Any, cache: Any) -> Any:
        """The sample one stage further on."""
        if not isinstance(cache, Mapping):
            return None  # streamed: the next learner reads the source again
        encoder = Encoder((stage,), (state,), self.mesh)
        parts = [out for _, out, _ in encode_source(encoder, ArraySource(cache["x"]))]
        rest = {key: value for key, value in cache.items() if key == "y"}
        return {"x": np.concatenate(parts), **rest}

    def train(self, stage: Any, cache: Any) -> tuple[Any, Any]:
        """Train one learner on the sample; its state on the host, and the form of what its `init` saw."""
        name = type(stage).__name__
        source = as_source(cache["x"] if isinstance(cache, Mapping) and stage.needs == ("x",) else cache)
        batches = default_batches(stage, source, self.seed, self.mesh)
        total = max(batches.steps * stage.passes, 1)
        rows = sample(batches, stage.init_rows)
        run = start(stage, rows, self.mesh, self.seed)

        def after(run: Any, metrics: Any) -> None:
            self.report(f"learning {name}", run.step, total, metrics)

        run = train(stage, run, batches, self.mesh, after)
        state = on_host(finished(stage, run))
        bad = [leaf for leaf in jax.tree.leaves(state) if not np.all(np.isfinite(leaf))]
        if bad:
            raise DataError(
                f"{name} must end in finite numbers",
                f"{len(bad)} arrays with NaN or infinity",
                "check the data for NaN, or lower the learning rate",
            )
        return state, jax.tree.map(lambda leaf: (leaf.shape[1:], str(leaf.dtype)), _picked(stage, rows))


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
        for places, out, read in encode_source(self.encoder, Subset(self.source, rows)):
            if isinstance(out, Locals):
                raise SettingsError(
                    "fit_rows=None streams vectors", "local descriptors", "give fit_rows a number: locals are sampled"
                )
            found = np.zeros((len(rows), *out.shape[1:]), np.float32) if found is None else found
            found[places], weight[places] = out, read
        return found, weight
