"""Channels one by one, and which pixels are valid: what several descriptors start from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["planes", "stored", "valid"]

Array = Any


def stored(x: Array) -> Array:
    """The same whole numbers, 0 <= x < 2^31 - 1, as int32, stored by XLA: what uses them does not compute them again.

    XLA repeats what looks cheap wherever it is used (`optimization_barrier` is gone by then); a remainder does not look cheap.
    """
    return jax.lax.rem(x.astype(jnp.int32), jnp.int32(2**31 - 1))


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
