"""Checkpoints: what is read is what was written, on any mesh, whatever kills the writer."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmfeat
from mmfeat.checkpoint import Checkpointer, latest, restore, save
from mmfeat.errors import DamagedError, MismatchError, SettingsError, UsageError
from mmfeat.learner import Learner, Run, default_batches, start, train
from mmfeat.learners.lsh import Lsh
from mmfeat.mesh import make_mesh

X = np.random.default_rng(0).normal(size=(256, 6)).astype(np.float32)


class OddState(NamedTuple):
    """Leaves of every kind that a learner may keep."""

    half: Any
    flag: Any
    count: Any
    nothing: Any
    nested: Any


@dataclasses.dataclass(frozen=True)
class Odd(Learner):
    """A state with bfloat16, bool, a scalar, an array without elements and a dict."""

    def init(self, key: Any, x: Any) -> OddState:
        wide = jax.random.normal(key, (8, 4), jnp.bfloat16)
        return OddState(wide, jnp.array([True, False]), jnp.uint32(7), jnp.zeros((0, 3)), {"a.b": x.sum(0)})

    def step(self, key: Any, state: OddState, x: Any, weight: Any) -> Any:
        return state._replace(count=state.count + jnp.uint32(1)), {}

    def encode(self, state: OddState, x: Any) -> Any:
        return x


@dataclasses.dataclass(frozen=True)
class Stateless(Learner):
    """Nothing at all to keep."""

    def init(self, key: Any, x: Any) -> tuple[()]:
        return ()

    def step(self, key: Any, state: Any, x: Any, weight: Any) -> Any:
        return (), {}

    def encode(self, state: Any, x: Any) -> Any:
        return x


@dataclasses.dataclass(frozen=True)
class Passing(Lsh):
    """Lsh over several passes (of 8 steps, or of 64); the mean of every pass is summed in another order."""

    bits: int = 8
    batch: int = 32
    passes: int = 2


LONG = Passing(batch=4, passes=1000)


def assert_same(one: Run, two: Run) -> None:
    assert one[:2] == two[:2]
    assert jax.random.key_impl(one.key) == jax.random.key_impl(two.key)
    np.testing.assert_array_equal(jax.random.key_data(one.key), jax.random.key_data(two.key))
    assert (jax.tree.structure(one.state),) == (jax.tree.structure(two.state),)
    for a, b in zip(jax.tree.leaves(one.state), jax.tree.leaves(two.state), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("learner", [Lsh(bits=8), Odd(), Stateless()], ids=lambda learner: type(learner).__name__)
def test_a_run_comes_back_to_the_bit_on_other_devices(tmp_path: Path, learner: Any) -> None:
    run = start(learner, X, make_mesh(4), seed=3)._replace(step=5, passes=1)
    save(tmp_path / "c", learner, run)
    for mesh in (make_mesh(2), make_mesh(1), make_mesh(2, 2)):
        back = restore(tmp_path / "c", learner, X, mesh)
        assert_same(run, back)
        assert all(set(leaf.sharding.device_set) == set(mesh.devices.flat) for leaf in jax.tree.leaves(back.state))


def test_wide_leaves_are_laid_over_the_model_axis(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Wide(Lsh):
        split = {"planes": 1}  # noqa: RUF012

    learner = Wide(bits=8)
    run = start(learner, X, make_mesh(1))
    save(tmp_path, learner, run)
    back = restore(tmp_path, learner, jax.ShapeDtypeStruct(X.shape, X.dtype), make_mesh(2, 2))
    assert back.state.planes.sharding.spec == jax.sharding.PartitionSpec(None, "model")
    assert_same(run, back)


def test_the_newest_are_kept(tmp_path: Path) -> None:
    run = start(Lsh(), X)
    assert latest(tmp_path / "no such folder") is None
    assert latest(tmp_path) is None
    for step in (1, 4, 6):
        save(tmp_path, Lsh(), run._replace(step=step), keep=2)
    assert latest(tmp_path) == 6
    assert sorted(int(each.name) for each in tmp_path.iterdir()) == [4, 6]
    with pytest.raises(UsageError, match=r"goes forward; got number 6 after 6"):
        save(tmp_path, Lsh(), run._replace(step=6))


def test_the_wrong_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none in"):
        restore(tmp_path, Lsh(), X)
    save(tmp_path, Lsh(bits=8), start(Lsh(bits=8), X))
    with pytest.raises(SettingsError, match=r"'bits': 8.*got.*'bits': 16"):
        restore(tmp_path, Lsh(bits=16), X)
    with pytest.raises(MismatchError, match=r"leaf 'mean' of the checkpoint is \(\(6,\), 'float32'\); got \(\(5,\)"):
        restore(tmp_path, Lsh(bits=8), X[:, :5])
    note = next(tmp_path.glob("*/run/metadata"))
    note.write_text(json.dumps(json.loads(note.read_text()) | {"form": 99}))
    with pytest.raises(MismatchError, match="form 99"):
        restore(tmp_path, Lsh(bits=8), X)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    save(tmp_path, Lsh(), start(Lsh(), X))
    for file in tmp_path.glob("*/state/**/*"):
        if file.is_file() and "manifest" in file.name:
            file.write_bytes(b"x" * 10)
    with pytest.raises(DamagedError, match="checkpoint 0 in"):
        restore(tmp_path, Lsh(), X)


def test_a_checkpointer_saves_when_it_is_time(tmp_path: Path) -> None:
    learner = Passing()
    batches = default_batches(learner, X)
    with Checkpointer(tmp_path / "steps", learner, steps=3, seconds=None, keep=99) as after:
        done = train(learner, start(learner, X), batches, after=after)
    # steps 3, 6 | 9, 12, 15 of the second pass, whose numbers count the pass too
    assert sorted(int(each.name) for each in (tmp_path / "steps").iterdir()) == [3, 6, 10, 13, 16]
    again = train(learner, restore(tmp_path / "steps", learner, X), batches)
    assert_same(done, again)
    with Checkpointer(tmp_path / "seconds", learner, seconds=0.0, keep=99) as after:
        train(learner, start(learner, X), batches, after=after)
    assert len(list((tmp_path / "seconds").iterdir())) == 16 + 2
    with Checkpointer(tmp_path / "rare", learner, seconds=1e6) as after:
        train(learner, start(learner, X), batches, after=after)
    assert latest(tmp_path / "rare") is None


def test_a_checkpointer_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="steps=None, seconds=None"):
        Checkpointer(tmp_path, Lsh(), seconds=None)
    with pytest.raises(UsageError, match="steps=0"):
        Checkpointer(tmp_path, Lsh(), steps=0)
    save(tmp_path, Lsh(), start(Lsh(), X)._replace(step=9))
    with Checkpointer(tmp_path, Lsh(), steps=1000) as after, pytest.raises(UsageError, match="Resume from it"):
        after(start(Lsh(), X)._replace(step=1), {})


CHILD = """
import sys, time, jax
jax.config.update("jax_num_cpu_devices", 4)
from test_checkpoint import LONG, X
from mmfeat.checkpoint import Checkpointer
from mmfeat.learner import default_batches, start, train
after = Checkpointer(sys.argv[1], LONG, steps=1, seconds=None)
def slowly(run, metrics):
    after(run, metrics)
    print(run.step, flush=True)
    time.sleep(0.02)
train(LONG, start(LONG, X), default_batches(LONG, X), after=slowly)
"""


def test_killed_at_any_instant_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(mmfeat.__file__).parents[1])])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths}
    )
    assert child.stdout is not None
    try:
        for line in child.stdout:
            if int(line) >= 9:
                break
        time.sleep(0.013)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=30)
        child.stdout.close()
    killed = restore(tmp_path, LONG, X)
    assert killed.step >= 7  # one write is on its way while the next step runs
    batches = default_batches(LONG, X)

    def until(step: int, run: Run) -> Run:
        """As far as `step`: the learner is stopped there by an exception, as a person would."""
        kept: list[Run] = []

        def after(run: Run, metrics: Any) -> None:
            if run.step == step:
                kept.append(run._replace(state=jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), run.state)))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(LONG, run, batches, after=after)
        return kept[0]

    goal = killed.step + 13
    assert_same(until(goal, start(LONG, X)), until(goal, killed))
