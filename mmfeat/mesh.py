"""Where arrays live: a mesh with the axes "data" (rows of a batch) and "model" (wide states), and how things are put on it.

Everything is plain `jit` with `NamedSharding` on Auto axes: a learner is written as if there were one device. A batch is
split over "data"; a state is replicated, unless its learner names axes that may be split over "model".
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mmfeat.errors import UsageError
from mmfeat.host import program_cache

__all__ = [
    "connect",
    "default_mesh",
    "leaf_names",
    "make_mesh",
    "on_host",
    "own_mesh",
    "put_batch",
    "put_state",
    "state_shardings",
    "use_compile_cache",
]


def make_mesh(data: int | None = None, model: int = 1, devices: list[Any] | None = None) -> Mesh:
    """A (data, model) mesh. By default all devices, all of them along "data"."""
    found = list(devices if devices is not None else jax.devices())
    data = data if data is not None else len(found) // model
    if data < 1 or model < 1 or data * model > len(found):
        raise UsageError(
            f"a mesh of {data} x {model} needs {data * model} devices",
            f"{len(found)}",
            "ask for fewer, or simulate with --devices",
        )
    return jax.make_mesh(
        (data, model), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto), devices=found[: data * model]
    )


def own_mesh(mesh: Mesh) -> Mesh:
    """The mesh of this process's devices alone, for work that every process does by itself; in a single process the same mesh."""
    if jax.process_count() == 1:
        return mesh
    return make_mesh(devices=[device for device in mesh.devices.flat if device.process_index == jax.process_index()])


@lru_cache(maxsize=1)
def default_mesh() -> Mesh:
    """The mesh of everything there is."""
    return make_mesh()


def connect(address: str | None = None, processes: int | None = None, number: int | None = None) -> None:
    """Join the processes of one run (`jax.distributed`); without arguments Slurm, Open MPI or Kubernetes are detected.

    Call it before anything else touches a device. When one process dies the others abort within the heartbeat time.
    """
    jax.distributed.initialize(address, processes, number, heartbeat_timeout_seconds=100)


def leaf_names(tree: Any) -> list[str]:
    """The dotted names of a tree's leaves, in the order of `jax.tree.leaves`."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]


def state_shardings(state: Any, mesh: Mesh, split: Mapping[str, int]) -> Any:
    """One `NamedSharding` per leaf. `split` maps a pattern of leaf names to the axis that may lie over "model".

    An axis that does not divide by the mesh stays whole.
    """
    width = mesh.shape["model"]

    def sharding(name: str, leaf: Any) -> NamedSharding:
        for pattern, axis in split.items():
            if width > 1 and fnmatch.fnmatch(name, pattern) and leaf.ndim > axis and leaf.shape[axis] % width == 0:
                return NamedSharding(mesh, PartitionSpec(*[None] * axis, "model"))
        return NamedSharding(mesh, PartitionSpec())

    leaves, tree = jax.tree.flatten(state)
    return jax.tree.unflatten(
        tree, [sharding(name, leaf) for name, leaf in zip(leaf_names(state), leaves, strict=True)]
    )


def put_state(state: Any, mesh: Mesh, split: Mapping[str, int]) -> Any:
    """A fresh copy of the state on the mesh, every leaf with an explicit sharding and a strong type.

    Each device gets its part of a NumPy leaf from the host: nothing is whole on one device that is split afterwards.
    """
    shardings = state_shardings(state, mesh, split)

    def copy(leaf: Any, sharding: NamedSharding) -> jax.Array:
        if isinstance(leaf, jax.Array):
            return jnp.array(leaf, dtype=leaf.dtype, copy=True)
        return jax.device_put(np.array(leaf), sharding)

    return jax.jit(strong, out_shardings=shardings)(jax.tree.map(copy, state, shardings))


def strong(tree: Any) -> Any:
    """The same tree without weak types (a weak leaf makes `jit` compile a second time)."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), tree)


def put_batch(x: Any, mesh: Mesh, axis: int = 0) -> Any:
    """This process's rows of a batch, along `axis`, laid over the "data" axis. The rows divide by the devices on it."""
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))

    def put(leaf: Any) -> jax.Array:
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

    return jax.tree.map(put, x)


def on_host(tree: Any) -> Any:
    """NumPy copies of a tree whose leaves may be sharded over processes."""

    def fetch(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            mesh = getattr(leaf.sharding, "mesh", None) or default_mesh()
            whole = NamedSharding(mesh, PartitionSpec())
            leaf = jax.jit(strong, out_shardings=whole)(leaf).addressable_data(
                0
            )  # not a new function: it would compile anew
        return np.array(leaf)

    return jax.tree.map(fetch, tree)


def use_compile_cache() -> None:
    """Keep compiled programs between processes, in the user's cache folder, unless the user has chosen a place (or none)."""
    if getattr(jax.config, "jax_compilation_cache_dir", None):
        return
    for name, value in program_cache().items():
        jax.config.update(name, value)
