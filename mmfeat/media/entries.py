"""What a source of items lists: one entry an item, before anything of it is read.

A source is a small module with two functions: `entries(place, before, ...)` lists the items of a place (a folder, a table
of paths, an array, a tar shard, a folder elsewhere), and the one that opens what an entry names: `contents` calls it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Entry", "Known", "Labels", "natural_order"]

Labels = tuple[str | None, str | None, str | None]  # label, split, group


class Known(NamedTuple):
    """What a source knows of an item without opening it: bytes, mtime in ns, width and height in px."""

    bytes: int
    mtime_ns: int
    width: int
    height: int


class Entry(NamedTuple):
    """An item that was found.

    id: its id, fragment included. path: where it lies: a path, a path within an archive (`x/shard.tar/a.jpg`), a URL.
    trouble: (status, reason) where it cannot be opened. labels: (label, split, group) where the source itself says
        them; None: its folders do. known: what need not be read from its header.
    """

    id: str
    path: str
    trouble: tuple[str, str] | None = None
    labels: Labels | None = None
    known: Known | None = None


_NUMBERED = re.compile(r"(.*#(?:row|page)=)([0-9]+)$", re.DOTALL)


def natural_order(id: str) -> tuple[str, int]:
    """A key to sort ids: by text, the rows and pages of one file by number.

    >>> sorted(["x.npy#row=10", "x.npy#row=9", "a.png"], key=natural_order)
    ['a.png', 'x.npy#row=9', 'x.npy#row=10']
    """
    found = _NUMBERED.match(id) if "#" in id else None
    return (found[1], int(found[2])) if found else (id, -1)
