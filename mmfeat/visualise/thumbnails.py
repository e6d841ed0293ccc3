"""Small pictures for pages: shrunk, encoded, and written into the page itself as data: addresses."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from mmfeat.errors import DataError, ShapeError, UsageError

__all__ = ["as_image", "crop", "data_uri", "image_size", "thumbnail"]

Box = tuple[int, int, int, int]  # x, y, width, height in pixels, from the left and the top: a fragment's xywh
CRISP = 64  # pictures up to this side are kept pixel by pixel: JPEG would smear a digit of 8 × 8
_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png", b"GIF8": "image/gif"}


def as_image(image: Image.Image | np.ndarray) -> Image.Image:
    """A picture in mode L or RGB, of what a decoder gives.

    image: a PIL image of any mode, or an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4): uint8, bool, or floats in
    [0, 1], which are clipped. Transparency is laid on white. Deep modes (16 bits, floats) are scaled to their range,
    65,535 or 1, instead of clipped.
    """
    if isinstance(image, Image.Image):
        if image.mode in ("L", "RGB"):
            return image
        if image.mode.startswith("I"):
            return as_image(np.asarray(image, np.float32) / 65535)
        if image.mode == "F":
            return as_image(np.asarray(image))
        if image.mode == "1":
            return image.convert("L")
        if image.has_transparency_data:
            solid = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", solid.size, "white"), solid).convert("RGB")
        return image.convert("RGB")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)) or not image.size:
        raise ShapeError("a picture is (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)", f"{image.shape}", "pass one picture")
    if image.dtype == bool or np.issubdtype(image.dtype, np.floating):
        image = np.rint(np.clip(np.nan_to_num(image.astype(np.float32)), 0, 1) * 255).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ShapeError("pixels are uint8, bool, or floats in [0, 1]", str(image.dtype), "convert them first")
    return as_image(Image.fromarray(image)) if image.shape[2:] == (4,) else Image.fromarray(image)


def thumbnail(image: Image.Image | np.ndarray, side: int = 160) -> bytes:
    """The picture, no longer than `side` pixels on its long side, as the bytes of a JPEG (PNG if at most 64 px wide and high).

    Never enlarged: a page enlarges small pictures itself, pixel by pixel. The same picture gives the same bytes.
    """
    if side < 1:
        raise UsageError("a thumbnail has at least one pixel", f"side={side}", "ask for a longer side")
    small = as_image(image)
    if max(small.size) > side:
        scale = side / max(small.size)
        width, height = (max(1, round(length * scale)) for length in small.size)
        small = small.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    out = io.BytesIO()
    if max(small.size) <= CRISP:
        small.save(out, "PNG", optimize=True)
    else:
        small.save(out, "JPEG", quality=84, optimize=True)
    return out.getvalue()


def data_uri(image: bytes) -> str:
    """The bytes of a JPEG, PNG, GIF or WebP as an address that holds the picture itself.

    >>> data_uri(thumbnail(np.zeros((8, 8), np.uint8)))[:22]
    'data:image/png;base64,'
    """
    return f"data:{_media_type(image)};base64,{base64.b64encode(image).decode('ascii')}"


def image_size(image: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the head of the bytes."""
    _media_type(image)
    try:
        with Image.open(io.BytesIO(image)) as opened:
            return opened.size
    except OSError as error:
        raise DataError("a thumbnail is a readable picture", str(error), "make it with thumbnail()") from error


def crop(image: Image.Image, box: Box) -> Image.Image:
    """The part (x, y, width, height) of a picture, in pixels; what lies outside the picture is left out."""
    x, y, width, height = box
    left, top, right, bottom = max(0, x), max(0, y), min(image.width, x + width), min(image.height, y + height)
    if left >= right or top >= bottom:
        raise UsageError(
            f"a part lies inside its picture of {image.width} × {image.height}", f"xywh={x},{y},{width},{height}",
            "check the order: x, y, width, height",
        )  # fmt: skip
    return image.crop((left, top, right, bottom))


def _media_type(image: bytes) -> str:
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    for magic, kind in _MAGIC.items():
        if image.startswith(magic):
            return kind
    raise DataError(
        "a thumbnail is the bytes of a JPEG, PNG, GIF or WebP", f"{image[:8]!r}…", "make it with thumbnail()"
    )
