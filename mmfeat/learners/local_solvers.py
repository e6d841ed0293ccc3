"""Small LASSO problems, one for each row, with a penalty of its own for each code, and optionally codes that sum to 1.

A. Beck, M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", SIAM J. Imaging Sci. 2, 2009.

    min over γ in R^k:   ½ γᵀ C γ - bᵀ γ + Σ_j w_j |γ_j|       (and Σ γ = 1 where `affine`)

`fista` takes all rows at once, and `settle` ends exactly. The same on the host: `mmfeat/learners/_local_kernels.py`. For one
dictionary and one penalty for all rows there is `mmfeat.lasso`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["fista", "settle", "shrink_to_sum", "solve"]

Array = Any
_ENOUGH = 2e-7  # a step that moves no code farther, as a share of the largest: what float32 can tell
_STEPS = 500
_HALVINGS = 30


def shrink_to_sum(z: Array, w: Array) -> Array:
    """The least of ½ ‖γ - z‖² + Σ w |γ| with Σ γ = 1, of rows (n, k): shrunk z + ν, with ν found by halving and then exactly."""

    def shrunk(v: Array) -> Array:
        return jnp.maximum(v - w, 0.0) + jnp.minimum(v + w, 0.0)

    low, high = (w - z).min(axis=1, keepdims=True), (w - z).max(axis=1, keepdims=True) + 1.0

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = 0.5 * (ends[0] + ends[1])
        below = shrunk(z + middle).sum(axis=1, keepdims=True) < 1.0
        return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

    low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))
    sign = jnp.sign(shrunk(z + high))
    exact = (1.0 - jnp.where(sign != 0, z - sign * w, 0.0).sum(axis=1, keepdims=True)) / jnp.maximum(
        jnp.abs(sign).sum(axis=1, keepdims=True), 1.0
    )
    return shrunk(z + jnp.clip(exact, low, high))


def fista(times: Callable[[Array], Array], b: Array, w: Array, largest: Array, affine: bool) -> Array:
    """The codes γ (n, k) of rows with b and w (n, k).

    times: y (n, k) -> C y (n, k), of each row its own C or one for all. largest: (n, 1) at least the largest eigenvalue of C.
    A row that moves no more stays as it is, whatever the others do: its code does not depend on its company.
    """
    step = 1.0 / jnp.maximum(largest, jnp.finfo(jnp.float32).tiny)

    def shrunk(v: Array) -> Array:
        if affine:
            return shrink_to_sum(v, step * w)
        return jnp.maximum(v - step * w, 0.0) + jnp.minimum(v + step * w, 0.0)

    def going(carry: tuple[Array, ...]) -> Array:
        return (carry[0] < _STEPS) & carry[-1].any()

    def move(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        number, old, y, t, active = carry
        new = shrunk(y + step * (b - times(y)))
        again = ((y - new) * (new - old)).sum(axis=1, keepdims=True) > 0  # the momentum leads uphill
        later = jnp.where(again, 1.0, 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * t * t)))
        push = jnp.where(again, 0.0, (t - 1.0) / later)
        far = jnp.abs(new - y).max(axis=1, keepdims=True) > _ENOUGH * jnp.abs(new).max(axis=1, keepdims=True)
        moved = new, new + push * (new - old), later
        old, y, t = (jnp.where(active, b, a) for b, a in zip(moved, (old, y, t), strict=True))
        return number + 1, old, y, t, active & far

    one = jnp.ones_like(largest)
    first = (jnp.int32(0), jnp.zeros_like(b), jnp.zeros_like(b), one, one > 0)
    return jax.lax.while_loop(going, move, first)[1]


def solve(C: Array, right: Array) -> Array:
    """C⁻¹ right of positive definite C (n, k, k) and right (n, k, m), by Gauss and Jordan: k steps on all rows at once."""
    k = C.shape[1]
    numbers = jnp.arange(k, dtype=jnp.int32)[None, :, None]

    def eliminate(j: Array, both: Array) -> Array:
        row = jax.lax.dynamic_index_in_dim(both, j, axis=1)
        row = row / jax.lax.dynamic_index_in_dim(row, j, axis=2)
        column = jax.lax.dynamic_index_in_dim(both, j, axis=2)
        return jnp.where(numbers == j, row, both - column * row)

    return jax.lax.fori_loop(0, k, eliminate, jnp.concatenate([C, right], axis=2))[:, :, k:]


def settle(C: Array, b: Array, w: Array, codes: Array, affine: bool) -> Array:
    """Codes (n, k) near the minimum, moved to it: C (n, k, k) is solved on their support S, C_SS γ_S = b_S - w_S sign(γ_S) (+ ν).

    A row where a code would change its sign stays as it is.
    """
    sign = jnp.sign(codes)
    used = sign != 0
    inside = used[:, :, None] & used[:, None, :]
    C = (
        jnp.where(inside, C, 0.0)
        + jnp.where(used, 0.0, 1.0)[:, :, None] * jnp.eye(C.shape[1], dtype=C.dtype)[None, :, :]
    )
    found = solve(C, jnp.stack([jnp.where(used, b - w * sign, 0.0), used.astype(C.dtype)], axis=2))
    new = found[:, :, 0]
    if affine:
        new = new + (1.0 - new.sum(axis=1, keepdims=True)) / found[:, :, 1].sum(axis=1, keepdims=True) * found[:, :, 1]
    sound = jnp.where(used, new * sign > 0, new == 0).all(axis=1, keepdims=True)
    return jnp.where(sound, new, codes)
