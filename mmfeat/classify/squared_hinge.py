"""Many linear machines with squared hinge loss at once: Newton's method, its equations solved by conjugate gradients.

S. S. Keerthi, D. DeCoste, "A modified finite Newton method for fast solution of large scale linear SVMs", JMLR 6, 2005.
O. Chapelle, "Training a support vector machine in the primal", Neural Computation 19, 2007 (products with K = X Xᵀ alone).

    minimise over w   f(w) = 1/2 ‖w‖² + Σ_i c_i max(0, 1 - t_i z_i)²,   z = X w,   t_i in {-1, 1}

    gradient           w - 2 Xᵀ (c a (t - z)),   a_i = [t_i z_i < 1]
    (generalised) Hessian   I + 2 Xᵀ diag(c a) X

The m machines differ in targets and costs, and share X: each product of a Newton step is one product of matrices. f is quadratic
between kinks, so the best length along a direction is found exactly, from numbers that are there. With α = 2 c a (1 - t z), which
is feasible in the dual, w(α) = Xᵀ(t α) differs from w by the gradient, and **the duality gap is 1/2 ‖gradient‖²**: `tolerance`
is proven for the answer.

The optimum lies in the span of the rows, w = Xᵀ v. Where rows are fewer than columns the same iterations run on v, with K in place
of X and vᵀ K v in place of ‖w‖²: K is made once, and may serve many problems (the folds and the path of a cross-validation).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["Gram", "Rows", "Solution", "gram_of", "gram_pays", "solve"]

Array = Any
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)  # accelerators would otherwise round to 10 bits
_FORCING = 0.3  # conjugate gradients end at this share of the gradient: the last digits of a step are not worth it
_CG, _SEARCH = 50, 12  # the most iterations within a Newton step, and within a line search


class Rows(NamedTuple):
    """The problem in the columns of x (n, d); a machine is w (d + 1,), the last entry that of a column of `bias`."""

    x: Array
    bias: float

    def image(self, w: Array) -> Array:
        """Z = W Xᵀ (m, n) of machines (m, d + 1)."""
        return _matmul(w[:, :-1], self.x.T) + self.bias * w[:, -1:]

    def back(self, u: Array) -> Array:
        """U X (m, d + 1) of numbers (m, n), one per row."""
        return jnp.concatenate([_matmul(u, self.x), self.bias * u.sum(axis=1, keepdims=True)], axis=1)

    def zeros(self, machines: int) -> Array:
        """Machines of 0."""
        return jnp.zeros((machines, self.x.shape[1] + 1), jnp.float32)


class Gram(NamedTuple):
    """The problem in the span of the rows: k (n, n) is X Xᵀ, the column of `bias` among X; a machine is v (n,), w = Xᵀ v."""

    k: Array

    def image(self, v: Array) -> Array:
        """Z = V K (m, n) of machines (m, n)."""
        return _matmul(v, self.k)

    def back(self, u: Array) -> Array:
        """Xᵀ u is the machine u."""
        return u

    def zeros(self, machines: int) -> Array:
        """Machines of 0."""
        return jnp.zeros((machines, self.k.shape[0]), jnp.float32)


class Solution(NamedTuple):
    """machines (m, d + 1) or (m, n); scores (m, n) of all rows; objective and duality gap (m,); Newton steps taken ()."""

    machines: Array
    scores: Array
    objective: Array
    gap: Array
    steps: Array


def gram_of(x: Array, bias: float) -> Gram:
    """The Gram problem of rows (n, d)."""
    return Gram(_matmul(x, x.T) + jnp.float32(bias**2))


def gram_pays(n: int, d: int, machines: int) -> bool:
    """Whether K costs less than it saves, taking 50 iterations of conjugate gradients: n² d to make, then n² each, not 2 n d."""
    return n < d and n * d + 50 * n * machines < 100 * d * machines


@jax.jit
def solve(
    problem: Rows | Gram, targets: Array, costs: Array, start: Array, tolerance: Array, iterations: Array = 100
) -> Solution:
    """The optimum of every machine.

    targets (m, n): 1 and -1. costs (m, n) ≥ 0: c, with the machine's C in it; rows of cost 0 take no part. start: machines.
    tolerance: a machine rests when its duality gap is at most this share of its objective, or when float32 gives no more.
    iterations: Newton steps at most. A machine that cannot move at all and is nowhere near (its numbers overflow) is NaN.
    """

    def dot(a: Array, b: Array, image: Array) -> Array:
        """<a, b> (m,), the image being that of b."""
        return (a * (image if isinstance(problem, Gram) else b)).sum(axis=1)

    def look(w: Array, z: Array) -> tuple[Array, Array, Array, Array]:
        """Gradient, its image (only a Gram problem needs it), objective and gap."""
        lack = jnp.maximum(1 - targets * z, 0)
        gradient = w - 2 * problem.back(costs * targets * lack)
        image = problem.image(gradient) if isinstance(problem, Gram) else z
        objective = 0.5 * dot(w, w, z) + (costs * lack * lack).sum(axis=1)
        return gradient, image, objective, 0.5 * dot(gradient, gradient, image)

    def newton(carry: Any) -> Any:
        w, z, gradient, image, objective, _, going, count = carry
        curvature = jnp.where(targets * z < 1, 2 * costs, 0)
        step, reach = _directions(problem, dot, curvature, gradient, image, going)
        length = _lengths(dot(w, step, reach), dot(step, step, reach), targets, costs, z, reach)
        length = jnp.where(going, length, 0)[:, None]
        new = w + length * step, z + length * reach
        *seen, value, left = look(*new)
        falls = value < objective * (1 - 1e-7)
        going = going & (left > tolerance * value) & (falls | (count < 2))
        return *new, *seen, value, left, going, count + 1

    z = problem.image(start)
    first = look(start, z)
    going = first[3] > tolerance * first[2]
    carry = (start, z, *first, going, jnp.int32(0))
    w, z, _, _, objective, gap, _, count = jax.lax.while_loop(lambda c: c[6].any() & (c[7] < iterations), newton, carry)
    lost = ~jnp.isfinite(gap) | ((gap > objective) & (objective >= first[2] * (1 - 1e-7)))
    return Solution(jnp.where(lost[:, None], jnp.nan, w), z, objective, jnp.maximum(gap, 0), count)


def _directions(
    problem: Rows | Gram, dot: Any, curvature: Array, gradient: Array, image: Array, going: Array
) -> tuple[Array, Array]:
    """Newton's directions (I + 2 Xᵀ D X) s = -g by conjugate gradients, and their images; 0 for machines that rest."""
    first = dot(gradient, gradient, image)
    enough = _FORCING**2 * first

    def iterate(carry: Any) -> Any:
        s, reach, r, r_image, p, p_image, rr, on, count = carry
        p_image = p_image if isinstance(problem, Gram) else problem.image(p)
        bend = dot(p, p, p_image) + (curvature * p_image * p_image).sum(axis=1)
        length = jnp.where(on, rr / jnp.where(bend > 0, bend, 1), 0)[:, None]
        s, reach = s + length * p, reach + length * p_image
        r = r - length * (p + problem.back(curvature * p_image))
        r_image = problem.image(r) if isinstance(problem, Gram) else r_image
        new = jnp.maximum(dot(r, r, r_image), 0)
        turn = (new / jnp.where(rr > 0, rr, 1))[:, None]
        p = r + turn * p
        p_image = r_image + turn * p_image if isinstance(problem, Gram) else p_image
        return s, reach, r, r_image, p, p_image, new, on & (new > enough), count + 1

    nothing, none = jnp.zeros_like(gradient), jnp.zeros_like(image)
    carry = (nothing, none, -gradient, -image, -gradient, -image, first, going & (first > 0), jnp.int32(0))
    s, reach, *_ = jax.lax.while_loop(lambda c: c[7].any() & (c[8] < _CG), iterate, carry)
    return s, reach


def _lengths(slope: Array, square: Array, targets: Array, costs: Array, z: Array, reach: Array) -> Array:
    """The lengths (m,) that minimise f along each direction: the root of an increasing, piecewise linear derivative.

    Newton's iteration on it, kept within a bracket; slope is <w, s>, square <s, s>.
    """

    def derivative(t: Array) -> tuple[Array, Array]:
        lack = 1 - targets * (z + t[:, None] * reach)
        active = jnp.where(lack > 0, costs, 0)
        value = slope + t * square - 2 * (active * lack * targets * reach).sum(axis=1)
        return value, square + 2 * (active * reach * reach).sum(axis=1)

    def iterate(_: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        t, low, high = carry
        value, bend = derivative(t)
        low, high = jnp.where(value < 0, t, low), jnp.where(value < 0, high, t)
        t = t - value / jnp.where(bend > 0, bend, 1)
        inside = (t >= low) & (t <= high)
        return jnp.where(inside, t, jnp.where(jnp.isfinite(high), 0.5 * (low + high), 2 * low + 1)), low, high

    one = jnp.ones_like(slope)
    return jax.lax.fori_loop(0, _SEARCH, iterate, (one, 0 * one, jnp.inf * one))[0]
