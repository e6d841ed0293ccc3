"""Item ids: a relative path that survives any file name, plus a media fragment for a part of the file.

An id is valid UTF-8 on one line. `%`, `#`, control characters, line and paragraph separators, and bytes that are not
UTF-8 are written as `%XX` of the raw bytes; everything else stands as it is. The part of a file is a fragment in the
style of W3C Media Fragments 1.0 (https://www.w3.org/TR/media-frags/, section 4): `t` in seconds, `xywh` in pixels,
and `page` and `row` in the same form.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from pathlib import PurePath
from typing import Any
from urllib.parse import unquote_to_bytes

from mmfeat.errors import UsageError

__all__ = ["make_id", "split_id"]

_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")


def make_id(relative_path: bytes | str | PurePath, **fragment: Any) -> str:
    r"""The id of a file, or of a part of it, from its path relative to the root.

    Fragments: `page=int`, `row=int`, `t=(begin, end)` in seconds, `xywh=(x, y, w, h)` in whole pixels. Equal names
    give equal ids, whether they come as bytes or as text with surrogate escapes. Raises UsageError for an absolute or
    empty path, a `..`, an unknown fragment or one out of range.

    >>> make_id("slides/50%.tif", xywh=(512, 0, 256, 256))
    'slides/50%25.tif#xywh=512,0,256,256'
    >>> make_id(b"caf\xe9.wav", t=(1.0, 2.5))
    'caf%E9.wav#t=1.0,2.5'
    """
    name = _path_text(relative_path)
    parts = name.split("/")
    if not name or name.startswith("/") or ".." in parts:
        raise UsageError("an id is made from a path below the root", repr(name), "pass the path relative to the root")
    written = "".join(_escape(char) for char in name)
    if not fragment:
        return written
    return f"{written}#{'&'.join(_write_fragment(key, fragment[key]) for key in sorted(fragment))}"


def split_id(id: str) -> tuple[str, dict[str, Any]]:
    """The path (text with surrogate escapes, as `os.fsdecode` gives) and the fragment of an id; the inverse of
    `make_id`.

    >>> split_id("book.tif#page=3")
    ('book.tif', {'page': 3})
    """
    written, mark, rest = id.partition("#")
    if "%" in _ESCAPED.sub("", written):
        raise UsageError("a % in an id is followed by two hexadecimal digits", repr(id), "make ids with make_id")
    path = unquote_to_bytes(written).decode("utf-8", "surrogateescape")
    return path, dict(_read_fragment(part, id) for part in rest.split("&")) if mark else {}


def _path_text(path: bytes | str | PurePath) -> str:
    if isinstance(path, PurePath):
        path = path.as_posix()
    try:
        raw = path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError("a path is bytes or text as the system gives it", repr(path), "use os.fsdecode") from error
    return raw.decode("utf-8", "surrogateescape")  # one spelling for each sequence of bytes


def _escape(char: str) -> str:
    if char in "%#" or unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs"):
        return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
    return char


def _whole(values: tuple[str, ...]) -> int:
    (value,) = values
    if int(value) < 0:
        raise ValueError("negative")
    return int(value)


def _span(values: tuple[str, ...]) -> tuple[float, float]:
    begin, end = (float(value) for value in values)
    if not 0 <= begin <= end or not math.isfinite(end):
        raise ValueError("not a span of time")
    return begin, end


def _box(values: tuple[str, ...]) -> tuple[int, int, int, int]:
    x, y, w, h = (int(value) for value in values)
    if min(x, y, w, h) < 0:
        raise ValueError("negative")
    return x, y, w, h


_KINDS: dict[str, Callable[[tuple[str, ...]], Any]] = {"page": _whole, "row": _whole, "t": _span, "xywh": _box}


def _write_fragment(key: str, value: Any) -> str:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    read = _fragment_value(key, tuple(str(one) for one in values), f"{key}={value!r}")
    return f"{key}={','.join(repr(one) for one in (read if isinstance(read, tuple) else (read,)))}"


def _read_fragment(part: str, id: str) -> tuple[str, Any]:
    key, _, text = part.partition("=")
    return key, _fragment_value(key, tuple(text.split(",")), repr(id))


def _fragment_value(key: str, values: tuple[str, ...], came: str) -> Any:
    try:
        return _KINDS[key](values)
    except (KeyError, ValueError) as error:
        raise UsageError(
            "a fragment is page=3, row=12, t=1.0,2.5 (seconds) or xywh=512,0,256,256 (pixels)", came, "write it so"
        ) from error
