"""Searching an index: by picture, by vector, or by an item that is in it.

hits = mmfeat.open("photos.index").search("query.jpg", k=10)
hits[0].neighbours[0].id
hits.save("hits.html")            # in a notebook `hits` shows itself
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.arrays import pack_bits
from mmfeat.errors import MediaError, MismatchError, ShapeError, UsageError

if TYPE_CHECKING:
    from mmfeat.indexes.store import Index
    from mmfeat.model import Model

__all__ = ["Answer", "Neighbour", "Results", "Searcher", "open"]


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """One item found: its id, its distance (bits that differ, or a distance of floats), its label and its file, if it has them."""

    id: str
    distance: float | int
    label: str | None = None
    path: Path | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """A query and its neighbours, nearest first. `picture`: what was asked, when it was a picture (a path or the picture)."""

    query: str
    neighbours: tuple[Neighbour, ...]
    picture: Any = None


class Results(Sequence[Answer]):
    """The answers to the queries of one search, in their order."""

    def __init__(self, answers: Sequence[Answer], facts: dict[str, Any]) -> None:
        self.answers, self.facts = tuple(answers), facts

    def __getitem__(self, place: Any) -> Any:
        return self.answers[place]

    def __len__(self) -> int:
        return len(self.answers)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    def __repr__(self) -> str:
        lines = [
            f"{answer.query}: " + ", ".join(f"{n.id} ({n.distance:g})" for n in answer.neighbours[:3])
            for answer in self
        ]
        return "Results(\n  " + "\n  ".join(lines) + "\n)"

    def to_json(self) -> dict[str, Any]:
        """`{"results": [{"query", "neighbours": [{"id", "distance", "label"}]}]}`."""
        return {
            "results": [
                {
                    "query": answer.query,
                    "neighbours": [{"id": n.id, "distance": n.distance, "label": n.label} for n in answer.neighbours],
                }
                for answer in self
            ]
        }

    def plain(self) -> list[Any]:
        """The answers without pictures, for a terminal."""
        from mmfeat.visualise.results import QueryResult, Thumb

        return [
            QueryResult(Thumb(None, answer.query), [Thumb(None, n.id, n.label, n.distance) for n in answer.neighbours])
            for answer in self
        ]

    def views(self, side: int = 160) -> list[Any]:
        """The answers with thumbnails, as `mmfeat.visualise` shows them."""
        from mmfeat.pipelines.pictures import view

        return [view(answer, side) for answer in self]

    def page(self) -> str:
        """A self-contained HTML page."""
        from mmfeat.visualise.pages import search_page

        return search_page(self.views(), self.facts, unit=self.unit)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, whose folder is made if need be."""
        from mmfeat.files import write_bytes

        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, self.page().encode())
        return Path(path)

    def _repr_html_(self) -> str:
        from mmfeat.visualise.pages import notebook_html

        return notebook_html(self.views(120), unit=self.unit)

    @property
    def unit(self) -> str:
        """What distances count: bits, or nothing."""
        return "bits" if self.facts.get("distance") == "hamming" else ""


class Searcher:
    """An open index and, when pictures are asked, its model. Searches from several threads are safe."""

    def __init__(self, index: Index) -> None:
        self.index = index

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

    def search(self, queries: Any, k: int = 10, *, by: Model | None = None) -> Results:
        """The k nearest items to each query.

        queries: one of these, or a list of them: the path of a picture, a picture (PIL image or array (h, w, c)), an id of the
            index, or a vector (d,); a matrix (q, d) is q vectors.
        by: encode with this model; it must be the index's own.
        """
        if by is not None and by.sha256 != self.index.model:
            raise MismatchError(
                "an index is asked by the model that made it", by.sha256[:12], "use the index's own model"
            )
        asked = _listed(queries)
        if not asked:
            raise UsageError("a search has at least one query", "none", "give a picture, an id or a vector")
        codes, names = self._codes(asked)
        hits = self.index.search(codes, k)
        answers = [
            Answer(
                name, self._neighbours(hits.distance[i], hits.row[i]), one if _is_picture(one) else self._own_path(one)
            )
            for i, (one, name) in enumerate(zip(asked, names, strict=True))
        ]
        return Results(answers, self.facts)

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

    def path_of(self, item: str) -> Path | None:
        """Where the file of an id lies, if the index knows its folder."""
        from mmfeat.media.ids import split_id

        info = self.index.info
        if "root" not in info:
            return None
        path = split_id(item)[0]
        first, _, rest = path.partition("/")
        for name, root in info.get("roots", []):
            if name == first:
                return Path(root) / rest
        root = Path(info["root"])
        return root if root.is_file() else root / path

    def _own_path(self, one: Any) -> Path | None:
        return self.path_of(one) if isinstance(one, str) else None

    def _neighbours(self, distances: np.ndarray, rows: np.ndarray) -> tuple[Neighbour, ...]:
        parts = self.index.parts_at(rows)
        ids = parts["id"].to_pylist()
        labels = parts["label"].to_pylist() if "label" in parts.column_names else [None] * len(ids)
        return tuple(
            Neighbour(item, distance.item(), label, self.path_of(item))
            for item, distance, label in zip(ids, distances, labels, strict=True)
        )

    def _codes(self, asked: list[Any]) -> tuple[np.ndarray, list[str]]:
        """One code per query, and what each is called."""
        codes: list[Any] = [None] * len(asked)
        names = []
        pictures: list[tuple[int, Any]] = []
        for place, one in enumerate(asked):
            if isinstance(one, str | os.PathLike) and Path(one).exists():
                names.append(str(one))
                pictures.append((place, Path(one)))
            elif isinstance(one, str | os.PathLike):
                names.append(str(one))
                codes[place] = self._stored(str(one))
            elif isinstance(one, np.ndarray) and one.ndim == 1:
                names.append(f"vector {place}")
                codes[place] = self._vector(one)
            else:
                names.append(f"picture {place}")
                pictures.append((place, one))
        if pictures:
            found = self._encode([picture for _, picture in pictures])
            for (place, _), code in zip(pictures, found, strict=True):
                codes[place] = code
        if len({np.shape(code) for code in codes}) > 1:
            widths = ", ".join(str(width) for width in sorted({len(code) for code in codes}))
            raise ShapeError("queries are vectors of one width", widths, "give those of this index")
        return np.stack(codes), names

    def _stored(self, item: str) -> np.ndarray:
        try:
            return self.index.codes_at([self.index.row_of(item)])[0]
        except UsageError as error:
            raise UsageError(
                "a query is a picture that exists, or an id of the index",
                item,
                "check the path, or see the ids with --json",
            ) from error

    def _vector(self, vector: np.ndarray) -> np.ndarray:
        if self.index.kind.startswith("binary") and vector.dtype == np.uint8:
            return vector
        rows = np.asarray(vector, np.float32)[None]
        if self.index.kind.startswith("float") and "model" not in self.index.extras:
            return rows[0]
        if self.model.decode is not None:
            raise ShapeError(
                "this index is asked with pictures", f"a vector {vector.shape}", "give a picture or its path"
            )
        return (self.model.encode_bits(rows, small=True) if self.model.hash else self.model.encode(rows, small=True))[0]

    def _encode(self, pictures: list[Any]) -> np.ndarray:
        """Pictures to codes, on the path every item of the index took."""
        from mmfeat.media.decode import decode
        from mmfeat.media.source import ArrayImages

        model = self.model
        if model.decode is None:
            raise ShapeError("this index is asked with vectors", "a picture", "give an array of shape (d,) or (q, d)")
        arrays = []
        for one in pictures:
            if isinstance(one, Path) and one.is_dir():
                raise UsageError("a query is a picture, a file", f"the folder {one}", "name pictures in it")
            try:
                arrays.append(decode(one, model.decode) if isinstance(one, Path) else one)
            except MediaError as error:
                raise UsageError(
                    "a query is a picture that can be read", f"{one}: {error.rule}; {error.came}", "leave it out"
                ) from error
        values = model.encode(ArrayImages(arrays, model.decode), small=len(arrays) == 1)
        return pack_bits(values) if model.hash else values


def open(path: str | os.PathLike[str]) -> Searcher:
    """Open an index for searching; what it reads stays the same however the index grows meanwhile."""
    from mmfeat.indexes import open_index

    return Searcher(open_index(path))


def _is_picture(one: Any) -> bool:
    return not isinstance(one, str | os.PathLike) or Path(one).exists()


def _listed(queries: Any) -> list[Any]:
    """One query or many, as a list."""
    if isinstance(queries, str | os.PathLike):
        return _vectors_in(Path(queries)) if str(queries).endswith(".npy") and Path(queries).exists() else [queries]
    if isinstance(queries, np.ndarray):
        return list(queries) if queries.ndim in (2, 4) and _many(queries) else [queries]
    if isinstance(queries, Sequence):
        return [part for one in queries for part in _listed(one)]
    return [queries]


def _many(array: np.ndarray) -> bool:
    """A matrix is many vectors unless it looks like a grey picture (uint8); four axes are many pictures."""
    return array.ndim == 4 or array.dtype != np.uint8


def _vectors_in(path: Path) -> list[np.ndarray]:
    from mmfeat.pipelines.building import _vectors

    return list(_vectors(path))
