"""Near-duplicates: groups of pictures that are copies, smaller copies, recompressions or cut-outs of one another.

Candidates are each item's nearest neighbours by codes. Of an index of pictures, every candidate pair is then looked at: the two
are laid upon each other (`alignment`) and count as duplicates when they agree. With a radius, the codes alone decide: all
pairs within it. Pairs are joined to groups (union-find); one of each group is kept, the largest in pixels, then in bytes.

Nothing is ever deleted or moved: the result is a table and a page.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import UsageError
from mmfeat.pipelines.pictures import fragment_of

if TYPE_CHECKING:
    from mmfeat.indexes.store import Index
    from mmfeat.media.remote import Url
    from mmfeat.stages import Report

__all__ = ["Duplicates", "Member", "find_duplicates", "joined"]

AGREEMENT = 0.96
_NEAREST = 12  # candidates of each item
_QUERIES = 1024  # items asked at once
_PAIRS = 256  # pairs looked at at once
COLUMNS = ("group", "action", "id", "likeness", "width", "height", "bytes", "path")


@dataclasses.dataclass(frozen=True)
class Member:
    """One picture of a group. likeness: its agreement with, or distance to, the one of its group that is most like it."""

    id: str
    path: Path | Url | None
    width: int
    height: int
    bytes: int
    likeness: float


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Groups, each with the one to keep first; `looked`: how many items were compared. by: "agreement" or "distance"."""

    groups: tuple[tuple[Member, ...], ...]
    looked: int
    by: str
    limit: float

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The keep/drop table, as `COLUMNS` names it."""
        for number, group in enumerate(self.groups, 1):
            for place, one in enumerate(group):
                action = "drop" if place else "keep"
                likeness = f"{one.likeness:.4g}"
                part = (
                    one.id[one.id.index("#") :] if fragment_of(one.id) else ""
                )  # of a row or page the file is to stay
                path = f"{one.path}{part}" if one.path else ""
                yield number, action, one.id, likeness, one.width, one.height, one.bytes, path

    def csv(self) -> str:
        """The table as CSV with a head."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(self.rows())
        return out.getvalue()

    def page(self, title: str, shown: int = 200) -> str:
        """A page with the groups as pictures, the first `shown`."""
        from mmfeat.pipelines.answers import Answer, Neighbour
        from mmfeat.pipelines.pictures import view
        from mmfeat.visualise.groups import groups_page

        results = []
        for group in self.groups[:shown]:
            others = tuple(
                Neighbour(one.id, one.likeness, f"{one.width} × {one.height}", one.path) for one in group[1:]
            )
            results.append(view(Answer(group[0].id, others, group[0].path)))
        sizes = [f"{group[0].width} × {group[0].height}" for group in self.groups[:shown]]
        facts = {"items": self.looked, f"pairs by {self.by}": self.limit, "groups": len(self.groups)}
        return groups_page(results, sizes, title, facts, more=len(self.groups) - len(results))


def find_duplicates(
    data: str | os.PathLike[str] | list[Path],
    *,
    within: float | None = None,
    agreement: float = AGREEMENT,
    seed: int = 0,
    report: Report | None = None,
) -> Duplicates:
    """Groups of near-duplicates in an index, or in a folder of pictures (codes are learned for the purpose and not kept).

    within: join all pairs at no more than this distance of codes, without looking at the pictures; needed for an index of
    vectors. agreement: correlation in (0, 1] above which two pictures laid upon each other are duplicates.
    """
    from mmfeat.pipelines.searching import Searcher

    if not 0 < agreement <= 1:
        raise UsageError("agreement is above 0 and at most 1", str(agreement), f"the default is {AGREEMENT}")
    with _opened(data, seed, report) as index:
        searcher = Searcher(index)
        ids = index.ids.to_pylist()
        rows = index.snapshot.rows_of(index.ids)
        if within is None and "root" not in index.info:
            raise UsageError("vectors are compared by distance", "an index without pictures", "give --within R")
        if within is not None:
            pairs, likeness = _in_balls(index, rows, within, report)
        else:
            candidates = _candidates(index, rows, report)
            places = [(searcher.path_of(item), fragment_of(item)) for item in ids]
            pairs, likeness = _looked_at(candidates, places, agreement, report)
        groups = _groups(ids, searcher.path_of, pairs, likeness, nearer=min if within is not None else max)
        by, limit = ("distance", within) if within is not None else ("agreement", agreement)
        return Duplicates(groups, len(ids), by, float(limit))


class _opened:  # noqa: N801 - a context manager
    """The index at a place, or one of a folder that is made for the block and removed after it."""

    def __init__(self, data: Any, seed: int, report: Report | None) -> None:
        import tempfile

        from mmfeat.indexes import open_index
        from mmfeat.pipelines.building import build_index

        places = list(data) if isinstance(data, list | tuple) else [Path(data)]
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if len(places) == 1 and (Path(places[0]) / "current.json").exists():
            self.index: Index = open_index(places[0])
            return
        self._folder = tempfile.TemporaryDirectory(prefix="mmfeat-duplicates-")
        path = Path(self._folder.name) / "made.index"
        build_index(places, path, settings={"bits": 256}, seed=seed, report=report)
        self.index = open_index(path)

    def __enter__(self) -> Index:
        return self.index

    def __exit__(self, *error: object) -> None:
        if self._folder is not None:
            self.index.close()
            self._folder.cleanup()


def _candidates(index: Index, rows: np.ndarray, report: Report | None) -> np.ndarray:
    """Pairs (m, 2) of places i < j in `rows` where one is among the other's nearest."""
    place = np.full(index.snapshot.rows, -1, np.int64)
    place[rows] = np.arange(len(rows))
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(rows), _QUERIES):
        asked = rows[start : start + _QUERIES]
        near = place[index.search(index.codes_at(asked), _NEAREST + 1).row]
        own = np.broadcast_to(np.arange(start, start + len(asked))[:, None], near.shape)
        pairs = np.sort(np.stack([own.ravel(), near.ravel()], axis=1), axis=1)
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
        if report:
            report("asking for neighbours", start + len(asked), len(rows), {})
    return np.unique(np.concatenate(found), axis=0)


def _in_balls(index: Index, rows: np.ndarray, within: float, report: Report | None) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (m, 2) of places i < j within a radius, and their distances (m,)."""
    place = np.full(index.snapshot.rows, -1, np.int64)
    place[rows] = np.arange(len(rows))
    pairs, near = [np.empty((0, 2), np.int64)], [np.empty(0)]
    for start in range(0, len(rows), _QUERIES):
        asked = rows[start : start + _QUERIES]
        balls = index.within(index.codes_at(asked), within)
        own = np.repeat(np.arange(start, start + len(asked)), np.diff(balls.limits))
        other = place[balls.row]
        pairs.append(np.stack([own, other], axis=1)[own < other])
        near.append(balls.distance[own < other])
        if report:
            report("asking for neighbours", start + len(asked), len(rows), {})
    return np.concatenate(pairs), np.concatenate(near)


def _looked_at(
    pairs: np.ndarray,
    places: list[tuple[Path | Url | None, dict[str, Any]]],
    least: float,
    report: Report | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs (m, 2) whose pictures agree, and how well (m,). A file that cannot be read any more agrees with none."""
    from mmfeat.pipelines.alignment import agreement

    small: dict[int, np.ndarray | None] = {}
    good, values = [np.empty((0, 2), np.int64)], [np.empty(0)]
    for start in range(0, len(pairs), _PAIRS):
        part = pairs[start : start + _PAIRS]
        for place in np.unique(part).tolist():
            if place not in small:
                small[place] = _small(*places[place])
        part = part[[small[i] is not None and small[j] is not None for i, j in part.tolist()]]
        if len(part):
            a, b = (np.stack([small[place] for place in side]) for side in part.T.tolist())  # type: ignore[misc]
            found = agreement(a, b)
            again = np.flatnonzero(
                (found < least) & (found > least - 0.5)
            )  # the step is not the same in both directions
            if len(again):
                found[again] = np.maximum(found[again], agreement(b[again], a[again]))
            good.append(part[found >= least])
            values.append(found[found >= least])
        if report:
            report("comparing pictures", start + len(pairs[start : start + _PAIRS]), len(pairs), {})
    return np.concatenate(good), np.concatenate(values)


def _small(path: Path | Url | None, fragment: dict[str, Any]) -> np.ndarray | None:
    """The picture squashed to SIDE x SIDE grey in [0, 1], or None."""
    from mmfeat.errors import MmfeatError
    from mmfeat.media.decode import Decode, decode
    from mmfeat.pipelines.alignment import SIDE

    if path is None:
        return None
    try:
        pixels = decode(path, Decode(color="grey", size=(SIDE, SIDE)), fragment)
    except (MmfeatError, OSError):
        return None
    return pixels[:, :, 0].astype(np.float32) / 255


def joined(count: int, pairs: np.ndarray) -> list[list[int]]:
    """The connected groups of at least two among 0 .. count - 1, by their first members (union-find).

    >>> joined(6, np.array([[4, 1], [2, 5], [1, 0]]))
    [[0, 1, 4], [2, 5]]
    """
    parent = list(range(count))

    def find(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for i, j in pairs.tolist():
        low, high = sorted((find(i), find(j)))
        parent[high] = low
    members: dict[int, list[int]] = {}
    for i in sorted(set(pairs.ravel().tolist())):
        members.setdefault(find(i), []).append(i)
    return [members[root] for root in sorted(members)]


def _groups(
    ids: list[str],
    path_of: Callable[[str], Path | Url | None],
    pairs: np.ndarray,
    likeness: np.ndarray,
    nearer: Callable[[float, float], float],
) -> tuple[tuple[Member, ...], ...]:
    """Groups with the one to keep first, then the others from the most alike to the least; large groups first."""
    best: dict[int, float] = {}
    for pair, value in zip(pairs.tolist(), likeness.tolist(), strict=True):
        for one in pair:
            best[one] = nearer(best.get(one, value), value)
    groups = []
    for places in joined(len(ids), pairs):
        members = [_member(ids[place], path_of(ids[place]), best[place]) for place in places]
        kept = min(members, key=lambda one: (-one.width * one.height, -one.bytes, one.id))
        sign = 1 if nearer is min else -1
        others = sorted((one for one in members if one is not kept), key=lambda one: (sign * one.likeness, one.id))
        groups.append((kept, *others))
    return tuple(sorted(groups, key=lambda group: -len(group)))


def _member(item: str, path: Path | Url | None, likeness: float) -> Member:
    """What an item is like now; 0 where it cannot be read."""
    from PIL import Image

    from mmfeat.errors import MediaError
    from mmfeat.media.arrays_on_disk import known_of
    from mmfeat.media.contents import facts_of, open_content

    width = height = size = 0
    fragment = fragment_of(item)
    try:
        if path is not None and "row" in fragment:
            size, _, width, height = known_of(os.fspath(path), fragment["row"])
        elif path is not None:
            size = facts_of(os.fspath(path))[0]
            with open_content(os.fspath(path)) as file, Image.open(file) as image:
                image.seek(fragment.get("page", 0))
                width, height = image.size
    except (OSError, ValueError, SyntaxError, EOFError, MediaError, Image.DecompressionBombError):
        pass
    return Member(item, path, width, height, size, float(likeness))
