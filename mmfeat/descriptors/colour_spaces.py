"""Colour spaces of encoded red, green and blue: HSV, CIE L*a*b* and opponent colours, each channel by channel.

HSV: A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978. L*a*b*: CIE 15, white D65 of 2 degrees, sRGB of IEC 61966-2-1.
Opponent: K. van de Sande, T. Gevers, C. Snoek, "Evaluating color descriptors for object and scene recognition", TPAMI 32, 2010:

    O1 = (R - G) / √2     O2 = (R + G - 2 B) / √6     O3 = (R + G + B) / √3
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["SPACES", "to_hsv", "to_lab", "to_opponent", "to_space"]

Array = Any
Channels = tuple[Array, Array, Array]
_XYZ = (  # red, green and blue to X, Y, Z, each row divided by the white D65
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)
#: The least and the greatest value of each channel of a space; a hue goes round.
SPACES: dict[str, tuple[tuple[float, float], ...]] = {
    "rgb": ((0.0, 1.0),) * 3,
    "hsv": ((0.0, 1.0),) * 3,
    "lab": ((0.0, 100.0), (-87.0, 99.0), (-108.0, 95.0)),
    "opponent": ((-math.sqrt(1 / 2), math.sqrt(1 / 2)), (-math.sqrt(2 / 3), math.sqrt(2 / 3)), (0.0, math.sqrt(3))),
}


def to_space(space: str, channels: Sequence[Array]) -> Channels:
    """Red, green and blue in [0, 1] to the channels of a space of SPACES."""
    red, green, blue = channels
    functions = {"hsv": to_hsv, "lab": to_lab, "opponent": to_opponent}
    return functions[space](red, green, blue) if space in functions else (red, green, blue)


def to_hsv(red: Array, green: Array, blue: Array) -> Channels:
    """Hue in [0, 1) (0 where there is no colour), saturation and value in [0, 1]."""
    value = jnp.maximum(jnp.maximum(red, green), blue)
    spread = value - jnp.minimum(jnp.minimum(red, green), blue)
    some = jnp.where(spread > 0, spread, jnp.float32(1))
    sixth = jnp.where(
        value == red,
        (green - blue) / some,
        jnp.where(value == green, 2 + (blue - red) / some, 4 + (red - green) / some),
    )
    hue = jnp.where(spread > 0, sixth / 6, jnp.float32(0))
    hue = jnp.where(hue < 0, hue + 1, hue)
    return jnp.where(hue >= 1, jnp.float32(0), hue), spread / jnp.where(value > 0, value, jnp.float32(1)), value


def to_lab(red: Array, green: Array, blue: Array) -> Channels:
    """L* in [0, 100], a* and b*, which are 0 without colour but for rounding."""
    linear = [jnp.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92) for c in (red, green, blue)]
    x, y, z = (
        _lightness(sum((np.float32(w) * c for w, c in zip(row, linear, strict=True)), start=jnp.float32(0)))
        for row in _XYZ
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _lightness(t: Array) -> Array:
    return jnp.where(t > 0.008856, jnp.cbrt(t), 7.787 * t + 16 / 116)


def to_opponent(red: Array, green: Array, blue: Array) -> Channels:
    """Red against green, yellow against blue, and intensity. Equal channels give exactly 0, 0 and √3 of them."""
    first = (red - green) * np.float32(math.sqrt(1 / 2))
    second = ((red - blue) + (green - blue)) * np.float32(math.sqrt(1 / 6))
    return first, second, (red + green + blue) * np.float32(math.sqrt(1 / 3))
