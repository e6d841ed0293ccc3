"""Where in a photograph a search found its neighbours: scores of overlapping tiles joined into a map, drawn over it."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from mmfeat.errors import DataError, ShapeError
from mmfeat.visualise.colours import colour_map
from mmfeat.visualise.thumbnails import Box, as_image

__all__ = ["closeness", "draw_heat", "heat_map"]


def closeness(distances: np.ndarray, reach: float = 0.15) -> np.ndarray:
    """Scores in [0, 1] for a map, from distances (n,): 1 is nearest, 0 is where the nearest `reach` of all items ends.

    Distances of different codes have different ranges, so the scale is the data's own: with d₁ the `reach` quantile of
    the distances and d₀ the quantile of a tenth of it (the query's own overlapping tiles are nearest, and alone would
    otherwise set the scale), the score is (d₁ - d) / (d₁ - d₀), clipped. Are the two equal, d ≤ d₁ scores 1.

    >>> closeness(np.arange(11), reach=1.0).round(2).tolist()
    [1.0, 1.0, 0.89, 0.78, 0.67, 0.56, 0.44, 0.33, 0.22, 0.11, 0.0]
    """
    if distances.ndim != 1 or not distances.size or not 0 < reach <= 1 or not np.isfinite(distances).all():
        raise ShapeError(
            "closeness is of finite distances (n,), n ≥ 1, with 0 < reach ≤ 1",
            f"shape {distances.shape}, reach={reach}",
            "pass one distance per tile",
        )
    near, far = np.quantile(distances, [reach / 10, reach])
    if far <= near:
        return (distances <= far).astype(float)
    return np.clip((far - distances) / (far - near), 0, 1)


def heat_map(shape: tuple[int, int], boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The scores of overlapping tiles as one smooth map over the picture.

    Every pixel is the mean of the tiles over it, each weighed by a tent that is highest at the tile's middle, so that
    no edge of a tile shows: heat(p) = Σ w_i(p) s_i / Σ w_i(p).

    shape: (h, w) of the picture. boxes: (n, 4) integers x, y, width, height in pixels; what lies outside is left out.
    scores: (n,) in [0, 1].
    Returns (h, w) float64: 0 where no tile lies; the score itself where only one does.
    """
    height, width = shape
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes),):
        raise ShapeError(
            "boxes are (n, 4) and scores (n,)", f"{boxes.shape} and {scores.shape}", "pass one score per tile"
        )
    if not np.isfinite(scores).all():
        raise DataError("scores are numbers", "NaN or infinity", "look for NaN in the features")
    total, weight = np.zeros(shape), np.zeros(shape)
    for (x, y, w, h), score in zip(boxes.astype(int).tolist(), scores.tolist(), strict=True):
        rows, columns = slice(max(0, y), min(height, y + h)), slice(max(0, x), min(width, x + w))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        tent = np.outer(_tent(h)[rows.start - y : rows.stop - y], _tent(w)[columns.start - x : columns.stop - x])
        total[rows, columns] += tent * score
        weight[rows, columns] += tent
    return np.divide(total, weight, out=np.zeros(shape), where=weight > 0)


def draw_heat(image: Image.Image | np.ndarray, heat: np.ndarray, query: Box | None = None) -> Image.Image:
    """The photograph in dim grey with the heat over it in colour; the query's tile is outlined and keeps its own colours.

    heat: (h, w) in [0, 1], of the photograph's size. query: x, y, width, height of a tile in pixels.
    Returns an RGB picture of the photograph's size.
    """
    photo = as_image(image).convert("RGB")
    if heat.shape != (photo.height, photo.width):
        raise ShapeError(
            f"the map has the photograph's shape {(photo.height, photo.width)}", f"{heat.shape}",
            "make it with heat_map() of that shape",
        )  # fmt: skip
    heat = np.clip(heat, 0, 1)
    grey = np.asarray(photo.convert("L"), np.float32)[:, :, None] * 0.62
    table = colour_map().astype(np.float32)
    colour = table[np.rint(heat * 255).astype(int)] * (0.45 + 0.55 * grey / 158)
    share = np.minimum(1, heat * 2.2)[:, :, None] * 0.92
    drawn = Image.fromarray(np.rint(np.clip(grey * (1 - share) + colour * share, 0, 255)).astype(np.uint8))
    if query is not None:
        _outline(drawn, photo, query)
    return drawn


def _tent(length: int) -> np.ndarray:
    """Weights of one side of a tile: positive, symmetric, highest in the middle."""
    place = np.arange(length)
    return (np.minimum(place, length - 1 - place) + 1) / ((length + 1) // 2)


def _outline(drawn: Image.Image, photo: Image.Image, box: Box) -> None:
    """Two lines, light in dark, which no background hides; drawn around the tile, inside the picture."""
    x, y, width, height = box
    inside = (max(0, x), max(0, y), min(photo.width, x + width), min(photo.height, y + height))
    drawn.paste(photo.crop(inside), inside[:2])
    line = max(1, round(max(photo.size) / 320))
    pen = ImageDraw.Draw(drawn)
    last = (photo.width - 1, photo.height - 1)
    for out, colour in ((2 * line, "black"), (line, "white")):
        corners = (
            max(0, x - out),
            max(0, y - out),
            min(last[0], x + width - 1 + out),
            min(last[1], y + height - 1 + out),
        )
        pen.rectangle(corners, outline=colour, width=line)
