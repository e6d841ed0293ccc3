"""Small settings, small data, and comparisons to the bit or nearly, for tests of any learner."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import jax
import numpy as np

from mmfeat import learner as training
from mmfeat.arrays import Locals, take_rows
from mmfeat.learner import Run, start, train
from mmfeat.mesh import default_mesh, make_mesh, on_host, put_batch, put_state
from mmfeat.stream import Batches, as_source

ROWS, WIDTH, BATCH, CLASSES = 160, 16, 32, 3
SMALL = {"atoms": 6, "batch": BATCH, "bits": 6, "clusters": 5, "code": 6, "dims": 6, "features": 6, "hidden": 8}
SMALL |= {"components": 5, "passes": 2, "size": 6, "units": 6}


def shrink(settings: Any) -> Any:
    """Small settings for a quick test: those the class names in `small`, or the fields that usually are large."""
    values = dict(getattr(settings, "small", {}))
    for field in dataclasses.fields(settings):
        old = getattr(settings, field.name)
        if field.name in values or not field.init:
            continue
        if dataclasses.is_dataclass(old):
            values[field.name] = shrink(old)
        elif field.name in SMALL and old is not None:
            limit = SMALL[field.name]
            values[field.name] = tuple(min(each, limit) for each in old) if isinstance(old, tuple) else min(old, limit)
    return dataclasses.replace(settings, **values)


@cache
def rows() -> np.ndarray:
    """(ROWS, WIDTH) float32 about 0.05, within about 2: noisy clusters along axes of falling variance."""
    draw = np.random.default_rng(7)
    centres = draw.uniform(-0.5, 0.5, (CLASSES, WIDTH))
    x = centres[np.arange(ROWS) % CLASSES] + draw.normal(size=(ROWS, WIDTH)) * np.geomspace(0.4, 0.04, WIDTH)
    return (x - x.mean(axis=0) + 0.05).astype(np.float32)


def example(learner: Any) -> Any:
    """What `learner` trains on: rows, or a dict of the parts it needs. Rows in [0, 1] where its class says `unit = True`."""
    x = rows() if not getattr(learner, "unit", False) else 1 / (1 + np.exp(-4 * rows()))
    parts = {
        "x": x,
        "y": (np.arange(ROWS) % CLASSES).astype(np.int32),
        "x2": np.roll(x, CLASSES, axis=0),
        "same": (np.arange(ROWS) % 2).astype(np.int32),
    }
    return x if learner.needs == ("x",) else {name: parts[name] for name in learner.needs}


def items(learner: Any) -> Any:
    """What `learner` encodes: rows, or `Locals` of 8 places an item, a few of them padding."""
    if not learner.locals:
        return rows()
    values = rows().reshape(-1, 8, WIDTH)
    draw = np.random.default_rng(8)
    weight = np.ones(values.shape[:2], np.float32)
    weight[::3, 6:] = 0
    return Locals(values, draw.uniform(size=(*weight.shape, 2)).astype(np.float32), weight)


def batches(learner: Any, data: Any = None) -> Batches:
    """Five batches a pass, or one for a learner that wants all rows at once."""
    data = example(learner) if data is None else data
    return Batches(as_source(data), ROWS if learner.full_batch else BATCH, seed=1)


def learned(learner: Any, seed: int = 0) -> Run:
    """The learner after all its passes."""
    return train(learner, begun(learner, seed), batches(learner))


@cache
def fitted(learner: Any) -> Run:
    """`learned`, once for all laws."""
    return learned(learner)


def begun(learner: Any, seed: int = 0, mesh: Any = None) -> Run:
    """The learner before its first step."""
    return start(learner, example(learner), mesh, seed)


def one_device() -> Any:
    """A mesh of a single device."""
    return make_mesh(1, devices=jax.devices()[:1])


def step(learner: Any, run: Run, x: Any, weight: np.ndarray, mesh: Any = None) -> tuple[Run, Any]:
    """One step as `train` takes it, on a copy of the state."""
    mesh = mesh or default_mesh()
    state = put_state(run.state, mesh, learner.split)
    x, weight = put_batch(x, mesh), put_batch(weight, mesh)
    state, metrics = training._step(learner, mesh, run.key, state, np.uint32(run.step), x, weight)
    return run._replace(step=run.step + 1, state=state), metrics


def one_batch(learner: Any) -> Any:
    """The rows of one step."""
    data = example(learner)
    return data if learner.full_batch else take_rows(data, np.arange(BATCH))


def leaves(tree: Any) -> list[np.ndarray]:
    """The leaves on the host; random keys as their numbers."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(on_host(tree))]


def assert_bits(one: Any, two: Any, what: str) -> None:
    """Equal to the bit (but +0 = -0)."""
    for a, b in zip(leaves(one), leaves(two), strict=True):
        assert a.dtype == b.dtype, f"{what}: {a.dtype} and {b.dtype}"
        np.testing.assert_array_equal(a, b, err_msg=what)


def assert_near(one: Any, two: Any, what: str, tolerance: float = 1e-5) -> None:
    """Equal within a tolerance relative to the scale of each leaf; whole numbers exactly."""
    for a, b in zip(leaves(one), leaves(two), strict=True):
        if a.dtype.kind not in "fc" and a.dtype.name != "bfloat16":
            np.testing.assert_array_equal(a, b, err_msg=what)
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        assert np.isfinite(a).all(), f"{what}: not finite"
        scale = max(1.0, float(np.abs(a).max(initial=0)))
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * scale, err_msg=what)


def form(state: Any) -> list[Any]:
    """What must not change from step to step."""
    found = []
    for leaf in jax.tree.leaves(state):
        found.append((leaf.shape, str(leaf.dtype), leaf.weak_type, leaf.sharding))
    return [jax.tree.structure(state), *found]
