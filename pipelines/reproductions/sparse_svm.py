"""The squared-hinge SVM of `LinearSvm` on very wide rows that are mostly 0: dual coordinate descent, all classes at once.

C.-J. Hsieh, K.-W. Chang, C.-J. Lin, S. Keerthi, S. Sundararajan, "A dual coordinate descent method for large-scale linear SVM",
ICML 2008 (algorithm 1, L2-loss).

    min over α_i >= 0:  ½ ‖Σ_i α_i t_i x_i‖² + 1/(4c) Σ α_i² - Σ α_i
    g_i = t_i w·x_i - 1 + α_i / (2c),   α_i ← max(0, α_i - g_i / (‖x_i‖² + 1/(2c))),   w = Σ_i α_i t_i x_i

Codes of rows by thousands of anchors, with the tangents of each, have a hundred thousand columns and a few hundred non-zeros.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmfeat.stages import Fitted

__all__ = ["Csr", "sparse_rows", "sparse_scores", "sparse_svm"]


class Csr(NamedTuple):
    """Rows by their non-zeros: starts (n + 1,) int64, columns (m,) int32, value (m,) float32; width: of a row."""

    starts: np.ndarray
    columns: np.ndarray
    value: np.ndarray
    width: int


def sparse_rows(fitted: Fitted, data: Any) -> Csr:
    """What a fitted chain makes of rows or pictures, its zeros left out."""
    from mmfeat.encoder import Encoder
    from mmfeat.mesh import on_host
    from mmfeat.stages import encode_source
    from mmfeat.stream import as_source

    source, last = as_source(data), fitted.chain.stages[-1]
    host = hasattr(last, "host_sparse")
    count = len(fitted.states) - host
    encoder = Encoder(fitted.chain.stages[:count], fitted.states[:count])
    state = on_host(fitted.states[-1])
    counts, index, value, width = np.zeros(len(source) + 1, np.int64), list[np.ndarray](), list[np.ndarray](), 0
    for rows, codes, _ in encode_source(encoder, source, most=512):  # the rows of a source of one group come in order
        if host:
            starts, column, some = last.host_sparse(state, np.ascontiguousarray(codes, np.float32))
            width = width or last.encode(state, codes[:1]).shape[1]
        else:
            row, column = np.nonzero(codes)
            starts, some = np.append(0, np.cumsum(np.bincount(row, minlength=len(rows)))), codes[row, column]
            width = codes.shape[1]
        counts[rows + 1] = np.diff(starts)
        index.append(column.astype(np.int32))
        value.append(some)
    return Csr(np.cumsum(counts), np.concatenate(index), np.concatenate(value), width)


def sparse_svm(
    x: Csr, labels: np.ndarray, classes: int, c: float, seed: int = 0, tolerance: float = 0.02, most: int = 60
) -> np.ndarray:
    """Machines (width + 1, classes) float32, the last row of them the bias: one-vs-rest on labels (n,).

    tolerance: passes over the rows end when the projected gradient of none is further from 0. most: passes.
    """
    descend, _ = _kernels()
    n = len(labels)
    machines, alpha = np.zeros((x.width + 1, classes), np.float32), np.zeros((n, classes), np.float32)
    square = np.add.reduceat(np.append(x.value**2, 0), x.starts[:-1]) * (np.diff(x.starts) > 0) + 1
    random = np.random.default_rng(seed)
    for _ in range(most):
        worst = descend(
            x.starts, x.columns, x.value, labels, random.permutation(n), square.astype(np.float32), np.float32(1 / (2 * c)),
            alpha, machines,
        )  # fmt: skip
        if worst <= tolerance:
            break
    return machines


def sparse_scores(x: Csr, machines: np.ndarray) -> np.ndarray:
    """Decision scores (n, classes) float32."""
    out = np.empty((len(x.starts) - 1, machines.shape[1]), np.float32)
    _kernels()[1](x.starts, x.columns, x.value, machines, out)
    return out


@cache
def _kernels() -> Sequence[Any]:
    from numba import njit

    return njit(nogil=True)(_descend), njit(nogil=True)(_score)


def _descend(starts, index, value, labels, order, square, ridge, alpha, machines):  # type: ignore[no-untyped-def]
    """One pass over the rows; the largest projected gradient."""
    classes, last = machines.shape[1], machines.shape[0] - 1
    z, move, worst = np.empty(classes, np.float32), np.empty(classes, np.float32), 0.0
    for row in order:
        for k in range(classes):
            z[k] = machines[last, k]
        for j in range(starts[row], starts[row + 1]):
            for k in range(classes):
                z[k] += value[j] * machines[index[j], k]
        moved = False
        for k in range(classes):
            sign = np.float32(1) if labels[row] == k else np.float32(-1)
            gradient = sign * z[k] - np.float32(1) + ridge * alpha[row, k]
            if alpha[row, k] == 0 and gradient > 0:
                gradient = np.float32(0)
            worst = max(worst, abs(gradient))
            new = max(alpha[row, k] - gradient / (square[row] + ridge), np.float32(0))
            move[k] = sign * (new - alpha[row, k])
            moved = moved or move[k] != 0
            alpha[row, k] = new
        if moved:
            for k in range(classes):
                machines[last, k] += move[k]
            for j in range(starts[row], starts[row + 1]):
                for k in range(classes):
                    machines[index[j], k] += value[j] * move[k]
    return worst


def _score(starts, index, value, machines, out):  # type: ignore[no-untyped-def]
    for row in range(len(out)):
        for k in range(out.shape[1]):
            out[row, k] = machines[machines.shape[0] - 1, k]
        for j in range(starts[row], starts[row + 1]):
            for k in range(out.shape[1]):
                out[row, k] += value[j] * machines[index[j], k]
