"""Where the files of an index lie: its info has the `root` that ids are relative to, and `roots` for first components of ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmfeat.media.remote import Url

__all__ = ["absolute", "file_of"]


def absolute(place: Any) -> str:
    """A path without links in it, or a URL, as the info of an index has its `root` and `roots`."""
    return str(place.resolve()) if isinstance(place, Path) else str(place)


def file_of(info: Mapping[str, Any], item: str) -> Path | Url | None:
    """Where the file of an id lies by this info of an index; None where it has no folder.

    Of a member of a tar: the tar and its name behind it. What the id's fragment says is part of the item, not of the path.
    """
    from mmfeat.media.ids import split_id

    if "root" not in info:
        return None
    path = split_id(item)[0]
    first, _, rest = path.partition("/")
    for name, root in info.get("roots", []):
        if name == first:
            return _below(root, rest)
    whole = _below(info["root"], "")
    return _below(str(whole.parent) if isinstance(whole, Path) and whole.is_file() else info["root"], path)


def _below(root: str, rest: str) -> Path | Url:
    """A place below a folder of this machine or a URL; the folder itself where nothing is left."""
    from mmfeat.media.remote import as_url

    place = (as_url(root) if "://" in root else None) or Path(root)
    return place / rest if rest else place
