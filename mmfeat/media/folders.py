"""Folders as a source of items: the names below a root, and the bytes of a file that stays as it is while it is read.

What is left out altogether: names that begin with a dot, files and folders alike, and models, features and indexes that
mmfeat wrote. A broken link, a socket or a folder that cannot be read is an entry with its trouble.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mmfeat.errors import MediaError
from mmfeat.media.entries import Entry
from mmfeat.media.ids import make_id

__all__ = ["check", "entries", "is_own", "open_regular", "read_file"]

#: Names that tell a folder mmfeat wrote: a model, features, an index.
_OWN: tuple[set[str], ...] = (
    {"model.json", "model.safetensors"},
    {"features.json", "parts"},
    {"features.json", "found.parquet"},
    {"current.json", "generations", "lock"},
)
_AT_ONCE = 1 << 26  # larger files (bytes) are hashed and decoded from disk instead of from memory


def is_own(names: set[str]) -> bool:
    """Whether a folder with these names is one that mmfeat wrote."""
    return any(own <= names for own in _OWN)


def entries(root: Path, before: str = "", follow_links: bool = False) -> Iterator[Entry]:
    """The names below a root, which may be a file; `before` stands before every id.

    Linked folders wait until all real ones are done, so that a folder keeps its real name where it has one.
    """
    if not root.is_dir():
        yield check(make_id(root.name), os.fspath(root))
        return
    real, linked, entered = [(os.fspath(root), before)], list[tuple[str, str]](), set[tuple[int, int]]()
    while real or linked:
        folder, prefix = real.pop() if real else linked.pop()
        try:
            if (mark := _mark(folder)) in entered:
                continue
            entered.add(mark)
            with os.scandir(folder) as scan:
                found = sorted(scan, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            why = f"the folder cannot be read: {error.strerror}"
            yield Entry(make_id(prefix.rstrip("/") or root.name), folder, ("failed", why))
            continue
        if is_own({entry.name for entry in found}):
            continue
        for entry in found:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                real.append((entry.path, f"{prefix}{entry.name}/"))
            elif _leads_to_folder(entry):
                if follow_links:
                    linked.append((entry.path, f"{prefix}{entry.name}/"))
            else:
                yield check(make_id(f"{prefix}{entry.name}"), entry.path)


def check(id: str, path: str) -> Entry:
    """The entry of a file: with its trouble where it is none that can be opened."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        what = "a link to nothing" if os.path.islink(path) else f"the file cannot be read: {error.strerror}"
        return Entry(id, path, ("failed", what))
    if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
        return Entry(id, path, ("skipped", "not a regular file"))
    return Entry(id, path)


def read_file(path: str, promised: int) -> bytes | str:
    """The bytes of a file, or its path where it is too large to be held.

    Raises MediaError where it has another length than was promised, or changes while it is read.
    """
    with open_regular(path) as file:
        before = os.fstat(file.fileno())
        if before.st_size != promised:
            raise MediaError(
                "a file stays as it was found", f"{before.st_size:,} bytes instead of {promised:,}", "walk again"
            )
        if promised > _AT_ONCE:
            return path
        data = file.read(promised + 1)
        after = os.fstat(file.fileno())
    if len(data) != promised or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise MediaError("a file stays as it is while it is read", "one that was written to", "walk again")
    return data


def open_regular(path: str) -> BinaryIO:
    """Open a file for reading. MediaError where it is none by now: opening a pipe would wait for ever."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise MediaError("a file stays as it was found", "no regular file any more", "walk again")
    return file


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _mark(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
