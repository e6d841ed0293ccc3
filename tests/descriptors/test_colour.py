"""Colour histograms and local colour statistics against scikit-image's colour spaces and NumPy."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from skimage.color import rgb2hsv, rgb2lab

from mmfeat.arrays import Images
from mmfeat.descriptors import ColourHistogram, LocalColour
from mmfeat.descriptors.colour_spaces import SPACES, to_space
from mmfeat.errors import SettingsError, ShapeError

SIZES = np.array([[32, 40], [21, 37], [17, 16], [1, 1]], np.int32)


def pictures(channels: int = 3, padding: int = 0) -> Images:
    """Four random pictures of floats of different sizes in a bucket of 32 x 40."""
    rng = np.random.default_rng(0)
    pixels = np.full((4, 32, 40, channels), padding / 255, np.float32)
    for picture, (height, width) in zip(pixels, SIZES, strict=True):
        picture[:height, :width] = rng.random((height, width, channels))
    return Images(pixels, SIZES)


def as_bytes(images: Images) -> Images:
    return Images(np.round(images.pixels * 255).astype(np.uint8), images.size)


def known_channels(picture: np.ndarray, space: str) -> np.ndarray:
    """(h, w, 3) of a space, in float64."""
    picture = picture.astype(np.float64)
    if space == "hsv":
        return rgb2hsv(picture)
    if space == "lab":
        return rgb2lab(picture)
    red, green, blue = np.moveaxis(picture, -1, 0)
    opponent = [(red - green) / 2**0.5, (red + green - 2 * blue) / 6**0.5, (red + green + blue) / 3**0.5]
    return np.stack(opponent, axis=-1) if space == "opponent" else picture


@pytest.mark.parametrize("space", sorted(SPACES))
def test_channels_are_those_of_scikit_image(space: str) -> None:
    values = np.array([0, 1, 10, 11, 128, 254, 255]) / 255  # corners, greys, and both parts of the curve of sRGB
    picture = np.stack(np.meshgrid(values, values, values), axis=-1).reshape(7, 49, 3)
    found = np.stack(to_space(space, list(np.moveaxis(picture.astype(np.float32), -1, 0))), axis=-1)
    known = known_channels(picture, space)
    np.testing.assert_allclose(found, known, atol=2e-3 if space == "lab" else 1e-5)
    for channel, (least, greatest) in enumerate(SPACES[space]):
        assert least - 1e-6 <= known[..., channel].min()
        assert known[..., channel].max() <= greatest + 1e-6


@pytest.mark.parametrize("space", sorted(SPACES))
def test_hard_bins_are_those_of_numpy(space: str) -> None:
    images, bins, regions = pictures(padding=99), (5, 3, 4), ((1, 1), (2, 3))
    rows = np.asarray(jax.jit(ColourHistogram(space, bins, False, regions, "none"))(images))
    for row, picture, (height, width) in zip(rows, images.pixels, SIZES, strict=True):
        channels = known_channels(picture[:height, :width], space)
        y, x = ((np.arange(n) + 0.5) / n for n in (height, width))
        known = []
        for down, across in regions:
            cell = np.floor(y * down)[:, None] * across + np.floor(x * across)[None, :]
            for number in range(down * across):
                known.append(np.histogramdd(channels[cell == number], bins, SPACES[space])[0].reshape(-1))
        assert row.sum() == 2 * height * width
        assert np.abs(row - np.concatenate(known)).sum() <= 4  # a value at an edge may be rounded to the other side


def test_soft_bins_share_a_pixel_by_nearness() -> None:
    histogram = ColourHistogram("rgb", (4, 2, 1), regions=((1, 1),), norm="none")
    colours = np.array([[0.375, 0.25, 0.9], [0.5, 0.5, 0.0], [0.4375, 0.0, 1.0]], np.float32)
    rows = histogram(Images(colours[:, None, None], np.ones((3, 2), np.int32)))
    known = np.zeros((3, 4, 2, 1))
    known[0, 1, 0] = 1  # the middle of a bin
    known[1, 1:3] = 0.25  # between four
    known[2, 1:3, 0, 0] = 0.75, 0.25
    np.testing.assert_allclose(rows, known.reshape(3, -1), atol=1e-3)


def test_a_hue_goes_round() -> None:
    reds = np.array([[1, 0.05, 0], [1, 0, 0.05]], np.float32)[:, None, None]
    rows = np.asarray(
        ColourHistogram(bins=(6, 1, 1), regions=((1, 1),), norm="l1")(Images(reds, np.ones((2, 2), np.int32)))
    )
    np.testing.assert_allclose(rows[0, [0, 5]], [0.55, 0.45], atol=1e-3)
    np.testing.assert_allclose(rows[1, [0, 5]], [0.45, 0.55], atol=1e-3)


@pytest.mark.parametrize("soft", [True, False])
def test_histograms_sum_up_to_the_pixels_and_scale(soft: bool) -> None:
    images = pictures()
    counts = np.asarray(ColourHistogram(soft=soft, norm="none")(images)).reshape(4, 5, 128)
    np.testing.assert_allclose(counts.sum(-1)[:, 0], SIZES.prod(1), rtol=1e-3)
    np.testing.assert_allclose(counts[:, 1:].sum(1), counts[:, 0], rtol=1e-5, atol=1e-3)
    for norm, power in (("l1", 1), ("hellinger", 2), ("l2", 2)):
        rows = np.asarray(ColourHistogram(soft=soft, norm=norm)(images)).reshape(4, 5, 128)
        np.testing.assert_allclose((rows[:3] ** power).sum(-1), 1.0, atol=1e-4)
    roots = np.asarray(ColourHistogram(soft=soft)(images)).reshape(4, 5, 128)
    np.testing.assert_allclose(roots[0] ** 2, counts[0] / counts[0].sum(-1, keepdims=True), atol=1e-4)


@pytest.mark.parametrize("side", [4, 5])
def test_local_statistics_are_those_of_numpy(side: int) -> None:
    for images in (pictures(padding=70), as_bytes(pictures(padding=70))):
        x = jax.tree.map(np.asarray, jax.jit(LocalColour((side,), 3))(images))
        scale = 255 if images.pixels.dtype == np.uint8 else 1
        for item, (height, width) in enumerate(SIZES):
            picture = images.pixels[item, :height, :width].astype(np.float64) / scale
            values, where = [], []
            for top in range(0, height - 4 * side + 1, 3):
                for left in range(0, width - 4 * side + 1, 3):
                    patch = picture[top : top + 4 * side, left : left + 4 * side].reshape(4, side, 4, side, 3)
                    values.append(np.stack([patch.mean((1, 3)), patch.std((1, 3))], axis=2).reshape(-1))
                    where.append(((left + 2 * side) / width, (top + 2 * side) / height))
            valid = x.weight[item] == 1
            assert valid.sum() == len(values)
            assert (x.values[item][~valid] == 0).all()
            if values:
                np.testing.assert_allclose(x.values[item][valid], np.array(values), atol=1e-5)
                np.testing.assert_allclose(x.where[item][valid], where, atol=1e-6)
        assert ((x.where >= 0) & (x.where <= 1)).all()


@pytest.mark.parametrize("space", ["opponent", "lab"])
def test_local_statistics_of_other_spaces(space: str) -> None:
    picture = pictures().pixels[:1, :16, :16]
    row = np.asarray(LocalColour((4,), space=space)(Images(picture, np.array([[16, 16]], np.int32))).values)[0, 0]
    cells = known_channels(picture[0], space).reshape(4, 4, 4, 4, 3) / (100 if space == "lab" else 1)
    known = np.stack([cells.mean((1, 3)), cells.std((1, 3))], axis=2).reshape(-1)
    np.testing.assert_allclose(row, known, atol=1e-4)


def test_a_flat_patch_does_not_deviate_and_sizes_follow_one_another() -> None:
    flat = Images(np.full((1, 48, 48, 3), 201, np.uint8), np.array([[48, 48]], np.int32))
    x = LocalColour((4, 6, 12, 99), 8)(flat)
    assert x.values.shape == (1, 25 + 16 + 1, 96)
    values = np.asarray(x.values).reshape(42, 16, 2, 3)
    assert (values[:, :, 1] == 0).all()
    np.testing.assert_allclose(values[:, :, 0], 201 / 255, atol=1e-6)
    np.testing.assert_allclose(np.asarray(x.where)[0, -1], [0.5, 0.5])


@pytest.mark.parametrize("describe", [ColourHistogram(), LocalColour((4,)), LocalColour((4,), space="lab")])
def test_padding_floats_and_equal_channels_change_nothing(describe: Any) -> None:
    images = as_bytes(pictures(1))
    three = Images(np.repeat(images.pixels, 3, axis=-1), SIZES)
    wider = np.full((4, 32, 64, 3), 200, np.uint8)
    wider[:, :, :40] = as_bytes(Images(np.repeat(pictures(1, 31).pixels, 3, axis=-1), SIZES)).pixels
    others = [three, Images(wider, SIZES), Images((images.pixels / 255).astype(np.float32), SIZES)]
    known = describe(images)
    for other in others:
        found = describe(other)
        if isinstance(known, jax.Array):
            np.testing.assert_allclose(found, known, atol=1e-3)
            continue
        for item in range(4):
            one, two = (np.asarray(x.values)[item][np.asarray(x.weight)[item] > 0] for x in (known, found))
            np.testing.assert_allclose(two, one, atol=1e-5)


def test_mistakes_are_told() -> None:
    wrong: list[dict[str, Any]] = [{"space": "xyz"}, {"bins": (8, 4)}, {"bins": (8, 0, 4)}, {"norm": "l3"}]
    for settings in wrong:
        with pytest.raises(SettingsError):
            ColourHistogram(**settings)
    wrong = [{"space": "hsv"}, {"sizes": ()}, {"step": 0}]
    for settings in wrong:
        with pytest.raises(SettingsError):
            LocalColour(**settings)
    with pytest.raises(ShapeError, match=r"36 pixels.*32 x 40"):
        LocalColour((9,))(pictures())
