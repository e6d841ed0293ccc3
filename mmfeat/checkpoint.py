"""Training that survives a kill: Orbax checkpoints of a `Run`, complete or absent, restored on any number of devices.

    folder/17/state   the leaves of the learner's state by name (Orbax)
    folder/17/run     the steps and passes done, the run's key, the learner, and the name, shape and dtype of every leaf (JSON)

The number is steps + passes, which grows by one with every step and every finished pass. A finished model is not a
checkpoint: `mmfeat.model` writes it so that using it needs no Orbax.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmfeat.errors import DamagedError, MismatchError, SettingsError, UsageError
from mmfeat.learner import Metrics, Run, pick
from mmfeat.mesh import default_mesh, leaf_names, state_shardings
from mmfeat.settings import to_json

__all__ = ["Checkpointer", "latest", "restore", "save"]

FORM = 1  # of what is written; a later form reads this one or refuses it


def _orbax() -> Any:
    """Orbax, imported when first used, and quiet: its progress notes are not for mmfeat's users."""
    import orbax.checkpoint as ocp

    logging.getLogger("absl").setLevel(logging.ERROR)
    return ocp


def _manager(folder: str | os.PathLike[str], keep: int | None = None, write: bool = False) -> Any:
    ocp = _orbax()
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=write, cleanup_tmp_directories=write, read_only=not write
    )
    return ocp.CheckpointManager(Path(folder).resolve(), options=options)


def _leaves(state: Any) -> dict[str, Any]:
    """The leaves by name. Orbax cannot hold arrays without elements: these are made anew from their shape."""
    named = zip(leaf_names(state), jax.tree.leaves(state), strict=True)
    return {name or "state": leaf for name, leaf in named if leaf.size}


def _describe(state: Any) -> list[list[Any]]:
    named = zip(leaf_names(state), jax.tree.leaves(state), strict=True)
    return [[name, list(leaf.shape), str(leaf.dtype)] for name, leaf in named]


def _number(run: Run) -> int:
    return run.step + run.passes


def _check_order(manager: Any, run: Run) -> None:
    newest = manager.latest_step()
    if newest is not None and newest >= _number(run):
        raise UsageError(
            "a folder of checkpoints belongs to one run, which goes forward",
            f"number {_number(run)} after {newest} in {manager.directory}",
            "resume from it, or choose another folder",
        )


def _write(manager: Any, learner: Any, run: Run) -> None:
    """Hand a copy of the run to Orbax, which writes it in the background: the next step takes the state's memory."""
    _check_order(manager, run)
    ocp = _orbax()
    key = np.asarray(jax.random.key_data(run.key))
    note = {
        "form": FORM,
        "learner": to_json(learner),
        "step": run.step,
        "passes": run.passes,
        "key": {"kind": str(jax.random.key_impl(run.key)), "data": key.tolist()},
        "leaves": _describe(run.state),
    }
    copies = {name: jnp.array(leaf, copy=True) for name, leaf in _leaves(run.state).items()}
    items = {"run": ocp.args.JsonSave(note)} | ({"state": ocp.args.StandardSave(copies)} if copies else {})
    manager.save(_number(run), args=ocp.args.Composite(**items), force=True)


def save(folder: str | os.PathLike[str], learner: Any, run: Run, keep: int = 2) -> None:
    """Write a run and wait until it is complete on disk. The newest `keep` are kept; a kill leaves those that were there.

    Raises UsageError if the folder holds this number or a later one: nothing that exists is overwritten.
    """
    manager = _manager(folder, keep, write=True)
    try:
        _write(manager, learner, run)
    finally:
        manager.close()


def latest(folder: str | os.PathLike[str]) -> int | None:
    """The number (steps + passes) of the newest complete checkpoint, or None."""
    if not Path(folder).is_dir():
        return None
    manager = _manager(folder)
    try:
        return manager.latest_step()
    finally:
        manager.close()


def restore(folder: str | os.PathLike[str], learner: Any, x: Any, mesh: Mesh | None = None) -> Run:
    """The newest complete run, laid on this mesh whatever mesh it was saved from. Continued, it ends in the same bits.

    x: what `start` was given: rows, or `jax.ShapeDtypeStruct`s of them. Only shapes are looked at; nothing is computed.
    Raises UsageError where there is none, SettingsError if another learner wrote it, MismatchError naming a leaf of another
    shape, DamagedError where it cannot be read.
    """
    mesh = mesh or default_mesh()
    number = latest(folder)
    if number is None:
        raise UsageError("a run is resumed from a checkpoint", f"none in {folder}", "train without resuming first")
    form = _form(learner, x)
    manager = _manager(folder)
    try:
        return _read(manager, number, learner, form, mesh)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"checkpoint {number} in {folder} can be read",
            str(error)[:300],
            "delete its folder: the one before is used",
        ) from error
    finally:
        manager.close()


def _form(learner: Any, x: Any) -> Any:
    """The structure, shapes and dtypes of the learner's state for rows like x."""

    def head(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((min(leaf.shape[0], learner.init_rows), *leaf.shape[1:]), leaf.dtype)

    return jax.eval_shape(learner.init, jax.random.key(0), jax.tree.map(head, pick(learner, x)))


def _read(manager: Any, number: int, learner: Any, form: Any, mesh: Mesh) -> Run:
    ocp = _orbax()
    note = manager.restore(number, args=ocp.args.Composite(run=ocp.args.JsonRestore()))["run"]
    _check(note, learner, form)
    shardings = state_shardings(form, mesh, learner.split)
    targets = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), form, shardings
    )
    found: dict[str, Any] = {}
    if wanted := _leaves(targets):
        found = manager.restore(number, args=ocp.args.Composite(state=ocp.args.StandardRestore(wanted)))["state"]
    leaves = [
        found[name or "state"] if leaf.size else jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)
        for name, leaf in zip(leaf_names(targets), jax.tree.leaves(targets), strict=True)
    ]
    key = jax.random.wrap_key_data(jnp.array(note["key"]["data"], jnp.uint32), impl=note["key"]["kind"])
    return Run(note["step"], note["passes"], key, jax.tree.unflatten(jax.tree.structure(form), leaves))


def _check(note: Any, learner: Any, form: Any) -> None:
    if note["form"] != FORM:
        raise MismatchError(
            f"this mmfeat reads checkpoints of form {FORM}", f"form {note['form']}", "use the mmfeat that wrote it"
        )
    if note["learner"] != to_json(learner):
        raise SettingsError(
            f"this checkpoint is of {note['learner']}", f"{to_json(learner)}", "use those settings or another folder"
        )
    saved, here = (
        {name: (tuple(shape), kind) for name, shape, kind in each} for each in (note["leaves"], _describe(form))
    )
    for name in sorted(saved.keys() | here.keys()):
        if saved.get(name) != here.get(name):
            raise MismatchError(
                f"leaf {name!r} of the checkpoint is {saved.get(name, 'absent')}",
                f"{here.get(name, 'no such leaf')} from rows of this shape",
                "resume with the data it was trained on",
            )


class Checkpointer:
    """Saves a run while it trains: `train(..., after=checkpointer)`. A context manager; leaving it waits for the last write.

    steps: save after every so many steps of the run; None leaves it to the clock. Several processes need it: they have to
        save at the same step.
    seconds: save when so much time has passed since the last save; None leaves it to the steps.
    keep: how many are kept.

    Raises UsageError at its first call if the folder is ahead of the run: another run's, or one that should be resumed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        learner: Any,
        steps: int | None = None,
        seconds: float | None = 60.0,
        keep: int = 2,
    ) -> None:
        if jax.process_count() > 1:
            seconds = None
        if (steps is None and seconds is None) or (steps is not None and steps < 1):
            raise UsageError(
                "checkpoints are taken every so many steps or seconds (several processes: steps)",
                f"steps={steps}, seconds={seconds}",
                "give steps, one or more",
            )
        self.learner, self.steps, self.seconds = learner, steps, seconds
        self._manager = _manager(folder, keep, write=True)
        self._time, self._step = time.monotonic(), -1

    def __call__(self, run: Run, metrics: Metrics) -> None:
        """Save if it is time. Writing goes on in the background, one write at a time."""
        if self._step < 0:
            _check_order(self._manager, run)
            self._step = run.step - 1
        late = self.seconds is not None and time.monotonic() - self._time >= self.seconds
        due = self.steps is not None and run.step % self.steps == 0 and run.step > self._step
        if late or due:
            _write(self._manager, self.learner, run)
            self._time, self._step = time.monotonic(), run.step

    def close(self) -> None:
        """Wait until what was begun is on disk."""
        self._manager.close()

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
