"""A perceptually uniform scale of colours, by formula: dark violet, red, orange, pale yellow.

B. Ottosson, "A perceptual color space for image processing" (Oklab), 2020. In Oklab equal steps look equally large. The
scale is a path in its polar form with equal steps of lightness; the hue turns from violet through red to yellow and the
chroma rises and falls, both as smooth functions of t in [0, 1]:

    L(t) = 0.22 + 0.72 t        h(t) = 300° + 165° t        C(t) = min(0.155 sin(π (0.18 + 0.70 t)), largest in sRGB)

The equal steps of lightness make it readable in grey and by eyes that see no red or green.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["colour_map", "css_gradient"]

# Oklab to cone responses, and their cubes to linear sRGB (Ottosson 2020).
_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _linear_rgb(light: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    lab = np.stack([light, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    return (lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T


@lru_cache(maxsize=4)
def colour_map(steps: int = 256) -> np.ndarray:
    """The scale as (steps, 3) uint8 sRGB, from dark (0) to light (1). Read-only.

    >>> colour_map()[[0, 255]].sum(axis=1) > 300
    array([False,  True])
    """
    t = np.linspace(0, 1, steps)
    light, hue = 0.22 + 0.72 * t, np.deg2rad(300 + 165 * t)
    chroma = 0.155 * np.sin(np.pi * (0.18 + 0.70 * t))
    for _ in range(60):  # shrink what no screen can show, keeping lightness and hue
        rgb = _linear_rgb(light, chroma, hue)
        outside = (rgb < 0).any(axis=1) | (rgb > 1).any(axis=1)
        chroma = np.where(outside, chroma * 0.97, chroma)
    rgb = np.clip(_linear_rgb(light, chroma, hue), 0, 1)
    coded = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    table = np.rint(coded * 255).astype(np.uint8)
    table.flags.writeable = False
    return table


def css_gradient(stops: int = 9) -> str:
    """The scale as the CSS of a legend's background, dark at the left."""
    colours = ", ".join("#{:02x}{:02x}{:02x}".format(*colour) for colour in colour_map(stops).tolist())
    return f"linear-gradient(to right, {colours})"
