"""Joins the local descriptors of an item into one row, and scales rows: the fixed maps between coders and classifiers.

Spatial pyramid: S. Lazebnik, C. Schmid, J. Ponce, "Beyond bags of features: spatial pyramid matching", CVPR 2006.
Max pooling of codes: J. Yang, K. Yu, Y. Gong, T. Huang, "Linear spatial pyramid matching using sparse coding", CVPR 2009.
Power law: F. Perronnin, J. Sánchez, T. Mensink, "Improving the Fisher kernel for large-scale image classification", ECCV 2010.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.arrays import Locals
from mmfeat.errors import SettingsError, ShapeError

__all__ = ["Normalise", "Places", "Pool", "Regions", "Signs", "Thin", "cells", "check_regions", "count_regions"]

Array = Any
Regions = tuple[tuple[int, int], ...]
_EXACT = jax.lax.Precision.HIGHEST  # accelerators would otherwise round the products to 10 bits


def check_regions(regions: Regions) -> None:
    """SettingsError unless every level of a pyramid is (rows, columns), at least 1 each."""
    if not regions or any(len(level) != 2 or min(level) < 1 for level in regions):
        raise SettingsError(
            "regions are the levels of a pyramid, each (rows, columns)", repr(regions), "for example ((1, 1), (2, 2))"
        )


def count_regions(regions: Regions) -> int:
    """How many cells a pyramid has in all.

    >>> count_regions(((1, 1), (2, 2), (4, 4)))
    21
    """
    return sum(rows * columns for rows, columns in regions)


def cells(x: Locals, rows: int, columns: int) -> Array:
    """The number (B, L) int32 of the cell of a rows x columns grid in which each local lies, row by row.

    Patches lie where their centre is. For frames and cuboids the first coordinate of `where` (time, as a share of the item's
    last) is cut into `columns`, and for cuboids the second (x) into `rows`. NumPy arrays give a NumPy array.
    """
    numpy: Any = np if isinstance(x.where, np.ndarray) else jnp
    share = x.where[..., 0]
    if x.where.shape[-1] != 2:  # seconds
        last = numpy.where(x.weight > 0, share, numpy.float32(0)).max(axis=1, keepdims=True)
        share = share / numpy.where(last > 0, last, numpy.float32(1))
    across = numpy.clip((share * columns).astype(numpy.int32), 0, columns - 1)
    if x.where.shape[-1] < 2:
        return across
    down = numpy.clip((x.where[..., 1] * rows).astype(numpy.int32), 0, rows - 1)
    return down * columns + across


@dataclass(frozen=True)
class Pool:
    """Joins the locals of an item into one row: sum, mean or max over regions of a pyramid (or over the whole item).

    z_r = pool over the locals l of region r of values_l;   output (B, R * d), the regions one after another.

    regions: pyramid levels as (rows, columns) of a grid; (1, 1) is the whole item. What lies where: `cells`.
    kind: "max" (of signed values), "mean" or "sum". An empty region gives 0.
    """

    locals: ClassVar[bool] = True
    regions: Regions = ((1, 1),)
    kind: str = "mean"

    def __post_init__(self) -> None:
        if self.kind not in ("max", "mean", "sum"):
            raise SettingsError('Pool.kind is "max", "mean" or "sum"', repr(self.kind), "use one of these")
        check_regions(self.regions)

    def __call__(self, x: Locals) -> Array:
        """Locals (B, L, d) to rows (B, R * d) float32."""
        if not isinstance(x, Locals):
            raise ShapeError("Pool joins Locals", type(x).__name__, "put a descriptor before it")
        parts = []
        for rows, columns in self.regions:
            cell = cells(x, rows, columns)
            for number in range(rows * columns):
                parts.append(self._join(x.values, jnp.where(cell == number, x.weight, jnp.float32(0))))
        return jnp.concatenate(parts, axis=-1)

    def _join(self, values: Array, weight: Array) -> Array:
        if self.kind == "max":
            high = jnp.where(weight[..., None] > 0, values, -jnp.inf).max(axis=1)
            return jnp.where((weight > 0).any(axis=1)[:, None], high, 0.0)
        total = jnp.einsum("bld,bl->bd", values, weight, precision=_EXACT)
        if self.kind == "sum":
            return total
        return total / jnp.maximum(weight.sum(axis=1), 1.0)[:, None]


@dataclass(frozen=True)
class Places:
    """Puts the place of every local behind its values, so that a codebook or a mixture learns what lies where.

    J. Sánchez, F. Perronnin, T. de Campos, "Modeling the spatial layout of images beyond spatial pyramids", Pattern Recognition
    Letters 33, 2012.

    weight: what the places are multiplied by: patches have x and y from -1/2 to 1/2, against the deviation of the values.
    """

    locals: ClassVar[bool] = True
    weight: float = 1.0

    def __call__(self, x: Locals) -> Locals:
        """Values (B, L, d) to (B, L, d + k), k the length of a place."""
        if not isinstance(x, Locals):
            raise ShapeError("Places takes Locals", type(x).__name__, "put a descriptor before it")
        where = jnp.asarray(x.where, jnp.float32) - (0.5 if x.where.shape[-1] == 2 else 0.0)
        return x._replace(values=jnp.concatenate([jnp.asarray(x.values, jnp.float32), self.weight * where], axis=-1))


@dataclass(frozen=True)
class Thin:
    """Keeps every n-th local, from the first: a coder that costs much may do with fewer of them than another.

    every: n. Places are in the order of their grid, so that what is kept lies all over the item.
    """

    locals: ClassVar[bool] = True
    every: int = 2

    def __post_init__(self) -> None:
        if self.every < 1:
            raise SettingsError("every n-th local is kept, n at least 1", f"every={self.every}", "1 keeps all")

    def __call__(self, x: Locals) -> Locals:
        """Locals (B, L, d) to (B, ceil(L / n), d)."""
        if not isinstance(x, Locals):
            raise ShapeError("Thin takes Locals", type(x).__name__, "put a descriptor before it")
        return Locals(*(part[:, :: self.every] for part in x))


@dataclass(frozen=True)
class Normalise:
    """Scales rows, or the values of locals: x ← sign(x) |x|^power, then x ← x / ‖x‖.

    power: the exponent of the signed power law, in (0, 1]; 1 leaves the values as they are.
    norm: "l2", "l1" or "none".
    groups: so many equal parts of a row are scaled each by itself, as the regions of a pyramid; what is 0 stays 0.

    >>> np.asarray(Normalise(power=0.5, norm="l1")(np.array([[9.0, -1.0]], np.float32))).tolist()
    [[0.75, -0.25]]
    """

    power: float = 1.0
    norm: str = "l2"
    groups: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.power <= 1 or self.groups < 1:
            raise SettingsError("power is in (0, 1] and groups at least 1", f"{self.power}, {self.groups}", "mend it")
        if self.norm not in ("l2", "l1", "none"):
            raise SettingsError('Normalise.norm is "l2", "l1" or "none"', repr(self.norm), "use one of these")

    def __call__(self, x: Any) -> Any:
        """Rows (n, d), or Locals whose values (B, L, d) are scaled; float32."""
        if isinstance(x, Locals):
            return x._replace(values=self._scaled(x.values))
        return self._scaled(x)

    def _scaled(self, values: Array) -> Array:
        values = jnp.asarray(values, jnp.float32)
        if values.shape[-1] % self.groups:
            raise ShapeError(
                f"{self.groups} equal parts divide the row", f"{values.shape[-1]} values", "set groups to a divisor"
            )
        parts = values.reshape(*values.shape[:-1], self.groups, -1)
        if self.power == 0.5:
            parts = jnp.sign(parts) * jnp.sqrt(jnp.abs(parts))
        elif self.power != 1:
            parts = jnp.sign(parts) * jnp.abs(parts) ** self.power
        if self.norm != "none":
            size = jnp.abs(parts).sum(-1, keepdims=True) if self.norm == "l1" else _length(parts)
            parts = parts / jnp.where(size > 0, size, jnp.float32(1))
        return parts.reshape(values.shape)


@dataclass(frozen=True)
class Signs:
    """Rows as the ±1 of their bits (bit = value > 0), behind a hash: what an index of bits stores, as numbers.

    >>> np.asarray(Signs()(np.array([[0.3, 0.0, -2.0]], np.float32))).tolist()
    [[1.0, -1.0, -1.0]]
    """

    def __call__(self, x: Array) -> Array:
        """Rows (n, bits) to rows (n, bits) float32; NaN stays NaN."""
        x = jnp.asarray(x, jnp.float32)
        return jnp.where(x > 0, jnp.float32(1), jnp.where(jnp.isnan(x), x, jnp.float32(-1)))


def _length(parts: Array) -> Array:
    """‖x‖ over the last axis, kept; scaled first, so that small values do not vanish when squared."""
    high = jnp.abs(parts).max(-1, keepdims=True)
    high = jnp.where(high > 0, high, jnp.float32(1))
    return high * jnp.sqrt(jnp.square(parts / high).sum(-1, keepdims=True))
