"""Folders elsewhere (`s3://bucket/photos`, `gs://…`, `https://…`, `memory://…`) through fsspec, the extra `remote`.

Everything below a URL is listed at once, then each file is opened by its own URL. Nothing is kept on this machine.
"""

from __future__ import annotations

import functools
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from mmfeat.errors import MissingExtraError, UsageError
from mmfeat.media.entries import Entry
from mmfeat.media.folders import is_own, open_regular
from mmfeat.media.ids import make_id

__all__ = ["Url", "as_url", "entries", "is_file", "open_binary", "size_and_mtime"]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)  # two letters or more: C:/ is a disk
_BLOCK = 1 << 16  # bytes that are fetched at once where a header is read


@dataclass(frozen=True)
class Url:
    """A place elsewhere, with what the rest of the code asks of a `Path`: `/`, `name`, `suffix`, `resolve()`."""

    text: str

    def __truediv__(self, rest: str) -> Url:
        return Url(f"{self.text.rstrip('/')}/{rest}")

    def __fspath__(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """The last component."""
        return self.text.rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The extension of the last component, with its dot."""
        return os.path.splitext(self.name)[1]

    @property
    def parent(self) -> Url:
        """The folder it lies in."""
        return Url(self.text.rstrip("/").rpartition("/")[0])

    def resolve(self) -> Url:
        """Itself: a URL is absolute."""
        return self


def as_url(place: str | os.PathLike[str]) -> Url | None:
    """The URL that a text or a path is; None for a path of this machine. A `Path` has lost one slash: it comes back.

    >>> as_url("s3://bucket/photos"), as_url("s3:/bucket/photos").text, as_url("photos"), as_url("C:/photos")
    (Url(text='s3://bucket/photos'), 's3://bucket/photos', None, None)
    """
    text = os.fspath(place)
    found = _URL.fullmatch(text)
    if found is None or ("://" not in text and os.path.exists(text)):
        return None
    three = "/" if found[1] == "file" else ""
    return Url(f"{found[1]}://{three}{found[2]}")


def entries(root: Url, before: str = "") -> Iterator[Entry]:
    """Every file below a URL, or the one file it names. Raises UsageError where it cannot be listed."""
    system, top = _system(root.text)
    try:
        found = system.find(top, detail=True)
    except Exception as error:
        raise _refused(root.text, error) from error
    if not found:
        raise UsageError("a root exists", root.text, "check its name, and that it holds files")
    names: dict[str, set[str]] = defaultdict(set)
    for path in found:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            names["/".join(parts[:depth])].add(parts[depth])
    own = tuple(f"{folder}/" for folder, inside in names.items() if is_own(inside))
    single = list(found) == [top] or found.get(top, {}).get("type") == "file"
    for path, facts in found.items():
        relative = root.name if single else path[len(top) :].lstrip("/")
        if any(part.startswith(".") for part in relative.split("/")) or path.startswith(own):
            continue
        if facts.get("type", "file") == "file":
            yield Entry(make_id(f"{before}{relative}"), system.unstrip_protocol(path))


def open_binary(place: str) -> IO[bytes]:
    """An open binary file that can seek, of a path or a URL."""
    url = as_url(place)
    if url is None:
        return open_regular(place)
    system, path = _system(url.text)
    return system.open(path, "rb", block_size=_BLOCK)


def size_and_mtime(place: str) -> tuple[int, int]:
    """Bytes and the time of the last change in ns (0 where a store does not say), of a path or a URL."""
    url = as_url(place)
    if url is None:
        status = os.stat(place)
        return status.st_size, status.st_mtime_ns
    system, path = _system(url.text)
    facts = system.info(path)
    changed = next((facts[key] for key in ("mtime", "LastModified", "updated", "created") if facts.get(key)), 0)
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed.replace("Z", "+00:00"))
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    return int(facts["size"]), int(seconds * 1e9)


def is_file(place: str) -> bool:
    """Whether a path or a URL is a file."""
    url = as_url(place)
    if url is None:
        return os.path.isfile(place)
    system, path = _system(url.text)
    return bool(system.isfile(path))


@functools.lru_cache(maxsize=16)
def _of_scheme(scheme: str) -> Any:
    """The file system of a scheme."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError(
            "folders elsewhere need fsspec", "none installed", "run: pip install 'mmfeat[remote]'"
        ) from error
    try:
        return fsspec.filesystem(scheme)
    except ImportError as error:
        raise MissingExtraError(
            f"{scheme}:// needs a package of its own", str(error), "install the one it names"
        ) from error
    except ValueError as error:
        raise UsageError("a URL has a scheme that fsspec knows", f"{scheme}://", "see fsspec's list") from error


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it."""
    system = _of_scheme(url.partition("://")[0])
    return system, system._strip_protocol(url)


def _refused(url: str, error: Exception) -> UsageError:
    if isinstance(error, FileNotFoundError):
        return UsageError("a root exists", url, "check its name")
    return UsageError("a folder elsewhere can be listed", f"{url}: {type(error).__name__}: {str(error)[:200]}",
                      "check its name and your access")  # fmt: skip
