"""The program that encodes with a fitted chain: compiled parts, NumPy paths between them, neighbours folded into one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmfeat.arrays import Locals
from mmfeat.chain import Join, apply_stage, is_fixed
from mmfeat.learner import rows_of, use_host
from mmfeat.mesh import default_mesh, on_host, own_mesh, put_batch, state_shardings
from mmfeat.pool import Pool, cells, count_regions

__all__ = ["Encoder", "Packed"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST  # accelerators would otherwise round the products to 10 bits


class _AffineState(NamedTuple):
    """mean (d,), matrix (d, k) and offset (k,)."""

    mean: Array
    matrix: Array
    offset: Array


@dataclass(frozen=True)
class _Affine:
    """Neighbouring affine stages folded into one: (x - mean) @ matrix + offset (a large mean would cost digits afterwards)."""

    hash: bool = False
    locals: bool = False

    def encode(self, state: _AffineState, x: Array) -> Array:
        """Rows (n, d) to (n, k)."""
        return jnp.matmul(rows_of(x) - state.mean[None, :], state.matrix, precision=_EXACT) + state.offset[None, :]


@partial(jax.jit, static_argnums=0)
def _run(stages: tuple[Any, ...], states: tuple[Any, ...], x: Any) -> Any:
    for stage, state in zip(stages, states, strict=True):
        x = apply_stage(stage, state, x)
    return x


def _fold(stages: tuple[Any, ...], states: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Neighbours that are affine become one product where it is no more work than theirs, multiplied out in float64."""
    out: list[tuple[Any, Any]] = []
    for stage, state in zip(stages, states, strict=True):
        folded = _join(*out[-1], stage, state) if out else None
        out = [*out[:-1], folded] if folded is not None else [*out, (stage, state)]
    return tuple(stage for stage, _ in out), tuple(state for _, state in out)


def _join(first: Any, first_state: Any, stage: Any, state: Any) -> tuple[_Affine, _AffineState] | None:
    """((x - m1) A1 + b1 - m2) A2 = (x - m1) (A1 A2) + (b1 - m2) A2; None where a stage is not affine, or the work would grow."""
    if not hasattr(stage, "affine") or not (isinstance(first, _Affine) or hasattr(first, "affine")):
        return None
    mean, a1, *b1 = first_state if isinstance(first, _Affine) else first.affine(first_state)
    m2, a2 = (np.asarray(part, np.float64) for part in stage.affine(state))
    if a1.shape[0] * a2.shape[1] > a1.shape[0] * a1.shape[1] + a2.size:
        return None
    matrix = np.asarray(a1, np.float64) @ a2
    offset = ((b1[0] if b1 else 0.0) - m2) @ a2
    return _Affine(hash=stage.hash), _AffineState(
        np.asarray(mean, np.float32), matrix.astype(np.float32), offset.astype(np.float32)
    )


class Packed(NamedTuple):
    """Codes (n, ceil(bits / 8)) uint8, laid out as `mmfeat.arrays.pack_bits` does, and finite (n,): whether every value was."""

    codes: Array
    finite: Array


@dataclass(frozen=True)
class _Pack:
    """Float codes (n, bits) to packed bits where they are computed, so that 32 times fewer bytes come back."""

    def __call__(self, x: Array) -> Packed:
        padded = jnp.pad(x > 0, ((0, 0), (0, -x.shape[1] % 8))).reshape(x.shape[0], -1, 8)
        powers = jnp.left_shift(jnp.uint8(1), jnp.arange(8, dtype=jnp.uint8))
        codes = jnp.where(padded, powers[None, None, :], jnp.uint8(0)).sum(axis=2, dtype=jnp.uint8)
        return Packed(codes, jnp.isfinite(x).all(axis=1))


class Encoder:
    """Encodes padded batches with a fitted chain: one compiled program per run of stages, NumPy paths in between.

    Of several processes each encodes by itself, on its own devices. The branches of a `Join` have encoders of their own.

    packed: give `Packed` bits instead of one float per bit.
    host: the names of the stages whose NumPy path runs.
    """

    def __init__(
        self, stages: tuple[Any, ...], states: tuple[Any, ...], mesh: Mesh | None = None, packed: bool = False
    ) -> None:
        self.mesh = own_mesh(mesh or default_mesh())
        stages, states = _pooled(*_fold(stages, states), self.mesh)
        if packed:
            stages, states = (*stages, _Pack()), (*states, ())
        self.host: tuple[str, ...] = ()
        self.parts: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = []
        for (where, _), numbers in groupby(enumerate(stages), key=lambda each: self._where(*each)):
            some = [number for number, _ in numbers]
            self._add(where, tuple(stages[i] for i in some), tuple(states[i] for i in some))

    def _where(self, number: int, stage: Any) -> tuple[str, int]:
        """How a stage runs, and what keeps a Join apart from its neighbours."""
        if isinstance(stage, Join):
            return "join", number
        return ("host" if not is_fixed(stage) and use_host(stage, "host_encode", self.mesh) else "device"), -1

    def _add(self, where: str, stages: tuple[Any, ...], states: tuple[Any, ...]) -> None:
        laid: tuple[Any, ...]
        if where == "join":
            pairs = zip(stages[0].branches, states[0], strict=True)
            laid = tuple(Encoder(branch.stages, some, self.mesh) for branch, some in pairs)
            self.host += tuple(name for encoder in laid for name in encoder.host)
        elif where == "host":
            laid = on_host(states)
            self.host += tuple(getattr(stage, "name", type(stage).__name__) for stage in stages)
        else:
            laid = tuple(self._on_devices(stage, state) for stage, state in zip(stages, states, strict=True))
        self.parts.append((where, stages, laid))

    def _on_devices(self, stage: Any, state: Any) -> Any:
        """The state over the mesh: wide leaves split as in training."""
        return jax.device_put(state, state_shardings(state, self.mesh, getattr(stage, "split", {})))

    def __call__(self, x: Any) -> Any:
        """A padded batch (Images, Locals or rows; its rows divide by the devices along "data") to features, still on the device."""
        where, stages, _ = self.parts[0] if self.parts else ("device", (), ())
        if stages and is_fixed(stages[0]) and hasattr(stages[0], "check"):
            stages[0].check(x)
        if where == "device":
            x = put_batch(x, self.mesh)
        for where, stages, states in self.parts:
            if where == "join":
                x = _joined(stages[0], _side_by_side(states, x))
            elif where == "host":
                x = jax.tree.map(np.asarray, x)
                for stage, state in zip(stages, states, strict=True):
                    x = apply_stage(stage, state, x, "host_encode")
            else:
                x = _run(stages, states, x)
        return x


def _side_by_side(encoders: Sequence[Encoder], x: Any) -> list[Any]:
    """What the branches of a Join give. For a single item each has a thread, where NumPy paths run: it keeps no two cores busy."""
    if jax.tree.leaves(x)[0].shape[0] > 1 or not any(encoder.host for encoder in encoders):
        return [encoder(x) for encoder in encoders]
    with ThreadPoolExecutor(len(encoders)) as pool:
        return list(pool.map(lambda encoder: encoder(x), encoders))


@partial(jax.jit, static_argnums=0)
def _joined(join: Join, outs: Sequence[Any]) -> Any:
    return join.joined(outs)


def _pooled(stages: tuple[Any, ...], states: tuple[Any, ...], mesh: Mesh) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """A coder with a sparse NumPy path and the pool after it become one stage, where NumPy paths run."""
    out: list[tuple[Any, Any]] = []
    for stage, state in zip(stages, states, strict=True):
        before = out[-1][0] if out else None
        if isinstance(stage, Pool) and hasattr(before, "host_sparse") and use_host(before, "host_sparse", mesh):
            out[-1] = _SparsePool(before, stage), out[-1][1]
        else:
            out.append((stage, state))
    return tuple(stage for stage, _ in out), tuple(state for _, state in out)


@dataclass(frozen=True)
class _SparsePool:
    """A coder and the pool after it, without the dense codes between them (n, K): only their non-zeros are made and joined."""

    coder: Any
    pool: Pool
    locals: ClassVar[bool] = True
    hash: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return type(self.coder).__name__

    def host_encode(self, state: Any, x: Locals) -> np.ndarray:
        """Locals (B, L, d) to rows (B, R * K) float32."""
        from mmfeat.sparse_pool import pool_sparse

        owner, place = np.nonzero(x.weight > 0)
        rows = np.ascontiguousarray(x.values[owner, place], np.float32)
        shape = len(x.weight), count_regions(self.pool.regions), _width(self.coder, state, rows.shape[1])
        if not len(rows):  # nothing but padding, or items without a local that counts
            return np.zeros((shape[0], shape[1] * shape[2]), np.float32)
        codes = self.coder.host_sparse(state, rows)
        regions = [cells(x, *level)[owner, place] for level in self.pool.regions]
        first = np.cumsum([0] + [count_regions((level,)) for level in self.pool.regions[:-1]])
        region = np.stack([cell + start for cell, start in zip(regions, first, strict=True)], axis=1)
        weight = np.ascontiguousarray(x.weight[owner, place], np.float32)
        return pool_sparse(codes, owner, region, weight, shape, self.pool.kind)


def _width(coder: Any, state: Any, columns: int) -> int:
    """How wide the codes of rows of so many columns are."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
    leaves, tree = jax.tree.flatten(shapes)
    return _width_of(coder, tree, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves), columns)


@cache
def _width_of(coder: Any, tree: Any, leaves: tuple[Any, ...], columns: int) -> int:
    state = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in leaves])
    return int(jax.eval_shape(coder.encode, state, jax.ShapeDtypeStruct((1, columns), jnp.float32)).shape[1])
