"""What a page shows of a search: a query, its neighbours, and their names made safe to look at.

These are plain values. Whoever searched fills them in; the pages, the notebook and the terminal show the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

__all__ = ["QueryResult", "Thumb", "format_distance", "labels_differ", "split_id", "visible"]

_JOINERS = "\u200c\u200d"  # not printable alone, but part of emoji and of the spelling of Persian and Indic words


@dataclass(frozen=True)
class Thumb:
    """One item as it is shown.

    image: the bytes of a JPEG, PNG or WebP, see `mmfeat.visualise.thumbnails`; None when the picture cannot be shown.
    id: the item's id, as the index has it; shown with its unprintable characters escaped.
    label: its label, if it has one.
    distance: to the query: an int is a Hamming distance in bits, a float is a distance of vectors, None for a query.
    note: a short remark shown with it, such as why the picture is missing.
    """

    image: bytes | None
    id: str
    label: str | None = None
    distance: float | int | None = None
    note: str | None = None


@dataclass(frozen=True)
class QueryResult:
    """A query and its neighbours, nearest first; there may be none."""

    query: Thumb
    neighbours: list[Thumb] = field(default_factory=list)


def visible(text: str) -> str:
    r"""The text with every character that cannot be seen, or that moves others, written as an escape.

    Control characters, line separators, lone surrogates of undecodable names and the marks that reverse the direction
    of writing go; letters of all scripts stay.

    >>> print(visible("a\nb\u202egpj.exe"))
    a\nb\u202egpj.exe
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _JOINERS else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def split_id(item: str) -> tuple[str, str]:
    """An id as (folder, name), to be shown apart: the name tells items from each other, the folder is long.

    The name keeps its media fragment, and the folder its closing slash.

    >>> split_id("slides/a/b.tif#xywh=0,0,64,64")
    ('slides/a/', 'b.tif#xywh=0,0,64,64')
    """
    path, mark, fragment = item.partition("#")
    cut = path.rstrip("/").rfind("/") + 1
    return visible(path[:cut]), visible(path[cut:] + mark + fragment)


def format_distance(distance: float | int | None, unit: str = "") -> str:
    """A distance in as few digits as tell it from others: bits as they are, floats with three significant digits.

    >>> format_distance(12, "bits"), format_distance(1, "bits"), format_distance(0.123456), format_distance(1234.5)
    ('12 bits', '1 bit', '0.123', '1234')
    """
    if distance is None:
        return ""
    if isinstance(distance, int | np.integer):
        text = str(distance)
    else:
        text = f"{distance:.0f}" if abs(distance) >= 100 else f"{distance:#.3g}".rstrip(".")
    unit = unit.removesuffix("s") if text == "1" else unit
    return f"{text} {unit}".rstrip()


def labels_differ(query: Thumb, neighbours: Iterable[Thumb]) -> list[bool]:
    """Which neighbours carry another label than the query; False where one of the two has none."""
    return [query.label is not None and other.label is not None and other.label != query.label for other in neighbours]
