"""Histograms over the regions of a spatial pyramid, counted pixel by pixel, and their scales.

Spatial pyramid: S. Lazebnik, C. Schmid, J. Ponce, "Beyond bags of features: spatial pyramid matching", CVPR 2006.
Square roots (the Hellinger kernel as a product of rows): A. Vedaldi, A. Zisserman, "Efficient additive kernels via explicit
feature maps", CVPR 2010.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.descriptors.planes import stored
from mmfeat.errors import SettingsError
from mmfeat.pool import Regions

__all__ = ["check_norm", "count_by_region", "scaled"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_NORMS = ("l1", "l2", "hellinger", "none")


def check_norm(norm: str) -> None:
    """SettingsError unless histograms are scaled in a way that `scaled` knows."""
    if norm not in _NORMS:
        raise SettingsError("norm is one of " + ", ".join(_NORMS), repr(norm), '"hellinger" suits linear classifiers')


def scaled(histograms: Array, norm: str) -> Array:
    """Histograms (..., bins) as shares of 1 ("l1"), their square roots ("hellinger"), of length 1 ("l2"), or as they are.

    An empty one stays 0.
    """
    if norm == "none":
        return histograms
    if norm == "l2":
        length = jnp.sqrt((histograms**2).sum(axis=-1, keepdims=True))
        return histograms / jnp.where(length > 0, length, jnp.float32(1))
    total = histograms.sum(axis=-1, keepdims=True)
    shares = histograms / jnp.where(total > 0, total, jnp.float32(1))
    return jnp.sqrt(shares) if norm == "hellinger" else shares


def count_by_region(votes: list[tuple[Array, Array | None]], size: Array, bins: int, regions: Regions) -> Array:
    """Histograms (B, regions, bins) float32 of numbers (B, H, W) in 0..bins - 1 over the pixels inside size (B, 2).

    votes: pairs of numbers (B, H, W) int32 and their weights in [0, 1] (None: 1 each): a pixel may vote for several bins.
    A pixel is of the region its centre lies in, as in `Pool`.

    Weights are summed as whole numbers of at least 13 bits, in any order to the same result. One scatter of whole numbers for
    each pair: on a CPU two nanoseconds a vote, twenty times faster than comparisons or products.
    """
    height, width = votes[0][0].shape[1:3]
    rows, columns, of_region = _common_grid(regions)
    cell = _cell(size, height, width, rows, columns)
    one = 1 if all(weight is None for _, weight in votes) else _unit(height * width)
    counts = jnp.int32(0)
    for number, weight in votes:
        place = stored(cell * bins + number)
        whole = jnp.full(number.shape, one, jnp.int32) if weight is None else _whole(weight, one)
        # zeros, but by another use of `place`, without which XLA joins it with the scatter's indices, ten times slower
        zero = jnp.minimum(place[:, 0, 0], 0)
        zeros = jnp.broadcast_to(zero[:, None], (cell.shape[0], (rows * columns + 1) * bins))
        counts = jax.vmap(_add)(zeros, place, whole) + counts
    counts = counts.reshape(-1, rows * columns + 1, bins)[:, :-1].astype(jnp.float32) * jnp.float32(1 / one)
    return jnp.einsum("rc,bcn->brn", of_region, counts, precision=_EXACT)


def _add(counts: Array, place: Array, whole: Array) -> Array:
    return counts.at[place.reshape(-1)].add(whole.reshape(-1), mode="promise_in_bounds")


def _unit(pixels: int) -> int:
    """The whole number that stands for 1, so that the weights of all pixels of a bucket do not exceed 2^31."""
    return int(2 ** min(16, 30 - int(np.ceil(np.log2(pixels)))))


def _whole(weight: Array, one: int) -> Array:
    return jnp.round(weight * jnp.float32(one)).astype(jnp.int32)


def _cell(size: Array, height: int, width: int, rows: int, columns: int) -> Array:
    """(B, H, W) int32: the cell of each pixel's centre, row by row; rows * columns outside the valid part."""
    size = jnp.maximum(jnp.asarray(size, jnp.int32), 0)
    y, x = np.arange(height, dtype=np.int32)[None, :], np.arange(width, dtype=np.int32)[None, :]
    down = (2 * y + 1) * rows // jnp.maximum(2 * size[:, :1], 1)
    across = (2 * x + 1) * columns // jnp.maximum(2 * size[:, 1:], 1)
    inside = (y < size[:, :1])[:, :, None] & (x < size[:, 1:])[:, None, :]
    return jnp.where(inside, down[:, :, None] * columns + across[:, None, :], jnp.int32(rows * columns))


def _common_grid(regions: Regions) -> tuple[int, int, np.ndarray]:
    """The least grid (rows, columns) whose cells all regions are made of, and (R, rows * columns): of which cells each is."""
    rows, columns = (int(np.lcm.reduce([region[axis] for region in regions])) for axis in range(2))
    parts = []
    for down, across in regions:
        y = np.kron(np.eye(down, dtype=np.float32), np.ones((1, rows // down), np.float32))
        x = np.kron(np.eye(across, dtype=np.float32), np.ones((1, columns // across), np.float32))
        parts.append(np.kron(y, x))
    return rows, columns, np.concatenate(parts)
