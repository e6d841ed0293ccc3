"""Many small pictures on one sheet: filters, codewords, samples, originals above their reconstructions."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from mmfeat.errors import ShapeError, UsageError

__all__ = ["rows_as_pictures", "sheet", "signed", "unit"]

TILE = 56  # px: small pictures are enlarged to about this side
WIDTH = 1100  # px of a sheet at the most
GAP = 3


def rows_as_pictures(rows: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Rows (n, h * w * c), as `Pixels` and `Patches` lay them out, as pictures (n, h, w, c)."""
    height, width, channels = shape
    if rows.ndim != 2 or rows.shape[1] != height * width * channels:
        raise ShapeError(
            f"rows of pictures {height} x {width} x {channels} have {height * width * channels} values",
            f"{rows.shape}",
            "give the shape that the rows were pictures of",
        )
    return rows.reshape(len(rows), height, width, channels)


def signed(pictures: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w, c) of numbers around 0 for looking at: each by itself is scaled so that mid-grey is 0 and its largest
    absolute value is black or white. One that is 0 throughout is grey.

    >>> signed(np.array([-2.0, 0.0, 1.0]).reshape(1, 1, 3, 1)).ravel().tolist()
    [0.0, 0.5, 0.75]
    """
    pictures = np.nan_to_num(np.asarray(pictures, np.float32))
    largest = np.abs(pictures).max(axis=(1, 2, 3), keepdims=True)
    return 0.5 + 0.5 * pictures / np.where(largest > 0, largest, 1)


def unit(pictures: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w, c) whose pixels are in [0, 1] already; what lies outside is clipped."""
    return np.clip(np.nan_to_num(np.asarray(pictures, np.float32)), 0, 1)


def sheet(pictures: np.ndarray, columns: int | None = None, side: int = TILE) -> bytes:
    """Pictures side by side, row by row, as the bytes of a PNG; the gaps are transparent.

    pictures: (n, h, w, c) floats in [0, 1], c = 1 or 3.
    columns: pictures in a row; as many as fit by default. side: px to which about they are enlarged, by a whole number.
    """
    if pictures.ndim != 4 or not len(pictures) or pictures.shape[3] not in (1, 3):
        raise ShapeError(
            "a sheet is of pictures (n, h, w, c), n ≥ 1, c 1 or 3", f"{pictures.shape}", "give one or more"
        )
    if columns is not None and columns < 1:
        raise UsageError("a sheet has at least one column", f"{columns}", "give a positive number")
    count, height, width, _ = pictures.shape
    times = max(1, round(side / max(height, width)))
    if columns is not None:
        times = max(1, min(times, (WIDTH // columns - GAP) // width))
    tall, wide = height * times + GAP, width * times + GAP
    columns = min(count, columns or max(1, (WIDTH + GAP) // wide))
    lines = -(-count // columns)
    canvas = np.zeros((lines * tall - GAP, columns * wide - GAP, 4), np.uint8)
    tiles = np.rint(unit(pictures) * 255).astype(np.uint8).repeat(times, axis=1).repeat(times, axis=2)
    for number, tile in enumerate(tiles):
        y, x = number // columns * tall, number % columns * wide
        canvas[y : y + tall - GAP, x : x + wide - GAP, :3] = tile
        canvas[y : y + tall - GAP, x : x + wide - GAP, 3] = 255
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "PNG", optimize=True)
    return file.getvalue()
