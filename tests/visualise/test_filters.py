"""Sheets of small pictures are read back from their bytes; the layout of rows is that of the descriptors."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmfeat.arrays import Images
from mmfeat.descriptors import Patches, Pixels
from mmfeat.errors import ShapeError, UsageError
from mmfeat.visualise.filters import rows_as_pictures, sheet, signed, unit

COLOUR = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), np.uint8)


def read(image: bytes) -> np.ndarray:
    """The pixels (h, w, 4) of a PNG."""
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGBA"))


def test_rows_of_the_descriptors_become_their_pictures_again() -> None:
    images = Images(COLOUR, np.full((3, 2), (6, 5), np.int32))
    np.testing.assert_allclose(rows_as_pictures(np.asarray(Pixels()(images)), (6, 5, 3)), COLOUR / 255, atol=1e-6)
    cut = Patches(4, stride=1, normalise=False)(images)
    patch = rows_as_pictures(np.asarray(cut.values[1]), (4, 4, 3))[3]  # the second of the second line
    np.testing.assert_allclose(patch, COLOUR[1, 1:5, 1:5] / 255, atol=1e-6)
    with pytest.raises(ShapeError, match="90 values"):
        rows_as_pictures(np.zeros((2, 91)), (6, 5, 3))


def test_signs_are_about_mid_grey_and_each_picture_fills_its_scale() -> None:
    x = np.random.default_rng(1).normal(size=(7, 4, 4, 3)) * np.geomspace(1e-6, 1e6, 7)[:, None, None, None]
    shown = signed(x)
    np.testing.assert_array_equal(shown > 0.5, x > 0)
    np.testing.assert_allclose(np.abs(shown - 0.5).max(axis=(1, 2, 3)), 0.5, rtol=1e-6)
    assert (signed(np.zeros((1, 2, 2, 1))) == 0.5).all()
    assert np.isfinite(signed(np.full((1, 2, 2, 1), np.nan))).all()
    assert unit(np.array([[[[-1.0], [2.0]]]])).ravel().tolist() == [0, 1]


@pytest.mark.parametrize("columns", [None, 2, 3])
def test_every_picture_lies_at_its_place_and_gaps_are_clear(columns: int | None) -> None:
    found = read(sheet(COLOUR / 255, columns))
    times = 9  # 6 px become 54, about the side of a tile
    wide, tall = 5 * times + 3, 6 * times + 3
    lines = -(-3 // (columns or 3))
    assert found.shape[:2] == (lines * tall - 3, min(3, columns or 3) * wide - 3)
    for number in range(3):
        y, x = number // (columns or 3) * tall, number % (columns or 3) * wide
        tile = found[y : y + 6 * times, x : x + wide - 3]
        np.testing.assert_array_equal(tile[::times, ::times, :3], COLOUR[number])
        assert (tile[..., 3] == 255).all()
    assert (found[..., 3] == 255).sum() == 3 * 54 * 45


def test_grey_and_large_pictures_and_what_is_no_picture() -> None:
    grey = read(sheet(np.linspace(0, 1, 12).reshape(1, 3, 4, 1)))
    assert (grey[..., 0] == grey[..., 2]).all()
    assert read(sheet(np.zeros((2, 200, 300, 3)))).shape[1] == 2 * 300 + 3
    assert read(sheet(np.zeros((40, 28, 28, 1)), columns=40)).shape[1] <= 40 * 31
    assert sheet(COLOUR / 255) == sheet(COLOUR / 255)
    for wrong in (np.zeros((0, 3, 3, 1)), np.zeros((2, 3, 3, 2)), np.zeros((3, 3))):
        with pytest.raises(ShapeError):
            sheet(wrong)
    with pytest.raises(UsageError):
        sheet(np.zeros((1, 2, 2, 1)), columns=0)
