"""Lbp against scikit-image's codes and NumPy's histograms."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
import pytest
from skimage.feature import local_binary_pattern

from mmfeat.arrays import Images
from mmfeat.descriptors import Lbp
from mmfeat.descriptors.lbp import codes_of, patterns
from mmfeat.errors import SettingsError, ShapeError

SIZES = np.array([[32, 40], [21, 37], [9, 9], [2, 2]], np.int32)
METHODS = {"u2": "nri_uniform", "riu2": "uniform", "all": "default"}


def pictures(channels: int = 1, padding: int = 0) -> Images:
    """Four random pictures of different sizes in a bucket of 32 x 40; no circle fits into the last."""
    rng = np.random.default_rng(0)
    pixels = np.full((4, 32, 40, channels), padding, np.uint8)
    for picture, (height, width) in zip(pixels, SIZES, strict=True):
        picture[:height, :width] = rng.integers(0, 256, (height, width, channels))
    return Images(pixels, SIZES)


def theirs(picture: np.ndarray, points: int, radius: float, codes: str) -> np.ndarray:
    """scikit-image's codes of the pixels whose circle is inside."""
    margin = int(np.ceil(radius))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that floats may tie
        found = local_binary_pattern(picture, points, radius, METHODS[codes])
    return found[margin:-margin, margin:-margin].astype(np.int64)


def codes(picture: np.ndarray, points: int, radius: float, kind: str) -> np.ndarray:
    """Our codes of a picture (h, w)."""
    plane = picture.astype(np.float32)[None]
    return np.asarray(jax.jit(lambda x: codes_of(patterns(x, points, radius), points, kind))(plane))[0]


@pytest.mark.parametrize("kind", ["u2", "riu2", "all"])
@pytest.mark.parametrize(("points", "radius"), [(8, 1.0), (4, 1.0), (12, 1.5), (10, 2.3)])
def test_codes_are_those_of_scikit_image(points: int, radius: float, kind: str) -> None:
    picture = np.random.default_rng(1).random((60, 50)) * 255  # of floats: nothing ties but by chance
    known = theirs(picture.astype(np.float32).astype(np.float64), points, radius, kind)
    assert (codes(picture, points, radius, kind) != known).mean() < 1e-3


def test_codes_of_bytes_differ_only_where_a_point_ties() -> None:
    """scikit-image leaves to rounding whether an interpolated point is as bright as the pixel; here it always is."""
    picture = np.random.default_rng(2).integers(0, 3, (60, 50)).astype(np.uint8)
    found, known = (function(picture, 8, 1.0, "all") for function in (codes, theirs))
    corner = round(np.sqrt(0.5), 5)
    x, inner = picture.astype(np.float64), picture[1:-1, 1:-1].astype(np.float64)
    for bit, (up, left) in zip((1, 3, 5, 7), ((1, 0), (1, 1), (0, 1), (0, 0)), strict=True):
        square = [[x[1 - up + i : 59 - up + i, 1 - left + j : 49 - left + j] for j in range(2)] for i in range(2)]
        far_y, far_x = (1 - corner if up else corner), (1 - corner if left else corner)
        point = sum(
            (far_y if i else 1 - far_y) * (far_x if j else 1 - far_x) * square[i][j] for i in range(2) for j in range(2)
        )
        tie = np.abs(point - inner) < 1e-6
        assert tie.sum() > 20
        assert ((found >> bit) & 1)[tie].all()
        np.testing.assert_array_equal(((found >> bit) & 1)[~tie], ((known >> bit) & 1)[~tie])
    np.testing.assert_array_equal(found & 0b01010101, known & 0b01010101)


@pytest.mark.parametrize("kind", ["u2", "riu2"])
def test_rows_are_histograms_of_the_valid_codes(kind: str) -> None:
    images, regions = pictures(padding=90), ((1, 1), (2, 3))
    circles = ((8, 1.0), (4, 2.0))
    rows = np.asarray(jax.jit(Lbp(circles, codes=kind, regions=regions, norm="none"))(images))
    for row, picture, (height, width) in zip(rows[:3], images.pixels, SIZES, strict=False):
        known = []
        for points, radius in circles:
            margin, bins = int(radius), {"u2": points * (points - 1) + 3, "riu2": points + 2}[kind]
            of = codes(picture[:height, :width, 0], points, radius, kind)
            y, x = ((np.arange(n) + 0.5) / n for n in of.shape)
            assert of.shape == (height - 2 * margin, width - 2 * margin)
            for down, across in regions:
                cell = np.floor(y * down)[:, None] * across + np.floor(x * across)[None, :]
                known += [np.bincount(of[cell == number], minlength=bins) for number in range(down * across)]
        np.testing.assert_array_equal(row, np.concatenate(known))
    assert (rows[3] == 0).all()


@pytest.mark.parametrize("norm", ["l1", "l2", "hellinger"])
def test_every_histogram_is_scaled(norm: str) -> None:
    rows = np.asarray(Lbp(regions=((2, 2),), norm=norm)(pictures())).reshape(4, 4, 59)
    sums = rows[:3].sum(-1) if norm == "l1" else (rows[:3] ** 2).sum(-1)
    np.testing.assert_allclose(sums, 1.0, atol=1e-5)
    assert (rows[3] == 0).all()


def test_brighter_or_of_more_contrast_is_the_same() -> None:
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 80, (1, 30, 30, 1)).astype(np.uint8)
    size = np.array([[30, 30]], np.int32)
    for grey in (picture * 3, picture + 100, (picture * 2 + 7).astype(np.uint8)):
        np.testing.assert_array_equal(Lbp()(Images(grey, size)), Lbp()(Images(picture, size)))
    rising = np.sort(rng.choice(256, 80, replace=False)).astype(np.uint8)[
        picture
    ]  # any, where no point is interpolated
    four = Lbp(((4, 1.0),), codes="all")
    np.testing.assert_array_equal(four(Images(rising, size)), four(Images(picture, size)))
    assert not np.array_equal(four(Images(255 - picture, size)), four(Images(picture, size)))


@pytest.mark.parametrize("points", [4, 8, 16])
def test_a_turned_picture_has_the_same_rotation_invariant_histogram(points: int) -> None:
    images = pictures()
    turned = Images(images.pixels.transpose(0, 2, 1, 3)[:, ::-1].copy(), SIZES[:, ::-1])
    one, two = (Images(x.pixels[:1], x.size[:1]) for x in (images, turned))  # the picture that fills its bucket
    lbp = Lbp(((points, 2.0),), codes="riu2", regions=((1, 1),), norm="none")
    np.testing.assert_array_equal(lbp(one), lbp(two))
    other = Lbp(((points, 2.0),), codes="u2", regions=((1, 1),), norm="none")
    assert not np.array_equal(other(one), other(two))


def test_padding_floats_and_equal_channels_change_nothing() -> None:
    images, lbp = pictures(), Lbp()
    known = np.asarray(lbp(images))
    wider = np.full((4, 64, 64, 1), 200, np.uint8)
    wider[:, :32, :40] = pictures(padding=13).pixels
    np.testing.assert_array_equal(lbp(Images(wider, SIZES)), known)
    np.testing.assert_allclose(lbp(Images((images.pixels / 255).astype(np.float32), SIZES)), known, atol=1e-6)
    three = Images(np.repeat(images.pixels, 3, axis=-1), SIZES)
    np.testing.assert_allclose(lbp(three), known, atol=1e-6)
    for colour in ("rgb", "opponent"):
        own = Lbp(color=colour)
        np.testing.assert_allclose(own(three), own(images), atol=1e-6)


def test_colours_are_described_channel_by_channel() -> None:
    images = pictures(3)
    rows = np.asarray(Lbp(color="rgb")(images)).reshape(4, 3, -1)
    for channel in range(3):
        alone = Images(images.pixels[..., channel : channel + 1], SIZES)
        np.testing.assert_array_equal(rows[:, channel], Lbp()(alone))
    flat = np.asarray(Lbp(color="opponent", regions=((1, 1),), norm="l1")(pictures())).reshape(4, 3, 59)
    np.testing.assert_allclose(flat[:3, :2, 57], 1.0, atol=1e-6)  # grey: both colour channels are flat, all ones


def test_mistakes_are_told() -> None:
    wrong: list[dict[str, Any]] = [
        {"circles": ((8, 0.5),)}, {"codes": "ror"}, {"color": "hsv"}, {"circles": ((16, 2.0),), "codes": "all"}, {"norm": "l3"},
        {"regions": ()},
    ]  # fmt: skip
    for settings in wrong:
        with pytest.raises(SettingsError):
            Lbp(**settings)
    with pytest.raises(ShapeError, match=r"radius 16.*32 x 40"):
        Lbp(((8, 16.0),))(pictures())
