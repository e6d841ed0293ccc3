"""Locality-constrained linear coding beside FAISS's search with NumPy's systems, and beside NumPy alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, limit, side_by_side, speed

_ROWS, _COLUMNS, _WORDS, _NEAR, _BETA = 40_000, 128, 1024, 5, 1e-4
_AIM = 500_000  # descriptors a second on two cores


def run(work: Path) -> Iterator[Row]:
    """The rate beside each rival, and the rate alone."""
    from mmfeat.learners import KMeans, Llc
    from mmfeat.mesh import on_host

    words, x = _unit(_WORDS, 0), _unit(_ROWS, 1)
    learner = Llc(KMeans(_WORDS), _NEAR, _BETA)
    state = on_host(_state(learner, words))

    def ours() -> Any:
        return learner.host_sparse(state, x)

    near, codes = _with_faiss(words, x)
    differ = _difference(ours(), near, codes)
    note = f"{_WORDS} words of {_COLUMNS} columns, k = {_NEAR}; largest difference of codes {differ:.0e}"
    timing = side_by_side(ours, lambda: _with_faiss(words, x), 5)
    yield speed("LLC, FAISS search + NumPy systems", timing, _ROWS, 1.0, "descriptors/s", note)
    yield limit("LLC, time for a million descriptors", 1e6 * timing.ours / _ROWS, 1e6 / _AIM, "s", note)
    part = x[: _ROWS // 8]
    timing = side_by_side(lambda: learner.host_sparse(state, part), lambda: _with_numpy(words, part), 5)
    yield speed("LLC, NumPy", timing, len(part), 1.0, "descriptors/s", "search by one product and argpartition")


def _unit(count: int, seed: int) -> np.ndarray:
    """Rows of length 1 with no entry below 0, as SIFT gives them."""
    x = np.random.default_rng(seed).gamma(0.5, size=(count, _COLUMNS)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _state(learner: Any, words: np.ndarray) -> Any:
    """A state whose codewords are these."""
    import jax

    return learner.init(jax.random.key(0), words)._replace(means=words)


def _systems(words: np.ndarray, x: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The codes at the nearest words, by LAPACK on the stack of all systems."""
    z = words[near] - x[:, None, :]
    C = z @ z.transpose(0, 2, 1)
    trace = np.trace(C, axis1=1, axis2=2)
    C += (_BETA * trace)[:, None, None] * np.eye(near.shape[1], dtype=np.float32)
    w = np.linalg.solve(C, np.ones((len(x), near.shape[1], 1), np.float32))[:, :, 0]
    return w / w.sum(axis=1, keepdims=True)


def _with_faiss(words: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    index = faiss.IndexFlatL2(words.shape[1])
    index.add(words)
    near = index.search(x, _NEAR)[1]
    return near, _systems(words, x, near)


def _with_numpy(words: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    square = (words * words).sum(axis=1) - 2 * x @ words.T
    near = np.argpartition(square, _NEAR, axis=1)[:, :_NEAR]
    return near, _systems(words, x, near)


def _difference(codes: Any, near: np.ndarray, values: np.ndarray) -> float:
    """The largest difference of a code; rows whose neighbours are another set (equals, within rounding) are left out."""
    _, index, value = codes
    index, value = index.reshape(near.shape), value.reshape(near.shape)
    order, wanted = np.argsort(index, axis=1), np.argsort(near, axis=1)
    same = (np.take_along_axis(index, order, 1) == np.take_along_axis(near, wanted, 1)).all(axis=1)
    if same.mean() < 0.999:
        raise AssertionError(f"only {same.mean():.4f} of the rows have the same neighbours")
    gap = np.take_along_axis(value, order, 1) - np.take_along_axis(values, wanted, 1)
    return float(np.abs(gap[same]).max())
