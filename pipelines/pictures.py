"""Thumbnails of what was asked and found, for pages and notebooks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mmfeat.pipelines.searching import Answer

__all__ = ["fragment_of", "picture_of", "view"]


def fragment_of(item: str) -> dict[str, Any]:
    """What the fragment of an id says (`row`, `page`, `xywh`, …); {} for an id that is no path, and without one."""
    from mmfeat.errors import UsageError
    from mmfeat.media.ids import split_id

    try:
        return split_id(item)[1] if "#" in item else {}
    except UsageError:
        return {}


def picture_of(source: Any, fragment: Mapping[str, Any] | None = None) -> Any:
    """A PIL image, upright and in RGB, of a path or URL, a PIL image or an array; None where it cannot be read.

    fragment: of an id: `row` of an array, `page` of a TIFF, and `xywh` (x, y, w, h) in px: only this part of the picture.
    """
    from PIL import Image

    from mmfeat.errors import MmfeatError
    from mmfeat.media.decode import Decode, decode, decode_array

    box = fragment.get("xywh") if fragment else None
    settings = Decode(max_side=640) if box is None else Decode(max_side=8192)
    try:
        placed = isinstance(source, os.PathLike | str)
        pixels = decode(source, settings, fragment) if placed else decode_array(source, settings)
    except (MmfeatError, OSError):
        return None
    image = Image.fromarray(pixels if pixels.dtype == np.uint8 else (pixels * 255).astype(np.uint8))
    if box is None:
        return image
    x, y, w, h = box
    return image.crop((x, y, x + w, y + h))


def view(answer: Answer, side: int = 160) -> Any:
    """An answer as `mmfeat.visualise` shows it."""
    from mmfeat.visualise.results import QueryResult, Thumb
    from mmfeat.visualise.thumbnails import thumbnail

    def image(source: Any, fragment: Any, side: int) -> bytes | None:
        if source is None:
            return None
        if isinstance(source, np.ndarray) and source.ndim == 1:
            return None  # a vector has no picture
        found = picture_of(source, fragment)
        return None if found is None else thumbnail(found, side)

    def thumb(item: str, source: Any, label: str | None = None, distance: Any = None) -> Thumb:
        placed = isinstance(source, os.PathLike | str)
        fragment = fragment_of(item) if placed and str(source) != item else None  # the name of a file is no id
        data = image(source, fragment, 2 * side if distance is None else side)
        gone = "the file cannot be read any more" if placed and data is None else None
        return Thumb(data, item, label, distance, gone)

    neighbours = [thumb(n.id, n.path, n.label, n.distance) for n in answer.neighbours]
    return QueryResult(thumb(answer.query, answer.picture), neighbours)
