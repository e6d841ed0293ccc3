"""Sparse codes of rows over a dictionary, on any device: the LASSO by FISTA, with what tells how good a code is.

A. Beck and M. Teboulle, "A fast iterative shrinkage-thresholding algorithm", SIAM J. Imaging Sciences 2, 2009.
B. O'Donoghue and E. Candès, "Adaptive restart for accelerated gradient schemes", Found. Comput. Math. 15, 2015 (the restart).

    min over a:  E(a) = ½ ‖x - a φ‖² + λ ‖a‖₁          G = φ φᵀ, c = x φᵀ
    a' = S(y + (c - y G) / L, λ / L),   y' = a' + (t - 1) / t' (a' - a),   t' = (1 + √(1 + 4 t²)) / 2         (eqs. 4.1-4.3)

S shrinks towards 0. At the minimum c - a G = λ sign(a) where a is not 0, and |c - a G| <= λ elsewhere; `residual` is how far from
that a row is. A row that is near enough stays as it is, whatever the others do: its code does not depend on its company.
A penalty without the ½ before the square has twice this λ. On one CPU device `mmfeat.lasso_host` does the same, faster.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["duality_gap", "fista", "largest_eigenvalue", "objective", "residual", "shrink"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_EPS = 2e-7  # of the largest correlation: what float32 cannot tell apart
_SQUARINGS = 4  # of the Gram matrix: the bound of its largest eigenvalue is at most K^(1/16) too large


def shrink(v: Array, lam: Array, positive: bool = False) -> Array:
    """S(v, λ) = sign(v) max(|v| - λ, 0); of codes that must be positive, max(v - λ, 0)."""
    return jnp.maximum(v - lam, 0) if positive else jnp.maximum(v - lam, 0) + jnp.minimum(v + lam, 0)


def objective(x: Array, atoms: Array, codes: Array, lam: float) -> Array:
    """E (n,) of codes (n, K) of rows x (n, d) over atoms (K, d)."""
    rest = x - jnp.matmul(codes, atoms, precision=_EXACT)
    return 0.5 * (rest * rest).sum(axis=1) + lam * jnp.abs(codes).sum(axis=1)


def residual(slope: Array, codes: Array, lam: float, positive: bool = False) -> Array:
    """How far every row is from the conditions of a minimum, (n,); slope (n, K) is c - a G."""
    inside = jnp.abs(slope - lam * jnp.sign(codes))
    outside = jnp.maximum((slope if positive else jnp.abs(slope)) - lam, 0)
    return jnp.where(codes != 0, inside, outside).max(axis=1)


def duality_gap(x: Array, atoms: Array, codes: Array, lam: float, positive: bool = False) -> Array:
    """E(a) less a lower bound of the least E, (n,): the dual at the rest x - a φ, made small enough to be allowed."""
    rest = x - jnp.matmul(codes, atoms, precision=_EXACT)
    slope = jnp.matmul(rest, atoms.T, precision=_EXACT)
    largest = (slope if positive else jnp.abs(slope)).max(axis=1)
    point = rest * jnp.minimum(1.0, lam / jnp.maximum(largest, jnp.finfo(jnp.float32).tiny))[:, None]
    dual = (point * (x - 0.5 * point)).sum(axis=1)
    return objective(x, atoms, codes, lam) - dual


def fista(
    gram: Array,
    correlations: Array,
    lam: float,
    positive: bool = False,
    tolerance: float = 2e-6,
    iterations: int = 2000,
    start: Array | None = None,
) -> Array:
    """The codes (n, K) of rows with correlations c (n, K) and the Gram matrix G (K, K) of the atoms.

    positive: no code is below 0. tolerance: the residual at which a row is done, as a share of λ (beside what float32 cannot tell).
    iterations: at the most. start: codes to begin with, (n, K); zeros without.
    Rows are independent of each other; one whose c is not finite has codes NaN.
    """
    step = 1 / largest_eigenvalue(gram)
    enough = tolerance * lam + _EPS * jnp.abs(correlations).max(axis=1)
    codes = jnp.zeros_like(correlations) if start is None else start
    product = jnp.matmul(codes, gram, precision=_EXACT)
    t = jnp.ones(codes.shape[0], codes.dtype)

    def going(carry: tuple[Array, ...]) -> Array:
        return (carry[0] < iterations) & carry[-1].any()

    def move(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        number, a, aG, y, yG, t, active = carry
        new = shrink(y + step * (correlations - yG), step * lam, positive)
        newG = jnp.matmul(new, gram, precision=_EXACT)
        again = ((y - new) * (new - a)).sum(axis=1) > 0  # the momentum leads uphill
        later = jnp.where(again, 1.0, 0.5 * (1 + jnp.sqrt(1 + 4 * t * t)))
        push = jnp.where(again, 0.0, (t - 1) / later)[:, None]
        moved = (new, newG, new + push * (new - a), newG + push * (newG - aG), later)
        a, aG, y, yG = (jnp.where(active[:, None], b, o) for b, o in zip(moved[:4], (a, aG, y, yG), strict=True))
        t = jnp.where(active, later, t)
        worst = residual(correlations - aG, a, lam, positive)
        return number + 1, a, aG, y, yG, t, active & (worst > enough)

    active = residual(correlations - product, codes, lam, positive) > enough
    first = (jnp.int32(0), codes, product, codes, product, t, active)
    return jax.lax.while_loop(going, move, first)[1] + 0 * correlations.sum(axis=1, keepdims=True)


def largest_eigenvalue(gram: Array) -> Array:
    """An upper bound of the largest eigenvalue () of G (K, K): (Σ λ^16)^(1/16), by squaring, scaled against overflow."""
    power, log = gram, jnp.zeros((), gram.dtype)
    for _ in range(_SQUARINGS):
        scale = jnp.maximum(jnp.sqrt((power * power).sum()), jnp.finfo(gram.dtype).tiny)
        power = power / scale
        power = jnp.matmul(power, power, precision=_EXACT)
        log = 2 * (log + jnp.log(scale))
    trace = jnp.maximum(jnp.trace(power), jnp.finfo(gram.dtype).tiny)
    bound = jnp.exp((log + jnp.log(trace)) / 2**_SQUARINGS)
    return 1.0001 * bound + jnp.finfo(gram.dtype).tiny
