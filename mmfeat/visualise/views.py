"""Items as the templates want them: address of the picture, names apart, words for those who cannot see it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mmfeat.visualise.results import QueryResult, Thumb, format_distance, labels_differ, split_id
from mmfeat.visualise.thumbnails import CRISP, data_uri, image_size

__all__ = ["Item", "Row", "row_view", "view"]


@dataclass(frozen=True)
class Item:
    """One picture of a page; every text is safe to look at, escaping is the template's."""

    src: str
    width: int
    height: int
    alt: str
    crisp: bool = False
    id: str = ""
    folder: str = ""
    name: str = ""
    label: str = ""
    distance: str = ""
    note: str = ""
    rank: str = ""
    wrong: bool = False


@dataclass(frozen=True)
class Row:
    """A query and its neighbours, with a title if the row has one."""

    query: Item
    neighbours: list[Item]
    title: str = ""


def view(image: bytes | None, alt: str) -> Item:
    """A picture with its size and its words; an empty address where there is no picture."""
    if image is None:
        return Item("", 0, 0, f"no picture of {alt}")
    width, height = image_size(image)
    return Item(data_uri(image), width, height, alt, max(width, height) <= CRISP)


def row_view(result: QueryResult, unit: str = "", mark: bool = False, title: str = "") -> Row:
    """A result for a template. mark: neighbours of another label are wrong. unit: of the distances."""
    wrong = labels_differ(result.query, result.neighbours) if mark else [False] * len(result.neighbours)
    neighbours = [
        _item(thumb, str(rank), bad, unit)
        for rank, (thumb, bad) in enumerate(zip(result.neighbours, wrong, strict=True), 1)
    ]
    return Row(_item(result.query), neighbours, title)


def _item(thumb: Thumb, rank: str = "", wrong: bool = False, unit: str = "") -> Item:
    folder, name = split_id(thumb.id)
    label = thumb.label or ""
    distance = format_distance(thumb.distance, unit)
    if label and folder.rstrip("/").rpartition("/")[2] == label:
        folder = ""  # the label was the folder's name: once is enough
    told = [f"rank {rank}: {name}" if rank else f"query: {name}"]
    told += [f"label {label}"] if label else []
    told += [f"distance {distance}"] if distance else []
    told += ["another label than the query's"] if wrong else []
    return replace(
        view(thumb.image, ", ".join(told)),
        id=thumb.id,
        folder=folder,
        name=name,
        label=label,
        distance=distance,
        note=thumb.note or "",
        rank=rank,
        wrong=wrong,
    )
