"""Decoding: explicit settings, recorded in the model, from a file's bytes to an array of pixels.

    from mmfeat.media.decode import Decode, decode
    pixels = decode(Path("photo.jpg"), Decode(max_side=256))      # (h, w, 3) uint8

Queries and databases are decoded by this one function with the same settings: a JPEG decoded at reduced scale differs
a little from the full one, so two ways of decoding would cost recall. `output_size` says from the header alone what
shape comes out.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfeat.errors import MediaError, SettingsError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Decode", "bucket", "decode", "decode_array", "decode_file", "machine_pixel_limit", "output_size"]

_MAX_SIDE = 256
#: Pillow keeps 4 bytes a pixel; one decoded picture stays under 1/16 of the memory.
_BYTES_A_PIXEL, _SHARE = 4, 16


@dataclass(frozen=True)
class Decode:
    """How a picture becomes an array; frozen, hashable, made of JSON values only.

    color: "rgb" (3 channels) or "grey" (1; luma 0.299 R + 0.587 G + 0.114 B of the encoded values, ITU-R BT.601).
    size: exact (height, width) in px, squashed, enlarged if need be. Instead of:
    max_side: the longer side in px at most; the ratio is kept and smaller pictures stay as they are. Left out when
        `size` is given.
    orient: apply the EXIF orientation (pictures in HEIC always are turned, by their reader).
    background: red, green, blue in 0..255 behind transparent pixels.
    depth: 8 for uint8 in 0..255; 16 for float32 in [0, 1], which keeps what 16-bit and float files hold.
    scale: for 16-bit and float files. "type": 16 bits / 65535, floats within [0, 1] as they are, other floats (and
        integers beyond 16 bits) from their least to their greatest value. "image": always from the least to the
        greatest of each picture.
    frame: number of the frame or page, from 0.
    pixel_limit: larger pictures (width x height in the header) are failures. None: 1/16 of the machine's memory at 4
        bytes a pixel. Pillow's own limit, 2 x PIL.Image.MAX_IMAGE_PIXELS, holds besides.
    draft: decode JPEG at 1/2, 1/4 or 1/8 where at least twice the wanted size remains: several times faster, almost
        the same pixels.

    Colour profiles (ICC) are not applied. CMYK is converted by Pillow's formula.
    """

    color: str = "rgb"
    size: tuple[int, int] | None = None
    max_side: int | None = _MAX_SIDE
    orient: bool = True
    background: tuple[int, int, int] = (255, 255, 255)
    depth: int = 8
    scale: str = "type"
    frame: int = 0
    pixel_limit: int | None = None
    draft: bool = True

    def __post_init__(self) -> None:
        if self.size is not None and self.max_side == _MAX_SIDE:
            object.__setattr__(self, "max_side", None)  # the default gives way; any other value contradicts
        for name in ("size", "background"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        _check(self.color in ("rgb", "grey"), 'color is "rgb" or "grey"', self.color)
        _check(self.scale in ("type", "image"), 'scale is "type" or "image"', self.scale)
        _check(self.depth in (8, 16), "depth is 8 or 16", self.depth)
        _check(
            (self.size is None) != (self.max_side is None),
            "either size or max_side is given",
            (self.size, self.max_side),
        )
        _check(
            self.size is None or _whole(self.size, 2, 1), "size is two whole numbers (height, width) from 1", self.size
        )
        _check(
            self.max_side is None or _whole((self.max_side,), 1, 1), "max_side is a whole number from 1", self.max_side
        )
        _check(_whole(self.background, 3, 0, 255), "background is three whole numbers in 0..255", self.background)
        _check(_whole((self.frame,), 1, 0), "frame is a whole number from 0", self.frame)
        _check(self.pixel_limit is None or _whole((self.pixel_limit,), 1, 1), "pixel_limit is from 1", self.pixel_limit)

    @property
    def channels(self) -> int:
        """Channels of the result: 3 or 1."""
        return 3 if self.color == "rgb" else 1

    @property
    def dtype(self) -> str:
        """The NumPy name of the result's type."""
        return "uint8" if self.depth == 8 else "float32"

    @property
    def limit(self) -> int:
        """The pixels (width x height) a picture may have."""
        return self.pixel_limit if self.pixel_limit is not None else machine_pixel_limit()


def output_size(width: int, height: int, settings: Decode) -> tuple[int, int]:
    """(h, w) that `decode` gives for a picture that is shown `width` x `height` px.

    With `max_side` the longer side becomes exactly that and the other is rounded half up, never below 1.

    >>> output_size(4000, 3000, Decode(max_side=256)), output_size(30, 20, Decode(max_side=256))
    ((192, 256), (20, 30))
    """
    if settings.size is not None:
        return settings.size
    longest, most = max(width, height), settings.max_side
    if most is None or longest <= most:
        return height, width
    h, w = (max(1, (2 * side * most + longest) // (2 * longest)) for side in (height, width))
    return h, w


def bucket(h: int, w: int, grid: int = 64) -> tuple[int, int]:
    """The smallest (H, W) on a grid of `grid` px that holds a picture of h x w px.

    >>> bucket(192, 250)
    (192, 256)
    """
    return -(-h // grid) * grid, -(-w // grid) * grid


def decode(
    data: bytes | str | os.PathLike[str], settings: Decode | None = None, fragment: Mapping[str, Any] | None = None
) -> np.ndarray:
    """Decode a file, given as its bytes or its path, to (h, w, c): uint8, or float32 in [0, 1] with `depth=16`.

    A path may lead into a tar (`x/shard.tar/a.jpg`) or be a URL. fragment: of `ids.split_id`: `page=3` of the file, or
        `row=12` of an array; what else it says is left to the caller.

    Formats without a magic number (TGA, PCX, ...) are known by the extension of the path, so not from bytes. Safe in
    threads. Raises MediaError, whose text is a reason for the table: not a picture, truncated anywhere, over the
    pixel limit, no such frame, values not finite.
    """
    settings = settings or Decode()
    if isinstance(data, bytes):
        return decode_file(data, settings, "")
    from mmfeat.media.contents import is_file_here, read_content

    source, part = os.fspath(data), dict(fragment or {})
    content = source if is_file_here(source) and "row" not in part else read_content(source, part)
    if not isinstance(content, bytes | str):
        return decode_array(content, settings)
    if "page" in part:
        settings = replace(settings, frame=part["page"])
    return decode_file(content, settings, os.path.splitext(source)[1].lower())


def decode_file(source: bytes | str, settings: Decode, extension: str) -> np.ndarray:
    """As `decode`, for bytes whose file had this extension (lower case, with its dot)."""
    from mmfeat.media.opening import open_image, quiet
    from mmfeat.media.pixels import image_pixels
    from mmfeat.media.wholeness import check_scans, check_whole

    with quiet(), open_image(source, extension, settings.frame) as image:
        pixels, limit = image.width * image.height, settings.limit
        if pixels > limit:
            raise MediaError(
                f"a picture has at most {limit:,} pixels",
                f"{image.width} x {image.height} = {pixels:,}",
                "cut it into tiles or raise pixel_limit",
            )
        check_scans(source, image.format)
        decoded = image_pixels(image, settings, draft=settings.draft)
        check_whole(source, image.format)
        return decoded


def decode_array(picture: Any, settings: Decode | None = None) -> np.ndarray:
    """The same rules for a picture in memory: a PIL image, or an array (h, w) or (h, w, 1 | 3 | 4).

    Arrays are bool, uint8 (0..255), uint16 (0..65535) or float ([0, 1], else scaled as `Decode.scale` says); a fourth
    channel is alpha. A PIL image is never decoded at reduced scale: give the path to get what a database of files
    holds. Raises MediaError; ShapeError for an array of another shape or type.
    """
    from mmfeat.media.opening import quiet
    from mmfeat.media.pixels import array_pixels, image_pixels, is_image

    settings = settings or Decode()
    if is_image(picture):
        with quiet():
            return image_pixels(picture, settings, draft=False)
    return array_pixels(picture, settings)


@functools.cache
def machine_pixel_limit() -> int:
    """Pixels of one picture that take 1/16 of the memory of this machine (or container) at 4 bytes a pixel."""
    memory = 8 << 30  # where the system does not say
    if hasattr(os, "sysconf"):
        with contextlib.suppress(ValueError, OSError):
            memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            memory = min(memory, int(Path(name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return max(1, memory // (_SHARE * _BYTES_A_PIXEL))


def _whole(values: Any, count: int, least: int, most: int | None = None) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(
            isinstance(one, int) and not isinstance(one, bool) and one >= least and (most is None or one <= most)
            for one in values
        )
    )


def _check(holds: bool, rule: str, came: object) -> None:
    if not holds:
        raise SettingsError(rule, repr(came), "change the setting of Decode")
