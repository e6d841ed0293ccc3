"""Is one picture a copy or a cut-out of another? Two small pictures are laid upon each other and compared.

    minimise over a, b, c, d, g, h:   sum over x, y of m(x, y) [B(x, y) - g A(a x + b, c y + d) - h]^2

A is stretched and shifted along both axes (as a crop, squashed to the same square, is), and its brightness changed, by
Gauss-Newton steps from coarse to fine; m is 1 where A is still defined. What counts in the end is the correlation of the two
where they overlap, at the finest size.

Lucas & Kanade, «An iterative image registration technique», IJCAI 1981; Baker & Matthews, «Lucas-Kanade 20 years on», IJCV 2004.
"""

from __future__ import annotations

import numpy as np

__all__ = ["SIDE", "agreement"]

SIDE = 48  # px of the small pictures
_LEVELS = ((12, 10, 0.6), (24, 8, 0.75), (48, 6, -1.0))  # side, steps, correlation below which the pair is given up
_LEAST_OVERLAP = 0.5  # of the square
_FURTHEST = 0.6  # a stretch or shift beyond this is no copy


def agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation (m,) in [-1, 1] of each pair a, b (m, SIDE, SIDE) float32, laid upon each other as well as can be.

    Pairs that do not agree at a coarser size keep the value they had there; -1 where too little overlaps. Flat pictures
    have no structure to compare: 0.
    """
    p = np.tile(np.array([1, 0, 1, 0], np.float32), (len(a), 1))
    found = np.zeros(len(a), np.float32)
    left = np.arange(len(a))
    for side, steps, least in _LEVELS:
        small_a, small_b = _shrink(a[left], side), _shrink(b[left], side)
        slope_y, slope_x = np.gradient(small_a, 2 / side, axis=(1, 2))
        moved = p[left]
        for _ in range(steps):
            moved = _step(moved, small_a, slope_x, slope_y, small_b)
        p[left] = moved
        values, mask = _sample(small_a, moved)
        found[left] = _correlation(values, small_b, mask)
        left = left[found[left] >= least]
        if not len(left):
            break
    return found


def _shrink(x: np.ndarray, side: int) -> np.ndarray:
    """Means of square blocks: (m, SIDE, SIDE) → (m, side, side)."""
    block = x.shape[1] // side
    return x.reshape(len(x), side, block, side, block).mean(axis=(2, 4))


def _grid(side: int) -> np.ndarray:
    """Centres of pixels in [-1, 1]."""
    return ((np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1).astype(np.float32)


def _axis(scale: np.ndarray, shift: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left pixel, weight of the right one, and inside or not, (m, side) each, along one axis."""
    at = (scale[:, None] * _grid(side) + shift[:, None] + 1) * side / 2 - 0.5
    inside = (at >= -0.5) & (at <= side - 0.5)
    at = np.clip(at, 0, side - 1)
    left = np.minimum(at.astype(np.int64), side - 2)
    return left, (at - left).astype(np.float32), inside


def _sample(x: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (m, s, s) at the stretched and shifted places, bilinear, and where they are defined."""
    side = x.shape[1]
    column, right, in_x = _axis(p[:, 0], p[:, 1], side)
    row, down, in_y = _axis(p[:, 2], p[:, 3], side)
    pairs = np.arange(len(x))[:, None, None]
    upper, lower = x[pairs, row[:, :, None], :][:, :, 0], x[pairs, row[:, :, None] + 1, :][:, :, 0]
    lines = upper + down[:, :, None] * (lower - upper)
    first = np.take_along_axis(lines, column[:, None, :], axis=2)
    second = np.take_along_axis(lines, column[:, None, :] + 1, axis=2)
    return first + right[:, None, :] * (second - first), in_y[:, :, None] & in_x[:, None, :]


def _step(p: np.ndarray, a: np.ndarray, slope_x: np.ndarray, slope_y: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One Gauss-Newton step of (a, b, c, d) for every pair; brightness g, h is solved for besides and forgotten."""
    side = a.shape[1]
    values, mask = _sample(a, p)
    weight = mask.reshape(len(a), -1).astype(np.float32)
    along_x, along_y = _sample(slope_x, p)[0], _sample(slope_y, p)[0]
    x, y = _grid(side)[None, None, :], _grid(side)[None, :, None]
    gain = _gain(values.reshape(len(a), -1), b.reshape(len(a), -1), weight)[:, None, None]
    columns = [gain * along_x * x, gain * along_x, gain * along_y * y, gain * along_y, values, np.ones_like(values)]
    jacobian = np.stack([column.reshape(len(a), -1) for column in columns], axis=1) * weight[:, None]
    normal = np.einsum("mik,mjk->mij", jacobian, jacobian).astype(np.float64)
    rest = np.einsum("mik,mk->mi", jacobian, (b.reshape(len(a), -1) - gain[:, :, 0] * values.reshape(len(a), -1)))
    trace = np.trace(normal[:, :4, :4], axis1=1, axis2=2)
    normal += np.eye(6) * (1e-6 + 1e-3 * trace / 4)[:, None, None] * np.array([1, 1, 1, 1, 1e-6, 1e-6])
    normal += np.eye(6) * 1e-9
    move = np.linalg.solve(normal, rest[:, :, None].astype(np.float64))[:, :4, 0]
    moved = p + np.clip(move, -0.2, 0.2).astype(np.float32)
    centre = np.array([1, 0, 1, 0], np.float32)
    return np.clip(moved, centre - _FURTHEST, centre + _FURTHEST)


def _gain(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The factor (m,) that brings a nearest to b where weight is 1, at least a tenth: never a negative picture."""
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1)
    a0 = (a - (a * weight).sum(axis=1, keepdims=True) / total) * weight
    b0 = (b - (b * weight).sum(axis=1, keepdims=True) / total) * weight
    return np.clip((a0 * b0).sum(axis=1) / np.maximum((a0**2).sum(axis=1), 1e-6), 0.1, 10)


def _correlation(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> np.ndarray:
    weight = mask.reshape(len(a), -1).astype(np.float64)
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1)
    flat_a, flat_b = a.reshape(len(a), -1).astype(np.float64), b.reshape(len(b), -1).astype(np.float64)
    flat_a = (flat_a - (flat_a * weight).sum(axis=1, keepdims=True) / total) * weight
    flat_b = (flat_b - (flat_b * weight).sum(axis=1, keepdims=True) / total) * weight
    length = np.sqrt((flat_a**2).sum(axis=1) * (flat_b**2).sum(axis=1))
    found = np.where(length > 1e-4 * total[:, 0], (flat_a * flat_b).sum(axis=1) / np.maximum(length, 1e-12), 0.0)
    return np.where(weight.mean(axis=1) >= _LEAST_OVERLAP, found, -1.0).astype(np.float32)
