"""Searching an index: by picture, by a part of one, by vector, or by an item that is in it.

hits = mmfeat.open("photos.index").search("query.jpg", k=10)
hits[0].neighbours[0].id
hits.save("hits.html")            # in a notebook `hits` shows itself
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import MismatchError, UsageError
from mmfeat.pipelines.answers import Answer, Neighbour, Results
from mmfeat.pipelines.queries import Query, listed, none_asked, read_queries
from mmfeat.pipelines.roots import file_of

if TYPE_CHECKING:
    from mmfeat.indexes.search import Hits
    from mmfeat.indexes.store import Index
    from mmfeat.indexes.structures import Effort
    from mmfeat.indexes.two_stage import TwoStage
    from mmfeat.media.remote import Url
    from mmfeat.model import Model

__all__ = ["Answer", "Neighbour", "Results", "Searcher", "open"]


class Searcher:
    """An open index and, when pictures are asked, its model. Searches from several threads are safe."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._second: TwoStage | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"Searcher({self.index!r})"

    @cached_property
    def model(self) -> Model:
        """The model the index was built with; it is read when it is first needed."""
        from mmfeat.mesh import use_compile_cache
        from mmfeat.model import load

        if "model" not in self.index.extras:
            raise UsageError(
                "pictures are searched in an index that has a model",
                "one of given vectors",
                "ask with a vector or an id",
            )
        use_compile_cache()
        model = load(self.index.extra("model"))
        if self.index.model != model.sha256:
            raise MismatchError(
                "an index is asked by the model that made it", model.sha256[:12], "build the index again"
            )
        return model

    def search(
        self,
        queries: Any,
        k: int | None = None,
        *,
        by: Model | None = None,
        where: str | None = None,
        within: float | None = None,
        together: str | None = None,
        rerank: Searcher | None = None,
        candidates: int = 1000,
        effort: Effort | None = None,
    ) -> Results:
        """The k nearest items to each query (default 10).

        queries: one of these, or a list of them: the path of a picture, a part of it (`a.jpg#xywh=x,y,w,h` in pixels, or
            `xywh=percent:…`), a picture (PIL image or array (h, w, c)), an id of the index, or a vector (d,); a matrix
            (q, d) is q vectors. One that cannot be asked is an answer of status "failed"; if none can, an error.
        by: encode with this model; it must be the index's own.
        where: a condition on columns, `label = 'cat' and w >= 64` (`mmfeat.indexes.filters`).
        within: all items at no more than this distance (bits, or a distance of floats), at most k if k is given.
        together: all queries are examples of one: "mean" or "min" of the distances to them.
        rerank: another index of the same items, whose codes order the `candidates` nearest of this one, or with
            `within` those in this ball (`mmfeat.indexes.two_stage`).
        effort: how hard an index type with a structure tries (`mmfeat.indexes.structures.Effort`). UsageError: the type has
            no such knob, or the answer is exact anyway.
        """
        if by is not None and by.sha256 != self.index.model:
            raise MismatchError(
                "an index is asked by the model that made it", by.sha256[:12], "use the index's own model"
            )
        _check_together(together, within, rerank)
        _check_effort(effort, self.index.kind, "within" if within is not None else "examples" if together else None)
        asked = listed(queries)
        if not asked:
            raise UsageError("a search has at least one query", "none", "give a picture, an id or a vector")
        read = read_queries(self, asked)
        longer = read_queries(rerank, asked) if rerank is not None else read
        for query, other in zip(read, longer, strict=True):
            query.error = query.error or other.error
        good = [place for place, query in enumerate(read) if query.error is None]
        if not good or (together and len(good) < len(read)):
            raise none_asked(read)
        codes = np.stack([read[place].code for place in good])  # type: ignore[misc]
        if rerank is not None:
            long = np.stack([longer[place].code for place in good])  # type: ignore[misc]
            hits = self._stages(rerank).search(
                codes, long, k or 10, candidates=candidates, radius=within, where=where, effort=effort
            )
            found = [rerank._neighbours(*pair) for pair in zip(*hits, strict=True)]
        else:
            found = self._found(codes, k, where, within, together, effort)
        facts = (rerank or self).facts | ({"where": where} if where else {})
        if together:
            name = f"{together} of " + ", ".join(query.name for query in read)
            return Results([Answer(name, found[0], read[0].picture)], facts)
        return Results(_answers(read, dict(zip(good, found, strict=True))), facts)

    def _found(
        self,
        codes: np.ndarray,
        k: int | None,
        where: str | None,
        within: float | None,
        together: str | None,
        effort: Effort | None,
    ) -> list[tuple[Neighbour, ...]]:
        """The neighbours of codes (q, w)."""
        if within is not None:
            balls = self.index.within(codes, within, where=where)
            return [self._neighbours(*(part[:k] for part in balls.of(i))) for i in range(len(codes))]
        hits: Hits
        if together:
            hits = self.index.search_together(codes, 10 if k is None else k, how=together, where=where)
        else:
            hits = self.index.search(codes, 10 if k is None else k, where=where, effort=effort)
        return [self._neighbours(*pair) for pair in zip(*hits, strict=True)]

    def _stages(self, other: Searcher) -> TwoStage:
        """The two indexes together; made once for a second index."""
        from mmfeat.indexes.two_stage import TwoStage

        if self._second is None or self._second.long is not other.index:
            self._second = TwoStage(self.index, other.index)
        return self._second

    @property
    def facts(self) -> dict[str, Any]:
        """What a page says of the index."""
        info = self.index.info
        return {
            "items": len(self.index),
            "bits" if self.index.kind.startswith("binary") else "dimensions": self.index.dim,
            "distance": self.index.metric,
            "model": (self.index.model or "none")[:12],
            "built from": info.get("root") or info.get("vectors", ""),
        }

    def path_of(self, item: str) -> Path | Url | None:
        """Where the file of an id lies, if the index knows its folder; of a member of a tar: the tar and its name behind it.

        What the id's fragment says (`#row=12`, `#page=3`) is part of the item, not of this path.
        """
        return file_of(self.index.info, item)

    def _neighbours(self, distances: np.ndarray, rows: np.ndarray) -> tuple[Neighbour, ...]:
        ids, labels = (self.index.snapshot.values_at(column, rows) for column in ("id", "label"))
        return tuple(
            Neighbour(item, distance.item(), label, self.path_of(item))
            for item, distance, label in zip(ids, distances, labels, strict=True)
        )


def open(path: str | os.PathLike[str]) -> Searcher:
    """Open an index for searching; what it reads stays the same however the index grows meanwhile."""
    from mmfeat.indexes import open_index

    return Searcher(open_index(path))


def _answers(read: list[Query], found: dict[int, tuple[Neighbour, ...]]) -> list[Answer]:
    """One answer for each query, by its place."""
    return [
        Answer(query.name, found.get(place, ()), query.picture, "failed" if query.error else "done", str(query.error))
        if query.error
        else Answer(query.name, found[place], query.picture)
        for place, query in enumerate(read)
    ]


def _check_together(together: str | None, within: float | None, rerank: Searcher | None) -> None:
    if together and (within is not None or rerank is not None):
        raise UsageError(
            "several examples are asked for their nearest items", "within or rerank besides", "leave one of them out"
        )


def _check_effort(effort: Effort | None, kind: str, exact: str | None) -> None:
    """Nothing that is told is ignored. exact: what is asked, if it is answered by a scan whatever the type."""
    from mmfeat.indexes.kinds import find_kind, knobs

    there = knobs(find_kind(kind)[0])
    for name in ("nprobe", "ef", "candidates"):
        if effort is None or getattr(effort, name) is None:
            continue
        if exact is not None:
            what = "all items within a distance" if exact == "within" else "several examples"
            raise UsageError(f"{what} are found exactly, in every type", name, "leave it out")
        if name not in there:
            has = f"takes {' and '.join(there)}" if there else "is scanned and has nothing to set"
            raise UsageError(f"an index of type {kind} {has}", name, "leave it out")
