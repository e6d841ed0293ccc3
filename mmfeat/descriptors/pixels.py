"""Pictures as they are, one row each: for pictures of one size, or for all as thumbnails of one size.

A. Torralba, R. Fergus, W. Freeman, "80 million tiny images", IEEE TPAMI 30, 2008: 32 x 32 pixels carry the gist of a scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.arrays import Images
from mmfeat.errors import SettingsError, ShapeError

__all__ = ["Pixels", "as_grey", "as_unit", "check_images"]

Array = Any
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow


def check_images(images: Any, name: str) -> Images:
    """The images, if they are `Images` of 1 or 3 channels; `name` is who asks."""
    if not isinstance(images, Images):
        raise ShapeError(f"{name} describes Images", type(images).__name__, "pass Images(pixels, size)")
    if images.pixels.ndim != 4 or images.pixels.shape[-1] not in (1, 3):
        raise ShapeError("pixels are (B, H, W, C) with 1 or 3 channels", f"{images.pixels.shape}", "add or drop axes")
    return images


def as_unit(pixels: Array) -> Array:
    """Pixels as float32 in [0, 1]: uint8 is divided by 255, floats stay what they are."""
    pixels = jnp.asarray(pixels)
    if pixels.dtype == jnp.uint8:
        return pixels.astype(jnp.float32) * jnp.float32(1 / 255)
    return pixels.astype(jnp.float32)


def as_grey(pixels: Array) -> Array:
    """Pixels (..., 3) or (..., 1) as float32 luma in [0, 1], (..., 1)."""
    pixels = as_unit(pixels)
    if pixels.shape[-1] == 1:
        return pixels
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[..., None]


def _shares(length: Array, pixels: int, side: int) -> Array:
    """How much of every output cell each pixel covers, (B, side, pixels): a box filter over the first `length` (B,) pixels."""
    cell = jnp.maximum(length.astype(jnp.float32), 1.0)[:, None, None] / side
    first = jnp.arange(side, dtype=jnp.float32)[None, :, None] * cell
    pixel = jnp.arange(pixels, dtype=jnp.float32)[None, None, :]
    overlap = jnp.minimum(pixel + 1, first + cell) - jnp.maximum(pixel, first)
    inside = pixel < length[:, None, None].astype(jnp.float32)
    return jnp.where(inside, jnp.maximum(overlap, 0.0), jnp.float32(0)) / cell


@dataclass(frozen=True)
class Pixels:
    """The pixels in [0, 1].

    side: average the valid part of every picture, whatever its shape, over side x side cells (exact areas); None keeps
        the pixels, and then all pictures must have one size.
    grey: luma only. flatten: rows (B, H * W * C); False keeps (B, H, W, C).

    >>> import numpy as np
    >>> images = Images(np.full((2, 4, 6, 3), 255, np.uint8), np.array([[4, 6], [3, 5]], np.int32))
    >>> Pixels(grey=True)(images).shape, Pixels(side=2)(images).shape
    ((2, 24), (2, 12))
    """

    side: int | None = None
    grey: bool = False
    flatten: bool = True

    def __post_init__(self) -> None:
        if self.side is not None and self.side < 1:
            raise SettingsError("a thumbnail has at least one cell a side", f"side={self.side}", "try 32, or None")

    def check(self, images: Images) -> None:
        """Refuse pictures smaller than their bucket, on the host, where sizes can be seen: padding would pass for pixels."""
        images = check_images(images, "Pixels")
        size, bucket = np.asarray(images.size), np.asarray(images.pixels.shape[1:3])
        short = size[(size > 1).any(axis=1) & (size != bucket).any(axis=1)]  # (0, 0) and (1, 1) stand for no picture
        if self.side is None and len(short):
            raise ShapeError(
                "Pixels() keeps the pixels of pictures that all have one size",
                f"{short[0, 0]} x {short[0, 1]} in a bucket of {bucket[0]} x {bucket[1]}",
                "decode them with Decode(size=(height, width)), or average over cells with Pixels(side=32)",
            )

    def __call__(self, images: Images) -> Array:
        """Images (B, H, W, C) to rows (B, side * side * C) or (B, H * W * C) float32."""
        images = check_images(images, "Pixels")
        pixels = as_grey(images.pixels) if self.grey else as_unit(images.pixels)
        if self.side is not None:
            size = jnp.asarray(images.size)
            down = _shares(size[:, 0], pixels.shape[1], self.side)
            across = _shares(size[:, 1], pixels.shape[2], self.side)
            exact = jax.lax.Precision.HIGHEST
            pixels = jnp.einsum("bsh,bhwc->bswc", down, pixels, precision=exact)
            pixels = jnp.einsum("btw,bswc->bstc", across, pixels, precision=exact)
        return pixels.reshape(pixels.shape[0], -1) if self.flatten else pixels
