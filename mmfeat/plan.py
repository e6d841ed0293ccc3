"""What fitting a chain would take, from the compiled programs, before anything runs: bytes, operations, steps, time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmfeat.arrays import Images, Locals
from mmfeat.chain import Chain, Join, apply_stage, is_fixed
from mmfeat.errors import ShapeError
from mmfeat.learner import _step, use_host
from mmfeat.mesh import default_mesh, state_shardings
from mmfeat.stages import encode_sizes
from mmfeat.stream import Source, as_source

__all__ = ["StagePlan", "describe_plan", "matmul_rate", "plan_chain"]


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """One stage's training.

    state, batch, scratch: bytes on each device: the state, one batch, and what the step needs besides (XLA's own count).
    operations: floating-point operations of one step on each device, as XLA counts them (what it cannot see counts 0).
    """

    name: str
    rows: int
    steps: int
    state: int
    batch: int
    scratch: int
    operations: float
    seconds: float

    @property
    def bytes_per_device(self) -> int:
        """All of it together."""
        return self.state + self.batch + self.scratch


def matmul_rate(size: int = 1024, repeats: int = 5) -> float:
    """Operations per second of a float32 matrix product on one device, measured now."""
    x = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    product(x).block_until_ready()
    best = np.inf
    for _ in range(repeats):
        began = time.perf_counter()
        product(x).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def plan_chain(chain: Chain, data: Any, classes: int = 0, mesh: Mesh | None = None) -> list[StagePlan]:
    """Plan the training of every learner of a chain on this source: shapes are followed through the stages, nothing is encoded."""
    mesh = mesh or default_mesh()
    source = as_source(data)
    rate = matmul_rate()
    flow = _first_shape(source, mesh)
    return _plan_stages(chain, flow, len(source), classes, mesh, rate)[0]


def _plan_stages(
    chain: Chain, flow: Any, items: int, classes: int, mesh: Mesh, rate: float
) -> tuple[list[StagePlan], Any]:
    """The plans of a chain's learners, and the shapes of what it gives."""
    plans: list[StagePlan] = []
    for stage in chain.stages:
        if is_fixed(stage):
            flow = jax.eval_shape(stage, flow)
            continue
        if isinstance(stage, Join):
            outs = []
            for branch in stage.branches:
                some, out = _plan_stages(branch, flow, items, classes, mesh, rate)
                plans += some
                outs.append(out)
            flow = jax.eval_shape(stage.joined, outs)
            continue
        if "y" in stage.needs and hasattr(stage, "classes") and classes:
            stage = dataclasses.replace(stage, classes=classes)
        if isinstance(flow, Images):
            raise ShapeError(
                f"{type(stage).__name__} learns from rows", "pictures", "put a descriptor such as Pixels() before it"
            )
        per_item = flow.values.shape[1] if isinstance(flow, Locals) else 1
        rows = min(items * per_item, chain.fit_rows or items * per_item)
        state, plan = _plan_stage(stage, flow, rows, mesh, rate)
        plans.append(plan)
        flow = jax.eval_shape(lambda state, x, stage=stage: apply_stage(stage, state, x), state, flow)
    return plans, flow


def _first_shape(source: Source, mesh: Mesh) -> Any:
    """The shapes of the first batch that would be encoded, read from one row."""
    x, _ = source.read(np.arange(1))
    size = encode_sizes(source, mesh)
    rows = max(size.values()) if not isinstance(size, int) else size
    x = x["x"] if isinstance(x, dict) else x
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype), x)
    return Images(*shapes) if isinstance(x, Images) else shapes


def _plan_stage(stage: Any, flow: Any, rows: int, mesh: Mesh, rate: float) -> tuple[Any, StagePlan]:
    row = flow.values.shape[2:] if isinstance(flow, Locals) else flow.shape[1:]
    devices = mesh.shape["data"]
    size = rows if stage.full_batch else min(stage.batch, rows)
    size = -(-size // devices) * devices
    x: Any = jax.ShapeDtypeStruct((min(stage.init_rows, rows), *row), jnp.float32)
    batch: Any = jax.ShapeDtypeStruct((size, *row), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("data")))
    if stage.needs != ("x",):
        extra = {name: _like(name, x) for name in stage.needs}
        x, batch = extra, {name: _like(name, batch) for name in stage.needs}
    state = jax.eval_shape(stage.init, jax.random.key(0), x)
    shardings = state_shardings(state, mesh, stage.split)
    laid = jax.tree.map(lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), state, shardings)
    weight = jax.ShapeDtypeStruct((size,), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("data")))
    compiled = _step.lower(stage, mesh, jax.random.key(0), laid, np.uint32(0), batch, weight).compile()
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    operations = float(cost.get("flops", 0.0)) if isinstance(cost, dict) else 0.0
    moved = float(cost.get("bytes accessed", 0.0)) if isinstance(cost, dict) else 0.0
    steps = max(-(-rows // size) * stage.passes, 1 if stage.passes else 0)
    seconds = steps * max(operations / rate, moved / (rate / 16))  # a device moves about a byte per sixteen operations
    plan = StagePlan(
        type(stage).__name__ + (" (NumPy path)" if use_host(stage, "host_step", mesh) else ""),
        rows, steps, _bytes(laid), _bytes(batch), int(getattr(memory, "temp_size_in_bytes", 0)), operations, seconds,
    )  # fmt: skip
    return state, plan


def _like(name: str, x: Any) -> Any:
    if name in ("y", "same"):
        return jax.ShapeDtypeStruct(x.shape[:1], jnp.int32, sharding=x.sharding)
    return x


def _bytes(tree: Any) -> int:
    """Bytes of a tree of shapes on each device."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding is not None else leaf.shape
        total += int(np.prod(shape)) * np.dtype(leaf.dtype).itemsize
    return total


def describe_plan(plans: Sequence[StagePlan], mesh: Mesh | None = None) -> list[str]:
    """The plan as a table and a sum."""
    devices = (mesh or default_mesh()).devices.size
    lines = [f"{'learner':<24}{'rows':>12}{'steps':>9}{'MB/device':>12}{'GFLOP/step':>12}{'seconds':>10}"]
    for plan in plans:
        lines.append(
            f"{plan.name:<24}{plan.rows:>12,}{plan.steps:>9,}{plan.bytes_per_device / 1e6:>12,.1f}"
            f"{plan.operations / 1e9:>12,.3f}{plan.seconds:>10,.1f}"
        )
    most = max((plan.bytes_per_device for plan in plans), default=0)
    lines.append(
        f"{devices} device{'s' if devices > 1 else ''}: at most {most / 1e6:,.1f} MB each, "
        f"about {sum(plan.seconds for plan in plans):,.0f} s of training (reading the pictures comes on top)"
    )
    return lines
