"""Thumbnails: what comes out is a picture of the stated size that looks like what went in."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mmfeat.errors import DataError, ShapeError, UsageError
from mmfeat.visualise.thumbnails import as_image, crop, data_uri, image_size, thumbnail


def ramp(height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 90)], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "side", "size", "kind"),
    [
        ((300, 200), 160, (107, 160), "JPEG"),
        ((100, 400), 160, (160, 40), "JPEG"),
        ((8, 8), 160, (8, 8), "PNG"),  # never enlarged, never smeared
        ((3000, 1), 160, (1, 160), "JPEG"),
    ],
)
def test_size_kind_and_colours(shape, side, size, kind):
    encoded = thumbnail(ramp(*shape), side)
    opened = Image.open(io.BytesIO(encoded))
    assert (opened.size, opened.format, image_size(encoded)) == (size, kind, size)
    expected = np.asarray(Image.fromarray(ramp(*shape)).resize(size, Image.Resampling.BOX), float)
    assert np.abs(np.asarray(opened, float) - expected).mean() < 6


def test_small_pictures_keep_every_pixel():
    picture = np.random.default_rng(0).integers(0, 256, (28, 20), np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(thumbnail(picture)))), picture)


def test_data_uri_holds_the_bytes():
    for image in (thumbnail(ramp(8, 8)), thumbnail(ramp(200, 200))):
        head, _, data = data_uri(image).partition(",")
        assert head == f"data:image/{Image.open(io.BytesIO(image)).format.lower()};base64"
        assert base64.b64decode(data) == image


def test_same_picture_same_bytes():
    assert thumbnail(ramp(300, 200)) == thumbnail(Image.fromarray(ramp(300, 200)))


def test_deep_float_and_transparent_pictures_are_scaled_not_clipped():
    wide = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(2, 0)
    expected = np.arange(256)[None].repeat(2, 0)
    np.testing.assert_allclose(np.asarray(as_image(Image.fromarray(wide))), expected, atol=1)
    np.testing.assert_array_equal(np.asarray(as_image(expected / 255.0)), expected)
    np.testing.assert_array_equal(np.asarray(as_image(np.array([[True, False]]))), [[255, 0]])
    hidden = np.zeros((2, 2, 4), np.uint8)
    hidden[0, 0] = (255, 0, 0, 255)
    shown = np.asarray(as_image(hidden))
    assert shown[0, 0].tolist() == [255, 0, 0]
    assert shown[1, 1].tolist() == [255, 255, 255]


def test_crop_cuts_what_the_fragment_names():
    picture = ramp(60, 90)
    cut = crop(Image.fromarray(picture), (10, 20, 30, 40))
    np.testing.assert_array_equal(np.asarray(cut), picture[20:60, 10:40])
    assert crop(Image.fromarray(picture), (80, 50, 30, 30)).size == (10, 10)
    with pytest.raises(UsageError, match="inside its picture of 90 × 60"):
        crop(Image.fromarray(picture), (90, 0, 5, 5))


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match="one picture"):
        thumbnail(np.zeros((2, 3, 4, 5), np.uint8))
    with pytest.raises(ShapeError, match="int64"):
        thumbnail(np.zeros((4, 4), np.int64))
    with pytest.raises(UsageError, match="side=0"):
        thumbnail(ramp(9, 9), 0)
    with pytest.raises(DataError, match="Make it with thumbnail"):
        data_uri(b"<svg onload='alert(1)'>")
    with pytest.raises(DataError, match="readable picture"):
        image_size(thumbnail(ramp(200, 200))[:20])
