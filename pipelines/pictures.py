"""Thumbnails of what was asked and found, for pages and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mmfeat.pipelines.searching import Answer

__all__ = ["picture_of", "view"]


def picture_of(source: Any, box: tuple[int, int, int, int] | None = None) -> Any:
    """A PIL image, upright and in RGB, of a path, a PIL image or an array; None where it cannot be read.

    box: (x, y, w, h) in px of the picture: only this part.
    """
    from PIL import Image

    from mmfeat.errors import MmfeatError
    from mmfeat.media.decode import Decode, decode, decode_array

    settings = Decode(max_side=640) if box is None else Decode(max_side=8192)
    try:
        pixels = decode(source, settings) if isinstance(source, Path | str) else decode_array(source, settings)
    except (MmfeatError, OSError):
        return None
    image = Image.fromarray(pixels if pixels.dtype == np.uint8 else (pixels * 255).astype(np.uint8))
    if box is None:
        return image
    x, y, w, h = box
    return image.crop((x, y, x + w, y + h))


def view(answer: Answer, side: int = 160) -> Any:
    """An answer as `mmfeat.visualise` shows it."""
    from mmfeat.media.ids import split_id
    from mmfeat.visualise.results import QueryResult, Thumb
    from mmfeat.visualise.thumbnails import thumbnail

    def image(source: Any, box: Any, side: int) -> bytes | None:
        if source is None:
            return None
        if isinstance(source, np.ndarray) and source.ndim == 1:
            return None  # a vector has no picture
        found = picture_of(source, box)
        return None if found is None else thumbnail(found, side)

    def thumb(item: str, source: Any, box: Any, label: str | None = None, distance: Any = None) -> Thumb:
        data = image(source, box, 2 * side if distance is None else side)
        gone = "the file cannot be read any more" if isinstance(source, Path) and data is None else None
        return Thumb(data, item, label, distance, gone)

    def box_of(item: str, path: Any) -> Any:
        return split_id(item)[1].get("xywh") if isinstance(path, Path) and "#" in item else None

    neighbours = [thumb(n.id, n.path, box_of(n.id, n.path), n.label, n.distance) for n in answer.neighbours]
    asked = Path(answer.picture) if isinstance(answer.picture, str) else answer.picture
    box = None if str(asked) == answer.query else box_of(answer.query, asked)  # the name of a file is no id
    return QueryResult(thumb(answer.query, asked, box), neighbours)
