"""The loops of local coordinate coding on the host, compiled by numba when they are first called. Importing this imports numba.

P. Tseng, S. Yun, "A coordinate gradient descent method for linearly constrained smooth optimization", J. Optim. Theory Appl., 2009.

    min over γ in R^k:   ½ γᵀ C γ - bᵀ γ + Σ_j w_j |γ_j|       (and Σ γ = 1 where `affine`),      q = b - C γ

Cyclic coordinate descent; where the sum is fixed, descent along the pair of codes whose exchange lowers the objective most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

__all__ = ["code_rows"]

Array = Any


def _compiled(function: Callable[..., Any]) -> Any:
    flags: Any = {"reassoc", "contract"}
    try:
        return njit(cache=True, nogil=True, error_model="numpy", fastmath=flags)(function)
    except RuntimeError:  # there is no folder that can be written
        return njit(nogil=True, error_model="numpy", fastmath=flags)(function)


@_compiled
def _problem(
    row: Array,
    means: Array,
    near: Array,
    words: Array,
    C: Array,
    b: Array,
    w: Array,
    mu: float,
    power: float,
    affine: bool,
) -> None:
    """C, b and w of a row: products of its words, which where `affine` are taken from the row as their origin, so that b = 0."""
    for i in range(len(near)):
        word, square, product = means[near[i]], np.float32(0), np.float32(0)
        for c in range(len(row)):
            gap = word[c] - row[c]
            square += gap * gap
            product += word[c] * row[c]
            words[i, c] = gap if affine else word[c]
        w[i] = mu * square ** (0.5 * power)
        b[i] = 0.0 if affine else product
    for i in range(len(near)):
        for j in range(i + 1):
            product = np.float32(0)
            for c in range(len(row)):
                product += words[i, c] * words[j, c]
            C[i, j] = C[j, i] = product


@_compiled
def _one_by_one(C: Array, b: Array, w: Array, q: Array, code: Array) -> None:
    """Every code in turn to its minimum, until none moves."""
    k = len(b)
    for i in range(k):
        code[i], q[i] = 0.0, b[i]
    for _ in range(5000):
        farthest = 0.0
        for i in range(k):
            if C[i, i] <= 0:
                continue
            free = q[i] + C[i, i] * code[i]
            new = (max(free - w[i], 0.0) + min(free + w[i], 0.0)) / C[i, i]
            move = new - code[i]
            if move != 0:
                code[i] = new
                farthest = max(farthest, abs(move))
                for j in range(k):
                    q[j] -= move * C[i, j]
        if farthest <= 1e-9:
            break


@_compiled
def _in_pairs(C: Array, w: Array, q: Array, code: Array) -> None:
    """From the nearest word alone, b = 0: one code rises and one falls, to the minimum or to where one of them is 0."""
    k = len(w)
    for i in range(k):
        code[i], q[i] = 0.0, -C[0, i]
    code[0] = 1.0
    for _ in range(400 * k):
        up, down, rise, fall = 0, 0, np.inf, np.inf
        for i in range(k):  # the slopes of raising and of lowering each code
            here = (w[i] if code[i] >= 0 else -w[i]) - q[i]
            if here < rise:
                up, rise = i, here
            here = (w[i] if code[i] <= 0 else -w[i]) + q[i]
            if here < fall:
                down, fall = i, here
        bend = C[up, up] + C[down, down] - 2 * C[up, down]
        if not rise + fall < -1e-9 * (C[up, up] + C[down, down]) or bend <= 0:
            break
        move = -(rise + fall) / bend
        if code[up] < 0:
            move = min(move, -code[up])
        if code[down] > 0:
            move = min(move, code[down])
        code[up] += move
        code[down] -= move
        for j in range(k):
            q[j] -= move * (C[up, j] - C[down, j])


@_compiled
def code_rows(x: Array, means: Array, index: Array, out: Array, mu: float, power: float, affine: bool) -> None:
    """Into out (b, k) float32 the codes of x (b, d) over the words index (b, k) of means (K, d); w = μ ‖v - x‖^power."""
    k, columns = index.shape[1], x.shape[1]
    words = np.empty((k, columns), np.float32)
    C, b, w = np.empty((k, k), np.float64), np.empty(k, np.float64), np.empty(k, np.float64)
    q, code = np.empty(k, np.float64), np.empty(k, np.float64)
    for r in range(len(x)):
        _problem(x[r], means, index[r], words, C, b, w, mu, power, affine)
        if affine:
            _in_pairs(C, w, q, code)
        else:
            _one_by_one(C, b, w, q, code)
        for i in range(k):
            out[r, i] = code[i]
