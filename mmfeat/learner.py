"""The one interface of all learners, and the loop that trains any of them.

A learner is a formula with settings: a frozen dataclass without arrays (so it can be a static argument of `jit`), and four
pure functions over a state, a NamedTuple of arrays defined beside it:

    init(key, x)                  x: a seeded sample of at most `init_rows` rows; its shapes and its data may be used
    step(key, state, x, weight)   one batch -> (state, metrics); rows of padding weigh 0 and change nothing
    finish(key, state)            the end of a pass: PCA's eigenvectors, Lloyd's means
    encode(state, x)              rows -> features; meaningful after the first `finish`

A `Run` is all that an exact resume needs. The key of step n is `fold_in(key, n)`: any step can be repeated anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmfeat.arrays import Images, Locals, count_rows
from mmfeat.errors import DataError, MismatchError, NotFittedError, SettingsError, ShapeError
from mmfeat.host import one_blas_thread
from mmfeat.mesh import default_mesh, on_host, own_mesh, put_batch, put_state, state_shardings, strong
from mmfeat.stream import Batches, as_source, permutation

__all__ = [
    "Learner",
    "Metrics",
    "Run",
    "default_batches",
    "fetched",
    "finished",
    "pick",
    "start",
    "train",
    "transform",
    "use_host",
]

Array = Any
State = Any
Metrics = Mapping[str, Array]
After = Callable[["Run", Metrics], None]

_LARGE = 2**26  # bytes of a batch of which only one is at work at a time
_ROWS_A_DISPATCH = 1024  # what several steps in one program take together at the most
_INIT, _FINISH = 2**32 - 1, 2**32 - 2  # folds of the key that no step uses


class Learner(Protocol):
    """What every learner is: a frozen dataclass that names this class as its base and gives the four functions.

    passes:     how often training goes over the data; 0: nothing is learned from data. A field where it is a setting.
    batch:      rows per step; a field where it is a setting.
    needs:      the parts of x that `step` and `init` get: ("x",) an array, otherwise a dict with these keys.
    full_batch: every step gets the same seeded sample of at most the chain's `fit_rows` rows.
    shuffle:    rows come in another order in every pass; off where only sums over a pass count (means, covariances, Lloyd).
    locals:     `encode` takes whole `Locals` (values, where, weight) and gives one row per item; it trains on their rows.
    hash:       `encode` gives one float per bit; bit = value > 0.
    init_rows:  how many rows `init` sees at the most.
    split:      patterns of state leaf names -> the axis that may be laid over the mesh axis "model".
    together:   so many steps of small batches go to the devices in one program, where handing them over costs much of a step.
                For steps of products alone: convolutions within a loop are several times slower on the CPU.
    scratch:    patterns of state leaf names that only training needs (sums, moments): a saved model leaves them out, as zeros.

    Optional: `most_rows`, a setting: where a chain gathers rows for this learner, it gathers at most so many.

    `host_step(key, state, x, weight)` and `host_encode(state, x)`, the same functions on NumPy arrays, used outside
    `jit` where the backend is the CPU and there is one device; and `affine(state) -> (mean (d,), matrix (d, k))` of a learner
    whose encode is (x - mean) @ matrix, which lets a chain fold neighbours into one product.

    For looking (`mmfeat show`): `filters(state)`, rows (k, d) whose products with x it computes, or pictures (k, h, w, c);
    `prototypes(state)`, rows (k, d) like x; `atoms(state)`, rows (k, d) that x is a sum of; `decode(state, codes)`;
    `reconstruct(state, x)`; `generate(key, state, count)`. What it makes of them: `mmfeat/visualise/looking.py`.
    """

    passes: int = 1
    batch: int = 4096
    needs: ClassVar[tuple[str, ...]] = ("x",)
    full_batch: ClassVar[bool] = False
    shuffle: ClassVar[bool] = True
    locals: ClassVar[bool] = False
    hash: ClassVar[bool] = False
    init_rows: ClassVar[int] = 4096
    split: ClassVar[Mapping[str, int]] = {}
    together: ClassVar[int] = 1
    scratch: ClassVar[tuple[str, ...]] = ()

    def init(self, key: Array, x: Any) -> State:
        """The first state, from a seeded sample of rows."""
        ...

    def step(self, key: Array, state: State, x: Any, weight: Array) -> tuple[State, Metrics]:
        """One batch: the new state, and numbers to look at. Rows of weight 0 change nothing."""
        ...

    def finish(self, key: Array, state: State) -> State:
        """The end of a pass. Nothing happens unless the learner says so."""
        return state

    def encode(self, state: State, x: Any) -> Array:
        """Features (n, k) float32 of rows (or of whole `Locals`)."""
        ...


class Run(NamedTuple):
    """A training run between two steps: the steps and passes done, the run's key, and the learner's state."""

    step: int
    passes: int
    key: Array
    state: State


def pick(learner: Any, x: Any) -> Any:
    """The parts of x that the learner needs: an array for ("x",), otherwise a dict of exactly its keys."""
    if learner.needs == ("x",):
        return x["x"] if isinstance(x, Mapping) else x
    missing = [name for name in learner.needs if not isinstance(x, Mapping) or name not in x]
    if missing:
        have = sorted(x) if isinstance(x, Mapping) else "rows alone"
        raise ShapeError(
            f"{type(learner).__name__} needs {', '.join(learner.needs)}",
            f"{have}",
            f"pass a dict with {', '.join(missing)}" + (", or give labels" if "y" in missing else ""),
        )
    return {name: x[name] for name in learner.needs}


def use_host(learner: Any, function: str, mesh: Mesh | None = None) -> bool:
    """Whether the learner's NumPy path (`host_encode` or `host_step`) runs: on one CPU device, unless MMFEAT_HOST=0."""
    if not hasattr(learner, function) or os.environ.get("MMFEAT_HOST") == "0":
        return False
    return jax.default_backend() == "cpu" and (mesh or default_mesh()).devices.size == 1 and jax.process_count() == 1


def default_batches(learner: Any, data: Any, seed: int = 0, mesh: Mesh | None = None) -> Batches:
    """The batches a learner trains on: of its own size, a multiple of the devices along "data", shuffled if it wants that."""
    mesh = mesh or default_mesh()
    source = as_source(data)
    if learner.batch < 1:
        raise SettingsError("a batch has at least one row", f"batch={learner.batch}", "give a positive number")
    share = (jax.process_index(), jax.process_count())
    devices = mesh.shape["data"]
    rows = len(source) if learner.full_batch else min(learner.batch, len(source))
    shuffle = learner.shuffle and not learner.full_batch
    return Batches(source, -(-rows // devices) * devices, seed=seed, share=share, shuffle=shuffle)


def sample(batches: Batches, rows: int) -> Any:
    """A seeded sample of at most `rows` readable rows of one group, as NumPy arrays."""
    source = batches.source
    groups = np.asarray(source.groups)
    order = permutation(len(source), batches.seed or 0, 2**62)
    largest = np.bincount(groups - groups.min()).argmax() + groups.min()
    x, weight = source.read(np.sort(order[groups[order] == largest][:rows]))
    if not weight.any():
        raise DataError(
            "a learner starts from rows that can be read", "none in the sample", "see the reasons in the table"
        )
    return jax.tree.map(lambda leaf: np.asarray(leaf)[weight > 0], x)


@partial(jax.jit, static_argnums=(0, 1))
def _init(learner: Any, mesh: Mesh, key: Array, x: Any) -> State:
    """The first state, born where it will lie: a wide one never is whole on one device."""
    state = strong(learner.init(jax.random.fold_in(key, _INIT), x))
    return jax.lax.with_sharding_constraint(state, state_shardings(state, mesh, learner.split))


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _step(learner: Any, mesh: Mesh, key: Array, state: State, n: Array, x: Any, weight: Array) -> tuple[State, Metrics]:
    state, metrics = learner.step(jax.random.fold_in(key, n), state, x, weight)
    state = strong(state)
    return jax.lax.with_sharding_constraint(state, state_shardings(state, mesh, learner.split)), metrics


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _steps(
    learner: Any, mesh: Mesh, key: Array, state: State, n: Array, count: Array, x: Any, weight: Array
) -> tuple[State, Metrics]:
    """The first `count` of k steps in one program, x (k, batch, ...) and weight (k, batch); metrics are their means.

    A loop whose length is not compiled in: any number of steps up to k runs the same instructions, hence gives the same bits.
    """

    def once(i: Array, carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
        rows, w = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False), (x, weight))
        new, metrics = learner.step(jax.random.fold_in(key, n + i.astype(jnp.uint32)), carry[0], rows, w)
        new, total = strong(new), {name: carry[1][name] + jnp.float32(value) for name, value in metrics.items()}
        return jax.lax.with_sharding_constraint(new, state_shardings(new, mesh, learner.split)), total

    first = jax.tree.map(lambda leaf: leaf[0], (x, weight))
    names = jax.eval_shape(lambda: learner.step(key, state, *first))[1]
    state, total = jax.lax.fori_loop(0, count, once, (state, dict.fromkeys(names, jnp.float32(0))))
    return state, {name: value / count.astype(jnp.float32) for name, value in total.items()}


@partial(jax.jit, static_argnums=(0, 1))
def _finish(learner: Any, mesh: Mesh, key: Array, state: State, passes: Array) -> State:
    key = jax.random.fold_in(jax.random.fold_in(key, _FINISH), passes)
    state = strong(learner.finish(key, state))
    return jax.lax.with_sharding_constraint(state, state_shardings(state, mesh, learner.split))


def start(learner: Any, x: Any, mesh: Mesh | None = None, seed: int = 0, state: State | None = None) -> Run:
    """A run that has done nothing yet.

    x: what `init` sees, at most `init_rows` rows of it (an array or a dict of arrays, as the learner needs).
    state: a state to start from instead (a warm start); it is copied.
    """
    mesh = mesh or default_mesh()
    key = jax.random.key(seed)
    if state is None:
        rows = jax.tree.map(lambda leaf: np.asarray(leaf[: learner.init_rows]), pick(learner, x))
        count_rows(rows)
        return Run(0, 0, key, _init(learner, mesh, key, rows))
    return Run(0, 0, key, put_state(state, mesh, learner.split))


def train(
    learner: Any,
    run: Run,
    batches: Batches,
    mesh: Mesh | None = None,
    after: After | None = None,
    together: bool = False,
) -> Run:
    """Continue a run until the learner's last pass is done. A run continued anywhere ends in the same bits.

    after(run, metrics) is called after every step, and once more with empty metrics after `finish` ended a pass. The state it
    sees is given up to the next step: copy what you keep (`mesh.on_host`).
    together: `after` is content to be called once for several small batches, with the means of their metrics.
    """
    mesh = mesh or default_mesh()
    host = use_host(learner, "host_step", mesh)
    run = run._replace(state=put_state(run.state, mesh, learner.split))
    whole: list[tuple[Any, Array]] = []
    steps = batches.steps
    while run.passes < learner.passes:
        done = run.step - run.passes * steps
        if not 0 <= done <= steps:
            raise MismatchError(
                f"a run of {run.step} steps in {run.passes} passes continues with the batches it began with",
                f"batches of {steps} steps a pass",
                "use the same data and batch size",
            )
        k = max(1, min(learner.together, _ROWS_A_DISPATCH // batches.rows))
        if host or learner.full_batch or (after and not together):
            k = 1
        feed = _feed(learner, batches, run.passes, done, mesh, host or k > 1, whole)
        for x, weight, count in _side_by_side(feed, k, mesh):
            if host:
                key = jax.random.fold_in(run.key, run.step)
                state, metrics = learner.host_step(key, on_host(run.state), x, weight)
            elif k > 1:
                state, metrics = _steps(
                    learner, mesh, run.key, run.state, np.uint32(run.step), np.int32(count), x, weight
                )
            else:
                state, metrics = _step(learner, mesh, run.key, run.state, np.uint32(run.step), x, weight)
            run = run._replace(step=run.step + count, state=state)
            # several processes hang when many steps are dispatched without waiting, and large batches fill the memory
            if not host and (k > 1 or run.step % 8 == 0 or _is_large(x)):
                jax.block_until_ready(state)
            if after:
                after(run, metrics)
        state = put_state(run.state, mesh, learner.split) if host else run.state
        with one_blas_thread():
            state = jax.block_until_ready(_finish(learner, mesh, run.key, state, np.uint32(run.passes)))
        run = run._replace(passes=run.passes + 1, state=state)
        if after:
            after(run, {})
    return run


def _is_large(x: Any) -> bool:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(x)) > _LARGE


def _feed(
    learner: Any, batches: Batches, epoch: int, first: int, mesh: Mesh, host: bool, whole: list[tuple[Any, Array]]
) -> Iterator[tuple[Any, Array]]:
    """The batches of a pass as the learner needs them, on the devices. A full batch is laid there once and kept in `whole`."""
    if whole:
        yield from whole[first:]
        return
    for batch in batches.read(0 if learner.full_batch else epoch, first):
        x, weight = pick(learner, batch.x), batch.weight
        if "y" in learner.needs:
            weight = weight * (np.asarray(x["y"]) >= 0)  # unlabelled rows never train
        ready = (x, weight) if host else (put_batch(x, mesh), put_batch(weight, mesh))
        if learner.full_batch and first == 0:
            whole.append(ready)
        yield ready


def _side_by_side(feed: Iterator[tuple[Any, Array]], k: int, mesh: Mesh) -> Iterator[tuple[Any, Array, int]]:
    """Batches by k for one dispatch, (k, batch, ...), with how many there are; the last one fills what is left."""
    if k == 1:
        for x, weight in feed:
            yield x, weight, 1
        return
    while group := list(islice(feed, k)):
        whole = group + group[-1:] * (k - len(group))
        x, weight = jax.tree.map(lambda *leaves: np.stack(leaves), *whole)
        yield *put_batch((x, weight), mesh, axis=1), len(group)


def finished(learner: Any, run: Run) -> State:
    """The state of a run that may encode: one that has finished at least one pass."""
    if run.passes < min(learner.passes, 1):
        raise NotFittedError(
            "a learner encodes after its first finished pass",
            f"{type(learner).__name__} after {run.step} steps",
            "train it first",
        )
    return run.state


def fetched(learner: Any, run: Run) -> State:
    """The state of a finished run as NumPy arrays, all of its numbers finite: DataError where training went astray."""
    state = on_host(finished(learner, run))
    bad = [leaf for leaf in jax.tree.leaves(state) if not np.all(np.isfinite(leaf))]
    if bad:
        raise DataError(
            f"{type(learner).__name__} must end in finite numbers",
            f"{len(bad)} arrays with NaN or infinity",
            "check the data for NaN, or lower the learning rate",
        )
    return state


@partial(jax.jit, static_argnums=0)
def _encode(learner: Any, state: State, x: Any) -> Array:
    return learner.encode(state, x)


def transform(learner: Any, run: Run, data: Any, mesh: Mesh | None = None, rows: int = 256) -> np.ndarray:
    """Features (n, k) float32 of all rows in their order, computed at one padded shape of `rows` rows.

    A row's features are the same to the bit whatever its company. Rows that cannot be read give NaN. Of several processes
    each encodes all rows by itself.
    """
    mesh = own_mesh(mesh or default_mesh())
    state = finished(learner, run)
    source = as_source(data)
    host = use_host(learner, "host_encode", mesh)
    state = on_host(state) if host or jax.process_count() > 1 else state
    out: np.ndarray | None = None
    for batch in Batches(source, -(-rows // mesh.shape["data"]) * mesh.shape["data"]).read():
        x = batch.x["x"] if isinstance(batch.x, Mapping) else batch.x
        codes = np.asarray(learner.host_encode(state, x) if host else _encode(learner, state, put_batch(x, mesh)))
        if out is None:
            out = np.full((len(source), *codes.shape[1:]), np.nan, np.float32)
        read = batch.weight[: len(batch.rows)] > 0
        out[batch.rows[read]] = codes[: len(batch.rows)][read]
    return out if out is not None else np.zeros((0, 0), np.float32)


def rows_of(x: Any) -> jax.Array:
    """Rows as a float32 matrix (n, d): whatever shape the items have is flattened. For learners of plain vectors."""
    if isinstance(x, Images | Locals):
        raise ShapeError(
            "a learner of vectors takes rows",
            type(x).__name__,
            "put a descriptor such as Pixels() before it, or Pool()",
        )
    x = jnp.asarray(x, jnp.float32)
    return x.reshape(x.shape[0], -1)
