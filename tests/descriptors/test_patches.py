"""Patches against a loop in NumPy."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from mmfeat.arrays import Images
from mmfeat.descriptors import Patches
from mmfeat.errors import SettingsError, ShapeError

SIZES = np.array([[20, 27], [11, 30], [5, 30], [20, 30]], np.int32)


def pictures(channels: int = 3) -> Images:
    """Four pictures of different valid sizes in one bucket of 20 x 30; the third is lower than a patch; zeros are padding."""
    generator = np.random.default_rng(0)
    pixels = np.zeros((4, 20, 30, channels), np.uint8)
    for picture, (height, width) in zip(pixels, SIZES, strict=True):
        picture[:height, :width] = generator.integers(0, 256, (height, width, channels))
    pixels[3, :12, :12] = 77  # flat
    return Images(pixels, SIZES)


def loop(pixels: np.ndarray, size: int, stride: int, normalise: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, centres and standard deviations of the patches of one unpadded picture, in float64."""
    values, where, deviations = [], [], []
    height, width = pixels.shape[:2]
    for y in range(0, height - size + 1, stride):
        for x in range(0, width - size + 1, stride):
            patch = pixels[y : y + size, x : x + size].astype(np.float64).reshape(-1)
            deviations.append(patch.std() / 255)
            if normalise:
                patch = (patch - patch.mean()) / np.sqrt(patch.var() + 10)
            values.append(patch if normalise else patch / 255)
            where.append(((x + size / 2) / width, (y + size / 2) / height))
    return np.array(values), np.array(where), np.array(deviations)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("size", "stride"), [(8, 4), (7, 3), (6, 7)])
def test_the_valid_patches_are_those_of_the_loop(size: int, stride: int, normalise: bool) -> None:
    images = pictures()
    x = jax.tree.map(np.asarray, jax.jit(Patches(size, stride, normalise=normalise))(images))
    for item, (height, width) in enumerate(SIZES):
        values, where, _ = loop(images.pixels[item, :height, :width], size, stride, normalise)
        valid = x.weight[item] == 1
        assert valid.sum() == len(values)
        assert (x.weight[item][~valid] == 0).all()
        assert (x.values[item][~valid] == 0).all()
        if len(values):
            np.testing.assert_allclose(x.values[item][valid], values, atol=1e-4)
            np.testing.assert_allclose(x.where[item][valid], where, atol=1e-6)
    assert ((x.where >= 0) & (x.where <= 1)).all()


def test_padding_does_not_matter() -> None:
    images, patches = pictures(), Patches(8, 4)
    garbage = np.full((4, 64, 64, 3), 99, np.uint8)
    garbage[:, :20, :30] = images.pixels
    small, large = (jax.jit(patches)(Images(pixels, SIZES)) for pixels in (images.pixels, garbage))
    for item in range(4):
        one, two = (np.asarray(x.values)[item][np.asarray(x.weight)[item] > 0] for x in (small, large))
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_flat_patches_weigh_nothing_where_asked() -> None:
    images = pictures()
    assert np.isfinite(np.asarray(Patches(8, 4)(images).values)).all()
    deviations = loop(images.pixels[3], 8, 4, False)[2]
    assert (deviations == 0).sum() == 4
    weight = np.asarray(Patches(8, 4, contrast=0.01)(images).weight)[3]
    np.testing.assert_array_equal(weight, deviations >= 0.01)
    raw = np.asarray(Patches(8, 4, contrast=0.01, normalise=False)(images).weight)[3]
    np.testing.assert_array_equal(raw, weight)


def test_floats_and_grey() -> None:
    images = pictures()
    floats = Images((images.pixels / 255).astype(np.float32), SIZES)
    np.testing.assert_allclose(Patches()(floats).values, Patches()(images).values, atol=1e-4)
    grey = images.pixels @ np.array([0.299, 0.587, 0.114])
    found = Patches(8, 4, grey=True)(images)
    assert found.values.shape == (4, 24, 64)
    np.testing.assert_allclose(np.asarray(found.values)[3], loop(grey[3], 8, 4, True)[0], atol=1e-4)


def test_mistakes_are_told() -> None:
    with pytest.raises(SettingsError, match="stride=0"):
        Patches(stride=0)
    with pytest.raises(SettingsError, match=r"floor=0\.0"):
        Patches(floor=0.0)
    with pytest.raises(ShapeError, match="20 x 30"):
        Patches(21)(pictures())
    rows: Any = np.zeros((2, 3))
    with pytest.raises(ShapeError, match="Patches describes Images"):
        Patches()(rows)
