"""What cannot be decoded is a MediaError whose text is a reason, the same in every run."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmfeat.errors import MediaError
from mmfeat.media.decode import Decode, decode

WHOLE = Decode(max_side=10_000)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_truncated_files_fail(format: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 80, 3), np.uint8)
    data = saved(Image.fromarray(noise), format)
    assert decode(data, WHOLE).shape == (96, 80, 3)
    for how in (WHOLE, Decode(size=(8, 8))):
        with pytest.raises(MediaError):
            decode(data[: int(len(data) * part)], how)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"this is text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", bytes(64)]
)
def test_what_is_no_picture_fails(data: bytes) -> None:
    with pytest.raises(MediaError) as caught:
        decode(data, WHOLE)
    assert " at 0x" not in str(caught.value)  # a reason is the same in every run


def test_heic_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmfeat.media.opening._prepare", lambda: False)
    with pytest.raises(MediaError, match=r"mmfeat\[heif\]"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), WHOLE)


def test_a_missing_file_fails(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="FileNotFoundError"):
        decode(tmp_path / "gone.jpg", WHOLE)


def test_pixel_limit() -> None:
    data = saved(Image.new("L", (20, 10)), "PNG")
    assert decode(data, Decode(pixel_limit=200)).shape == (10, 20, 3)
    with pytest.raises(MediaError, match="199 pixels; got 20 x 10 = 200"):
        decode(data, Decode(pixel_limit=199))


def test_pillows_own_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("L", (20, 10)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)  # above it Pillow warns, above twice as much it refuses
    assert decode(data, WHOLE).shape == (10, 20, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
    with pytest.raises(MediaError, match="MAX_IMAGE_PIXELS"):
        decode(data, WHOLE)


def test_libtiff_does_not_write_to_standard_error_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    """Its remarks on broken files, hundreds of lines for some, come from C, past Python; outside it is as it was."""
    noise = np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8)
    data = bytearray(saved(Image.fromarray(noise * 255), "TIFF", compression="tiff_adobe_deflate"))
    data[60:120] = b"\x55" * 60

    def with_pillow() -> str:
        with contextlib.suppress(OSError):
            Image.open(io.BytesIO(bytes(data))).load()
        return capfd.readouterr().err

    if "ZIPDecode" not in with_pillow():
        pytest.skip("this libtiff says nothing")
    with contextlib.suppress(MediaError):
        decode(bytes(data), WHOLE)
    assert capfd.readouterr().err == ""
    assert "ZIPDecode" in with_pillow()
