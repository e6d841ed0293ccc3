"""Deslant against SciPy's interpolation and the moments it promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import affine_transform

from mmfeat.arrays import Images
from mmfeat.descriptors import Deslant
from mmfeat.errors import SettingsError

SIDE = 28


def glyphs(count: int = 6, seed: int = 0) -> np.ndarray:
    """Made glyphs (count, 28, 28) in [0, 1]: some soft blobs along a slanted line, well inside the picture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    out = np.zeros((count, SIDE, SIDE))
    for glyph in out:
        slope, shift = rng.uniform(-0.6, 0.6), rng.uniform(-2, 2)
        for t in np.linspace(-6, 6, 9):
            cy, cx = 13.5 + shift + t, 13.5 + slope * t + rng.normal(0, 0.7)
            glyph += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 3)
    return (out / out.max(axis=(1, 2), keepdims=True)).astype(np.float32)


def images(pixels: np.ndarray) -> Images:
    return Images(pixels[..., None], np.tile(np.array(pixels.shape[1:], np.int32), (len(pixels), 1)))


def moments(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Centre of mass (y, x), and the centred moments 11 and 02."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    mass = picture / picture.sum()
    cy, cx = (mass * y).sum(), (mass * x).sum()
    return cy, cx, (mass * (y - cy) * (x - cx)).sum(), (mass * (y - cy) ** 2).sum()


def test_rows_are_those_of_scipy() -> None:
    pictures = glyphs()
    found = np.asarray(Deslant(SIDE)(images(pictures))).reshape(-1, SIDE, SIDE)
    middle = np.full(2, (SIDE - 1) / 2)
    for picture, row in zip(pictures.astype(np.float64), found, strict=True):
        cy, cx, mixed, spread = moments(picture)
        matrix = np.array([[1, 0], [mixed / spread, 1]])
        known = affine_transform(picture, matrix, np.array([cy, cx]) - matrix @ middle, order=1, mode="grid-constant")
        np.testing.assert_allclose(row, known, atol=2e-5)


def test_glyphs_stand_upright_in_the_middle() -> None:
    before, after = glyphs(), np.asarray(Deslant(SIDE)(images(glyphs()))).reshape(-1, SIDE, SIDE)
    for slanted, upright in zip(before, after, strict=True):
        cy, cx, mixed, spread = moments(upright)
        assert abs(cy - 13.5) < 0.05
        assert abs(cx - 13.5) < 0.05
        assert abs(mixed / spread) < 0.02
        assert abs(mixed / spread) < abs(moments(slanted)[2] / moments(slanted)[3])


def test_a_picture_without_ink_stays_dark() -> None:
    flat = np.zeros((2, SIDE, SIDE), np.float32)
    flat[1, 9] = 1.0  # one line: no slope is defined
    rows = np.asarray(Deslant(SIDE)(images(flat))).reshape(2, SIDE, SIDE)
    assert np.all(rows[0] == 0)
    np.testing.assert_allclose(rows[1, 13:15].sum(), SIDE, atol=1e-4)


def test_a_side_needs_two_cells() -> None:
    with pytest.raises(SettingsError, match="side=1"):
        Deslant(1)
