"""The loops of `mmfeat.lasso_host`, compiled by numba when they are first called. Importing this module imports numba.

Names as there: G (K, K), c and q = c - G a (K,) of one row; `support` holds the columns of the codes that are not zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

__all__ = ["put_rows", "round_of_atoms", "solve_rows"]

Array = Any
_FLAGS = {"reassoc", "contract", "nsz", "nnan", "arcp"}
_EPS = np.float32(4e-7)  # of the largest correlation: what float32 cannot tell apart
_ROUNDS = 64  # of greedy steps and exact solutions; a few are needed
_LATER = np.float32(0.1)  # greedy steps of later rounds: as far as this share of the worst violation
_PIVOT, _FAR = np.float32(1e-5), np.float32(1e9)  # the least pivot of Cholesky, and one that holds a code where it is


def _compiled(function: Callable[..., Any]) -> Any:
    try:
        return njit(cache=True, nogil=True, fastmath=_FLAGS, error_model="numpy")(function)
    except RuntimeError:  # there is no folder that can be written
        return njit(nogil=True, fastmath=_FLAGS, error_model="numpy")(function)


@_compiled
def _farthest(
    row: Array,
    by: float,
    diagonal: Array,
    inverse: Array,
    q: Array,
    a: Array,
    move: Array,
    bits: Array,
    low: float,
    lam: float,
) -> int:
    """Take by · row from q, find the move that is best for each coordinate alone, and give the coordinate of the largest.

    v = q_j + G_jj a_j is what a_j would be without λ; v less itself held within (low, λ) is v shrunk. `bits` is `move` seen as
    whole numbers: their last places give way to j, so that one maximum, 16 at a time in the processor, tells where it is.
    """
    K = q.shape[0]
    places = np.int32(1)
    while places < K:
        places *= np.int32(2)
    kept, last, best = np.int32(0x7FFFFFFF) & ~(places - np.int32(1)), places - np.int32(1), np.int32(0)
    for j in range(K):
        q[j] -= by * row[j]
        v = q[j] + a[j] * diagonal[j]
        move[j] = (v - min(max(v, low), lam)) * inverse[j] - a[j]
    for j in range(K):
        best = max(best, (bits[j] & kept) | np.int32(j))
    return int(best & last)


@_compiled
def _greedy(
    G: Array, diagonal: Array, inverse: Array, q: Array, a: Array, move: Array, low: float, lam: float, least: float
) -> int:
    """Move the coordinate that has farthest to go until none would go as far as `least`; gives the number of moves."""
    bits = move.view(np.int32)
    k, by = 0, np.float32(0)
    for step in range(4 * q.shape[0]):
        k = _farthest(G[k], by, diagonal, inverse, q, a, move, bits, low, lam)
        by = move[k]
        if abs(by) <= least:
            return step
        a[k] += by
    for j in range(q.shape[0]):
        q[j] -= by * G[k, j]
    return 4 * q.shape[0]


@_compiled
def _factor(S: Array, L: Array, m: int) -> None:
    """L Lᵀ = S (m, m), both flat. Of atoms that depend on others the first gets the least pivot, and goes far; the others wait."""
    held = False
    for i in range(m):
        for j in range(i + 1):
            total = S[i * m + j]
            for k in range(j):
                total -= L[i * m + k] * L[j * m + k]
            if i == j and total > _PIVOT:
                L[i * m + i] = np.sqrt(total)
            elif i == j:
                L[i * m + i] = _FAR if held else np.sqrt(_PIVOT)
                held = True
            else:
                L[i * m + j] = total / L[j * m + j]


@_compiled
def _solve(L: Array, r: Array, m: int) -> None:
    """Solve L Lᵀ y = r; y takes the place of r."""
    for i in range(m):
        total = r[i]
        for k in range(i):
            total -= L[i * m + k] * r[k]
        r[i] = total / L[i * m + i]
    for i in range(m - 1, -1, -1):
        total = r[i] / L[i * m + i]
        r[i] = total
        for k in range(i):
            r[k] -= L[i * m + k] * total


@_compiled
def _settle(
    G: Array,
    q: Array,
    a: Array,
    support: Array,
    m: int,
    lam: float,
    enough: float,
    S: Array,
    L: Array,
    r: Array,
    b: Array,
) -> int:
    """Solve the support exactly, letting go whatever would change its sign; gives how many remain. q is left as it was.

    b holds q of the support, and is kept right.
    """
    zero = np.float32(0)
    for i in range(m):
        b[i] = q[support[i]]
    fresh = True
    for _ in range(4 * m + 8):
        if m == 0:
            break
        worst = zero
        for i in range(m):
            r[i] = b[i] - lam if a[support[i]] > zero else b[i] + lam
            worst = max(worst, abs(r[i]))
        if worst <= enough:
            break
        if fresh:
            for i in range(m):
                for j in range(m):
                    S[i * m + j] = G[support[i], support[j]]
            _factor(S, L, m)
            fresh = False
        _solve(L, r, m)
        share, leaves = np.float32(1), -1
        for i in range(m):
            old = a[support[i]]
            if old * (old + r[i]) <= zero and abs(old) < share * abs(r[i]):
                share, leaves = abs(old) / abs(r[i]), i
        for i in range(m):
            a[support[i]] += share * r[i]
        for i in range(m):
            total = zero
            for j in range(m):
                total += S[i * m + j] * r[j]
            b[i] -= share * total
        if leaves >= 0:
            a[support[leaves]] = zero
            m -= 1
            support[leaves], b[leaves] = support[m], b[m]
            fresh = True
    return m


@_compiled
def _row(
    G: Array,
    diagonal: Array,
    inverse: Array,
    c: Array,
    low: float,
    lam: float,
    tolerance: float,
    coarse: float,
    q: Array,
    a: Array,
    move: Array,
    support: Array,
    S: Array,
    L: Array,
    r: Array,
    b: Array,
) -> int:
    """The codes a of one row (zero before), and the number of those in `support`, rising."""
    K = c.shape[0]
    zero = np.float32(0)
    largest = zero
    for j in range(K):
        q[j] = c[j]
        largest = max(largest, abs(c[j]))
    floor = tolerance * lam + _EPS * largest
    if largest <= lam:
        return 0
    least, m = max(coarse * (largest - lam), floor), 0
    for _ in range(_ROUNDS):
        _greedy(G, diagonal, inverse, q, a, move, low, lam, least)
        m = 0
        for j in range(K):
            if a[j] != zero:
                support[m] = j
                m += 1
        _settle(G, q, a, support, m, lam, np.float32(0.5) * floor, S, L, r, b)
        m = 0
        for j in range(K):
            q[j] = c[j]
            if a[j] != zero:
                support[m] = j
                m += 1
        for i in range(m):
            k, by = support[i], a[support[i]]
            for j in range(K):
                q[j] -= by * G[k, j]
        worst = zero
        for j in range(K):
            worst = max(worst, abs(q[j] - min(max(q[j], low), lam)))
        for i in range(m):
            k = support[i]
            worst = max(worst, abs(q[k] - lam) if a[k] > zero else abs(q[k] + lam))
        if worst <= floor:
            break
        least = _LATER * worst
    return m


@_compiled
def solve_rows(
    G: Array,
    C: Array,
    lam: float,
    positive: bool,
    tolerance: float,
    coarse: float,
    count: Array,
    index: Array,
    value: Array,
) -> int:
    """The codes of rows with correlations C (n, K): how many of each in `count` (n,), columns and values one after the other."""
    n, K = C.shape
    zero = np.float32(0)
    low = np.float32(-3e38) if positive else -lam
    diagonal, inverse = np.zeros(K, np.float32), np.zeros(K, np.float32)
    for j in range(K):
        diagonal[j] = G[j, j]
        if G[j, j] > zero:
            inverse[j] = np.float32(1) / G[j, j]
    q, a, move = np.zeros(K, np.float32), np.zeros(K, np.float32), np.zeros(K, np.float32)
    r, b = np.zeros(K, np.float32), np.zeros(K, np.float32)
    support = np.zeros(K, np.int32)
    S, L = np.empty(K * K, np.float32), np.empty(K * K, np.float32)
    total = 0
    for i in range(n):
        m = _row(G, diagonal, inverse, C[i], low, lam, tolerance, coarse, q, a, move, support, S, L, r, b)
        for place in range(m):
            k = support[place]
            index[total], value[total] = k, a[k]
            a[k] = zero
            total += 1
        count[i] = m
    return total


@_compiled
def put_rows(count: Array, index: Array, value: Array, out: Array) -> None:
    """Codes one after the other into zeros (n, K)."""
    place = 0
    for i in range(count.shape[0]):
        for _ in range(count[i]):
            out[i, index[place]] = value[place]
            place += 1


@_compiled
def round_of_atoms(D: Array, A: Array, B: Array, least: float) -> None:
    """One round over the atoms D (K, d), in place: d_j ← Π(d_j + (B_j - A_j D) / A_jj), Π into the unit ball; A_jj > least."""
    K, d = D.shape
    u = np.zeros(d, np.float32)
    for j in range(K):
        if A[j, j] <= least:
            continue
        for t in range(d):
            u[t] = B[j, t]
        for k in range(K):
            by = A[j, k]
            if by != np.float32(0):
                for t in range(d):
                    u[t] -= by * D[k, t]
        share = np.float32(1) / A[j, j]
        length = np.float32(0)
        for t in range(d):
            u[t] = D[j, t] + share * u[t]
            length += u[t] * u[t]
        scale = np.float32(1) / max(np.sqrt(length), np.float32(1))
        for t in range(d):
            D[j, t] = scale * u[t]
