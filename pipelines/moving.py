"""An index follows its files to a new place: they were moved, or their disk has another name.

Only the places that its info names become others, in a generation of its own; codes and tables stay. An update afterwards finds
the files where they are now, and reads those whose time of change became another by the move; none of them is encoded again.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmfeat.errors import DamagedError, MediaError, UsageError
from mmfeat.pipelines.building import alone
from mmfeat.pipelines.origins import Origin, added_roots, origins_of
from mmfeat.pipelines.roots import absolute, file_of

if TYPE_CHECKING:
    from mmfeat.indexes.store import Index

__all__ = ["Moved", "move_index"]

LOOKED = 200  # ids of each place that are looked for
FEW = 0.1  # of them, below which the place is taken for a wrong one
_ARRAYS, _TABLES = (".tar", ".npy", ".npz"), (".csv", ".parquet", ".pq")


class Moved(NamedTuple):
    """What moved: pairs (before, now) of places and of files of labels.

    looked, found: ids of a sample that were looked for there, and how many have their file.
    """

    path: Path
    pairs: tuple[tuple[str, str], ...]
    looked: int
    found: int
    generation: int


def move_index(
    path: str | os.PathLike[str],
    places: Sequence[str | os.PathLike[str]],
    *,
    old: str | os.PathLike[str] | None = None,
    force: bool = False,
    seed: int = 0,
) -> Moved:
    """Say where the files of an index lie now. Nothing but a manifest is written; `rollback` takes it back.

    places: a new place for each that the index has, in their order (one for one folder). old: then `places` is one, and every
    place and file of labels that is `old` or lies below it now lies so in that one: for a disk with another name, or for one of
    several folders. force: also where hardly any file of a seeded sample of ids is found.

    UsageError: places that do not fit, do not exist, or do not hold the files. Where ids begin with the name of a place (several
    folders, a single file) the new one has that name too.
    """
    from mmfeat.indexes import open_index

    with alone(Path(path)):
        index = open_index(path)
        before = origins_of(index)
        after = _below_old(before, old, places) if old is not None else _one_each(before, places)
        pairs = tuple(dict.fromkeys(_pairs(before, after)))
        for origin, moved in zip(before, after, strict=True):
            _check(index, origin, moved)
        info = _info(index, before, after)
        looked, found = _look(index, before, after, info, force, seed)
        index.change(info=info)
        return Moved(index.path, pairs, looked, found, index.generation)


def _text(place: str | os.PathLike[str]) -> str:
    from mmfeat.media.remote import as_url

    url = as_url(place)
    return url.text if url is not None else os.path.abspath(place)


def _name(place: str) -> str:
    return os.path.basename(place.rstrip("/"))


def _one_each(origins: list[Origin], places: Sequence[str | os.PathLike[str]]) -> list[Origin]:
    olds = [place for one in origins for place in one.places]
    if len(places) != len(olds):
        raise UsageError(
            f"each place of an index moves to one of its own, in this order: {', '.join(olds)}",
            f"{len(places)} for {len(olds)}",
            "name them all, or move one of them with --from OLD",
        )
    new = iter(map(_text, places))
    moved = [dataclasses.replace(one, places=tuple(next(new) for _ in one.places)) for one in origins]
    return [_with_labels(one, other) for one, other in zip(origins, moved, strict=True)]


def _with_labels(before: Origin, after: Origin) -> Origin:
    """A file of labels in a folder that moved went with it."""
    for old, new in zip(before.places, after.places, strict=True):
        if before.labels is not None and old != new and Path(before.labels).is_relative_to(old):
            return dataclasses.replace(after, labels=os.path.join(new, os.path.relpath(before.labels, old)))
    return after


def _below_old(origins: list[Origin], old: Any, places: Sequence[str | os.PathLike[str]]) -> list[Origin]:
    if len(places) != 1:
        raise UsageError("--from moves one place to one other", f"{len(places)} new places", "name one")
    top, new = _text(old), _text(places[0])

    def moved(place: str) -> str:
        if place == top or place.startswith(top.rstrip("/") + "/"):
            return new + place[len(top.rstrip("/")) :]
        return place

    after = [
        dataclasses.replace(
            one, places=tuple(map(moved, one.places)), labels=None if one.labels is None else moved(one.labels)
        )
        for one in origins
    ]
    named = [name for one in origins for name in (*one.places, one.labels) if name is not None]
    if not any(name == top or name.startswith(top.rstrip("/") + "/") for name in named):
        raise UsageError(
            "--from names a place of the index, or a folder above it",
            f"{top}, not in {', '.join(named)}",
            "name one of these",
        )
    return after


def _pairs(before: list[Origin], after: list[Origin]) -> Iterator[tuple[str, str]]:
    for one, other in zip(before, after, strict=True):
        for old, new in zip((*one.places, one.labels), (*other.places, other.labels), strict=True):
            if old is not None and new is not None and old != new:
                yield old, new


def _check(index: Index, before: Origin, after: Origin) -> None:
    """The new places of an origin exist, are of the kind they were, and are called so where ids begin with their names."""
    from mmfeat.media.opening import EXTENSIONS
    from mmfeat.media.remote import as_url

    for old, new in zip(before.places, after.places, strict=True):
        if old == new:
            continue
        if as_url(new) is None and not os.path.exists(new):
            raise UsageError("what an index moves to exists", new, "check the path")
        ending = os.path.splitext(old)[1].lower()
        file = ending in (*_ARRAYS, *_TABLES, *EXTENSIONS)
        if file and os.path.isdir(new):
            raise UsageError(f"what moves stays a file, as {old} was", f"the folder {new}", "name the file in it")
        by_name = before.prefix or (file and ending not in _TABLES)
        if (len(before.places) > 1 or (by_name and not before.added)) and _name(old) != _name(new):
            raise UsageError(f"ids begin with {_name(old)!r}: what it names keeps that name", new, "rename it")
    if after.labels != before.labels and after.labels is not None and not os.path.isfile(after.labels):
        raise UsageError(
            "labels move with their folder", f"no file {after.labels}", f"copy it there from {before.labels}"
        )


def _info(index: Index, before: list[Origin], after: list[Origin]) -> dict[str, Any]:
    """The info of the index with other places, in the form that a build there would have given it."""
    from mmfeat.media.remote import as_url
    from mmfeat.media.walk import root_of

    info, first = dict(index.info), after[0]
    if before == after:
        return info
    if first.places != before[0].places:
        named = [(_name(place), as_url(place) or Path(place)) for place in first.places]
        info["root"] = absolute(root_of(named))
        if len(named) > 1:
            own = {name: absolute(place) for name, place in named}
            info["roots"] = [[name, own.get(name, place)] for name, place in info["roots"]]
    added = {one.prefix.rstrip("/") for one in after if one.prefix}
    info["roots"] = [root for root in info.get("roots", []) if root[0] not in added] + added_roots(after)
    if "origins" in info:
        info["origins"] = [{**dataclasses.asdict(one), "places": list(one.places)} for one in after]
    return info


def _look(
    index: Index, before: list[Origin], after: list[Origin], info: Mapping[str, Any], force: bool, seed: int
) -> tuple[int, int]:
    """How many ids of a sample were looked for in what moved, and how many are there. UsageError: hardly any in one of them."""
    from mmfeat.media.ids import make_id

    ids, rng = index.ids, np.random.default_rng(seed)
    others = [one for one in after if one.prefix]
    looked = found = 0
    for one, other in zip(before, after, strict=True):
        for old, new in zip(one.places, other.places, strict=True):
            if old == new:
                continue
            own = Origin(make_id(_name(new)), ()) if len(other.places) > 1 else other
            mask = own.owns(ids)
            for name in others if not one.prefix else ():
                mask &= ~name.owns(ids)
            some = ids.take(rng.permutation(np.flatnonzero(mask))[:LOOKED]).to_pylist()
            there = [_is_there(info, item) for item in some]
            if some and sum(there) < FEW * len(some) and not force:
                raise UsageError(
                    "the files of an index are found in its new place",
                    f"{sum(there)} of {len(some)} looked for in {new}; missing is {some[there.index(False)]}",
                    "name the folder that its ids are relative to, or add --force",
                )
            looked, found = looked + len(some), found + sum(there)
    return looked, found


def _is_there(info: Mapping[str, Any], item: str) -> bool:
    from mmfeat.media.arrays_on_disk import row_of
    from mmfeat.media.contents import facts_of
    from mmfeat.media.ids import split_id

    place, fragment = os.fspath(file_of(info, item) or ""), split_id(item)[1]
    try:
        if "row" in fragment:
            row_of(place, fragment["row"])
        else:
            facts_of(place)
    except (OSError, MediaError, DamagedError):
        return False
    return True
