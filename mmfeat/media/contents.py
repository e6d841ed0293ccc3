"""What an item holds, wherever it lies: a file, a page of one, a member of a tar, a row of an array, a file elsewhere.

The one place that knows how to open what the sources list. A place is the path or the URL of the file, with the member's name
behind that of its archive; the rest stands in the id's fragment.

    data, frame = read_content("photos/shard.tar/a.jpg", {}, None)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from mmfeat.errors import MediaError, MmfeatError
from mmfeat.files import sha256_bytes, sha256_file
from mmfeat.media.arrays_on_disk import row_of
from mmfeat.media.folders import read_file
from mmfeat.media.opening import say
from mmfeat.media.remote import as_url, open_binary, size_and_mtime
from mmfeat.media.tars import member_of, open_member, split_member

__all__ = ["content_sha256", "facts_of", "is_file_here", "open_content", "read_content"]


def is_file_here(place: str) -> bool:
    """Whether a place is a path of this machine and no member of a tar: the system opens it by itself."""
    return as_url(place) is None and split_member(place) is None


@contextlib.contextmanager
def open_content(place: str) -> Iterator[IO[bytes]]:
    """A place as an open binary file. Raises MediaError or OSError."""
    with _elsewhere(place):
        if split_member(place) is not None:
            with open_member(place) as file:
                yield file
        else:
            with open_binary(place) as file:
                yield file


def facts_of(place: str) -> tuple[int, int]:
    """(bytes, mtime in ns) of a place; a member of a tar has the time of its tar."""
    with _elsewhere(place):
        if split_member(place) is None:
            return size_and_mtime(place)
        tar, member = member_of(place)
        return member.size, size_and_mtime(tar)[1]


def read_content(place: str, fragment: dict[str, Any], promised: int | None = None) -> bytes | str | np.ndarray:
    """The bytes of an item; the path of a file too large to be held; the pixels of a row of an array.

    promised: how many bytes it had when it was found; another number is a MediaError.
    """
    if "row" in fragment:
        with _elsewhere(place):
            array = row_of(place, fragment["row"])
        return _as_promised(array, array.nbytes, promised)
    if is_file_here(place):
        return read_file(place, os.stat(place).st_size if promised is None else promised)
    if promised is not None:
        _as_promised(None, facts_of(place)[0], promised)
    with open_content(place) as file:
        data = file.read()
    return _as_promised(data, len(data), promised)


def content_sha256(content: bytes | str | np.ndarray, fragment: dict[str, Any]) -> str:
    """The sha256 of an item: of the file's bytes (of the row's in an array); a page adds its number behind them."""
    if isinstance(content, np.ndarray):
        return sha256_bytes(np.ascontiguousarray(content).tobytes())
    if "page" not in fragment:
        return sha256_file(content) if isinstance(content, str) else sha256_bytes(content)
    whole = sha256_file(content) if isinstance(content, str) else sha256_bytes(content)
    return sha256_bytes(f"{whole}#page={fragment['page']}".encode())


def _as_promised(content: Any, size: int, promised: int | None) -> Any:
    if promised is not None and size != promised:
        raise MediaError("a file stays as it was found", f"{size:,} bytes instead of {promised:,}", "walk again")
    return content


@contextlib.contextmanager
def _elsewhere(place: str) -> Iterator[None]:
    """Stores raise errors of their own: they become reasons."""
    try:
        yield
    except (MmfeatError, OSError):
        raise
    except Exception as error:
        if as_url(place) is None:
            raise
        raise MediaError("a file elsewhere can be read", say(error), "check your access") from error
