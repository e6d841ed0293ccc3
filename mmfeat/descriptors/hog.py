"""Histograms of oriented gradients in overlapping blocks of cells.

N. Dalal, B. Triggs, "Histograms of oriented gradients for human detection", CVPR 2005. The gradient of a pixel is (g_x, g_y) =
(I(x + 1) - I(x - 1), I(y + 1) - I(y - 1)), 0 on the border, and of several channels that of the one with the greatest magnitude. In
every cell the magnitudes are summed by orientation, b x b neighbouring cells are a block v, and with ε = 1e-5

    L1: v / (|v|₁ + ε)     L1-sqrt: √(v / (|v|₁ + ε))     L2: v / √(|v|² + ε²)     L2-Hys: L2, clipped at 0.2, L2 again
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.arrays import Images, Locals
from mmfeat.descriptors.pixels import Pixels, check_images
from mmfeat.descriptors.planes import planes, stored, valid
from mmfeat.errors import SettingsError, ShapeError

__all__ = ["Hog", "bins_of", "gradients"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_FLOOR = 1e-5
_NORMS = ("L1", "L1-sqrt", "L2", "L2-Hys")


@dataclass(frozen=True)
class Hog:
    """Normalised blocks of block x block cells, each cell of cell x cell pixels, from the top left corner; row by row.

    orientations: bins over half a turn, or over a whole one with signed=True (then an even number).
    cell: pixels. block: cells. norm: "L1", "L1-sqrt", "L2" or "L2-Hys".
    root: gradients of the square roots of the pixels, which strengthens what is dark.
    side: the valid part of every picture, whatever its shape, is averaged over side x side pixels first (as in `Pixels`).
    flatten: all blocks of a picture as one row, for pictures of one size, or of any size with `side`:
        `Hog(side=64, flatten=True)`. To sum up pictures of mixed sizes put `Pool` after `Hog()` instead.

    Values are (cell row, cell column, orientation) flattened: the blocks of scikit-image's `hog` of each picture alone.
    A block that reaches beyond the valid part is 0 and weighs 0.

    >>> import numpy as np
    >>> images = Images(np.zeros((2, 64, 48, 3), np.uint8), np.array([[64, 48], [20, 40]], np.int32))
    >>> x = Hog(cell=8, block=2)(images)
    >>> x.values.shape, np.asarray(x.weight).sum(1).tolist()
    ((2, 35, 36), [35.0, 4.0])
    """

    orientations: int = 9
    cell: int = 8
    block: int = 2
    norm: str = "L2-Hys"
    signed: bool = False
    root: bool = False
    side: int | None = None
    flatten: bool = False

    def __post_init__(self) -> None:
        numbers = f"orientations={self.orientations}, cell={self.cell}, block={self.block}"
        if min(self.orientations, self.cell, self.block) < 1:
            raise SettingsError("orientations, cells and blocks are at least 1", numbers, "9, 8 and 2 are usual")
        if self.signed and self.orientations % 2:
            raise SettingsError("signed orientations are an even number", numbers, "18 is usual")
        if self.norm not in _NORMS:
            raise SettingsError("norm is one of " + ", ".join(_NORMS), repr(self.norm), "L2-Hys is usual")
        if self.side is not None and self.side < self.cell * self.block:
            raise SettingsError(
                f"a side holds at least one block of {self.cell * self.block} pixels", f"side={self.side}", "try 64"
            )

    def check(self, images: Images) -> None:
        """Refuse pictures smaller than their bucket where all blocks make one row: the row would depend on the bucket."""
        if self.flatten and self.side is None:
            Pixels().check(check_images(images, "Hog"))

    def __call__(self, images: Images) -> Locals | Array:
        """Images (B, H, W, C) to Locals with L = (H // cell - block + 1) * (W // cell - block + 1), or rows (B, L * d)."""
        images = check_images(images, "Hog")
        if self.side is not None:
            pixels = Pixels(self.side, flatten=False)(images)
            images = Images(pixels, jnp.full((pixels.shape[0], 2), self.side, jnp.int32))
        smallest = self.cell * self.block
        if min(images.pixels.shape[1:3]) < smallest:
            height, width = images.pixels.shape[1:3]
            raise ShapeError(
                f"pictures hold at least one block of {smallest} pixels", f"{height} x {width}", "set a smaller cell"
            )
        cells = self._cells(*gradients(images, self.root))
        down, across = (count - self.block + 1 for count in cells.shape[1:3])
        parts = [
            cells[:, i : i + down, j : j + across] for i in range(self.block) for j in range(self.block)
        ]  # every cell of a block is a shifted view of all cells
        values = self._normalised(jnp.concatenate(parts, axis=-1)).reshape(cells.shape[0], down * across, -1)
        if self.flatten:
            return values.reshape(cells.shape[0], -1)
        return self._locals(values, down, across, jnp.asarray(images.size, jnp.int32))

    def _cells(self, gx: Array, gy: Array) -> Array:
        """Gradients (B, H, W) to histograms (B, H // cell, W // cell, orientations): mean magnitudes."""
        batch, (rows, columns) = gx.shape[0], (length // self.cell for length in gx.shape[1:])
        gx, gy = (g[:, : rows * self.cell, : columns * self.cell] for g in (gx, gy))
        magnitude = jnp.sqrt(gx * gx + gy * gy)
        number = stored(bins_of(gx, gy, self.orientations, self.signed))
        shape = (batch, rows, self.cell, columns * self.cell)
        magnitude, number = magnitude.reshape(shape), number.reshape(shape)
        gather = np.kron(np.eye(columns, dtype=np.float32), np.full((self.cell, 1), self.cell**-2, np.float32))
        sums = []
        for orientation in range(self.orientations):
            voting = jnp.where(number == orientation, magnitude, jnp.float32(0))
            lines = sum((voting[:, :, k] for k in range(1, self.cell)), voting[:, :, 0])  # elementwise: runs along x
            sums.append(jnp.matmul(lines, gather, precision=_EXACT))
        return jnp.stack(sums, axis=-1)

    def _normalised(self, blocks: Array) -> Array:
        if self.norm.startswith("L1"):
            shares = blocks / (blocks.sum(axis=-1, keepdims=True) + _FLOOR)
            return jnp.sqrt(shares) if self.norm == "L1-sqrt" else shares
        unit = _unit(blocks)
        return _unit(jnp.minimum(unit, jnp.float32(0.2))) if self.norm == "L2-Hys" else unit

    def _locals(self, values: Array, down: int, across: int, size: Array) -> Locals:
        y, x = (part.reshape(1, -1) for part in np.mgrid[:down, :across].astype(np.int32) * self.cell)
        length = self.cell * self.block
        inside = (y + length <= size[:, :1]) & (x + length <= size[:, 1:])
        middle = np.stack([x, y], axis=-1).astype(np.float32) + np.float32(length / 2)
        where = jnp.minimum(middle / jnp.maximum(size[:, None, ::-1], 1).astype(jnp.float32), 1.0)
        return Locals(jnp.where(inside[..., None], values, jnp.float32(0)), where, inside.astype(jnp.float32))


def _unit(x: Array) -> Array:
    return x * jax.lax.rsqrt((x * x).sum(axis=-1, keepdims=True) + _FLOOR**2)


def gradients(images: Images, root: bool = False) -> tuple[Array, Array]:
    """(g_x, g_y), each (B, H, W) float32, of pixels in [0, 1]: central differences, 0 on the border of the valid part and outside.

    Of several channels, at every pixel, that with the greatest magnitude (the first of equals). root: of the pixels' square roots.
    Bytes are subtracted as whole numbers, so that equal differences are equal.
    """
    scale = 1 / 255 if images.pixels.dtype == np.uint8 else 1.0
    height, width = images.pixels.shape[1:3]
    inside = valid(images.size, height, width)
    inner_x, inner_y = (inside & valid(images.size, height, width, margin) for margin in ((0, 1), (1, 0)))
    found = []
    for plane in planes(images.pixels, margin=1):
        x = plane.astype(jnp.float32)
        x = jnp.sqrt(x) if root else x
        gx, gy = x[:, 1:-1, 2:] - x[:, 1:-1, :-2], x[:, 2:, 1:-1] - x[:, :-2, 1:-1]
        found.append((jnp.where(inner_x, gx, jnp.float32(0)), jnp.where(inner_y, gy, jnp.float32(0))))
    gx, gy = _strongest(found)
    scale = math.sqrt(scale) if root else scale
    return gx * jnp.float32(scale), gy * jnp.float32(scale)


def _strongest(found: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """At every pixel the gradient of the channel where its magnitude is greatest."""
    best_x, best_y = found[0]
    power = best_x * best_x + best_y * best_y
    for gx, gy in found[1:]:
        own = gx * gx + gy * gy
        best_x, best_y = jnp.where(own > power, gx, best_x), jnp.where(own > power, gy, best_y)
        power = jnp.maximum(power, own)
    return best_x, best_y


def bins_of(gx: Array, gy: Array, orientations: int, signed: bool) -> Array:
    """The bin of every gradient's orientation, int32: of half a turn, or of a whole one (signed), cut into `orientations` parts.

    By the sides of lines through the origin, exact where those lie at 0, 45 and 90 degrees: no angle is computed.
    """
    below = (gy < 0) | ((gy == 0) & (gx < 0))
    gx, gy = jnp.where(below, -gx, gx), jnp.abs(gy)
    half = orientations // 2 if signed else orientations
    number = jnp.where(below, jnp.int32(half), jnp.int32(0)) if signed else jnp.zeros(gx.shape, jnp.int32)
    for line in range(1, half):  # the line at the angle between the bins line - 1 and line
        cosine, sine = math.cos(math.pi * line / half), math.sin(math.pi * line / half)
        largest = max(abs(cosine), abs(sine))  # 1 at 45 degrees, and 0 at 90, without rounding
        cosine, sine = round(cosine / largest, 12), round(sine / largest, 12)
        number = number + (jnp.float32(cosine) * gy >= jnp.float32(sine) * gx).astype(jnp.int32)
    return number
