"""The building blocks of a demonstration page, in the order they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmfeat.visualise.curves import Svg
from mmfeat.visualise.results import QueryResult, Thumb

__all__ = [
    "ChartSection",
    "GridSection",
    "HeatPair",
    "HeatSection",
    "Section",
    "SheetSection",
    "StripSection",
    "TableSection",
    "TextSection",
]


@dataclass(frozen=True)
class TextSection:
    """Paragraphs, divided by empty lines. commands: lines to copy, shown below."""

    title: str
    text: str
    commands: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class HeatPair:
    """A query tile and the photograph with the heat of its search, both as the bytes of a picture."""

    tile: bytes
    photo: bytes
    caption: str


@dataclass(frozen=True)
class HeatSection:
    """«Search this, find that», drawn over photographs, with the scale of colours."""

    title: str
    text: str
    pairs: list[HeatPair]


@dataclass(frozen=True)
class StripSection:
    """Rows of a query and its neighbours; with `mark`, neighbours of another label than the query's are marked.

    names: one for each row, such as «learned» and «random», or none. unit: of the distances, such as «bits».
    """

    title: str
    text: str
    rows: list[QueryResult]
    names: list[str] = field(default_factory=list)
    mark: bool = True
    unit: str = ""


@dataclass(frozen=True)
class ChartSection:
    """A chart of `mmfeat.visualise.curves`."""

    title: str
    text: str
    svg: Svg


@dataclass(frozen=True)
class TableSection:
    """A table: columns, and rows of as many cells; numbers are set flush right."""

    title: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class SheetSection:
    """A sheet of small pictures of `mmfeat.visualise.filters`, shown pixel by pixel. alt: words for those who cannot see it."""

    title: str
    text: str
    image: bytes
    alt: str


@dataclass(frozen=True)
class GridSection:
    """Pictures side by side, numbered, each with its label and its note."""

    title: str
    text: str
    thumbs: Sequence[Thumb]


Section = TextSection | HeatSection | StripSection | ChartSection | TableSection | SheetSection | GridSection
