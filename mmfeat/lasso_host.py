"""Sparse codes on the host: a greedy start, then an active set solved exactly; compiled by numba, one thread a core.

    min over a:  ½ ‖x - a φ‖² + λ ‖a‖₁          G = φ φᵀ (K, K), c = φ x, q = c - G a (what is left to explain)

Greedy coordinate descent (Y. Li and S. Osher, Inverse Problems and Imaging 3, 2009) moves the coordinate that has farthest to go,
until the support is nearly right. Then, as in feature-sign search (H. Lee et al., NIPS 2006), the support S with its signs s is
solved as it stands, G_SS a_S = c_S - λ s, by Cholesky; a code that would cross zero on the way stops there and leaves. Codes
outside that break |q_j| <= λ come in, by greedy steps again. Every move lowers the objective; q is made anew from c each round.

numba keeps what it compiled beside this file, or in the user's cache folder, or where NUMBA_CACHE_DIR says; the first call ever
takes some seconds, and so does that of every process where none of these can be written.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mmfeat.host import one_blas_thread

__all__ = ["dense_codes", "sparse_codes", "update_atoms"]

Array = Any
Correlations = Callable[[slice], Any]
_BLOCK = 256  # rows whose correlations stay in the cache until they are coded
_COARSE = 0.01  # the greedy steps stop where none would move a code by this share of what the largest has to go


def sparse_codes(
    gram: Array, correlations: Correlations, rows: int, lam: float, positive: bool = False, tolerance: float = 2e-6
) -> tuple[Array, Array, Array]:
    """The non-zero codes of every row as CSR: starts (n + 1,) int64, index (m,) int32 rising within a row, value (m,) float32.

    gram (K, K) float32. correlations: gives c of a slice of the rows, (r, K) float32. positive: no code is below 0.
    tolerance: the largest violation of the conditions of a minimum, as a share of λ (beside what float32 cannot tell).
    A row whose c is not finite has no codes.
    """
    parts = _in_blocks(gram, correlations, rows, lam, positive, tolerance, lambda where, bad, *codes: codes)
    counts = np.concatenate([np.zeros(1, np.int64), *(count for count, _, _ in parts)])
    index = np.concatenate([np.zeros(0, np.int32), *(part for _, part, _ in parts)])
    value = np.concatenate([np.zeros(0, np.float32), *(part for _, _, part in parts)])
    return np.cumsum(counts), index, value


def dense_codes(
    gram: Array, correlations: Correlations, rows: int, lam: float, positive: bool = False, tolerance: float = 2e-6
) -> Array:
    """The codes (n, K) float32 of every row; NaN where c is not finite. The arguments are those of `sparse_codes`."""
    from mmfeat.lasso_kernels import put_rows

    out = np.empty((rows, gram.shape[0]), np.float32)

    def keep(where: slice, bad: Array, count: Array, index: Array, value: Array) -> None:
        out[where] = 0
        put_rows(count, index, value, out[where])
        if bad.any():
            out[where][bad] = np.nan

    _in_blocks(gram, correlations, rows, lam, positive, tolerance, keep)
    return out


def _in_blocks(
    gram: Array,
    correlations: Correlations,
    rows: int,
    lam: float,
    positive: bool,
    tolerance: float,
    keep: Callable[..., Any],
) -> list[Any]:
    """keep(rows, which are not finite, count, index, value) of every block, on threads of our own that wait for nobody."""
    from mmfeat.lasso_kernels import solve_rows

    gram = np.ascontiguousarray(gram, np.float32)

    def work(first: int) -> Any:
        where = slice(first, min(first + _BLOCK, rows))
        c = np.ascontiguousarray(correlations(where), np.float32)
        bad = ~np.isfinite(c.sum(axis=1))
        if bad.any():
            c = np.where(bad[:, None], np.float32(0), c)
        count, index, value = np.zeros(len(c), np.int64), np.empty(c.size, np.int32), np.empty(c.size, np.float32)
        m = solve_rows(
            gram, c, np.float32(lam), positive, np.float32(tolerance), np.float32(_COARSE), count, index, value
        )
        return keep(where, bad, count, index[:m].copy(), value[:m].copy())

    with one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as workers:
        return list(workers.map(work, range(0, rows, _BLOCK)))


def update_atoms(atoms: Array, A: Array, B: Array, least: float = 0.0) -> Array:
    """One round over the atoms (K, d) for the sums A (K, K), B (K, d) (eq. 2 of `mmfeat.learners.dictionary`): new atoms.

    An atom with A_jj <= least stays as it is.
    """
    from mmfeat.lasso_kernels import round_of_atoms

    new = np.array(atoms, np.float32)
    round_of_atoms(new, np.ascontiguousarray(A, np.float32), np.ascontiguousarray(B, np.float32), np.float32(least))
    return new
