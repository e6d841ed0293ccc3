"""Pictures in memory follow the rules of files; threads change nothing."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fixtures_media import DEEP, GREY, WHOLE, saved, smooth
from PIL import Image

from mmfeat.errors import ShapeError
from mmfeat.media.decode import Decode, decode, decode_array


@pytest.mark.parametrize("how", [WHOLE, GREY, DEEP, Decode(max_side=10), Decode(size=(7, 9), depth=16)])
def test_arrays_are_decoded_like_files(how: Decode) -> None:
    pixels = smooth(20, 30)
    with_alpha = np.dstack([pixels, pixels[:, :, 0]])
    for array in (
        pixels,
        pixels[:, :, 0],
        pixels[:, :, 0] > 100,
        with_alpha,
        (pixels[:, :, 0].astype(np.uint16) * 257),
    ):
        image = Image.fromarray(array)
        wanted = decode(saved(image, "PNG"), how)
        assert (decode_array(array, how) == wanted).all()
        assert (decode_array(image, how) == wanted).all()
    assert (decode_array(pixels[:, :, :1], how) == decode_array(pixels[:, :, 0], how)).all()


def test_float_and_deep_colour_arrays() -> None:
    deep = Decode(max_side=99, depth=16)
    colour = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
    wanted = colour[:, :, :3] * colour[:, :, 3:] + 1 - colour[:, :, 3:]
    np.testing.assert_allclose(decode_array(colour, deep), wanted, atol=1e-6)
    sixteen = (colour * 65535).astype(np.uint16)
    np.testing.assert_allclose(decode_array(sixteen, deep), wanted, atol=1e-4)
    np.testing.assert_allclose(decode_array(np.arange(17.0)[None], deep)[0, :, 0], np.arange(17) / 16, atol=1e-6)


@pytest.mark.parametrize(
    "array", [np.zeros(5), np.zeros((2, 2, 2)), np.zeros((0, 3)), np.zeros((2, 2), int), np.array("x")]
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ShapeError):
        decode_array(array)


def test_threads_and_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # makes Pillow warn about every one
    files = [saved(Image.fromarray(smooth(20, 20 + n % 9)), format) for n in range(40) for format in ("JPEG", "PNG")]
    before = list(warnings.filters)
    alone = [decode(data, WHOLE) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data, WHOLE), files))
    assert all((one == other).all() for one, other in zip(alone, together, strict=True))
    assert warnings.filters == before


def test_the_same_pixels_from_bytes_and_from_a_path(tmp_path: Path) -> None:
    data = saved(Image.fromarray(smooth(300, 400)), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    assert (decode(data) == decode(tmp_path / "a.jpg")).all()
