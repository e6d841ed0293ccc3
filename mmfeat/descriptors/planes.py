"""Channels one by one, and the cells of the valid parts: what several descriptors start from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["common_grid", "cut_cells", "planes", "stored", "valid"]

Array = Any
_PRIME = 32_749


def stored(x: Array) -> Array:
    """The same whole numbers, 0 <= x < 32749, as int32, stored by XLA: what uses them does not compute them again.

    XLA repeats what looks cheap wherever it is used (`optimization_barrier` is gone by then); a remainder does not look cheap.
    """
    return jax.lax.rem(x.astype(jnp.int32), jnp.int32(_PRIME))


def planes(pixels: Array, margin: int = 0) -> list[Array]:
    """Pixels (B, H, W, C) as C arrays (B, H + 2 margin, W + 2 margin) of their type, with zeros around.

    Each lies in memory as one: on a CPU what reads neighbours from interleaved channels takes ten times as long.
    """
    around = ((0, 0), (margin, margin), (margin, margin))
    pixels = jnp.asarray(pixels)
    return [jnp.pad(pixels[..., k], around) for k in range(pixels.shape[-1])]


def valid(size: Array, height: int, width: int, margin: tuple[int, int] = (0, 0)) -> Array:
    """(B, height, width) bool: the pixels of the valid part that are at least margin (down, across) from its border."""
    y, x = np.arange(height, dtype=np.int32)[None, :, None], np.arange(width, dtype=np.int32)[None, None, :]
    size = jnp.asarray(size, jnp.int32)
    rows, columns = size[:, 0, None, None], size[:, 1, None, None]
    down, across = margin
    return (y >= down) & (y < rows - down) & (x >= across) & (x < columns - across)


def cut_cells(x: Array, size: Array, rows: int, columns: int) -> tuple[Array, Array]:
    """The valid parts (B, H, W) of sizes (B, 2), cut into a grid: (B, rows, columns, n) values, and bool: whether it is one.

    A pixel belongs to the cell its centre lies in, as in `Pool`; n is the most a cell of the bucket may hold.
    """
    size = jnp.asarray(size, jnp.int32)
    down, inside_down = _places(size[:, 0], x.shape[1], rows)
    across, inside_across = _places(size[:, 1], x.shape[2], columns)
    count = down.shape[2] * across.shape[2]
    found = jax.vmap(lambda picture, y, z: picture[y.reshape(-1)][:, z.reshape(-1)])(x, down, across)
    found = found.reshape(x.shape[0], rows, down.shape[2], columns, across.shape[2]).transpose(0, 1, 3, 2, 4)
    inside = inside_down[:, :, None, :, None] & inside_across[:, None, :, None, :]
    return found.reshape(x.shape[0], rows, columns, count), inside.reshape(x.shape[0], rows, columns, count)


def _places(length: Array, most: int, cells: int) -> tuple[Array, Array]:
    """Where the pixels of every cell lie along one axis: (B, cells, ceil(most / cells)) int32, and whether they are of it."""
    edge = np.arange(cells + 1, dtype=np.int32)
    # pixel x is of cell floor((x + 1/2) cells / length), so cell c begins at the least x with (2 x + 1) cells >= 2 c length
    first = -((cells - 2 * edge[None, :] * length[:, None]) // (2 * cells))
    place = first[:, :-1, None] + np.arange(-(-most // cells), dtype=np.int32)[None, None, :]
    return jnp.minimum(place, most - 1), place < first[:, 1:, None]


def common_grid(regions: tuple[tuple[int, int], ...]) -> tuple[int, int, np.ndarray]:
    """The least grid (rows, columns) whose cells every region is made of, and (R, rows * columns) float32 of which those are.

    >>> common_grid(((1, 1), (2, 1)))
    (2, 1, array([[1., 1.],
           [1., 0.],
           [0., 1.]], dtype=float32))
    """
    rows, columns = (int(np.lcm.reduce([region[axis] for region in regions])) for axis in range(2))
    parts = []
    for down, across in regions:
        y = np.kron(np.eye(down, dtype=np.float32), np.ones((1, rows // down), np.float32))
        x = np.kron(np.eye(across, dtype=np.float32), np.ones((1, columns // across), np.float32))
        parts.append(np.kron(y, x))
    return rows, columns, np.concatenate(parts)
