"""Chains: descriptors, pools and learners one after another, and the program that encodes with them.

    Images -> descriptor -> Locals -> learners row by row -> Pool or a learner of whole Locals -> rows -> learners -> features

A stage is a fixed map (a frozen dataclass called as `stage(x)`: descriptors and `Pool`; one that has `check(images)` sees every
batch on the host first, and may refuse it) or a learner. The states of a chain are a
tuple with one entry per stage, () for a fixed map.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmfeat.arrays import Images, Locals
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import rows_of, use_host
from mmfeat.mesh import default_mesh, on_host, own_mesh, put_batch, state_shardings

__all__ = ["Chain", "Encoder", "Packed", "Pool", "apply_stage", "is_fixed"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST  # accelerators would otherwise round the products to 10 bits


def is_fixed(stage: Any) -> bool:
    """Whether a stage is a fixed map (a descriptor, a pool): nothing in it is learned."""
    return callable(stage)


@dataclass(frozen=True)
class Chain:
    """Stages applied one after another.

    stages: descriptors, pools and learners, or chains (which are laid flat); one or more.
    fit_rows: each learner trains on at most so many seeded rows of the stage before; None streams everything in every pass.

    >>> from mmfeat.learners.lsh import Lsh
    >>> len(Chain(Chain(Lsh(bits=16)), Lsh(bits=8)).stages)
    2
    """

    stages: tuple[Any, ...]
    fit_rows: int | None = 131_072

    def __init__(self, *stages: Any, fit_rows: int | None = 131_072, **named: Any) -> None:
        """`Chain(a, b, c)`; also `Chain(stages=(a, b, c))`, as its JSON says it."""
        given = stages or tuple(named.pop("stages", ()))
        if len(given) == 1 and isinstance(given[0], tuple):
            given = given[0]
        flat = tuple(part for stage in given for part in (stage.stages if isinstance(stage, Chain) else (stage,)))
        if named or not flat:
            raise SettingsError(
                "a chain has one stage or more, and fit_rows", f"{len(flat)} stages, {sorted(named)}", "add a stage"
            )
        if fit_rows is not None and fit_rows < 1:
            raise SettingsError("fit_rows is at least 1, or None for all rows", f"{fit_rows}", "give a positive number")
        for stage in flat:
            if not (is_fixed(stage) or hasattr(stage, "encode")):
                raise SettingsError("a stage is a descriptor, a pool or a learner", repr(stage), "see `mmfeat recipes`")
        object.__setattr__(self, "stages", flat)
        object.__setattr__(self, "fit_rows", fit_rows)

    @property
    def hash(self) -> bool:
        """Whether the chain ends in bits."""
        return bool(getattr(self.stages[-1], "hash", False))


@dataclass(frozen=True)
class Pool:
    """Joins the locals of an item into one row: sum, mean or max over regions of a pyramid (or over the whole item).

    z_r = pool over the locals l of region r of values_l;   output (B, R * d), the regions one after another.

    regions: pyramid levels as (rows, columns) of a grid; (1, 1) is the whole item. For frames and cuboids the first
        coordinate of `where` (time, as a share of the item's last) is cut into `columns`, and for cuboids the second
        (x) into `rows`.
    kind: "max" (of signed values), "mean" or "sum". An empty region gives 0.
    """

    regions: tuple[tuple[int, int], ...] = ((1, 1),)
    kind: str = "mean"

    def __post_init__(self) -> None:
        if self.kind not in ("max", "mean", "sum"):
            raise SettingsError('Pool.kind is "max", "mean" or "sum"', repr(self.kind), "use one of these")

    def __call__(self, x: Locals) -> Array:
        """Locals (B, L, d) to rows (B, R * d) float32."""
        if not isinstance(x, Locals):
            raise ShapeError("Pool joins Locals", type(x).__name__, "put a descriptor before it")
        parts = []
        for rows, columns in self.regions:
            cell = self._cell(x, rows, columns)
            for number in range(rows * columns):
                parts.append(self._join(x.values, jnp.where(cell == number, x.weight, 0.0)))
        return jnp.concatenate(parts, axis=-1)

    @staticmethod
    def _cell(x: Locals, rows: int, columns: int) -> Array:
        share = x.where[..., 0]
        if x.where.shape[-1] != 2:  # seconds
            last = jnp.where(x.weight > 0, share, 0.0).max(axis=1, keepdims=True)
            share = share / jnp.where(last > 0, last, 1.0)
        across = jnp.clip((share * columns).astype(jnp.int32), 0, columns - 1)
        if x.where.shape[-1] < 2:
            return across
        down = jnp.clip((x.where[..., 1] * rows).astype(jnp.int32), 0, rows - 1)
        return down * columns + across

    def _join(self, values: Array, weight: Array) -> Array:
        if self.kind == "max":
            high = jnp.where(weight[..., None] > 0, values, -jnp.inf).max(axis=1)
            return jnp.where((weight > 0).any(axis=1)[:, None], high, 0.0)
        total = jnp.einsum("bld,bl->bd", values, weight, precision=_EXACT)
        if self.kind == "sum":
            return total
        return total / jnp.maximum(weight.sum(axis=1), 1.0)[:, None]


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


def apply_stage(stage: Any, state: Any, x: Any, encode: str = "encode") -> Any:
    """One stage on whatever flows: Images, Locals or rows. A row-wise learner encodes the rows of Locals, padding included."""
    if is_fixed(stage):
        return stage(x)
    function = getattr(stage, encode)
    if isinstance(x, Locals) and not stage.locals:
        items, count = x.values.shape[:2]
        rows = function(state, x.values.reshape(items * count, *x.values.shape[2:]))
        return x._replace(values=rows.reshape(items, count, *rows.shape[1:]))
    if isinstance(x, Images):
        raise ShapeError(
            f"{type(stage).__name__} learns from rows", "pictures", "put a descriptor such as Pixels() before it"
        )
    return function(state, x)


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

    Of several processes each encodes by itself, on its own devices.

    packed: give `Packed` bits instead of one float per bit.
    host: the names of the stages whose NumPy path runs.
    """

    def __init__(
        self, stages: tuple[Any, ...], states: tuple[Any, ...], mesh: Mesh | None = None, packed: bool = False
    ) -> None:
        self.mesh = own_mesh(mesh or default_mesh())
        stages, states = _fold(stages, states)
        if packed:
            stages, states = (*stages, _Pack()), (*states, ())
        on_numpy = [not is_fixed(stage) and use_host(stage, "host_encode", self.mesh) for stage in stages]
        self.host = tuple(type(stage).__name__ for stage, host in zip(stages, on_numpy, strict=True) if host)
        self.parts: list[tuple[bool, tuple[Any, ...], tuple[Any, ...]]] = []
        for host, numbers in groupby(range(len(stages)), key=lambda i: on_numpy[i]):
            some = list(numbers)
            part = tuple(states[i] for i in some)
            laid = on_host(part) if host else tuple(self._on_devices(stages[i], states[i]) for i in some)
            self.parts.append((host, tuple(stages[i] for i in some), laid))

    def _on_devices(self, stage: Any, state: Any) -> Any:
        """The state over the mesh: wide leaves split as in training."""
        return jax.device_put(state, state_shardings(state, self.mesh, getattr(stage, "split", {})))

    def __call__(self, x: Any) -> Any:
        """A padded batch (Images, Locals or rows; its rows divide by the devices along "data") to features, still on the device."""
        first = self.parts[0][1][0] if self.parts else None
        if first is not None and is_fixed(first) and hasattr(first, "check"):
            first.check(x)
        if not self.parts or not self.parts[0][0]:
            x = put_batch(x, self.mesh)
        for host, stages, states in self.parts:
            if host:
                x = jax.tree.map(np.asarray, x)
                for stage, state in zip(stages, states, strict=True):
                    x = apply_stage(stage, state, x, "host_encode")
            else:
                x = _run(stages, states, x)
        return x
