"""Random changes of pictures that leave what they show the same: the only "labels" an image learner without labels has.

P. Simard, D. Steinkraus, J. Platt, "Best practices for convolutional neural networks applied to visual document analysis",
ICDAR 2003 (affine and elastic). T. Chen et al., "A simple framework for contrastive learning of visual representations", ICML
2020 (crops and colour). D. Tellez et al., "Whole-slide mitosis detection in H&E breast histology", IEEE TMI 2018 (stain).

All geometric changes are one map from the pixels y of the result to places of the picture, read off bilinearly once:

    x = M (y - c) + c + t + e(y)        M: turn, scale, shear, flip, crop;  t: shift, crop;  e: a smooth random field

Everything is drawn for each row by itself: row i of the result depends on the key, on i, and on picture i alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.errors import SettingsError, ShapeError

__all__ = ["PRESETS", "Augment", "preset", "warp"]

Array = Any
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32)
_ASPECT = 4 / 3  # crops are at most this much wider or higher than the picture, as in SimCLR
_EXACT = jax.lax.Precision.HIGHEST


@dataclass(frozen=True)
class Augment:
    """How strongly pictures are changed; at 0 (crop: 1) a change is off. "±a" is uniform between -a and a.

    shift: ± this share of the side, both ways. scale: the size is multiplied by exp(±scale). rotation: ± degrees; 180 is any.
    shear: ± the tangent of its angle. crop: the smallest share of the area that is cut out and enlarged.
    elastic: the deviation of a smooth random displacement, as a share of the side; elastic_width: over which share it is smooth.
    flip_x, flip_y: left and right, or up and down, change places in half of the rows.
    fill: beyond the border stands "zero" or the "edge" repeated.
    brightness: ± is added. contrast: differences from the picture's mean are multiplied by 1 ± contrast.
    stain: the optical density (-log x) of each channel is multiplied by exp(±stain).
    saturation: differences from grey are multiplied by 1 ± saturation. hue: colours turn by ± hue of the whole circle.
    grey: the share of rows that lose their colours. (The last three need 3 channels, and do nothing without.)
    blur: Gaussian, its deviation in px uniform from 0 to blur. noise: the deviation of added Gaussian noise.

    Where light or colour changes, the result is clipped to [0, 1].

    >>> Augment(shift=0.1)(jax.random.key(0), np.ones((2, 8, 8, 1), np.float32)).shape
    (2, 8, 8, 1)
    """

    shift: float = 0.0
    scale: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    crop: float = 1.0
    elastic: float = 0.0
    elastic_width: float = 0.15
    flip_x: bool = False
    flip_y: bool = False
    fill: str = "edge"
    brightness: float = 0.0
    contrast: float = 0.0
    stain: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        low = [name for name, value in vars(self).items() if not isinstance(value, str) and value < 0]
        if low or not 0 < self.crop <= 1 or self.elastic_width <= 0 or self.grey > 1:
            raise SettingsError(
                "strengths are not negative, crop is in (0, 1], elastic_width above 0, grey at most 1",
                repr(self),
                "mend these",
            )
        if self.fill not in ("edge", "zero"):
            raise SettingsError("fill is edge or zero", repr(self.fill), "choose one")

    def __call__(self, key: Array, images: Array) -> Array:
        """Pictures (B, H, W, C) float32 in [0, 1] to other ones, same shape."""
        images = jnp.asarray(images)
        if images.ndim != 4 or images.dtype != jnp.float32:
            raise ShapeError(
                "pictures to change are (B, H, W, C) float32", f"{images.dtype} {images.shape}", "convert them"
            )
        return _augment(self, key, images)

    @property
    def moves(self) -> bool:
        """Whether any pixel may move."""
        amounts = (self.shift, self.scale, self.rotation, self.shear, self.elastic, self.crop < 1)
        return any(amounts) or self.flip_x or self.flip_y

    @property
    def recolours(self) -> bool:
        """Whether light or colour may change."""
        colour = (self.brightness, self.contrast, self.stain, self.saturation, self.hue, self.grey)
        return any((*colour, self.blur, self.noise))


PRESETS = {
    "digits": Augment(
        shift=0.1, scale=0.2, rotation=20, shear=0.35, elastic=0.03, elastic_width=0.15, fill="zero", contrast=0.2
    ),
    "none": Augment(),
    "photo": Augment(
        crop=0.25, flip_x=True, brightness=0.2, contrast=0.4, saturation=0.4, hue=0.08, grey=0.2, blur=0.7
    ),
    "tiles": Augment(
        crop=0.4,
        rotation=180,
        flip_x=True,
        brightness=0.1,
        contrast=0.2,
        stain=0.25,
        saturation=0.3,
        hue=0.03,
        blur=0.7,
    ),
}


def preset(name: str) -> Augment:
    """The changes that suit data: "photo", "tiles" (any orientation; stains), "digits" (and letters: no flips), "none"."""
    if name not in PRESETS:
        raise SettingsError(f"an augmentation is one of {', '.join(PRESETS)}", repr(name), "choose one")
    return PRESETS[name]


def warp(images: Array, matrix: Array, offset: Array, moved: Array | None = None, fill: str = "zero") -> Array:
    """Pictures (B, H, W, C) read off bilinearly at x = matrix (y - c) + c + offset + moved, for every pixel y; c is the centre.

    matrix: (B, 2, 2), offset: (B, 2), moved: (B, H, W, 2); places are (row, column) in px.
    """
    count, height, width, _ = images.shape
    rows, columns = jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=jnp.float32)
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2], jnp.float32)
    grid = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1) - centre[None, None, :]
    place = jnp.einsum("bij,hwj->bhwi", matrix, grid, precision=_EXACT) + (centre[None, :] + offset)[:, None, None, :]
    place = place if moved is None else place + moved
    return _read(images, place.reshape(count, -1, 2), fill).reshape(images.shape)


def _read(images: Array, place: Array, fill: str) -> Array:
    """Pictures (B, H, W, C) at places (B, P, 2): (B, P, C)."""
    count, height, width, channels = images.shape
    flat = images.reshape(count, height * width, channels)
    low = jnp.floor(place)
    part = place - low
    total = jnp.zeros((count, place.shape[1], channels), images.dtype)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y, x = low[..., 0] + down, low[..., 1] + right
        share = jnp.abs(1 - down - part[..., 0]) * jnp.abs(1 - right - part[..., 1])
        if fill == "zero":
            share = jnp.where((y >= 0) & (y < height) & (x >= 0) & (x < width), share, jnp.float32(0))
        at = (jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)).astype(jnp.int32)
        total += share[..., None] * jnp.take_along_axis(flat, at[..., None], axis=1, mode="promise_in_bounds")
    return total


@partial(jax.jit, static_argnums=0)
def _augment(how: Augment, key: Array, images: Array) -> Array:
    rows = jnp.arange(images.shape[0], dtype=jnp.uint32)
    keys = jax.vmap(lambda row: jax.random.split(jax.random.fold_in(key, row), 4))(rows)
    if how.moves:
        images = _move(how, keys[:, 0], keys[:, 1], images)
    if how.recolours:
        images = jnp.clip(_recolour(how, keys[:, 2], keys[:, 3], images), 0.0, 1.0)
    return images


def _uniform(keys: Array, count: int) -> list[Array]:
    """`count` vectors (B,), uniform in [-1, 1]."""
    drawn = jax.vmap(lambda key: jax.random.uniform(key, (count,), jnp.float32, -1.0, 1.0))(keys)
    return [drawn[:, i] for i in range(count)]


def _move(how: Augment, keys: Array, field_keys: Array, images: Array) -> Array:
    height, width = images.shape[1:3]
    turn, size, slant, down, right, flip_y, flip_x, area, aspect, cut_y, cut_x = _uniform(keys, 11)
    angle = jnp.deg2rad(how.rotation * turn)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    tangent, zoom = how.shear * slant, jnp.exp(-how.scale * size)
    cut = jnp.sqrt(how.crop + (1 - how.crop) * (area + 1) / 2)
    stretch = jnp.exp(aspect * 0.5 * np.log(_ASPECT)) if how.crop < 1 else jnp.ones_like(cut)
    high, wide = jnp.minimum(cut * stretch, 1.0), jnp.minimum(cut / stretch, 1.0)
    y = jnp.where(how.flip_y & (flip_y < 0), -zoom * high, zoom * high)
    x = jnp.where(how.flip_x & (flip_x < 0), -zoom * wide, zoom * wide)
    matrix = jnp.stack([cos * y, -sin * x, (sin + tangent * cos) * y, (cos - tangent * sin) * x], axis=1)
    offset_y = height * how.shift * down + (height - 1) / 2 * (1 - high) * cut_y
    offset_x = width * how.shift * right + (width - 1) / 2 * (1 - wide) * cut_x
    moved = _field(how, field_keys, height, width) if how.elastic else None
    return warp(images, matrix.reshape(-1, 2, 2), jnp.stack([offset_y, offset_x], axis=1), moved, how.fill)


def _field(how: Augment, keys: Array, height: int, width: int) -> Array:
    """Smooth displacements (B, H, W, 2) in px: white noise on a coarse grid under a Gaussian, of the deviation asked for."""
    knots = int(np.ceil(2 / how.elastic_width)) + 5
    at = (np.arange(knots) - 2) * how.elastic_width / 2  # two knots a width, and two beyond either border

    def smoothing(side: int) -> Array:
        weights = np.exp(-0.5 * np.square(((np.arange(side) + 0.5)[:, None] / side - at[None, :]) / how.elastic_width))
        return jnp.asarray(weights / np.sqrt(np.square(weights).sum(axis=1, keepdims=True)), jnp.float32)

    white = jax.vmap(lambda key: jax.random.normal(key, (2, knots, knots), jnp.float32))(keys)
    rows = jnp.einsum("bdkl,wl->bdkw", white, smoothing(width))
    field = jnp.einsum("hk,bdkw->bdhw", smoothing(height), rows)
    return jnp.stack([how.elastic * height * field[:, 0], how.elastic * width * field[:, 1]], axis=-1)


def _recolour(how: Augment, keys: Array, noise_keys: Array, images: Array) -> Array:
    channels = images.shape[3]
    light, contrast, saturation, hue, grey, blur, *stain = (
        each[:, None, None, None] for each in _uniform(keys, 6 + channels)
    )
    if how.blur:
        images = _blurred(images, how.blur * (blur.reshape(-1) + 1) / 2)
    if how.stain:
        power = jnp.exp(how.stain * jnp.concatenate(stain, axis=3))
        images = jnp.exp(power * jnp.log(jnp.maximum(images, 1e-3)))
    if how.contrast:
        mean = images.mean(axis=(1, 2, 3), keepdims=True)
        images = mean + (1 + how.contrast * contrast) * (images - mean)
    if channels == 3 and (how.saturation or how.grey or how.hue):
        keep = jnp.where((grey + 1) / 2 < how.grey, jnp.float32(0), 1 + how.saturation * saturation)
        images = _mixed(images, _colours(keep.reshape(-1), 2 * np.pi * how.hue * hue.reshape(-1)))
    if how.brightness:
        images = images + how.brightness * light
    if how.noise:
        draw = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], jnp.float32))
        images = images + how.noise * draw(noise_keys)
    return images


def _colours(keep: Array, angle: Array) -> Array:
    """Maps of colours (B, 3, 3): nearer to their grey (keep (B,) of the difference), and turned about the axis of greys (YIQ)."""
    cos, sin, zero = keep * jnp.cos(angle), keep * jnp.sin(angle), jnp.zeros_like(angle)
    turn = jnp.stack([zero + 1, zero, zero, zero, cos, -sin, zero, sin, cos], axis=1).reshape(-1, 3, 3)
    return jnp.einsum("ij,bjk,kl->bil", jnp.asarray(np.linalg.inv(_YIQ)), turn, jnp.asarray(_YIQ), precision=_EXACT)


def _mixed(images: Array, colours: Array) -> Array:
    """Colours (B, H, W, 3) through maps (B, 3, 3): channel by channel, as XLA multiplies matrices of 3 slowly on the CPU."""
    shares = colours[:, None, None, :, :]
    mixed = [sum(shares[..., out, c] * images[..., c] for c in range(3)) for out in range(3)]
    return jnp.stack(mixed, axis=-1)


def _blurred(images: Array, deviation: Array) -> Array:
    """A Gaussian of these deviations (B,) in px, its weights within the picture summing to 1."""

    def weights(side: int) -> Array:
        at = np.arange(side, dtype=np.float32)
        square = jnp.asarray(np.square(at[:, None] - at[None, :]))[None]
        bell = jnp.exp(-0.5 * square / jnp.maximum(jnp.square(deviation), 1e-4)[:, None, None])
        return bell / bell.sum(axis=2, keepdims=True)

    images = jnp.einsum("bij,bjwc->biwc", weights(images.shape[1]), images)
    return jnp.einsum("bij,bhjc->bhic", weights(images.shape[2]), images)
