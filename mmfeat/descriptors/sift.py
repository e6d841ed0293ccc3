"""Dense SIFT: histograms of gradient orientations on 4 x 4 cells, at every place of a grid and at several scales.

D. Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60, 2004, section 6; on a grid and at several
scales A. Bosch, A. Zisserman, X. Muñoz, "Scene classification via pLSA", ECCV 2006 (PHOW). It is VLFeat's definition of
DSIFT (A. Vedaldi, B. Fulkerson, 2008) with the Gaussian window, not with the flat one. g is the gradient of the picture
smoothed by a Gaussian of sqrt((b / magnification)² - 0.25) pixels, b the side of a cell in pixels. The cell (i, j) of a
patch with the middle (x̄, ȳ) counts, for the orientation o,

    h_ijo = Σ_xy |g(x, y)| · tri((∠g(x, y) - 45° o) / 45°) · tri((x - x_j) / b) win(x - x̄) · tri((y - y_i) / b) win(y - ȳ)
    tri(t) = max(0, 1 - |t|),   win(t) = exp(-t² / 2 (window · b)²),   x_j - x̄ = (j - 3/2) b,   y_i - ȳ = (i - 3/2) b

then h ← h / ‖h‖, h ← min(h, 0.2), h ← h / ‖h‖. R. Arandjelović, A. Zisserman, "Three things everyone should know to
improve object retrieval", CVPR 2012 (RootSIFT): h ← sqrt(h / Σh).

The sums are separable, and the same at every place: each of the four profiles tri · win is a sum of shifted rows (then of
shifted columns), taken at every step-th place alone. That is a twentieth of the arithmetic of products with band matrices,
and float32 on every device.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.arrays import Images, Locals
from mmfeat.descriptors.pixels import as_grey, as_unit, check_images
from mmfeat.errors import SettingsError, ShapeError

__all__ = ["DenseSift"]

Array = Any
_CELLS, _DIRECTIONS, _CLIP = 4, 8, 0.2
_GREY = 0.01  # of luma in the planes of colour
_BLUR = 0.5  # pixels, the standard deviation that a camera's picture is taken to have
_TINY = np.float32(1e-12)
# atan(t) / 45° on [0, 1] as an odd polynomial in t, 1 at 1; wrong by 2.3e-6 at most
_ATAN = (1.2732085606, -0.4234606489, 0.2461093417, -0.1474184969, 0.0661113115, -0.0145500681)


@dataclass(frozen=True)
class DenseSift:
    """SIFT descriptors every `step` pixels from the top left corner, upright, of one size of cell after another; row by row.

    sizes: sides b of a cell in pixels; a patch has 4 x 4 cells, 4 b pixels a side. step: pixels between neighbours.
    magnification: a cell is so many standard deviations of the smoothing wide (PHOW's 6); None smooths nothing.
    window: standard deviation of the Gaussian window in cells (2 is Lowe's and VLFeat's, 1.5 PHOW's); None weighs all alike.
    contrast: the least mean gradient norm, weighed as in h, of pixels in [0, 1] per pixel. What is below gives zeros, and
        weighs 0, or 1 with `keep_flat` (flat ground can tell a class); with 0 all weigh 1.
    root: RootSIFT, for codings that compare Euclidean distances.
    color: "grey" (luma; d = 128) or "opponent" (luma, then (R - G) / √2 and (R + G - 2 B) / √6, each with 0.01 luma as in
        VLFeat's PHOW, normalised each on its own; d = 384). Contrast is that of luma.

    A value is that of cell (i from the top, j from the left), orientation o (0° to the right, 90° down), at 32 i + 8 j + o. Every
    descriptor has the norm 1 (with "opponent" √3). Beyond its borders a picture goes on as its last pixel, where gradients
    count nothing; a patch that reaches beyond is 0 and weighs 0. Sizes that do not fit into the bucket are left out.

    A picture of 300 x 300 gives about 1,200 rows of 512 bytes for each size of cell (step 8); on a CPU 15 MB are needed besides
    them, however many pictures there are in a batch.

    >>> import numpy as np
    >>> images = Images(np.zeros((2, 32, 40, 3), np.uint8), np.array([[32, 40], [24, 24]], np.int32))
    >>> x = DenseSift(sizes=(4, 6), step=8, contrast=0)(images)
    >>> x.values.shape, np.asarray(x.weight).sum(1).tolist()  # 3 x 4 places of 16 pixels, then 2 x 3 of 24
    ((2, 18, 128), [18.0, 5.0])
    """

    sizes: tuple[int, ...] = (4, 6, 8, 10)
    step: int = 8
    magnification: float | None = 6.0
    window: float | None = 2.0
    contrast: float = 0.005
    keep_flat: bool = False
    root: bool = False
    color: str = "grey"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if not self.sizes or min(self.sizes) < 1 or self.step < 1:
            raise SettingsError(
                "cells and steps are at least one pixel",
                f"sizes={self.sizes}, step={self.step}",
                "try (4, 6, 8, 10) and 8",
            )
        for name in ("magnification", "window"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise SettingsError(f"{name} is positive, or None", f"{name}={value}", "6 and 2 are usual")
        if not self.contrast >= 0:
            raise SettingsError("contrast is not negative", f"contrast={self.contrast}", "0.005 is usual, 0 keeps all")
        if self.color not in ("grey", "opponent"):
            raise SettingsError('color is "grey" or "opponent"', repr(self.color), "use one of these")

    def __call__(self, images: Images) -> Locals:
        """Images (B, H, W, C) to Locals of d = 128 or 384, L = Σ_b ((H - 4 b) // step + 1) * ((W - 4 b) // step + 1)."""
        images = check_images(images, "DenseSift")
        height, width = images.pixels.shape[1:3]
        sizes = [size for size in self.sizes if _CELLS * size <= min(height, width)]
        if not sizes:
            least = _CELLS * min(self.sizes)
            raise ShapeError(
                f"pictures hold at least one patch of {least} pixels", f"{height} x {width}", "set smaller sizes"
            )
        pixels, size = jnp.asarray(images.pixels), jnp.asarray(images.size, jnp.int32)

        def one(picture: tuple[Array, Array]) -> tuple[Array, Array]:
            values, weight = zip(*self._picture(*picture, sizes), strict=True)
            return jnp.concatenate(values), jnp.concatenate(weight)

        # on a CPU one picture after another: what is made of it on the way stays in the cache
        each = functools.partial(jax.lax.map, one) if jax.default_backend() == "cpu" else jax.vmap(one)
        values, weight = each((pixels, size))
        grids = [self._corners(height, width, side) + np.float32(_CELLS * side / 2) for side in sizes]
        valid = jnp.maximum(size[:, None, ::-1], 1).astype(jnp.float32)
        return Locals(values, jnp.minimum(np.concatenate(grids)[None] / valid, 1.0), weight)

    def _corners(self, height: int, width: int, side: int) -> np.ndarray:
        """(n, 2) int32: x and y of the top left pixel of every patch."""
        y, x = (np.arange(0, length - _CELLS * side + 1, self.step, dtype=np.int32) for length in (height, width))
        return np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1).reshape(-1, 2)

    def _picture(self, pixels: Array, size: Array, sizes: list[int]) -> Iterator[tuple[Array, Array]]:
        """Descriptors (n, d) and their weights (n,), for each size of cell, of a picture (H, W, C) of the valid size (2,)."""
        height, width = pixels.shape[:2]
        mixes = (_luma, _red_green, _yellow_blue) if self.color == "opponent" else (_luma,)
        spare = max(self._margin(side) for side in sizes)
        make = functools.partial(_plane, size=size, spare=spare)
        planes = [_apart(functools.partial(make, mix=mix), pixels, size[0] > 0) for mix in mixes]
        for side in sizes:
            cut = slice(spare - self._margin(side), self._margin(side) - spare or None)
            parts, contrasts = zip(*(self._describe(plane[cut, cut], size, side) for plane in planes), strict=True)
            inside = (self._corners(height, width, side) + _CELLS * side <= size[None, ::-1]).all(axis=1)
            seen = inside & (contrasts[0] >= self.contrast)
            values = jnp.where(seen[:, None], jnp.concatenate(parts, axis=1), jnp.float32(0))
            yield values, (inside if self.keep_flat else seen).astype(jnp.float32)

    def _describe(self, plane: Array, size: Array, side: int) -> tuple[Array, Array]:
        """Descriptors (n, 128) of a plane with a margin of `_margin` and one size of cell, and their contrast (n,)."""
        profiles, here = _profiles(side, self.window), size[0] > 0
        maps = _orientations(self._smooth(plane, here, side), size, here, _reach(side))
        counts = self._count(maps, here, profiles, side)
        contrast = counts.sum(axis=1) / profiles.sum() ** 2
        counts = _unit(jnp.minimum(_unit(counts), np.float32(_CLIP)))
        if self.root:
            counts = jnp.sqrt(counts / jnp.maximum(counts.sum(axis=1, keepdims=True), _TINY))
        return counts, contrast

    def _gauss(self, side: int) -> np.ndarray:
        """The smoothing as an odd number of weights, cut at four standard deviations."""
        variance = 0.0 if self.magnification is None else (side / self.magnification) ** 2 - _BLUR**2
        radius = math.ceil(4 * math.sqrt(variance)) if variance > 0 else 0
        gauss = np.exp(-0.5 * np.arange(-radius, radius + 1) ** 2 / max(variance, 1e-9))
        return (gauss / gauss.sum()).astype(np.float32)

    def _margin(self, side: int) -> int:
        """Pixels beyond the picture that are looked at: by the outer cells, by the gradient, by the smoothing."""
        return _reach(side) + 1 + len(self._gauss(side)) // 2

    def _smooth(self, plane: Array, here: Array, side: int) -> Array:
        """A plane with a margin of `_margin`, smoothed: a margin of `_reach` + 1 is left."""
        taps = self._gauss(side)
        for axis in (0, 1) if len(taps) > 1 else ():
            count = plane.shape[axis] + 1 - len(taps)
            plane = _apart(functools.partial(_shifted, taps=taps, count=count, step=1, axis=axis), plane, here)
        return plane

    def _count(self, maps: Array, here: Array, profiles: np.ndarray, side: int) -> Array:
        """Counts h (n, 128) from orientation maps (rows, 8, columns) that have a margin of _reach(side)."""
        margin = 2 * _reach(side) + _CELLS * side
        down, across = ((maps.shape[axis] - margin) // self.step + 1 for axis in (0, 2))

        def over_rows(maps: Array) -> Array:  # (down, 4, 8, columns)
            return jnp.stack([_shifted(maps, taps, down, self.step, 0) for taps in profiles], axis=1)

        def turned(rows: Array) -> Array:  # (down, columns, 32)
            return rows.transpose(0, 3, 1, 2).reshape(down, -1, _CELLS * _DIRECTIONS)

        def over_columns(rows: Array) -> Array:  # (n, 128)
            counts = [_shifted(rows, taps, across, self.step, 1).reshape(down, across, _CELLS, -1) for taps in profiles]
            return jnp.stack(counts, axis=3).reshape(down * across, -1)

        for function in (over_rows, turned, over_columns):
            maps = _apart(function, maps, here)
        return maps


def _apart(function: Callable[[Array], Any], x: Array, here: Array) -> Any:
    """function(x); zeros where there is no picture. It also keeps XLA from putting it into what follows.

    Put into the next sum, a sum would be done over for each of its terms: a smoothing by 15 rows and 15 columns would cost 225
    products a pixel. On accelerators the barrier alone prevents that, on a CPU the condition does.
    """
    function = jax.jit(function)  # traced once, by the next line
    shapes = jax.eval_shape(function, x)

    def nothing(x: Array) -> Any:
        return jax.tree.map(lambda shape: jax.lax.full(shape.shape, 0, shape.dtype), shapes)

    return jax.lax.optimization_barrier(jax.lax.cond(here, function, nothing, x))


def _luma(pixels: Array) -> Array:
    return as_grey(pixels)[..., 0]


def _red_green(pixels: Array) -> Array:
    red, green, _ = _colours(pixels)
    return np.float32(0.5**0.5) * (red - green) + np.float32(_GREY) * _luma(pixels)


def _yellow_blue(pixels: Array) -> Array:
    red, green, blue = _colours(pixels)
    return np.float32(6**-0.5) * (red + green - 2 * blue) + np.float32(_GREY) * _luma(pixels)


def _colours(pixels: Array) -> list[Array]:
    unit = as_unit(pixels)
    return [unit[..., channel % unit.shape[-1]] for channel in range(3)]


def _plane(pixels: Array, mix: Callable[[Array], Array], size: Array, spare: int) -> Array:
    """A mixture of the channels, continued as its first and last valid row and column: (H + 2 spare, W + 2 spare)."""
    plane = mix(pixels)
    for axis in (0, 1):
        last = jax.lax.dynamic_index_in_dim(plane, jnp.maximum(size[axis] - 1, 0), axis)
        plane = jnp.where(jax.lax.broadcasted_iota(jnp.int32, plane.shape, axis) < size[axis], plane, last)
    return jnp.pad(plane, spare, mode="edge")


def _reach(side: int) -> int:
    """Pixels by which the outer cells reach beyond their patch."""
    return (side + 1) // 2


def _profiles(side: int, window: float | None) -> np.ndarray:
    """The weights tri · win of the four cells (4, 4 side + 2 reach) float32: one row of pixels, from `_reach` before the patch."""
    place = np.arange(-_reach(side), _CELLS * side + _reach(side)) + 0.5 - _CELLS * side / 2
    middle = (np.arange(_CELLS) - (_CELLS - 1) / 2) * side
    weights = np.maximum(0.0, 1 - np.abs(place[None, :] - middle[:, None]) / side)
    if window is not None:
        weights = weights * np.exp(-0.5 * (place / (window * side)) ** 2)[None, :]
    return weights.astype(np.float32)


def _shifted(x: Array, taps: np.ndarray, count: int, step: int, axis: int) -> Array:
    """Σ_u taps[u] x[u + step i], i < count, along an axis."""
    terms = [
        jax.lax.mul(jax.lax.slice_in_dim(x, int(u), int(u) + step * (count - 1) + 1, step, axis), taps[u])
        for u in np.flatnonzero(taps)
    ]
    return functools.reduce(jax.lax.add, terms)


def _orientations(smooth: Array, size: Array, here: Array, margin: int) -> Array:
    """(rows, 8, columns): the gradient's norm, shared between the two of eight directions it lies between; 0 beyond the picture."""
    shares = _apart(functools.partial(_shares, size=size, margin=margin), smooth, here)
    straight, oblique, axis, diagonal = (part[:, None, :] for part in shares)
    shape = (straight.shape[0], _DIRECTIONS, straight.shape[2])
    direction = jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    return jnp.where(direction == axis, straight, jnp.where(direction == diagonal, oblique, jnp.float32(0)))


def _shares(smooth: Array, size: Array, margin: int) -> tuple[Array, Array, Array, Array]:
    """What the gradient gives to the nearest axis and to the nearest diagonal, and their numbers (0, 2, 4, 6; 1, 3, 5, 7)."""
    across = np.float32(0.5) * (smooth[1:-1, 2:] - smooth[1:-1, :-2])
    down = np.float32(0.5) * (smooth[2:, 1:-1] - smooth[:-2, 1:-1])
    y, x = (jax.lax.broadcasted_iota(jnp.int32, across.shape, axis) - margin for axis in (0, 1))
    inside = (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])
    wide, high = jnp.abs(across), jnp.abs(down)
    ratio = jnp.minimum(wide, high) / jnp.maximum(jnp.maximum(wide, high), _TINY)
    square, share = ratio * ratio, jnp.float32(_ATAN[-1])
    for coefficient in _ATAN[-2::-1]:
        share = share * square + np.float32(coefficient)
    norm = jnp.where(inside, jnp.sqrt(across**2 + down**2), np.float32(0))
    oblique = norm * jnp.minimum(share * ratio, np.float32(1))
    right, below = across > 0, down > 0
    axis = jnp.where(wide >= high, jnp.where(right, 0, 4), jnp.where(below, 2, 6)).astype(jnp.int32)
    diagonal = jnp.where(right, jnp.where(below, 1, 7), jnp.where(below, 3, 5)).astype(jnp.int32)
    return norm - oblique, oblique, axis, diagonal


def _unit(rows: Array) -> Array:
    """Rows of norm 1; zeros stay zeros."""
    return rows / jnp.maximum(jnp.sqrt((rows * rows).sum(axis=1, keepdims=True)), _TINY)
