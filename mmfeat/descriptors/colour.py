"""Colour: joint histograms over the regions of a pyramid, and local statistics on a dense grid.

Histograms: M. Swain, D. Ballard, "Color indexing", IJCV 7, 1991; with soft bins a pixel votes for the two nearest of each channel.
Local statistics: S. Clinchant, G. Csurka, F. Perronnin, J.-M. Renders, "XRCE's participation to ImagEval", ImagEval workshop at
CIVR 2007; of every patch, in 4 x 4 cells, the mean and the standard deviation of each channel: 96 numbers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.arrays import Images, Locals
from mmfeat.descriptors.colour_spaces import SPACES, to_space
from mmfeat.descriptors.histograms import check_norm, count_by_region, scaled
from mmfeat.descriptors.pixels import check_images
from mmfeat.descriptors.planes import planes, stored
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.pool import Regions, check_regions

__all__ = ["ColourHistogram", "LocalColour"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_CELLS = 4
_PARTS = 4096


@dataclass(frozen=True)
class ColourHistogram:
    """Joint histograms of the three channels of a colour space.

    space: "hsv", "lab", "opponent" or "rgb". bins: how many of each channel, of equal width over its range (a* is cut from -87 to
        99, b* from -108 to 95); the last channel varies fastest.
    soft: every pixel votes for the two nearest bins of each channel, by its nearness to their middles; otherwise for one.
    regions: levels (rows, columns) of a pyramid. norm: of each region's histogram: "l1", "l2", "hellinger" (roots of shares, for
        linear classifiers and inner products) or "none" (pixels).

    >>> import numpy as np
    >>> images = Images(np.zeros((2, 8, 8, 3), np.uint8), np.array([[8, 8], [5, 7]], np.int32))
    >>> rows = ColourHistogram(soft=False, regions=((1, 1),))(images)
    >>> rows.shape, float(rows[1, 0])
    ((2, 128), 1.0)
    """

    space: str = "hsv"
    bins: tuple[int, int, int] = (8, 4, 4)
    soft: bool = True
    regions: Regions = ((1, 1), (2, 2))
    norm: str = "hellinger"

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise SettingsError("space is one of " + ", ".join(SPACES), repr(self.space), "hsv is usual")
        if len(self.bins) != 3 or min(self.bins) < 1:
            raise SettingsError("bins are three numbers from 1", repr(self.bins), "(8, 4, 4) is usual")
        check_norm(self.norm)
        check_regions(self.regions)

    def __call__(self, images: Images) -> Array:
        """Images (B, H, W, C) to rows (B, regions * bins) float32. One channel counts as three equal ones."""
        images = check_images(images, "ColourHistogram")
        scale = np.float32(1 / 255 if images.pixels.dtype == np.uint8 else 1)
        found = [plane.astype(jnp.float32) * scale for plane in planes(images.pixels)]
        channels = to_space(self.space, found * 3 if len(found) == 1 else found)
        choices = [self._choices(axis, channel) for axis, channel in enumerate(channels)]
        votes: list[tuple[Array, Array | None]] = []
        for (a, u), (b, v), (c, w) in itertools.product(*choices):
            number = (a * self.bins[1] + b) * self.bins[2] + c
            votes.append((number, u * v * w if self.soft else None))
        counts = count_by_region(votes, images.size, int(np.prod(self.bins)), self.regions)
        return scaled(counts, self.norm).reshape(counts.shape[0], -1)

    def _choices(self, axis: int, channel: Array) -> list[tuple[Array, Array]]:
        """The bins (B, H, W) int32 of one channel that a pixel votes for, each with its share."""
        count, (least, greatest) = self.bins[axis], SPACES[self.space][axis]
        place = jnp.clip((channel - np.float32(least)) / np.float32(greatest - least), 0, 1) * np.float32(count)
        if not self.soft:
            return [(jnp.minimum(place.astype(jnp.int32), count - 1), jnp.float32(1))]
        # in parts of a bin, as whole numbers, so that a colour is found once for its eight votes
        parts = stored(jnp.round(place * _PARTS)) + _PARTS // 2  # from the middle of the bin before the first
        lower, share = parts // _PARTS - 1, (parts % _PARTS).astype(jnp.float32) * np.float32(1 / _PARTS)
        if self.space == "hsv" and axis == 0:  # a hue goes round
            upper = jnp.where(lower + 1 < count, lower + 1, 0)
            return [(jnp.where(lower < 0, count - 1, lower), 1 - share), (upper, share)]
        return [(jnp.maximum(lower, 0), 1 - share), (jnp.minimum(lower + 1, count - 1), share)]


@dataclass(frozen=True)
class LocalColour:
    """Means and standard deviations of the channels in 4 x 4 cells of every patch, on the grid of `DenseSift`.

    sizes: sides of a cell in pixels; a patch has 4 x 4 of them. step: pixels between neighbouring patches, from the top left
        corner, row by row, one size after another.
    space: "rgb", "opponent", or "lab" (divided by 100).

    Values are (cell row, cell column, three means and three standard deviations) flattened, d = 96, of pixels in [0, 1]. A patch
    that reaches beyond the valid part is 0 and weighs 0. Sizes that do not fit into the bucket are left out.

    >>> import numpy as np
    >>> images = Images(np.zeros((2, 32, 40, 3), np.uint8), np.array([[32, 40], [24, 24]], np.int32))
    >>> x = LocalColour(sizes=(4, 6), step=8)(images)
    >>> x.values.shape, np.asarray(x.weight).sum(1).tolist()
    ((2, 18, 96), [18.0, 5.0])
    """

    sizes: tuple[int, ...] = (4, 6, 8, 10)
    step: int = 8
    space: str = "rgb"

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or self.step < 1:
            raise SettingsError(
                "cells and steps are at least one pixel", f"sizes={self.sizes}, step={self.step}", "try (4, 6, 8) and 8"
            )
        if self.space not in ("rgb", "opponent", "lab"):
            raise SettingsError("space is one of rgb, opponent, lab", repr(self.space), "rgb is usual")

    def __call__(self, images: Images) -> Locals:
        """Images (B, H, W, C) to Locals of d = 96, L = Σ_b ((H - 4 b) // step + 1) * ((W - 4 b) // step + 1)."""
        images = check_images(images, "LocalColour")
        height, width = images.pixels.shape[1:3]
        sizes = [side for side in self.sizes if _CELLS * side <= min(height, width)]
        if not sizes:
            least = _CELLS * min(self.sizes)
            raise ShapeError(
                f"pictures hold at least one patch of {least} pixels", f"{height} x {width}", "set smaller sizes"
            )
        channels, scale, middle = self._channels(images.pixels)
        size = jnp.asarray(images.size, jnp.int32)
        parts = [self._of_size(channels, size, side, scale, middle) for side in sizes]
        return Locals(*(jnp.concatenate(leaves, axis=1) for leaves in zip(*parts, strict=True)))

    def _channels(self, pixels: Array) -> tuple[list[Array], float, float]:
        """Channels (B, H, W), one where all are equal, and how their values read: value * scale + middle.

        Bytes are whole numbers from -128, whose sums and squares' sums are exact: a flat cell deviates by exactly 0.
        """
        found = planes(pixels)
        if pixels.dtype == np.uint8:
            found = [stored(plane).astype(jnp.float32) for plane in found]
        else:
            found = [plane.astype(jnp.float32) * np.float32(255) for plane in found]
        if self.space == "rgb":
            return [plane - np.float32(128) for plane in found], 1 / 255, 128 / 255
        found = found * 3 if len(found) == 1 else found
        if self.space == "opponent":
            return list(to_space("opponent", found)), 1 / 255, 0.0
        return list(to_space("lab", [plane * np.float32(1 / 255) for plane in found])), 1 / 100, 0.0

    def _of_size(self, channels: list[Array], size: Array, side: int, scale: float, middle: float) -> Locals:
        height, width = channels[0].shape[1:]
        down, across = (self._starts(length, side) for length in (height, width))
        means, deviations = [], []
        for channel in channels:
            mean = self._sums(channel, down, across, side) / np.float32(side * side)
            square = self._sums(channel * channel, down, across, side) / np.float32(side * side)
            means.append(mean * np.float32(scale) + np.float32(middle))
            deviations.append(jnp.sqrt(jnp.maximum(square - mean * mean, 0)) * np.float32(scale))
        three = 3 // len(channels)
        values = jnp.stack(means * three + deviations * three, axis=-1)  # (B, down, cell, across, cell, 6)
        values = values.transpose(0, 1, 3, 2, 4, 5).reshape(values.shape[0], len(down) * len(across), -1)
        y, x = (part.reshape(1, -1) for part in np.meshgrid(down, across, indexing="ij"))
        inside = (y + _CELLS * side <= size[:, :1]) & (x + _CELLS * side <= size[:, 1:])
        corner = np.stack([x, y], axis=-1).astype(np.float32) + np.float32(_CELLS * side / 2)
        where = jnp.minimum(corner / jnp.maximum(size[:, None, ::-1], 1).astype(jnp.float32), 1.0)
        return Locals(jnp.where(inside[..., None], values, jnp.float32(0)), where, inside.astype(jnp.float32))

    def _starts(self, length: int, side: int) -> np.ndarray:
        return np.arange(0, length - _CELLS * side + 1, self.step, dtype=np.int32)

    def _sums(self, plane: Array, down: np.ndarray, across: np.ndarray, side: int) -> Array:
        """Sums over the cells (B, places down, 4, places across, 4): shifted rows first, then a product over the columns."""
        last = int(down[-1]) + 1
        lines = []
        for cell in range(_CELLS):
            rows = [plane[:, cell * side + k : cell * side + k + last : self.step] for k in range(side)]
            lines.append(sum(rows[1:], rows[0]))
        start = across[:, None] + side * np.arange(_CELLS, dtype=np.int32)[None, :]
        column = np.arange(plane.shape[2], dtype=np.int32)[:, None, None]
        of_cell = ((column >= start[None]) & (column < start[None] + side)).astype(np.float32)
        return jnp.einsum("bycw,wxk->bycxk", jnp.stack(lines, axis=2), of_cell, precision=_EXACT)
