"""What Fisher vectors, super-vectors and VLAD share: sums of local descriptors over the regions of a picture, and their scaling.

A region is a cell of a spatial pyramid (`mmfeat.pool.cells`); the vectors of the regions stand one after another. Power law and
scaling: F. Perronnin, J. Sánchez, T. Mensink, "Improving the Fisher kernel for large-scale image classification", ECCV 2010.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from mmfeat.arrays import Locals
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learners.kmeans import nearest
from mmfeat.pool import Regions, cells, check_regions

__all__ = [
    "Sums",
    "by_items",
    "check_locals",
    "check_scaling",
    "compiled_vectors",
    "inside",
    "locals_of",
    "parts",
    "powered",
    "residual_sums",
    "scaled",
    "unit",
    "with_whole",
]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_BLOCK = 2**20  # responses of one block of items on the CPU: 4 MB stay in the cache until they are summed
_NORMS = ("whole", "regions", "none")


def check_scaling(power: float, norm: str, regions: Regions) -> None:
    """SettingsError unless `scaled` and `region_weights` can work with these."""
    if not 0 < power <= 1:
        raise SettingsError("the power law has an exponent in (0, 1]", f"power={power}", "0.5 is usual, 1 is off")
    if norm not in _NORMS:
        raise SettingsError(
            f"norm is one of {', '.join(_NORMS)}", repr(norm), 'use "whole", or "regions" for each by itself'
        )
    check_regions(regions)


class Sums(NamedTuple):
    """Of every region: counts (B, R, K), sums (B, R, K, W), and the weight (B, R) of its locals; float32."""

    counts: Array
    sums: Array
    total: Array


class _Vectors(Protocol):
    """What makes the rows (B, D) of items of the sums over their regions."""

    def vectors(self, state: Any, sums: Sums) -> Array: ...


@partial(jax.jit, static_argnums=0)
def compiled_vectors(learner: _Vectors, state: Any, sums: Sums) -> Array:
    """`learner.vectors`, compiled: where the sums come from the host."""
    return learner.vectors(state, sums)


def check_locals(x: Any, name: str) -> Locals:
    """Give x back; ShapeError unless it is Locals."""
    if not isinstance(x, Locals):
        raise ShapeError(f"{name} encodes whole Locals", type(x).__name__, "put a descriptor such as Patches before it")
    return x


def locals_of(x: Any, name: str) -> Locals:
    """Give x as float32 Locals (B, L, d), values of weight 0 set to 0; ShapeError where it is something else."""
    x = check_locals(x, name)
    values = jnp.asarray(x.values, jnp.float32)
    values = values.reshape(*values.shape[:2], -1)
    weight = jnp.asarray(x.weight, jnp.float32)
    return Locals(jnp.where(weight[..., None] > 0, values, jnp.float32(0)), jnp.asarray(x.where), weight)


def parts(regions: Regions) -> Regions:
    """The levels whose cells have to be summed: an item as a whole is the sum of the cells of any other level."""
    return tuple(level for level in regions if tuple(level) != (1, 1)) or ((1, 1),)


def with_whole(sums: Array, regions: Regions) -> Array:
    """Sums (B, P, ...) over the cells of `parts(regions)` to sums (B, R, ...) over all regions in their order."""
    levels, found, number = parts(regions), [], 0
    whole = sums[:, : levels[0][0] * levels[0][1]].sum(axis=1, keepdims=True)
    for rows, columns in regions:
        if rows * columns == 1:
            found.append(whole)
        else:
            found.append(sums[:, number : number + rows * columns])
            number += rows * columns
    return jnp.concatenate(found, axis=1) if len(found) > 1 else found[0]


def inside(x: Locals, levels: Regions) -> Array:
    """The weight (B, P, L) of every local in every cell of the levels; 0 where it lies elsewhere."""
    found = []
    for rows, columns in levels:
        numbers = jnp.arange(rows * columns, dtype=jnp.int32)[None, :, None]
        found.append(jnp.where(cells(x, rows, columns)[:, None, :] == numbers, x.weight[:, None, :], jnp.float32(0)))
    return jnp.concatenate(found, axis=1)


def residual_sums(means: Array, x: Locals, regions: Regions) -> Sums:
    """Per region and nearest codeword c_k of means (K, d): the sum of the weights (B, R, K), and of w (x - c_k) (B, R, K, d)."""
    items, count, width = x.values.shape
    rows = x.values.reshape(items * count, width)
    codes = nearest(means, rows)[0]
    # differences, not Σ w x - c Σ w: that would lose the digits of what lies far from the origin
    residuals = (rows - means[codes]).reshape(x.values.shape)
    codes = codes.reshape(items, count)
    counts, sums = [], []
    for down, across in parts(regions):
        groups = cells(x, down, across) * means.shape[0] + codes
        size = down * across * means.shape[0]
        cpu, default = partial(_scattered, size=size), partial(_multiplied, size=size)
        n, total = jax.lax.platform_dependent(groups, residuals, x.weight, cpu=cpu, default=default)
        counts.append(n.reshape(items, -1, means.shape[0]))
        sums.append(total.reshape(items, -1, *means.shape))
    n, total = (with_whole(jnp.concatenate(each, axis=1), regions) for each in (counts, sums))
    return Sums(n, total, n.sum(axis=2))


def _scattered(groups: Array, values: Array, weight: Array, size: int) -> tuple[Array, Array]:
    """Sums by groups (B, L) below `size`: of the weights (B, size), and of weighted values (B, size, d), for the CPU."""
    items = groups.shape[0]
    numbers = (groups + size * jnp.arange(items, dtype=jnp.int32)[:, None]).reshape(-1)
    weighted = (values * weight[..., None]).reshape(-1, values.shape[2])
    n = jax.ops.segment_sum(weight.reshape(-1), numbers, items * size)
    sums = jax.ops.segment_sum(weighted, numbers, items * size)
    return n.reshape(items, size), sums.reshape(items, size, values.shape[2])


def _multiplied(groups: Array, values: Array, weight: Array, size: int) -> tuple[Array, Array]:
    """The same as a product, for accelerators, which scatter in no fixed order."""
    numbers = jnp.arange(size, dtype=jnp.int32)[None, None, :]
    members = jnp.where(groups[..., None] == numbers, weight[..., None], jnp.float32(0))
    return members.sum(axis=1), jnp.einsum("blk,bld->bkd", members, values, precision=_EXACT)


def by_items(function: Callable[..., Any], responses: int, *arrays: Array) -> Any:
    """`function` of every item of arrays (B, ...), several items side by side; responses: floats that one item needs.

    On the CPU the items go through in blocks; block j holds the items j, j + b, j + 2b, ..., so that a batch laid over several
    devices stays where it is.
    """
    items, blocks = arrays[0].shape[0], 1
    if jax.default_backend() == "cpu":
        while items % (2 * blocks) == 0 and items // blocks * responses > _BLOCK:
            blocks *= 2
        if items // blocks * responses > _BLOCK and items < 2**10:
            blocks = items
    many = jax.vmap(function)
    if blocks == 1:
        return many(*arrays)
    laid = [each.reshape(items // blocks, blocks, *each.shape[1:]) for each in arrays]

    def block(j: Array) -> Any:
        return many(*(jax.lax.dynamic_index_in_dim(part, j, axis=1, keepdims=False) for part in laid))

    found = jax.lax.map(block, jnp.arange(blocks, dtype=jnp.int32))
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1).reshape(items, *leaf.shape[2:]), found)


def unit(x: Array) -> Array:
    """The last axis scaled to length 1; zeros stay zeros."""
    length = jnp.sqrt((x * x).sum(axis=-1, keepdims=True))
    return x / jnp.where(length > 0, length, jnp.float32(1))


def powered(z: Array, power: float) -> Array:
    """sign(z) |z|^power."""
    if power == 1:
        return z
    return jnp.sign(z) * (jnp.sqrt(jnp.abs(z)) if power == 0.5 else jnp.abs(z) ** power)


def scaled(z: Array, power: float, norm: str) -> Array:
    """Vectors (B, R, D) of the regions to rows (B, R D): sign(z) |z|^power, then length 1.

    norm: "whole": the row has length 1; "regions": every region's vector has length 1, then the row; "none": neither.
    """
    z = powered(z, power)
    if norm == "regions":
        z = unit(z)
    z = z.reshape(z.shape[0], -1)
    return z if norm == "none" else unit(z)
