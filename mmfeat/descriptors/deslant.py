"""Handwriting set upright: the shear that makes a glyph's second moments uncorrelated, and its centre of mass in the middle.

The usual preparation of digits before nearest neighbours: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning
applied to document recognition", Proc. IEEE 86, 1998, section III-C ("deslanting").

With the ink p(x, y) as a mass of sum 1, mean (x̄, ȳ), and centred moments μ11 = Σ p (x - x̄)(y - ȳ), μ02 = Σ p (y - ȳ)²,

    out(x, y) = in(x̄ + (x - c) + a (y - c), ȳ + (y - c)),   a = μ11 / μ02,   c: the middle of the picture
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from mmfeat.arrays import Images
from mmfeat.descriptors.pixels import Pixels
from mmfeat.errors import SettingsError

__all__ = ["Deslant"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


@dataclass(frozen=True)
class Deslant:
    """Grey thumbnails of side x side pixels, deslanted and centred; bright ink on a dark ground.

    side: cells a side, as in `Pixels`. A picture without ink, or with all of it in one line, is only centred.
    What is moved in from outside is dark; between pixels values are interpolated linearly.

    >>> import numpy as np
    >>> ink = np.eye(8, dtype=np.uint8)[None, :, :, None] * 255  # a slanted stroke
    >>> upright = Deslant(side=8)(Images(ink, np.array([[8, 8]], np.int32))).reshape(8, 8)
    >>> bool(upright[1:7, 3:5].sum() > 5.9)
    True
    """

    side: int = 28

    def __post_init__(self) -> None:
        if self.side < 2:
            raise SettingsError("a glyph has at least two cells a side", f"side={self.side}", "28 is usual")

    def __call__(self, images: Images) -> Array:
        """Images (B, H, W, C) to rows (B, side * side) float32 in [0, 1]."""
        ink = Pixels(self.side, grey=True, flatten=False)(images)[..., 0]
        place = jnp.arange(self.side, dtype=jnp.float32) - (self.side - 1) / 2  # from the middle
        total = jnp.maximum(ink.sum(axis=(1, 2)), 1e-6)
        down, across = ink.sum(axis=2) / total[:, None], ink.sum(axis=1) / total[:, None]
        y = jnp.matmul(down, place, precision=_EXACT)
        x = jnp.matmul(across, place, precision=_EXACT)
        dy, dx = place[None, :] - y[:, None], place[None, :] - x[:, None]
        mixed = jnp.einsum("bhw,bh,bw->b", ink, dy, dx, precision=_EXACT) / total
        spread = (down * dy**2).sum(axis=1)
        slope = jnp.where(spread > 1e-3, mixed / jnp.maximum(spread, 1e-3), jnp.float32(0))
        rows = _weights(y[:, None] + place[None, :], self.side)
        columns = _weights(
            x[:, None, None] + slope[:, None, None] * place[None, :, None] + place[None, None, :], self.side
        )
        moved = jnp.einsum("boh,bhw->bow", rows, ink, precision=_EXACT)
        return jnp.einsum("boxw,bow->box", columns, moved, precision=_EXACT).reshape(ink.shape[0], -1)


def _weights(source: Array, side: int) -> Array:
    """Linear interpolation as weights (..., side) of the pixels around each source place (from the middle)."""
    pixel = jnp.arange(side, dtype=jnp.float32) - (side - 1) / 2
    apart = jnp.abs(source[..., None] - pixel.reshape((1,) * source.ndim + (side,)))
    return jnp.maximum(jnp.float32(1) - apart, jnp.float32(0))
