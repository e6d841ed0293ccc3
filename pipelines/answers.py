"""What a search answers, as Python objects, JSON, lines, pages and in notebooks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmfeat.media.remote import Url

__all__ = ["Answer", "Neighbour", "Results"]


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """One item found: its id, its distance (bits that differ, or a distance of floats), its label and its file, if it has them."""

    id: str
    distance: float | int
    label: str | None = None
    path: Path | Url | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """A query and its neighbours, nearest first.

    picture: what was asked, when it was a picture (a path or the picture). status: "done", or "failed" with a reason.
    """

    query: str
    neighbours: tuple[Neighbour, ...]
    picture: Any = None
    status: str = "done"
    reason: str | None = None


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
            f"{answer.query}: "
            + (answer.reason or ", ".join(f"{n.id} ({n.distance:g})" for n in answer.neighbours[:3]))
            for answer in self
        ]
        return "Results(\n  " + "\n  ".join(lines) + "\n)"

    @property
    def done(self) -> list[Answer]:
        """The answers to queries that could be asked."""
        return [answer for answer in self if answer.status == "done"]

    @property
    def failed(self) -> list[Answer]:
        """The queries that could not be asked, each with its reason."""
        return [answer for answer in self if answer.status == "failed"]

    def to_json(self) -> dict[str, Any]:
        """`{"results": [{"query", "status", "reason", "neighbours": [{"id", "distance", "label"}]}]}`."""
        return {
            "results": [
                {
                    "query": answer.query,
                    "status": answer.status,
                    "reason": answer.reason,
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
            for answer in self.done
        ]

    def views(self, side: int = 160) -> list[Any]:
        """The answers with thumbnails, as `mmfeat.visualise` shows them."""
        from mmfeat.pipelines.pictures import view

        return [view(answer, side) for answer in self.done]

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
