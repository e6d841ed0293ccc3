"""Decoding: each rule against values that follow from the file format, not from the code."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from fixtures_media import DEEP, GREY, WHOLE, saved, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmfeat.errors import MediaError, SettingsError
from mmfeat.media.decode import Decode, bucket, decode, output_size
from mmfeat.media.opening import read_header

# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_are_plain_values() -> None:
    one = Decode(size=(32, 48), background=(1, 2, 3))
    assert one.max_side is None
    assert hash(one) == hash(Decode(size=(32, 48), background=(1, 2, 3)))
    assert Decode(**json.loads(json.dumps(dataclasses.asdict(one)))) == one
    assert dataclasses.replace(Decode(), size=(8, 8)).max_side is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (8, 8), "max_side": 9},
        {"max_side": None},
        {"max_side": 0},
        {"size": (0, 8)},
        {"size": (8,)},
        {"size": 8},
        {"depth": 12},
        {"color": "red"},
        {"scale": "x"},
        {"frame": -1},
        {"background": (0, 0, 256)},
        {"pixel_limit": 0},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        Decode(**wrong)  # type: ignore[arg-type]


# --- size -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 60),
    st.integers(1, 8),
    st.sampled_from(["JPEG", "PNG", "TIFF"]),
    st.booleans(),
)
def test_the_header_tells_the_size(width: int, height: int, most: int, turn: int, format: str, orient: bool) -> None:
    exif = Image.Exif()
    exif[274] = turn
    data = saved(Image.fromarray(smooth(height, width)), format, exif=exif)
    how = Decode(max_side=most, orient=orient)
    header = read_header(data, orient=orient)
    shown = (height, width) if orient and turn >= 5 else (width, height)
    assert (header.width, header.height) == shown
    h, w = output_size(header.width, header.height, how)
    assert decode(data, how).shape == (h, w, 3)
    assert max(h, w) == min(most, max(width, height))
    # The other side keeps the ratio to half a pixel.
    if max(width, height) > most:
        exact = min(shown) * most / max(shown)
        assert abs(min(h, w) - exact) <= 0.5 or (min(h, w) == 1 and exact < 1)
    assert decode(data, Decode(size=(5, 7))).shape == (5, 7, 3)


@given(st.integers(1, 500), st.integers(1, 500))
def test_the_bucket_is_the_smallest_that_holds_it(h: int, w: int) -> None:
    grid = [64 * n for n in range(1, 9)]
    assert bucket(h, w) == (min(g for g in grid if g >= h), min(g for g in grid if g >= w))


def test_small_pictures_stay_as_they_are() -> None:
    pixels = smooth(20, 30)
    assert (decode(saved(Image.fromarray(pixels), "PNG"), Decode(max_side=256)) == pixels).all()


# --- orientation ------------------------------------------------------------------------------------------------------

#: EXIF 2.32, tag 274: which visual side the stored row 0 and column 0 are.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored_as(shown: np.ndarray, orientation: int) -> np.ndarray:
    """The raster that a camera would store for a picture that is shown like this, from the sides of the standard."""
    row, column = SIDES[orientation]
    stored = shown.swapaxes(0, 1) if row in ("left", "right") else shown
    stored = stored[::-1] if row in ("bottom", "right") else stored
    return np.ascontiguousarray(stored[:, ::-1] if column in ("bottom", "right") else stored)


@pytest.mark.parametrize("orientation", list(SIDES))
@pytest.mark.parametrize(
    ("format", "options"), [("JPEG", {"quality": 95}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
)
def test_orientation(orientation: int, format: str, options: dict[str, object]) -> None:
    corners = np.array([[10, 60, 110], [160, 210, 250]], np.uint8)
    shown = np.repeat(np.kron(corners, np.ones((16, 16), np.uint8))[:, :, None], 3, axis=2)
    exif = Image.Exif()
    exif[274] = orientation
    stored = stored_as(shown, orientation)
    data = saved(Image.fromarray(stored), format, exif=exif, **options)
    assert np.abs(decode(data, WHOLE).astype(int) - shown).max() <= 3
    assert np.abs(decode(data, Decode(max_side=10_000, orient=False)).astype(int) - stored).max() <= 3
    small = decode(data, Decode(size=(2, 3), color="grey"))[:, :, 0]
    assert np.abs(small.astype(int) - corners).max() <= 20  # neighbours blend a little; values differ by 40 or more


def test_orientation_of_compressed_tiff() -> None:
    shown = smooth(12, 20)
    data = saved(Image.fromarray(stored_as(shown, 6)), "TIFF", compression="tiff_lzw", tiffinfo={274: 6})
    assert (decode(data, WHOLE) == shown).all()
    assert (decode(data, Decode(max_side=99, orient=False)) == stored_as(shown, 6)).all()


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\0\0\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\xff\xff\0\0\0\0",
    ],
)
def test_broken_exif_is_ignored(exif: bytes) -> None:
    pixels = smooth(16, 24)
    plain = decode(saved(Image.fromarray(pixels), "JPEG"), WHOLE)
    assert (decode(saved(Image.fromarray(pixels), "JPEG", exif=exif), WHOLE) == plain).all()


# --- alpha, modes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
def test_alpha_lies_on_the_background(behind: tuple[int, int, int]) -> None:
    colour, how = np.array([200, 100, 0]), Decode(max_side=99, background=behind)
    for alpha in (0, 51, 128, 255):
        image = Image.new("RGBA", (4, 4), (*colour, alpha))
        wanted = colour * alpha / 255 + np.array(behind) * (1 - alpha / 255)
        for data in (saved(image, "PNG"), saved(image, "WEBP", lossless=True, exact=True), saved(image, "TIFF")):
            assert np.abs(decode(data, how) - wanted).max() <= 1


def test_hidden_colour_does_not_bleed_when_shrinking() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :32] = (255, 0, 0, 0)  # red, but invisible
    pixels[:, 32:] = (255, 255, 255, 255)
    assert (decode(saved(Image.fromarray(pixels), "PNG"), Decode(max_side=8)) == 255).all()


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.new("L", (3, 3), 7), {"transparency": 7}),
        (Image.new("RGB", (3, 3), (7, 8, 9)), {"transparency": (7, 8, 9)}),
        (Image.new("1", (3, 3), 0), {"transparency": 0}),
        (Image.new("L", (3, 3), 5).convert("P"), {"transparency": 5}),
        (Image.new("L", (3, 3), 5).convert("P"), {"transparency": bytes([255] * 5 + [0])}),
        (Image.new("LA", (3, 3), (7, 0)), {}),
        (Image.fromarray(np.full((3, 3), 700, np.uint16)), {"transparency": 700}),
    ],
)
def test_transparent_values_become_background(image: Image.Image, options: dict[str, object]) -> None:
    data = saved(image, "PNG", **options)
    how = Decode(max_side=9, background=(10, 20, 30))
    assert (decode(data, how) == (10, 20, 30)).all()
    grey = decode(data, dataclasses.replace(how, color="grey"))
    assert (np.abs(grey - (0.299 * 10 + 0.587 * 20 + 0.114 * 30)) <= 1).all()


def test_cmyk() -> None:
    ink = (
        np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 128, 0, 0], [0, 0, 255, 51]]], np.uint8).repeat(8, 0).repeat(8, 1)
    )
    wanted = (255 - ink[:, :, :3].astype(float)) * (255 - ink[:, :, 3:]) / 255
    image = (
        Image.fromarray(ink, "CMYK") if Image.__version__ < "11" else Image.frombytes("CMYK", (32, 8), ink.tobytes())
    )
    assert np.abs(decode(saved(image, "TIFF"), WHOLE) - wanted).max() <= 1
    adobe = saved(image, "JPEG", quality=100)  # stored inverted, as Adobe does
    assert b"Adobe" in adobe
    assert np.abs(decode(adobe, WHOLE) - wanted).max() <= 4


def test_palette_bits_lab_and_grey() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert decode(saved(palette, "PNG"), WHOLE).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    bits = Image.fromarray(np.array([[True, False]]))
    assert decode(saved(bits, "PNG"), GREY).tolist() == [[[255], [0]]]
    # CIE Lab (D50) of white, black, sRGB's red and grey as TIFF has it: L* scaled to 0..255, a*, b* signed.
    lab = Image.frombytes("LAB", (4, 1), bytes([255, 0, 0, 0, 0, 0, 138, 81, 70, 127, 0, 0]))
    wanted = [[255, 255, 255], [0, 0, 0], [255, 0, 0], [118, 118, 118]]
    assert np.abs(decode(saved(lab, "TIFF"), WHOLE)[0].astype(int) - wanted).max() <= 6
    rgb = smooth(5, 6)
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(saved(Image.fromarray(rgb), "PNG"), GREY)[:, :, 0] - luma).max() <= 1


# --- depth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_are_scaled_not_clipped(format: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    data = saved(Image.fromarray(ramp), format, **({"irreversible": False} if format == "JPEG2000" else {}))
    deep = decode(data, DEEP)[:, :, 0]
    assert deep.dtype == np.float32
    np.testing.assert_allclose(deep, ramp / 65535, atol=1e-6)
    grey = decode(data, GREY)[:, :, 0].astype(int)
    assert (np.diff(grey.ravel()) >= 0).all()
    assert set(grey.ravel()) == set(range(256))
    assert (decode(data, WHOLE) == grey[:, :, None]).all()


def test_big_endian_sixteen_bits() -> None:
    ramp = np.array([[0, 256, 4660, 65535]], ">u2")
    image = Image.frombytes("I;16B", (4, 1), ramp.tobytes())
    np.testing.assert_allclose(
        decode(saved(image, "TIFF"), DEEP)[0, :, 0], [0, 256 / 65535, 4660 / 65535, 1], atol=1e-6
    )


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0.0, 0.25, 1.0], [0, 0.25, 1]),  # within [0, 1]: as they are
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]),
        ([-3.0, 0.0, 9.0], [0, 0.25, 1]),  # else from least to greatest
        ([7.0, 7.0, 7.0], [0, 0, 0]),
    ],
)
def test_floats(values: list[float], wanted: list[float]) -> None:
    data = saved(Image.fromarray(np.array([values], np.float32)), "TIFF")
    np.testing.assert_allclose(decode(data, DEEP)[0, :, 0], wanted, atol=1e-6)


def test_scale_of_each_picture() -> None:
    each = dataclasses.replace(DEEP, scale="image")
    twelve = Image.fromarray(np.array([[95, 2095, 4095]], np.uint16))
    np.testing.assert_allclose(decode(saved(twelve, "PNG"), each)[0, :, 0], [0, 0.5, 1], atol=1e-6)
    dim = Image.fromarray(np.array([[0.1, 0.2, 0.3]], np.float32))
    np.testing.assert_allclose(decode(saved(dim, "TIFF"), each)[0, :, 0], [0, 0.5, 1], atol=1e-6)
    wide = Image.fromarray(np.array([[-(2**30), 0, 2**30]], np.int32))
    np.testing.assert_allclose(decode(saved(wide, "TIFF"), DEEP)[0, :, 0], [0, 0.5, 1], atol=1e-6)


def test_floats_must_be_finite() -> None:
    data = saved(Image.fromarray(np.array([[0, np.nan]], np.float32)), "TIFF")
    with pytest.raises(MediaError, match="finite"):
        decode(data, DEEP)


def test_eight_bits_at_depth_sixteen() -> None:
    pixels = smooth(4, 5)
    deep = decode(saved(Image.fromarray(pixels), "PNG"), Decode(max_side=9, depth=16))
    np.testing.assert_allclose(deep, pixels / 255, atol=1e-6)


# --- JPEG at reduced scale --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(1200, 900), (1201, 903), (997, 411)])
@pytest.mark.parametrize("how", [Decode(max_side=100), Decode(size=(48, 64)), Decode(max_side=64, color="grey")])
def test_draft_is_close_to_the_full_decode(width: int, height: int, how: Decode) -> None:
    data = saved(Image.fromarray(smooth(height, width)), "JPEG", quality=95)
    quick, full = decode(data, how), decode(data, dataclasses.replace(how, draft=False))
    assert quick.shape == full.shape
    difference = np.abs(quick.astype(int) - full)
    assert difference.mean() < 1
    assert difference.max() <= 6
    assert difference.max() > 0  # it really was another way


# --- frames, names ---------------------------------------------------------------------------------------------------


def test_frames() -> None:
    frames = [Image.new("L", (8, 8), value) for value in (50, 150, 250)]
    for format in ("GIF", "TIFF", "PNG", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        data = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert decode(data, WHOLE)[0, 0, 0] == 50
        assert decode(data, Decode(max_side=9, frame=2))[0, 0, 0] == 250
        with pytest.raises(MediaError, match="no frame 3"):
            decode(data, Decode(max_side=9, frame=3))


def test_names_decide_about_formats_without_a_magic_number(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 77).save(tmp_path / "a.tga")
    assert (decode(tmp_path / "a.tga", WHOLE) == 77).all()
    (tmp_path / "a.tga").rename(tmp_path / "a.txt")
    with pytest.raises(MediaError):
        decode(tmp_path / "a.txt", WHOLE)
