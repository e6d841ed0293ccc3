"""Local binary patterns: every pixel compared with a circle around it, and histograms of what comes out.

T. Ojala, M. Pietikäinen, T. Mäenpää, "Multiresolution gray-scale and rotation invariant texture classification with local
binary patterns", IEEE TPAMI 24, 2002. With P points g_p at radius R around the pixel g_c, interpolated linearly,

    s_p = [g_p ≥ g_c]     pattern = Σ_p s_p 2^p     U = how often s changes once round the circle; uniform: U ≤ 2

Colour, channel by channel: T. Mäenpää, M. Pietikäinen, "Classification with color and texture: jointly or separately?", Pattern
Recognition 37, 2004.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.arrays import Images
from mmfeat.descriptors.colour_spaces import to_opponent
from mmfeat.descriptors.histograms import check_norm, count_by_region, scaled
from mmfeat.descriptors.pixels import check_images
from mmfeat.descriptors.planes import planes, stored
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.pool import Regions, check_regions

__all__ = ["Lbp", "codes_of", "patterns"]

Array = Any
_LUMA = (0.299, 0.587, 0.114)
_TIE = 2e-4  # grey levels of 0..255: what rounding makes of two equal ones
_KINDS = ("u2", "riu2", "all")
_COLOURS = ("grey", "rgb", "opponent")


@dataclass(frozen=True)
class Lbp:
    """Histograms of local binary patterns over the regions of a pyramid, those of each circle and channel one after another.

    circles: (points, radius in pixels) of each circle; ((8, 1), (16, 2)) looks at two scales.
    codes: "u2": each uniform pattern a bin, all others one: P (P - 1) + 3; "riu2": uniform patterns by their number of ones, which
        is the same when the picture is turned: P + 2; "all": every pattern, 2^P bins, for at most 12 points.
    regions: levels (rows, columns) of a pyramid over the pixels whose circles are wholly inside the picture.
    color: "grey"; "rgb" or "opponent": three channels, each by itself.
    norm: of each histogram: "l1", "l2", "hellinger" (roots of shares) or "none" (counts).

    The codes are those of scikit-image's `local_binary_pattern` ("nri_uniform", "uniform", "default"), but where an interpolated
    point is as bright as the pixel, s is always 1, whatever rounding says.

    >>> import numpy as np
    >>> images = Images(np.zeros((2, 16, 20, 3), np.uint8), np.array([[16, 20], [9, 9]], np.int32))
    >>> Lbp(regions=((2, 2),))(images).shape
    (2, 236)
    """

    circles: tuple[tuple[int, float], ...] = ((8, 1.0),)
    codes: str = "u2"
    regions: Regions = ((1, 1), (2, 2))
    color: str = "grey"
    norm: str = "hellinger"

    def __post_init__(self) -> None:
        if not self.circles or any(not 2 <= points <= 24 or radius < 1 for points, radius in self.circles):
            raise SettingsError("circles have 2..24 points and a radius from 1", repr(self.circles), "try ((8, 1.0),)")
        if self.codes not in _KINDS or self.color not in _COLOURS:
            raise SettingsError(
                f"codes is one of {', '.join(_KINDS)}, and color one of {', '.join(_COLOURS)}",
                f"codes={self.codes!r}, color={self.color!r}",
                "use one of these",
            )
        if self.codes == "all" and max(points for points, _ in self.circles) > 12:
            raise SettingsError("all patterns are kept of at most 12 points", repr(self.circles), 'use codes="u2"')
        check_norm(self.norm)
        check_regions(self.regions)

    def __call__(self, images: Images) -> Array:
        """Images (B, H, W, C) to rows (B, circles * channels * regions * bins) float32. A picture smaller than a circle gives 0."""
        images = check_images(images, "Lbp")
        size, (height, width) = jnp.asarray(images.size, jnp.int32), images.pixels.shape[1:3]
        rows = []
        for points, radius in self.circles:
            margin = math.ceil(radius)
            if min(height, width) <= 2 * margin:
                raise ShapeError(
                    f"pictures hold a circle of radius {radius:g}", f"{height} x {width}", "set a smaller radius"
                )
            for plane in self._planes(images.pixels):
                codes = codes_of(patterns(plane, points, radius), points, self.codes)
                votes = [(codes, None)]
                counts = count_by_region(votes, size - 2 * margin, _bins(points, self.codes), self.regions)
                rows.append(scaled(counts, self.norm).reshape(counts.shape[0], -1))
        return jnp.concatenate(rows, axis=1)

    def _planes(self, pixels: Array) -> list[Array]:
        """Channels (B, H, W) float32 in 0..255 (bytes stay whole numbers, so that equal ones are equal)."""
        scale = jnp.float32(1 if pixels.dtype == np.uint8 else 255)
        found = [plane.astype(jnp.float32) * scale for plane in planes(pixels)]
        if self.color == "grey":
            return (
                found if len(found) == 1 else [sum((w * x for w, x in zip(_LUMA, found, strict=True)), jnp.float32(0))]
            )
        found = found * 3 if len(found) == 1 else found
        return found if self.color == "rgb" else list(to_opponent(*found))


def _bins(points: int, codes: str) -> int:
    return {"u2": points * (points - 1) + 3, "riu2": points + 2, "all": 2**points}[codes]


def patterns(plane: Array, points: int, radius: float) -> Array:
    """Grey levels (B, H, W) float32 in 0..255 to patterns (B, H - 2 m, W - 2 m) int32, m = ceil(radius); bit p is point p.

    Point p lies at the angle 2π p / P, the first to the right and on upwards.
    """
    margin = math.ceil(radius)
    middle = _shifted(plane, margin, 0, 0)
    pattern = jnp.zeros(middle.shape, jnp.int32)
    for point in range(points):
        angle = 2 * math.pi * point / points
        y, x = round(-radius * math.sin(angle), 5), round(radius * math.cos(angle), 5)
        above, left = math.floor(y), math.floor(x)
        dy, dx = y - above, x - left
        difference = jnp.float32(0)
        for row, column, share in (
            (0, 0, (1 - dy) * (1 - dx)), (0, 1, (1 - dy) * dx), (1, 0, dy * (1 - dx)), (1, 1, dy * dx)
        ):  # fmt: skip
            if share > 0:
                corner = _shifted(plane, margin, above + row, left + column)
                difference = difference + jnp.float32(share) * (corner - middle)
        pattern = pattern + jnp.where(difference >= -_TIE, jnp.int32(1 << point), jnp.int32(0))
    return pattern


def _shifted(plane: Array, margin: int, down: int, across: int) -> Array:
    height, width = plane.shape[1:]
    top, left = margin + down, margin + across
    return plane[:, top : top + height - 2 * margin, left : left + width - 2 * margin]


def codes_of(pattern: Array, points: int, codes: str) -> Array:
    """Patterns int32 to the codes "u2", "riu2" or "all", int32, numbered as in scikit-image."""
    if codes == "all":
        return pattern
    pattern = stored(pattern)
    turned = (pattern >> 1) | ((pattern & 1) << (points - 1))
    uniform = jax.lax.population_count(pattern ^ turned) <= 2
    ones = jax.lax.population_count(pattern)
    if codes == "riu2":
        return jnp.where(uniform, ones, jnp.int32(points + 1))
    first_one = jax.lax.population_count((pattern & -pattern) - 1)
    first_zero = jax.lax.population_count((~pattern & (pattern + 1)) - 1)
    turn = jnp.where(first_one == 0, ones - first_zero, points - first_one)
    number = jnp.where(ones == 0, jnp.int32(0), 1 + (ones - 1) * points + turn)
    number = jnp.where(ones == points, jnp.int32(points * (points - 1) + 1), number)
    return jnp.where(uniform, number, jnp.int32(points * (points - 1) + 2))
