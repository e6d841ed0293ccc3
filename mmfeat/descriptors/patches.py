"""Square patches on a dense grid: the raw material of learned local descriptors.

A. Coates, H. Lee, A. Ng, "An analysis of single-layer networks in unsupervised feature learning", AISTATS 2011: every patch
less its mean, divided by its contrast,

    p ← (p - mean(p)) / sqrt(var(p) + c),   c = 10 for pixels in 0..255
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmfeat.arrays import Images, Locals
from mmfeat.descriptors.pixels import as_grey, as_unit, check_images
from mmfeat.errors import SettingsError, ShapeError

__all__ = ["Patches"]

Array = Any


@dataclass(frozen=True)
class Patches:
    """Patches of size x size pixels every `stride` pixels, from the top left corner; row by row.

    size, stride: pixels. grey: luma only.
    normalise: take the mean of every patch off and divide by its contrast; floor: the c of that, for pixels in [0, 1].
    contrast: patches whose standard deviation (all channels together, before that) is below it weigh 0; 0 keeps all.

    Values are (y, x, channel) flattened. A patch that reaches beyond the valid part of its picture is 0 and weighs 0.

    >>> import numpy as np
    >>> images = Images(np.zeros((2, 12, 16, 3), np.uint8), np.array([[12, 16], [8, 8]], np.int32))
    >>> x = Patches(size=8, stride=4)(images)
    >>> x.values.shape, np.asarray(x.weight).sum(1).tolist()
    ((2, 6, 192), [6.0, 1.0])
    """

    size: int = 8
    stride: int = 4
    grey: bool = False
    normalise: bool = True
    floor: float = 10 / 255**2
    contrast: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.stride < 1:
            raise SettingsError(
                "patches and strides are at least one pixel", f"size={self.size}, stride={self.stride}", "try 8 and 4"
            )
        if self.contrast < 0 or self.floor < 0 or (self.normalise and self.floor == 0):
            raise SettingsError(
                "contrast and floor are not negative, and a flat patch needs a floor to be divided by",
                f"contrast={self.contrast}, floor={self.floor}",
                "leave floor at 10 / 255**2",
            )

    def __call__(self, images: Images) -> Locals:
        """Images (B, H, W, C) to Locals with L = ((H - size) // stride + 1) * ((W - size) // stride + 1)."""
        images = check_images(images, "Patches")
        height, width = images.pixels.shape[1:3]
        if min(height, width) < self.size:
            raise ShapeError(
                f"pictures hold at least one patch of {self.size} pixels", f"{height} x {width}", "set a smaller size"
            )
        down, across = self._starts(height), self._starts(width)
        values = self._cut(images.pixels, down, across)
        y, x = (part.reshape(1, -1) for part in np.meshgrid(down, across, indexing="ij"))
        size = jnp.asarray(images.size, jnp.int32)
        inside = (y + self.size <= size[:, :1]) & (x + self.size <= size[:, 1:])
        if self.normalise or self.contrast > 0:
            mean = values.mean(axis=-1, keepdims=True)
            variance = ((values - mean) ** 2).mean(axis=-1, keepdims=True)
            inside = inside & (variance[..., 0] >= self.contrast**2)
            if self.normalise:
                values = (values - mean) / jnp.sqrt(variance + self.floor)
        weight = inside.astype(jnp.float32)
        middle = np.stack([x, y], axis=-1).astype(np.float32) + np.float32(self.size / 2)
        where = jnp.minimum(middle / jnp.maximum(size[:, None, ::-1], 1).astype(jnp.float32), 1.0)
        return Locals(jnp.where(inside[..., None], values, jnp.float32(0)), where, weight)

    def _starts(self, length: int) -> np.ndarray:
        return np.arange(0, length - self.size + 1, self.stride, dtype=np.int32)

    def _cut(self, pixels: Array, down: np.ndarray, across: np.ndarray) -> Array:
        """(B, L, size * size * C) float32. One gather of the bytes, which are turned into floats afterwards: a quarter to read."""
        pixels = as_grey(pixels) if self.grey else jnp.asarray(pixels)
        inner = np.arange(self.size, dtype=np.int32)
        rows = (down[:, None] + inner[None, :])[:, None, :, None]
        columns = (across[:, None] + inner[None, :])[None, :, None, :]
        return as_unit(pixels[:, rows, columns].reshape(pixels.shape[0], len(down) * len(across), -1))
