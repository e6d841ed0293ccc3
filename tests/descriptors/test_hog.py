"""Hog against scikit-image, picture by picture without padding."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from skimage.feature import hog

from mmfeat.arrays import Images
from mmfeat.descriptors import Hog
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.pool import Pool

SIZES = np.array([[48, 64], [41, 51], [64, 33], [10, 64]], np.int32)


def pictures(channels: int = 3, padding: int = 0) -> Images:
    """Four random pictures of different sizes in a bucket of 64 x 64; the last is lower than a block."""
    rng = np.random.default_rng(0)
    pixels = np.full((4, 64, 64, channels), padding, np.uint8)
    for picture, (height, width) in zip(pixels, SIZES, strict=True):
        picture[:height, :width] = rng.integers(0, 256, (height, width, channels))
    return Images(pixels, SIZES)


def blocks(picture: np.ndarray, **settings: object) -> np.ndarray:
    """scikit-image's blocks, one a row."""
    settings.setdefault("cells_per_block", (2, 2))
    found = hog(picture.astype(np.float64), feature_vector=False, channel_axis=-1, **settings)
    return found.reshape(found.shape[0] * found.shape[1], -1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Hog(), {}),
        (Hog(norm="L2", orientations=8), {"block_norm": "L2", "orientations": 8}),
        (Hog(norm="L1", block=1), {"block_norm": "L1", "cells_per_block": (1, 1)}),
        (Hog(norm="L1-sqrt", cell=5, block=3), {"block_norm": "L1-sqrt", "pixels_per_cell": (5, 5), "cells_per_block": (3, 3)}),
    ],
)  # fmt: skip
def test_the_valid_blocks_are_those_of_scikit_image(ours: Hog, theirs: dict[str, object], channels: int) -> None:
    images = pictures(channels, padding=200)
    x = jax.tree.map(np.asarray, jax.jit(ours)(images))
    for item, (height, width) in enumerate(SIZES):
        if height < ours.cell * ours.block:
            assert (x.weight[item] == 0).all()
            continue
        known = blocks(images.pixels[item, :height, :width], **theirs)
        valid = x.weight[item] == 1
        assert valid.sum() == len(known)
        np.testing.assert_allclose(x.values[item][valid], known, atol=1e-4)
        assert (x.values[item][~valid] == 0).all()


def test_roots_of_pixels_are_those_of_scikit_image() -> None:
    """Of floats: square roots of bytes meet the borders between bins, where rounding decides."""
    picture = np.random.default_rng(1).random((40, 40, 1)).astype(np.float32)
    x = Hog(root=True)(Images(picture[None], np.array([[40, 40]], np.int32)))
    np.testing.assert_allclose(x.values[0], blocks(picture, transform_sqrt=True), atol=1e-4)


def test_signed_orientations_are_angles_over_a_whole_turn() -> None:
    images = pictures(1)
    picture = images.pixels[0, :48, :64, 0].astype(np.float64)
    gy, gx = np.zeros_like(picture), np.zeros_like(picture)
    gy[1:-1], gx[:, 1:-1] = picture[2:] - picture[:-2], picture[:, 2:] - picture[:, :-2]
    turn = np.arctan2(gy, gx) % (2 * np.pi) / (2 * np.pi) * 18
    votes = np.hypot(gy, gx)[..., None] * (np.floor(turn)[..., None] == np.arange(18))
    cells = votes.reshape(6, 8, 8, 8, 18).sum((1, 3)).reshape(48, 18)
    x = Hog(orientations=18, signed=True, block=1, norm="L2")(images)
    known = cells / np.linalg.norm(cells, axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(x.values)[0][np.asarray(x.weight)[0] > 0], known, atol=1e-4)


def test_a_ramp_points_up_its_slope() -> None:
    ramp = np.tile(np.arange(32, dtype=np.uint8)[None, :, None], (32, 1, 1))
    x = Hog(block=1)(Images(np.stack([ramp, ramp.transpose(1, 0, 2)]), np.full((2, 2), 32, np.int32)))
    inner = np.asarray(x.values)[:, 5]  # a cell away from the border
    np.testing.assert_allclose(inner, np.eye(9)[[0, 4]], atol=1e-3)  # 0 degrees, and 90 of 20 a bin


def test_a_constant_has_no_gradients() -> None:
    flat = Images(np.full((2, 64, 64, 3), 90, np.uint8), np.array([[64, 64], [40, 30]], np.int32))
    assert (np.asarray(Hog()(flat).values) == 0).all()


def test_padding_floats_and_equal_channels_change_nothing() -> None:
    images = pictures(1)
    known = jax.tree.map(np.asarray, Hog()(images))
    wider = np.full((4, 128, 64, 1), 77, np.uint8)
    wider[:, :64] = pictures(1, padding=31).pixels
    more = Hog()(Images(wider, SIZES))
    for item in range(4):
        one, two = (np.asarray(x.values)[item][np.asarray(x.weight)[item] > 0] for x in (known, more))
        np.testing.assert_allclose(one, two, atol=1e-6)
    three = Hog()(Images(np.repeat(images.pixels, 3, axis=-1), SIZES))
    np.testing.assert_allclose(three.values, known.values, atol=1e-6)
    floats = Hog()(Images((images.pixels / 255).astype(np.float32), SIZES))
    np.testing.assert_allclose(floats.values, known.values, atol=1e-4)


def test_a_block_lies_where_its_middle_is() -> None:
    x = Hog(cell=8, block=2)(pictures())
    where = np.asarray(x.where)[0].reshape(7, 7, 2)
    np.testing.assert_allclose(where[2, 3], [(3 * 8 + 8) / 64, (2 * 8 + 8) / 48], atol=1e-6)
    assert ((np.asarray(x.where) >= 0) & (np.asarray(x.where) <= 1)).all()
    assert Pool(((1, 1), (2, 2)))(x).shape == (4, 5 * 36)


def test_whole_pictures_as_rows() -> None:
    images = pictures()
    rows = Hog(side=32, flatten=True)(images)
    assert rows.shape == (4, 9 * 36)
    cut = Images(images.pixels[:1, :32, :32], np.array([[32, 32]], np.int32))
    known = blocks(cut.pixels[0]).reshape(1, -1)
    np.testing.assert_allclose(Hog(side=32, flatten=True)(cut), known, atol=1e-4)
    Hog(flatten=True).check(cut)
    np.testing.assert_allclose(Hog(flatten=True)(cut), known, atol=1e-4)
    with pytest.raises(ShapeError, match="48 x 64 in a bucket of 64 x 64"):
        Hog(flatten=True).check(images)


def test_mistakes_are_told() -> None:
    with pytest.raises(SettingsError, match="orientations=9"):
        Hog(signed=True)
    with pytest.raises(SettingsError, match="'L3'"):
        Hog(norm="L3")
    with pytest.raises(SettingsError, match="cell=0"):
        Hog(cell=0)
    with pytest.raises(SettingsError, match="side=8"):
        Hog(side=8)
    with pytest.raises(ShapeError, match="64 x 64"):
        Hog(cell=33)(pictures())
