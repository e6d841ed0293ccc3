"""Walking folders: every file found becomes one row of the table of items.

What is left out altogether: names that begin with a dot, files and folders alike, and models, features and indexes that
mmfeat wrote. Everything else ends in the table: a file of an unknown type, a broken link, a socket or a folder that
cannot be read is a row with its status and reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from mmfeat.errors import DataError, MediaError, UsageError
from mmfeat.media.ids import make_id
from mmfeat.media.items import SCHEMA, Items
from mmfeat.media.labels import label_columns
from mmfeat.media.opening import EXTENSIONS, read_header

__all__ = ["walk"]

_VIDEO = frozenset(
    [".mp4", ".m4v", ".mkv", ".webm", ".avi", ".mov", ".mpg", ".mpeg", ".mpe", ".ts", ".m2ts", ".mts", ".wmv"]
)
_VIDEO |= {".flv", ".3gp", ".ogv", ".mxf", ".vob"}
_AUDIO = frozenset(
    [".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".aifc", ".wma", ".au"]
)
_AUDIO |= {".snd", ".caf", ".amr", ".ape", ".wv", ".mka", ".mid", ".midi", ".rf64", ".sph"}

#: Names that tell a folder mmfeat wrote: a model, features, an index.
_OWN = ({"model.json", "model.safetensors"}, {"features.json", "parts"}, {"current.json", "generations", "lock"})


class _Found(NamedTuple):
    """A name on disk: its id, its path, and why it is not a readable regular file (None if it is one)."""

    id: str
    path: str
    trouble: tuple[str, str] | None = None


class _Row(NamedTuple):
    id: str
    kind: str
    bytes: int
    mtime_ns: int
    width: int | None
    height: int | None
    status: str
    reason: str | None


def walk(
    roots: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    labels: str | os.PathLike[str] | pa.Table | None = None,
    follow_links: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Items:
    """The table of all files below one root or several, sorted by id. Headers of pictures are read, nothing is decoded.

    roots: a folder or a file. With several, ids begin with the name of their root; equal names are refused.
    labels: see `labels.label_columns`; without it the first component of an id that has more than one.
    follow_links: enter linked folders, each real folder once (loops end). Linked files are always read.
    threads: for reading headers, default the number of cores. progress: called now and then with (headers read, files
        found).

    A picture is told by its content; an extension of a picture with unreadable content gives kind "image", status
    "failed". Raises UsageError for a root that does not exist, DataError when there is not a single file.
    """
    places = _named_roots([roots] if isinstance(roots, (str, os.PathLike)) else list(roots))
    several = len(places) > 1
    found: list[_Found] = []
    for name, place in places:
        found += _files(place, f"{name}/" if several else "", follow_links)
    if not found:
        raise DataError(
            "a folder holds at least one file", _seen([place for _, place in places]), "name another folder"
        )
    found.sort(key=lambda one: one.id)
    rows = list(_rows(found, threads or os.cpu_count() or 1, progress))
    table = _table(rows, labels)
    if several:
        return Items(Path(os.path.commonpath([place for _, place in places])), table, tuple(places))
    place = places[0][1]
    return Items(place if place.is_dir() else place.parent, table)


def _named_roots(roots: list[str | os.PathLike[str]]) -> list[tuple[str, Path]]:
    if not roots:
        raise UsageError("there is a folder to walk", "none", "name one")
    places = [Path(os.path.abspath(root)) for root in roots]  # not resolve(): a linked root keeps the name it was given
    for root, place in zip(roots, places, strict=True):
        if not place.exists():
            raise UsageError("a root exists", os.fspath(root), "check its name")
    names = [place.name for place in places]
    for name in names:
        if len(places) > 1 and (names.count(name) > 1 or not name):
            raise UsageError(
                "several roots have different names", f"{name!r} twice", "walk their common parent, or rename one"
            )
    return list(zip(names, places, strict=True))


def _files(root: Path, prefix: str, follow_links: bool) -> Iterator[_Found]:
    """The names below a root.

    Linked folders wait until all real ones are done, so that a folder keeps its real name where it has one.
    """
    if not root.is_dir():
        yield _check(make_id(root.name), os.fspath(root))
        return
    real, linked, entered = [(os.fspath(root), prefix)], list[tuple[str, str]](), set[tuple[int, int]]()
    while real or linked:
        folder, before = real.pop() if real else linked.pop()
        try:
            if (mark := _mark(folder)) in entered:
                continue
            entered.add(mark)
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            why = f"the folder cannot be read: {error.strerror}"
            yield _Found(make_id(before.rstrip("/") or root.name), folder, ("failed", why))
            continue
        names = {entry.name for entry in entries}
        if any(own <= names for own in _OWN):
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                real.append((entry.path, f"{before}{entry.name}/"))
            elif _leads_to_folder(entry):
                if follow_links:
                    linked.append((entry.path, f"{before}{entry.name}/"))
            else:
                yield _check(make_id(f"{before}{entry.name}"), entry.path)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _mark(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _check(id: str, path: str) -> _Found:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        what = "a link to nothing" if os.path.islink(path) else f"the file cannot be read: {error.strerror}"
        return _Found(id, path, ("failed", what))
    if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
        return _Found(id, path, ("skipped", "not a regular file"))
    return _Found(id, path)


def _rows(found: list[_Found], threads: int, progress: Callable[[int, int], None] | None) -> Iterator[_Row]:
    with ThreadPoolExecutor(threads, thread_name_prefix="mmfeat-walk") as pool:
        for begin in range(0, len(found), 4096):  # in parts, so that a long walk holds few futures
            if progress is not None:
                progress(begin, len(found))
            yield from pool.map(_row, found[begin : begin + 4096])
    if progress is not None:
        progress(len(found), len(found))


def _row(one: _Found) -> _Row:
    extension = os.path.splitext(one.path)[1].lower()
    kind = _kind_by_name(extension)
    if one.trouble is not None:
        return _Row(one.id, kind, 0, 0, None, None, *one.trouble)
    try:
        with open(one.path, "rb") as file:
            status = os.fstat(file.fileno())
            size = (status.st_size, status.st_mtime_ns)
            try:
                header = read_header(file, extension)
            except MediaError as error:
                return _Row(one.id, kind, *size, None, None, *_no_picture(kind, extension, error))
            return _Row(one.id, "image", *size, header.width, header.height, "found", None)
    except OSError as error:
        return _Row(one.id, kind, 0, 0, None, None, "failed", f"the file cannot be read: {error.strerror}")


def _kind_by_name(extension: str) -> str:
    for kind, extensions in (("image", EXTENSIONS), ("video", _VIDEO), ("audio", _AUDIO)):
        if extension in extensions:
            return kind
    return "other"


def _no_picture(kind: str, extension: str, error: MediaError) -> tuple[str, str]:
    if kind == "image":
        return "failed", str(error)
    if kind == "other":
        return "skipped", f"not a picture, video or sound that is known (extension {extension!r})"
    return "skipped", f"{kind} needs a reader that this version does not have"


def _table(rows: list[_Row], labels: str | os.PathLike[str] | pa.Table | None) -> pa.Table:
    columns: dict[str, Iterable[object]] = {
        name: [row[number] for row in rows] for number, name in enumerate(_Row._fields)
    }
    columns |= label_columns([row.id for row in rows], labels)
    columns["sha256"] = [None] * len(rows)
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in SCHEMA}, schema=SCHEMA)


def _seen(places: list[Path]) -> str:
    said = []
    for place in places:
        names = sorted(os.listdir(place))
        hidden = sum(name.startswith(".") for name in names)
        counts = f"nothing but {hidden} hidden names and {len(names) - hidden} empty, linked or mmfeat's own folders"
        said.append(f"{place}, which holds {counts if names else 'nothing'}")
    return "; ".join(said)
