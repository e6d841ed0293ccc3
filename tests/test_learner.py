"""The loop: what a learner gets, when it ends a pass, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmfeat import learner as learner_module
from mmfeat.arrays import Images
from mmfeat.chain import Chain
from mmfeat.errors import DataError, MismatchError, NotFittedError, SettingsError, ShapeError
from mmfeat.learner import Learner, default_batches, finished, pick, rows_of, sample, start, train, transform, use_host
from mmfeat.learners import Autoencoder, Lsh
from mmfeat.mesh import make_mesh, on_host, state_shardings
from mmfeat.plan import plan_chain
from mmfeat.stream import ArraySource, Batches

X = np.arange(80, dtype=np.float32).reshape(40, 2)


class Sums(NamedTuple):
    """What was seen: x summed, weights summed, passes ended, and the first random number of the last step."""

    total: Any
    count: Any
    ends: Any
    last: Any


@dataclass(frozen=True)
class Tally(Learner):
    """Counts what it is given."""

    passes: int = 1
    batch: int = 16
    needs: ClassVar[tuple[str, ...]] = ("x",)

    def init(self, key: Any, x: Any) -> Sums:
        return Sums(jnp.zeros(2), jnp.float32(0), jnp.int32(0), jnp.float32(0))

    def step(self, key: Any, state: Sums, x: Any, weight: Any) -> Any:
        x = x["x"] if isinstance(x, dict) else x
        state = state._replace(total=state.total + weight @ x, count=state.count + weight.sum())
        return state._replace(last=jax.random.uniform(key)), {"weight": weight.sum()}

    def finish(self, key: Any, state: Sums) -> Sums:
        return state._replace(ends=state.ends + 1)

    def encode(self, state: Sums, x: Any) -> Any:
        return x


@dataclass(frozen=True)
class LabelTally(Tally):
    """Counts labelled rows."""

    needs: ClassVar[tuple[str, ...]] = ("x", "y")


@dataclass(frozen=True)
class WholeTally(Tally):
    """Wants all rows at once."""

    full_batch: ClassVar[bool] = True


@dataclass(frozen=True)
class HostTally(Tally):
    """Its NumPy path says that it ran."""

    def host_step(self, key: Any, state: Any, x: Any, weight: Any) -> Any:
        assert isinstance(x, np.ndarray)
        return state._replace(ends=state.ends + np.int32(100)), {}

    def host_encode(self, state: Any, x: Any) -> Any:
        return -x


class Buckets(NamedTuple):
    """A source of two groups, of 5 and of 3 rows; row 2 cannot be read."""

    x: Any = np.arange(16, dtype=np.float32).reshape(8, 2)

    def __len__(self) -> int:
        return 8

    @property
    def groups(self) -> np.ndarray:
        return np.array([0, 1, 0, 1, 0, 1, 0, 0])

    def read(self, rows: np.ndarray) -> Any:
        return self.x[rows], (rows != 2).astype(np.float32)


@pytest.mark.parametrize(("passes", "batch"), [(1, 16), (3, 7), (2, 1000)])
def test_every_pass_sees_every_row_once(passes: int, batch: int) -> None:
    learner = Tally(passes=passes, batch=batch)
    seen: list[tuple[int, int, dict[str, Any]]] = []
    batches = default_batches(learner, X)
    run = train(learner, start(learner, X), batches, after=lambda run, m: seen.append((run.step, run.passes, dict(m))))
    np.testing.assert_array_equal(run.state.total, X.sum(0) * passes)
    assert float(run.state.count) == 40 * passes
    assert (run.step, run.passes, int(run.state.ends)) == (batches.steps * passes, passes, passes)
    assert [each[:2] for each in seen if not each[2]] == [(batches.steps * n, n) for n in range(1, passes + 1)]
    assert len(seen) == (batches.steps + 1) * passes


def test_the_key_of_a_step_is_a_function_of_its_number() -> None:
    run = train(Tally(), start(Tally(), X, seed=5), default_batches(Tally(), X))
    wanted = jax.random.uniform(jax.random.fold_in(jax.random.key(5), 2))  # the third and last step
    assert float(run.state.last) == float(wanted)


def test_rows_without_a_label_or_that_cannot_be_read_weigh_nothing() -> None:
    y = np.where(np.arange(40) % 3 == 0, -1, 1).astype(np.int32)
    data = {"x": X, "y": y}
    run = train(LabelTally(), start(LabelTally(), data), default_batches(LabelTally(), data))
    assert float(run.state.count) == (y >= 0).sum()
    np.testing.assert_array_equal(run.state.total, X[y >= 0].sum(0))
    run = train(Tally(), start(Tally(), Buckets().x), default_batches(Tally(), Buckets()))
    np.testing.assert_array_equal(run.state.total, np.delete(Buckets().x, 2, axis=0).sum(0))


@pytest.mark.parametrize("source", [ArraySource(X), Buckets()])
def test_a_full_batch_of_several_groups_is_seen_whole_in_every_pass(source: Any) -> None:
    learner = WholeTally(passes=3)
    batches = default_batches(learner, source)
    assert batches.steps == len(np.unique(source.groups))
    run = train(learner, start(learner, X), batches)
    once = train(WholeTally(passes=1), start(learner, X), batches)
    assert float(run.state.count) == 3 * float(once.state.count)
    np.testing.assert_array_equal(run.state.total, 3 * once.state.total)


def test_a_run_is_not_continued_with_other_batches() -> None:
    learner = Tally(passes=5)
    run = train(Tally(passes=2), start(learner, X), default_batches(learner, X))
    with pytest.raises(MismatchError, match=r"6 steps in 2 passes .* got batches of 20 steps"):
        train(learner, run, Batches(ArraySource(X), 2, seed=0))
    with pytest.raises(MismatchError, match="batches of 1 steps"):
        train(learner, run, Batches(ArraySource(X), 40, seed=0))


def test_the_numpy_path_runs_on_one_cpu_device_unless_forbidden(
    one_device_mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = HostTally()
    monkeypatch.delenv("MMFEAT_HOST", raising=False)
    assert use_host(learner, "host_step", one_device_mesh)
    assert not use_host(Tally(), "host_step", one_device_mesh)
    assert not use_host(learner, "host_step", make_mesh(4))
    run = train(learner, start(learner, X, one_device_mesh), default_batches(learner, X), one_device_mesh)
    assert int(run.state.ends) == 301
    np.testing.assert_array_equal(transform(learner, run, X, one_device_mesh), -X)
    monkeypatch.setenv("MMFEAT_HOST", "0")
    assert not use_host(learner, "host_step", one_device_mesh)
    np.testing.assert_array_equal(transform(learner, run, X, one_device_mesh), X)


def test_transform_keeps_the_order_and_marks_what_cannot_be_read() -> None:
    run = train(Tally(), start(Tally(), X), default_batches(Tally(), X))
    np.testing.assert_array_equal(transform(Tally(), run, X, rows=8), X)
    out = transform(Tally(), run, Buckets())
    assert np.isnan(out[2]).all()
    np.testing.assert_array_equal(np.delete(out, 2, axis=0), np.delete(Buckets().x, 2, axis=0))


def test_encoding_before_a_finished_pass_is_refused() -> None:
    with pytest.raises(NotFittedError, match="Tally after 0 steps"):
        finished(Tally(), start(Tally(), X))
    assert finished(Tally(passes=0), start(Tally(), X)) is not None


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_has_rows(batch: int) -> None:
    """0 stood for all rows, without a word."""
    with pytest.raises(SettingsError, match="at least one row"):
        default_batches(Tally(batch=batch), X)


def test_pick_gives_what_is_needed_or_says_what_is_missing() -> None:
    y = np.zeros(40, np.int32)
    assert pick(Tally(), X) is X
    assert pick(Tally(), {"x": X, "y": y}) is X
    assert list(pick(LabelTally(), {"z": y, "y": y, "x": X})) == ["x", "y"]
    with pytest.raises(ShapeError, match="LabelTally needs x, y; got rows alone"):
        pick(LabelTally(), X)
    with pytest.raises(ShapeError, match=r"got \['x'\]. Pass a dict with y, or give labels"):
        pick(LabelTally(), {"x": X})


def test_a_sample_is_seeded_of_one_group_and_readable() -> None:
    batches = default_batches(Tally(), X, seed=3)
    one, two = sample(batches, 10), sample(batches, 10)
    np.testing.assert_array_equal(one, two)
    assert len({tuple(row) for row in one}) == 10
    assert not np.array_equal(one, sample(default_batches(Tally(), X, seed=4), 10))
    large = sample(default_batches(Tally(), Buckets()), 99)  # the larger group, without row 2
    np.testing.assert_array_equal(large, Buckets().x[[0, 4, 6, 7]])

    class Nothing(Buckets):
        def read(self, rows: np.ndarray) -> Any:
            return self.x[rows], np.zeros(len(rows), np.float32)

    with pytest.raises(DataError, match="rows that can be read"):
        sample(default_batches(Tally(), Nothing()), 4)


def test_a_warm_start_is_a_copy() -> None:
    state = Sums(np.ones(2, np.float32), np.float32(9), np.int32(1), np.float32(0))
    run = start(Tally(), X, state=state)
    state.total[:] = 7
    np.testing.assert_array_equal(run.state.total, [1, 1])
    after = train(Tally(), run, default_batches(Tally(), X))
    assert float(after.state.count) == 49
    assert float(run.state.count) == 9, "the run that was given is still there"


def test_init_sees_at_most_init_rows() -> None:
    @dataclass(frozen=True)
    class Few(Tally):
        init_rows: ClassVar[int] = 3

        def init(self, key: Any, x: Any) -> Sums:
            return super().init(key, x)._replace(count=jnp.float32(x.shape[0]))

    assert float(start(Few(), X).state.count) == 3


def test_rows_of_flattens() -> None:
    assert rows_of(np.zeros((3, 4, 5), np.uint8)).shape == (3, 20)
    assert rows_of(np.zeros((3, 4), np.float64)).dtype == jnp.float32


def test_pictures_are_no_rows() -> None:
    images = Images(np.zeros((3, 4, 4, 1), np.uint8), np.full((3, 2), 4, np.int32))
    with pytest.raises(ShapeError, match=r"takes rows; got Images. Put a descriptor"):
        start(Lsh(4), images)
    with pytest.raises(ShapeError, match="learns from rows; got pictures"):
        plan_chain(Chain(Lsh(4)), images)


def test_a_wide_state_is_born_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """No device ever holds a leaf whole that is split: neither a first state nor a warm start."""
    learner, mesh = Autoencoder(hidden=(64,), code=8), make_mesh(1, 4)
    compiled = learner_module._init.lower(learner, mesh, jax.random.key(0), np.ones((4, 128), np.float32)).compile()
    kernel = 128 * 64 * 4
    memory = compiled.memory_analysis()
    assert memory.output_size_in_bytes < 2 * kernel, "six leaves as large as the kernel, over four devices"
    run = start(learner, np.ones((4, 128), np.float32), mesh)
    wanted = jax.tree.leaves(state_shardings(run.state, mesh, learner.split))
    assert [leaf.sharding for leaf in jax.tree.leaves(run.state)] == wanted
    alone = start(learner, np.ones((4, 128), np.float32), make_mesh(1, devices=jax.devices()[:1]))
    for a, b in zip(jax.tree.leaves(run.state), jax.tree.leaves(alone.state), strict=True):
        np.testing.assert_array_equal(a, b)
    put = jax.device_put
    whole: list[Any] = []

    def watch(leaf: Any, where: Any) -> Any:
        whole.append(where)
        return put(leaf, where)

    monkeypatch.setattr(jax, "device_put", watch)
    warm = start(learner, np.ones((4, 128), np.float32), mesh, state=on_host(run.state))
    assert whole == wanted
    assert [leaf.sharding for leaf in jax.tree.leaves(warm.state)] == wanted


@dataclass(frozen=True)
class Walker(Learner):
    """A state in which every step leaves a trace of its key, its rows and the steps before it."""

    together: ClassVar[int] = 16
    passes: int = 3
    batch: int = 8

    def init(self, key: Any, x: Any) -> Any:
        return jnp.zeros(x.shape[1], jnp.float32)

    def step(self, key: Any, state: Any, x: Any, weight: Any) -> Any:
        state = jnp.cos(state * 1.7 + weight @ x) + jax.random.normal(key, state.shape, jnp.float32)
        return state, {"rows": weight.sum()}

    def encode(self, state: Any, x: Any) -> Any:
        return x * state[None, :]


@pytest.mark.parametrize("rows", [8, 100, 129, 300])
def test_small_batches_go_to_the_devices_together_and_end_the_same(rows: int) -> None:
    """One by one where every step is looked at, several in a program otherwise: the same bits, from any step on."""
    x = np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32)
    learner, batches = Walker(), default_batches(Walker(), x)
    kept: list[Any] = []
    alone = train(
        learner, start(learner, x), batches, after=lambda run, _: kept.append(run._replace(state=on_host(run.state)))
    )
    steps = -(-rows // batches.rows)
    assert alone.step == 3 * steps
    assert len(kept) == 3 * (steps + 1)
    np.testing.assert_array_equal(train(learner, start(learner, x), batches).state, alone.state)
    for run in kept[:: max(len(kept) // 5, 1)]:
        if run.passes < 3:
            np.testing.assert_array_equal(train(learner, run, batches).state, alone.state)
    told: list[tuple[int, float]] = []
    train(
        learner,
        start(learner, x),
        batches,
        after=lambda run, m: told.append((run.step, float(m["rows"]))) if m else None,
        together=True,
    )
    assert told[-1][0] == 3 * steps
    assert len(told) == 3 * -(-steps // 16)
    assert all(0 < mean <= batches.rows for _, mean in told)
