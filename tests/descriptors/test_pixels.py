"""Pixels against NumPy and Pillow."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from mmfeat.arrays import Images
from mmfeat.chain import Chain
from mmfeat.descriptors import Pixels
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learners import Lsh
from mmfeat.media.decode import Decode
from mmfeat.media.source import ArrayImages
from mmfeat.stages import fit_chain


def pictures(height: int = 24, width: int = 36, channels: int = 3) -> np.ndarray:
    """Two random pictures, uint8."""
    return np.random.default_rng(0).integers(0, 256, (2, height, width, channels)).astype(np.uint8)


def whole(pixels: np.ndarray) -> Images:
    """Images whose every pixel is valid."""
    return Images(pixels, np.tile(np.array(pixels.shape[1:3], np.int32), (len(pixels), 1)))


def test_rows_are_the_pixels_in_unit_range() -> None:
    x = pictures()
    np.testing.assert_allclose(Pixels()(whole(x)), x.reshape(2, -1) / 255, atol=1e-7)
    halves = (x / 255 / 2).astype(np.float32)
    np.testing.assert_array_equal(Pixels()(whole(halves)), halves.reshape(2, -1))
    assert Pixels(flatten=False)(whole(x)).shape == x.shape


def test_grey_is_that_of_pillow() -> None:
    x = pictures()
    known = np.stack([np.asarray(Image.fromarray(picture).convert("L")) for picture in x]).reshape(2, -1)
    np.testing.assert_allclose(np.asarray(Pixels(grey=True)(whole(x))) * 255, known, atol=0.51)
    one = pictures(channels=1)
    np.testing.assert_array_equal(Pixels(grey=True)(whole(one)), Pixels()(whole(one)))


@pytest.mark.parametrize("side", [4, 10])
def test_thumbnails_are_the_boxes_of_pillow(side: int) -> None:
    x = pictures()
    known = np.stack(
        [
            np.asarray(Image.fromarray(picture[..., channel]).convert("F").resize((side, side), Image.Resampling.BOX))
            for picture in x
            for channel in range(3)
        ]
    ).reshape(2, 3, side, side)
    found = np.asarray(Pixels(side=side, flatten=False)(whole(x))).transpose(0, 3, 1, 2) * 255
    if side == 4:  # 24 and 36 divide by 4; Pillow takes whole pixels otherwise, and so differs a little
        np.testing.assert_allclose(found, known, atol=1e-3)
    np.testing.assert_allclose(found.mean((2, 3)), x.mean((1, 2)), atol=1e-3)
    up = np.repeat(np.repeat(x[0], side, axis=0), side, axis=1)  # exact: every cell is a whole number of these
    cells = up.reshape(side, 24, side, 36, 3).mean((1, 3)) / 255
    np.testing.assert_allclose(found[0] / 255, cells.transpose(2, 0, 1), atol=1e-5)


def test_thumbnails_do_not_see_the_padding() -> None:
    x, function = pictures(), jax.jit(Pixels(side=5))
    padded = np.full((2, 64, 64, 3), 200, np.uint8)
    padded[:, :24, :36] = x
    size = np.array([[24, 36], [24, 36]], np.int32)
    np.testing.assert_allclose(function(Images(padded, size)), function(Images(x, size)), atol=1e-6)


def test_mistakes_are_told() -> None:
    with pytest.raises(SettingsError, match="side=0"):
        Pixels(side=0)
    rows: Any = np.zeros((2, 3))
    with pytest.raises(ShapeError, match="Pixels describes Images"):
        Pixels()(rows)
    with pytest.raises(ShapeError, match="1 or 3 channels"):
        Pixels()(Images(np.zeros((1, 4, 4, 2), np.uint8), np.array([[4, 4]], np.int32)))


def test_pictures_smaller_than_their_bucket_are_refused_as_they_are() -> None:
    """Their padding would be learned from as if it were black pixels. A thumbnail needs no such thing."""
    mixed = [np.full((40, 50, 3), 200, np.uint8), np.full((30, 50, 3), 200, np.uint8)] * 4
    source = ArrayImages(mixed, Decode())
    with pytest.raises(ShapeError, match=r"40 x 50 in a bucket of 64 x 64\. Decode them with"):
        fit_chain(Chain(Pixels(), Lsh(4)), source)
    for chain, decode in ((Chain(Pixels(side=4), Lsh(4)), Decode()), (Chain(Pixels(), Lsh(4)), Decode(size=(40, 50)))):
        assert fit_chain(chain, ArrayImages(mixed, decode)).states[1].planes.shape[1] == 4
