"""From an opened picture, or an array, to the pixels that `Decode` asks for: modes, alpha, depth, size, orientation.

Two ways lead there. Pictures of 8 bits stay with Pillow: convert, composite, resize, turn. Pictures of more bits,
which Pillow would clip (its `convert("L")` turns a 16-bit ramp white and floats in [0, 1] black), go as planes of
float32 in [0, 1], each resized by Pillow in mode F.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
from PIL import Image

from mmfeat.errors import MediaError, ShapeError
from mmfeat.media.decode import Decode, output_size
from mmfeat.media.opening import orientation_of, say

__all__ = ["array_pixels", "image_pixels", "is_image", "shown_size"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's convert("L")
_GAP = 3.0  # Pillow: from 3 on, reducing first by whole numbers cannot be told from the plain resize
_DRAFT_GAP = 2  # what JPEG's own reduction must leave: twice the wanted size, so that the last step still filters
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_INVERSE = {6: 8, 8: 6}
_SIDEWAYS = (_TURN[5], _TURN[6], _TURN[7], _TURN[8])


def is_image(picture: Any) -> TypeGuard[Image.Image]:
    """Whether it is a PIL image."""
    return isinstance(picture, Image.Image)


def image_pixels(image: Image.Image, settings: Decode, draft: bool) -> np.ndarray:
    """Load an opened picture and bring it to (h, w, c); raises MediaError. Call inside `quiet()`."""
    turn = _turn(image, settings.orient)
    h, w = output_size(*shown_size(image, settings.orient), settings)
    target = (h, w) if turn in _SIDEWAYS else (w, h)  # Pillow's order, before the turn
    try:
        box = _load(image, target, settings, draft)
        if image.mode in _DEEP:
            planes = _image_planes(image, settings)
        else:
            flat = _flatten(image, settings)
    except MediaError:
        raise
    except Exception as error:  # decoders raise anything; the reason goes into the table
        raise MediaError(
            "a picture decodes to its last pixel", say(error), "restore the file from its source"
        ) from error
    if image.mode in _DEEP:
        return _finish_planes(planes, target, turn, settings)
    flat = _resize(flat, target, box)
    if turn is not None:
        flat = flat.transpose(turn)
    pixels = np.asarray(flat).reshape(h, w, settings.channels)
    return pixels if settings.depth == 8 else pixels.astype(np.float32) / np.float32(255)


def array_pixels(picture: Any, settings: Decode) -> np.ndarray:
    """An array (h, w) or (h, w, 1 | 3 | 4) of bool, uint8, uint16 or float to (h, w, c).

    Raises ShapeError for other arrays, MediaError for values that are not finite.
    """
    array = np.asarray(picture)
    array = array[:, :, None] if array.ndim == 2 else array
    known = array.dtype in (np.bool_, np.uint8, np.uint16) or np.issubdtype(array.dtype, np.floating)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape or not known:
        raise ShapeError(
            "a picture is (h, w) or (h, w, 1 | 3 | 4) of bool, uint8, uint16 or float",
            f"{array.dtype} {np.shape(picture)}",
            "cast or reshape it",
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype == np.uint8:
        image = Image.fromarray(np.squeeze(array, 2) if array.shape[2] == 1 else array)
        return image_pixels(image, settings, draft=False)
    colour, alpha = array[:, :, :3], _alpha(array[:, :, 3]) if array.shape[2] == 4 else None
    h, w = output_size(array.shape[1], array.shape[0], settings)
    return _finish_planes(_compose(_unit(colour, settings.scale), alpha, settings), (w, h), None, settings)


def shown_size(image: Image.Image, orient: bool) -> tuple[int, int]:
    """(width, height) in px of an opened picture, with or without its orientation applied; nothing is decoded."""
    return image.size[::-1] if _turn(image, orient) in _SIDEWAYS else image.size


def _turn(image: Image.Image, orient: bool) -> Image.Transpose | None:
    """What remains to be done after loading; Pillow turns TIFF while loading, so `orient=False` means turning back."""
    orientation = orientation_of(image)
    if image.format == "TIFF":
        return None if orient else _TURN.get(_INVERSE.get(orientation, orientation))
    return _TURN.get(orientation) if orient else None


def _load(
    image: Image.Image, target: tuple[int, int], settings: Decode, draft: bool
) -> tuple[float, float, float, float] | None:
    """Decode; returns which part of the raster (in its px) is the picture, None for all of it.

    After JPEG's own reduction the last pixel of a row or column may stand for a fraction of one.
    """
    box, size = None, image.size
    if draft and image.format in ("JPEG", "MPO"):
        mode = "L" if settings.color == "grey" else None
        drafted = image.draft(mode, (target[0] * _DRAFT_GAP, target[1] * _DRAFT_GAP))
        box = None if drafted is None else drafted[1]
        size = image.size
    image.load()
    if image.size != size:
        raise MediaError(
            "a picture is as large as its header says",
            f"{image.width} x {image.height} instead of {size[0]} x {size[1]}",
            "save the file again with another program",
        )
    return box


def _flatten(image: Image.Image, settings: Decode) -> Image.Image:
    """Any mode of 8 bits or fewer to L or RGB, transparent pixels on the background."""
    mode = "RGB" if settings.color == "rgb" else "L"
    if image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*settings.background, 255))
        return Image.alpha_composite(behind, image).convert(mode)
    if image.mode == "LAB":
        image = _from_lab(image)
    elif image.mode not in ("L", "RGB", "1"):
        image = image.convert("RGB")  # grey of CMYK, palettes or YCbCr is the grey of their colours
    return image if image.mode == mode else image.convert(mode)


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if converted is None:
        raise MediaError("CIE Lab is converted to sRGB", "nothing", "save the file as RGB")
    return converted


def _image_planes(image: Image.Image, settings: Decode) -> np.ndarray:
    """A picture of one deep channel to planes (h, w, c) in [0, 1]; a transparent value (tRNS) becomes background."""
    values = np.asarray(image)
    alpha = None
    if isinstance(clear := image.info.get("transparency"), int):
        alpha = (values != clear).astype(np.float32)
    return _compose(_unit(values[:, :, None], settings.scale), alpha, settings)


def _unit(values: np.ndarray, scale: str) -> np.ndarray:
    """Values of any range to float32 in [0, 1], as `Decode.scale` says; raises MediaError where they are not finite."""
    if not np.isfinite(values).all():
        raise MediaError("the pixels of a float picture are finite", "NaN or infinity", "fill the gaps before")
    least, most = float(values.min()), float(values.max())
    whole = np.issubdtype(values.dtype, np.integer)
    if scale == "type" and least >= 0 and most <= (65535 if whole else 1):
        return values.astype(np.float32) / np.float32(65535 if whole else 1)
    if most == least:
        return np.zeros(values.shape, np.float32)
    return ((values.astype(np.float64) - least) / (most - least)).astype(np.float32)


def _alpha(values: np.ndarray) -> np.ndarray:
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.float32) / np.float32(65535)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise MediaError("alpha of a float picture lies in [0, 1]", "other values", "scale it before")
    return values.astype(np.float32)


def _compose(planes: np.ndarray, alpha: np.ndarray | None, settings: Decode) -> np.ndarray:
    """(h, w, 1 | 3) and alpha (h, w) to (h, w, c) of the wanted colour, on the background."""
    if alpha is not None:
        behind = np.asarray(settings.background, np.float32) / np.float32(255)
        planes = planes * alpha[:, :, None] + behind * (1 - alpha[:, :, None])
    if settings.channels == 1 and planes.shape[2] == 3:
        return (planes @ _LUMA)[:, :, None]
    return planes  # one plane for "rgb" is spread at the very end


def _finish_planes(
    planes: np.ndarray, target: tuple[int, int], turn: Image.Transpose | None, settings: Decode
) -> np.ndarray:
    done = []
    for number in range(planes.shape[2]):
        plane = _resize(Image.fromarray(np.ascontiguousarray(planes[:, :, number])), target, None)
        done.append(np.asarray(plane if turn is None else plane.transpose(turn)))
    pixels = np.clip(np.stack(done, axis=2), 0, 1)
    if settings.depth == 8:
        pixels = (pixels * 255 + 0.5).astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if settings.channels > pixels.shape[2] else pixels


def _resize(image: Image.Image, target: tuple[int, int], box: tuple[float, float, float, float] | None) -> Image.Image:
    """Bicubic, widened when shrinking (so that nothing aliases), from `box` of the raster to (w, h)."""
    if image.size == target and box in (None, (0, 0, *target)):
        return image
    return image.resize(target, Image.Resampling.BICUBIC, box=box, reducing_gap=_GAP)
