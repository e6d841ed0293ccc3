"""From the places somebody names to the table of items: every item that a source lists becomes one row.

A place is a folder, a file, a table of paths (`tables`), an array of pictures (`arrays_on_disk`), a tar shard (`tars`) or a
URL (`remote`). Archives and arrays are opened where they are named themselves; within a folder they are files of another kind.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mmfeat.errors import DataError, MediaError, UsageError
from mmfeat.media import arrays_on_disk, folders, remote, tables, tars
from mmfeat.media.contents import facts_of, open_content
from mmfeat.media.entries import Entry, Known, Labels, natural_order
from mmfeat.media.ids import split_id
from mmfeat.media.items import SCHEMA, Items
from mmfeat.media.labels import COLUMNS, label_columns
from mmfeat.media.opening import EXTENSIONS, Header, read_header, read_headers
from mmfeat.media.remote import Url, as_url

__all__ = ["walk"]

_VIDEO = frozenset(
    [".mp4", ".m4v", ".mkv", ".webm", ".avi", ".mov", ".mpg", ".mpeg", ".mpe", ".ts", ".m2ts", ".mts", ".wmv"]
)
_VIDEO |= {".flv", ".3gp", ".ogv", ".mxf", ".vob"}
_AUDIO = frozenset(
    [".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".aifc", ".wma", ".au"]
)
_WITHIN = frozenset([".tar", ".npy", ".npz"])  # opened where they are named, not where they are met
_AUDIO |= {".snd", ".caf", ".amr", ".ape", ".wv", ".mka", ".mid", ".midi", ".rf64", ".sph"}


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
    pages: str = "first",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    known: pa.Table | None = None,
) -> Items:
    """The table of all items of one place or several, sorted by id. Headers of pictures are read, nothing is decoded.

    roots: folders, files, tables of paths, arrays, tar shards, URLs. With several, ids begin with the name of their root; equal
        names are refused. A table that `Items.write` wrote comes back as it is (with its labels, unless others are given).
    labels: see `labels.label_columns`; without it what a source says itself, else the first component of an id that has
        more than one.
    follow_links: enter linked folders, each real folder once (loops end). Linked files are always read.
    pages: "all" makes an item of every page of a TIFF (`book.tif#page=3`), "first" takes the file for one picture.
    threads: for reading headers, default the number of cores. progress: called now and then with (headers read, items
        found).
    known: a table of items (`SCHEMA`) of an earlier walk: a picture of the same id, size and time of change is not opened
        (with pages="all" all are).

    A picture is told by its content; an extension of a picture with unreadable content gives kind "image", status
    "failed". A million files take about 1 GB and a minute of a core. Raises UsageError for a root that does not exist,
    DataError when there is not a single item.
    """
    if pages not in ("first", "all"):
        raise UsageError('pages are "first" or "all"', repr(pages), "choose one of them")
    places = _named_roots([roots] if isinstance(roots, (str, os.PathLike)) else list(roots))
    if len(places) == 1 and tables.is_items(os.fspath(places[0][1])):
        return _relabelled(Items.read(os.fspath(places[0][1])), labels)
    several = len(places) > 1
    found = [entry for name, place in places for entry in _entries(place, name, several, follow_links)]
    if not found:
        raise DataError("a place holds at least one file", _seen([place for _, place in places]), "name another folder")
    found.sort(key=lambda one: natural_order(one.id))
    row_of = functools.partial(_rows_of, pages=pages == "all", seen={} if pages == "all" else _seen_before(known))
    rows = [row for some in _rows(found, row_of, threads or os.cpu_count() or 1, progress) for row in some]
    said = {one.id: one.labels for one in found if one.labels is not None}
    return Items(root_of(places), _table(rows, labels, said), tuple(places) if several else ())


def root_of(places: list[tuple[str, Path | Url]]) -> Path | Url:
    """What ids are relative to: a folder, the folder of a file, or what several places have in common (to look at only)."""
    if len(places) > 1:
        here = [os.fspath(place) for _, place in places if isinstance(place, Path)]
        return Path(os.path.commonpath(here)) if len(here) == len(places) else Path()
    place = places[0][1]
    inside = place.is_dir() if isinstance(place, Path) else not remote.is_file(place.text)
    return place if inside else place.parent


def _named_roots(roots: list[str | os.PathLike[str]]) -> list[tuple[str, Path | Url]]:
    if not roots:
        raise UsageError("there is a folder to walk", "none", "name one")
    places = [
        as_url(root) or Path(os.path.abspath(root)) for root in roots
    ]  # a linked root keeps the name it was given
    for root, place in zip(roots, places, strict=True):
        if isinstance(place, Path) and not place.exists():
            raise UsageError("a root exists", os.fspath(root), "check its name")
    names = [place.name for place in places]
    for name in names:
        if len(places) > 1 and (names.count(name) > 1 or not name):
            raise UsageError(
                "several roots have different names", f"{name!r} twice", "walk their common parent, or rename one"
            )
    return list(zip(names, places, strict=True))


def _entries(root: Path | Url, name: str, several: bool, follow_links: bool) -> Iterator[Entry]:
    """What the source of this root lists."""
    place, before = os.fspath(root), f"{name}/" if several else ""
    if tars.is_tar(place):
        yield from tars.entries(place, name)
    elif arrays_on_disk.is_array(place):
        yield from arrays_on_disk.entries(place, name)
    elif isinstance(root, Url):
        yield from remote.entries(root, before)
    elif tables.is_table(place):
        yield from tables.entries(root, before)
    else:
        yield from folders.entries(root, before, follow_links)


def _seen_before(known: pa.Table | None) -> dict[str, Known]:
    """By id, the pictures whose headers were read."""
    if known is None:
        return {}
    read = known.filter(pc.and_(pc.equal(known["kind"], "image"), pc.is_valid(known["width"])))
    facts = zip(*(read[name].to_pylist() for name in Known._fields), strict=True)
    return dict(zip(read["id"].to_pylist(), map(Known._make, facts), strict=True))


def _rows(
    found: list[Entry],
    row_of: Callable[[Entry], list[_Row]],
    threads: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[list[_Row]]:
    with ThreadPoolExecutor(threads, thread_name_prefix="mmfeat-walk") as pool:
        for begin in range(0, len(found), 4096):  # in parts, so that a long walk holds few futures
            if progress is not None:
                progress(begin, len(found))
            some = found[begin : begin + 4096]
            quick = all(one.known is not None for one in some)
            yield from map(row_of, some) if quick else pool.map(row_of, some)
    if progress is not None:
        progress(len(found), len(found))


def _rows_of(one: Entry, pages: bool, seen: Mapping[str, Known]) -> list[_Row]:
    """The row of an entry, or one for each of its pages. seen: what need not be opened while size and time are the same."""
    extension = os.path.splitext(one.path)[1].lower()
    kind = _kind_by_name(extension)
    size = one.known[:2] if one.known else (0, 0)
    if one.trouble is not None:
        return [_Row(one.id, kind, *size, None, None, *one.trouble)]
    if one.known is not None:
        return [_Row(one.id, "image", *one.known, "found", None)]
    fragment = split_id(one.id)[1]
    kind = "image" if fragment else kind
    try:
        if "row" in fragment:
            known = arrays_on_disk.known_of(one.path, fragment["row"])
            return [_Row(one.id, "image", *known, "found", None)]
        size = facts_of(one.path)
        before = seen.get(one.id)
        if before is not None and before[:2] == size:
            return [_Row(one.id, "image", *before, "found", None)]
        with open_content(one.path) as file:
            if pages and not fragment:
                headers = read_headers(file, extension)
            else:
                headers = [read_header(file, extension, frame=fragment.get("page", 0))]
    except MediaError as error:
        return [_Row(one.id, kind, *size, None, None, *_no_picture(kind, extension, error))]
    except OSError as error:
        return [_Row(one.id, kind, 0, 0, None, None, "failed", f"the file cannot be read: {error.strerror or error}")]
    return [
        _found(one.id if len(headers) == 1 else f"{one.id}#page={page}", size, header)
        for page, header in enumerate(headers)
    ]


def _found(id: str, size: tuple[int, int], header: Header | MediaError) -> _Row:
    if isinstance(header, MediaError):
        return _Row(id, "image", *size, None, None, "failed", str(header))
    return _Row(id, "image", *size, header.width, header.height, "found", None)


def _kind_by_name(extension: str) -> str:
    for kind, extensions in (("image", EXTENSIONS), ("video", _VIDEO), ("audio", _AUDIO)):
        if extension in extensions:
            return kind
    return "other"


def _no_picture(kind: str, extension: str, error: MediaError) -> tuple[str, str]:
    if kind == "image":
        return "failed", str(error)
    if extension in _WITHIN:
        return "skipped", "it may hold pictures: name it itself to read them"
    if kind == "other":
        return "skipped", f"not a picture, video or sound that is known (extension {extension!r})"
    return "skipped", f"{kind} needs a reader that this version does not have"


def _table(
    rows: list[_Row],
    labels: str | os.PathLike[str] | pa.Table | None,
    said: Mapping[str, Labels],
) -> pa.Table:
    columns: dict[str, Iterable[object]] = {
        name: [row[number] for row in rows] for number, name in enumerate(_Row._fields)
    }
    own = [said.get(row.id, said.get(row.id.partition("#")[0])) for row in rows]
    columns |= label_columns([row.id for row in rows], labels, own)
    columns["sha256"] = [None] * len(rows)
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in SCHEMA}, schema=SCHEMA)


def _relabelled(items: Items, labels: str | os.PathLike[str] | pa.Table | None) -> Items:
    """A table that was written, with other labels where they are given."""
    if labels is None:
        return items
    own = list(zip(*(items.table[name].to_pylist() for name in COLUMNS), strict=True))
    table = items.table
    for name, values in label_columns(items.ids, labels, own).items():
        table = table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), pa.array(values, pa.string()))
    return Items(items.root, table, items.roots)


def _seen(places: list[Path | Url]) -> str:
    said = []
    for place in places:
        if not isinstance(place, Path) or not place.is_dir():
            said.append(f"{place}, which holds none")
            continue
        names = sorted(os.listdir(place))
        hidden = sum(name.startswith(".") for name in names)
        counts = f"nothing but {hidden} hidden names and {len(names) - hidden} empty, linked or mmfeat's own folders"
        said.append(f"{place}, which holds {counts if names else 'nothing'}")
    return "; ".join(said)
