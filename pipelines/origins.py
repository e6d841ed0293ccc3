"""Where the items of an index come from: the places somebody named, and how their ids begin in the index.

`index.info["origins"]` is a list of {"prefix", "places", "labels", "pages"}: one walk each. The first has no prefix, so ids
are those of `media.walk`; ids of what is added later begin with the name of its place, as if all had been walked together.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmfeat.errors import UsageError

if TYPE_CHECKING:
    from mmfeat.indexes.store import Index
    from mmfeat.media.items import Items
    from mmfeat.stages import Report

__all__ = ["Origin", "Scope", "added_roots", "described", "find_scope", "origins_of", "scopes_of", "walked"]


@dataclasses.dataclass(frozen=True)
class Origin:
    """One walk. places: absolute paths or URLs. labels: the file of labels, or None: the sub-folders. pages: as for `walk`.

    prefix: "" for the first; "name/" of a folder or a table, which stands before the ids of its walk; "name" of another file,
    whose ids begin with it by themselves (`a.jpg`, `shard.tar/key`, `x.npy#row=1`).
    """

    prefix: str
    places: tuple[str, ...]
    labels: str | None = None
    pages: str = "first"

    @property
    def added(self) -> str:
        """What is put before the ids of a walk."""
        return self.prefix if self.prefix.endswith("/") else ""

    def owns(self, ids: Any, inside: str = "") -> np.ndarray:
        """Which ids (n,) of the index are of this origin; inside: below this path in it."""
        if self.prefix and not self.added:
            ends = [pc.starts_with(ids, self.prefix + end) for end in "/#"]
            masks = [pc.equal(ids, self.prefix), *ends]
        else:
            masks = [pc.starts_with(ids, self.prefix + inside)]
        return np.logical_or.reduce([mask.to_numpy(zero_copy_only=False) for mask in masks])


@dataclasses.dataclass(frozen=True)
class Scope:
    """What one walk looks at: an origin, or one folder or file in it. inside: its path below the origin's folder, "" for all.

    whole: False for a single file; then nothing is concluded of what is not found. name: of the single file.
    """

    origin: Origin
    others: tuple[Origin, ...]
    places: tuple[str, ...]
    inside: str = ""
    whole: bool = True
    name: str = ""

    @property
    def added(self) -> str:
        """What is put before the ids of this walk."""
        return self.origin.added + self.inside

    def mask(self, ids: Any) -> np.ndarray:
        """Which ids (n,) of the index it looks at."""
        mask = self.origin.owns(ids, self.inside + self.name)
        for other in self.others:
            mask = mask & ~other.owns(ids)
        return mask


def described(places: Sequence[Any], labels: Any, prefix: str = "", pages: str = "first") -> dict[str, Any]:
    """An origin as it stands in the info of an index."""
    from mmfeat.media.remote import as_url

    absolute = [str(place) if as_url(place) else os.path.abspath(place) for place in places]
    given = os.path.abspath(labels) if labels else None
    return {"prefix": prefix, "places": absolute, "labels": given, "pages": pages}


def origins_of(index: Index) -> list[Origin]:
    """The origins of an index; UsageError where it has none: it is one of vectors."""
    info = index.info
    if "root" not in info:
        raise UsageError(
            "an index of pictures knows where they come from", f"{index.path}, one of vectors", "add vectors"
        )
    if "origins" in info:
        return [Origin(**{**one, "places": tuple(one["places"])}) for one in info["origins"]]
    return [Origin("", tuple(place for _, place in info.get("roots", [])) or (info["root"],))]


def added_roots(origins: Sequence[Origin]) -> list[list[str]]:
    """What is added to `roots` for origins with a name: pairs of the first component of their ids and what it stands for."""
    from mmfeat.media.tables import is_table

    named = [(one.prefix.rstrip("/"), Path(one.places[0])) for one in origins if one.prefix]
    return [[name, str(place.parent if is_table(str(place)) else place)] for name, place in named]


def scopes_of(index: Index) -> list[Scope]:
    """All origins, whole."""
    origins = origins_of(index)
    return [Scope(one, _others(origins, one), one.places) for one in origins]


def find_scope(index: Index, place: str | os.PathLike[str]) -> Scope | None:
    """The scope of a place that is one of an origin's, or lies in its folder; None where it lies elsewhere."""
    path = Path(os.path.abspath(place))
    origins = origins_of(index)
    for one in origins:
        if one.places == (str(place),) or one.places == (str(path),):
            return Scope(one, _others(origins, one), one.places)
    for one in origins:
        for root in map(Path, one.places):
            if path != root and path.is_relative_to(root) and root.is_dir():
                name = f"{root.name}/" if len(one.places) > 1 else ""
                below = (path if path.is_dir() else path.parent).relative_to(root)
                inside = name + ("" if below == Path() else f"{_id(below)}/")
                file = "" if path.is_dir() else _id(Path(path.name))
                return Scope(one, _others(origins, one), (str(path),), inside, whole=not file, name=file)
            if path == root and len(one.places) > 1:
                file = "" if path.is_dir() else _id(Path(path.name))
                inside = "" if file else f"{_id(Path(path.name))}/"
                return Scope(one, _others(origins, one), (str(path),), inside, whole=not file, name=file)
    return None


def _id(path: Path) -> str:
    from mmfeat.media.ids import make_id

    return make_id(path)


def _others(origins: list[Origin], one: Origin) -> tuple[Origin, ...]:
    """What must not be taken for its own: only the first has no name of its own."""
    return () if one.prefix else tuple(other for other in origins if other.prefix)


def walked(scope: Scope, known: pa.Table, report: Report | None = None) -> tuple[Items, pa.Array]:
    """What is found there now, and the ids as the index names them (n,), with the labels they have there.

    known: the items of this scope that the index knows; pictures with the size and time they had are not opened.
    """
    from mmfeat.media.items import SCHEMA
    from mmfeat.media.labels import label_columns
    from mmfeat.pipelines.fitting import walk_items

    labels = scope.origin.labels
    plain = not scope.added
    ids = known["id"] if plain else pc.utf8_slice_codeunits(known["id"], len(scope.added))  # as the walk names them
    seen = known.set_column(0, SCHEMA.field("id"), ids)
    items = walk_items(scope.places, labels if plain else None, report, scope.origin.pages, seen)
    if plain:
        return items, items.table["id"].combine_chunks()
    inner = [scope.inside + one for one in items.ids]
    folders = all(os.path.isdir(place) for place in scope.places) or not scope.whole
    if labels or folders:  # other sources say their labels themselves
        table = items.table
        named = inner if labels else [scope.origin.added + one for one in inner]
        for name, values in label_columns(named, labels).items():
            table = table.set_column(
                table.schema.get_field_index(name), SCHEMA.field(name), pa.array(values, pa.string())
            )
        items = dataclasses.replace(items, table=table)
    return items, pa.array([scope.origin.added + one for one in inner], pa.string())
