"""Whether a file that decodes is whole: what the formats say themselves and the decoders do not look at.

A download that was cut off often leaves a file of the right length, filled up with zeros, and zeros are valid codes in most
Huffman tables: libjpeg and zlib decode them as if they were pixels. So

- a JPEG must have an end-of-image marker behind its first scan (ITU-T T.81, B.1.1.2: within a scan every byte FF is
  followed by 00 or by a restart marker, so that the bytes FF D9 are the end and nothing else);
- the critical chunks of a PNG must match their CRC (PNG 3rd edition, 5.3); Pillow reads image data without comparing it.

Formats without marks or checksums (BMP, PPM, raw TIFF, WebP, AVIF, ...) tell truncation, but not a tail of other bytes.
"""

from __future__ import annotations

import contextlib
import mmap
import zlib
from collections.abc import Iterator

from mmfeat.errors import MediaError

__all__ = ["check_scans", "check_whole"]

_SCANS = 500  # of a progressive JPEG; real ones have about ten
_SOS, _EOI, _WITHOUT_LENGTH = 0xDA, 0xD9, {0x01, *range(0xD0, 0xD8)}


def check_whole(source: bytes | str, format: str | None) -> None:
    """Raise MediaError where a JPEG has no end, or a PNG a chunk that is not what its CRC says.

    source: the bytes or the path of a file that decodes. format: Pillow's name of it.
    """
    if format in ("JPEG", "MPO", "PNG"):
        with _mapped(source) as data:
            _check(data, format)


def check_scans(source: bytes | str, format: str | None) -> None:
    """Raise MediaError where a JPEG has more scans than any camera or program writes: each costs time for every pixel.

    A file of one megabyte may hold thousands of empty scans and take an hour, however few pixels the limit allows.
    """
    if format not in ("JPEG", "MPO"):
        return
    with _mapped(source) as data:
        at, count = data.find(b"\xff\xda"), 0
        while at >= 0 and count <= _SCANS:
            at, count = data.find(b"\xff\xda", at + 2), count + 1
    if count > _SCANS:
        raise MediaError(f"a JPEG has at most {_SCANS} scans", "more", "save it again with another program")


@contextlib.contextmanager
def _mapped(source: bytes | str) -> Iterator[bytes | mmap.mmap]:
    if isinstance(source, bytes):
        yield source
        return
    with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _check(data: bytes | mmap.mmap, format: str) -> None:
    if format == "PNG":
        _check_chunks(data)
    elif data.find(b"\xff\xd9", _first_scan(data)) < 0:
        raise MediaError("a JPEG has its end", "no marker of it", "restore the file from its source")


def _first_scan(data: bytes | mmap.mmap) -> int:
    """Where the first scan begins; the markers before it hold thumbnails, with ends of their own."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:  # libjpeg skips what stands between segments
            at += 1
            continue
        marker = data[at + 1]
        if marker == _SOS:
            return at
        if marker == 0xFF:
            at += 1
        elif marker == 0 or marker == _EOI or marker in _WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return len(data)


def _check_chunks(data: bytes | mmap.mmap) -> None:
    at = 8
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        end = at + 8 + length
        if kind[:1].isupper() or kind == b"tRNS":  # upper case: critical
            with memoryview(data) as view, view[at + 4 : end] as chunk:
                found = zlib.crc32(chunk)
            if found != int.from_bytes(data[end : end + 4], "big"):
                raise MediaError(
                    "the chunks of a PNG match their checksums",
                    f"another in {kind!r} at byte {at}",
                    "restore the file from its source",
                )
        if kind == b"IEND":
            return
        at = end + 4
