"""Pictures in many formats, and seeded damage of many kinds. As a program: so many damaged pictures, decoded one by one.

python tests/fixtures_damage.py 2000 [seed]
"""

from __future__ import annotations

import io
import json
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS: tuple[tuple[str, str, str, dict[str, object]], ...] = (
    ("JPEG", ".jpg", "RGB", {"quality": 90}),
    ("JPEG", ".jpg", "RGB", {"quality": 80, "progressive": True}),
    ("JPEG", ".jpg", "CMYK", {}),
    ("PNG", ".png", "RGB", {}),
    ("PNG", ".png", "RGBA", {}),
    ("PNG", ".png", "P", {}),
    ("PNG", ".png", "I;16", {}),
    ("TIFF", ".tif", "RGB", {}),
    ("TIFF", ".tif", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", ".tif", "RGBA", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", ".tif", "RGB", {"compression": "jpeg"}),
    ("TIFF", ".tif", "F", {"compression": "packbits"}),
    ("TIFF", ".tif", "1", {"compression": "group4"}),
    ("WEBP", ".webp", "RGB", {}),
    ("WEBP", ".webp", "RGBA", {"lossless": True}),
    ("GIF", ".gif", "P", {}),
    ("BMP", ".bmp", "RGB", {}),
    ("JPEG2000", ".jp2", "RGB", {}),
    ("AVIF", ".avif", "RGB", {"speed": 10}),
    ("PPM", ".ppm", "RGB", {}),
    ("TGA", ".tga", "RGB", {"compression": "tga_rle"}),
    ("ICO", ".ico", "RGBA", {}),
    ("SGI", ".sgi", "RGB", {}),
    ("PCX", ".pcx", "P", {}),
    ("DDS", ".dds", "RGBA", {}),
    ("QOI", ".qoi", "RGB", {}),
)
LIMIT = 4_000_000  # px
FILLED = "cut and filled"
MARKED = {"JPEG", "PNG", "GIF", "JPEG2000", "ICO"}  # formats with an end or with checksums
DAMAGES = ("cut", FILLED, "flipped bits", "noise", "zeros", "inserted", "taken out", "doubled", "header")


def picture(mode: str, height: int = 90, width: int = 120) -> Image.Image:
    """A picture with detail of every scale."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 9 + c) * np.cos(y / (5 + c)) for c in range(4)], axis=2) * 90 + 128
    values = np.clip(waves + draw.normal(0, 12, waves.shape), 0, 255)
    if mode == "I;16":
        return Image.fromarray((values[:, :, 0] * 257).astype(np.uint16))
    if mode == "F":
        return Image.fromarray(values[:, :, 0].astype(np.float32) / 255)
    colour = Image.fromarray(values[:, :, :3].astype(np.uint8))
    if mode == "RGBA":
        return Image.fromarray(values.astype(np.uint8))
    return colour if mode == "RGB" else colour.convert(mode)


def files() -> list[tuple[str, str, bytes]]:
    """(format, extension, bytes) of every format that this Pillow can write."""
    found = []
    for format, extension, mode, options in FORMATS:
        file = io.BytesIO()
        try:
            picture(mode).save(file, format, **options)
        except (OSError, KeyError, ValueError):  # built without it
            continue
        found.append((format, extension, file.getvalue()))
    return found


def damage(data: bytes, kind: str, draw: np.random.Generator) -> bytes:
    """The bytes after an accident."""
    size = len(data)
    at, length = int(draw.integers(0, size)), int(min(size, 1 + draw.geometric(8 / size)))
    if kind == "cut":
        return data[:at]
    if kind == FILLED:
        return data[:at] + bytes(size - at)
    changed = bytearray(data)
    if kind in ("flipped bits", "header"):
        for _ in range(int(draw.integers(1, 12))):
            changed[int(draw.integers(0, min(size, 200) if kind == "header" else size))] ^= 1 << int(
                draw.integers(0, 8)
            )
    elif kind == "noise":
        changed[at : at + length] = draw.bytes(len(changed[at : at + length]))
    elif kind == "zeros":
        changed[at : at + length] = bytes(len(changed[at : at + length]))
    elif kind == "inserted":
        changed[at:at] = draw.bytes(length)
    elif kind == "taken out":
        del changed[at : at + length]
    else:
        changed[at:at] = data[at : at + length]
    return bytes(changed)


def damaged(count: int, seed: int = 0) -> Iterator[tuple[str, str, str, bytes, bytes]]:
    """(format, extension, kind of damage, whole bytes, damaged bytes), formats and damages in turn."""
    draw, made = np.random.default_rng(seed), files()
    for number in range(count):
        format, extension, data = made[number % len(made)]
        kind = DAMAGES[int(draw.integers(0, len(DAMAGES)))]
        yield format, extension, kind, data, damage(data, kind, draw)


def main(count: int, seed: int) -> None:
    """Decode damaged pictures; print what came of each, the slowest one's time and the most memory."""
    _report((extension, data, f"{format}, {kind}", whole if kind == "cut" or (kind == FILLED and format in MARKED) else None)
            for format, extension, kind, whole, data in damaged(count, seed))  # fmt: skip


def main_of_folder(folder: Path) -> None:
    """The same for the files of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    _report((path.suffix.lower(), path.read_bytes(), path.name, None) for path in files)


def _report(given: Iterable[tuple[str, bytes, str, bytes | None]]) -> None:
    """Decode (extension, bytes, name, bytes of the whole picture where half of it would be told) one by one."""
    from mmfeat.errors import MediaError
    from mmfeat.media.decode import Decode, decode_file

    how = Decode(max_side=10_000, pixel_limit=LIMIT)
    for _, extension, data in files():  # plugins and codecs are loaded before memory is measured
        decode_file(data, how, extension)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ended, slowest, what = [], 0.0, ""
    for extension, data, name, whole in given:
        began, came = time.process_time(), "done"
        try:
            pixels = decode_file(data, how, extension)
            if whole is not None and not np.array_equal(pixels, decode_file(whole, how, extension)):
                came = f"half: {name}, {len(data):,} of {len(whole):,} bytes"
            elif pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size > 3 * LIMIT:
                came = f"shape {pixels.shape} of {name}"
        except MediaError as error:
            whole_sentence = error.rule and error.came and error.do and str(error).isprintable()
            came = "failed" if whole_sentence else f"no reason: {name}"
        took = time.process_time() - began
        slowest, what = max((slowest, what), (took, name))
        ended.append(came)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    odd = sorted({came for came in ended if came not in ("done", "failed")})
    said = {"done": ended.count("done"), "failed": ended.count("failed"), "odd": odd, "seconds": slowest}
    print(json.dumps({**said, "slowest": what, "bytes": grown}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    if sys.argv[1].isdecimal():
        main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    else:
        main_of_folder(Path(sys.argv[1]))
