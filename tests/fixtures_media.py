"""Pictures made for the tests of decoding."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from mmfeat.media.decode import Decode

WHOLE = Decode(max_side=10_000)
GREY = Decode(max_side=10_000, color="grey")
DEEP = Decode(max_side=10_000, color="grey", depth=16)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def smooth(height: int, width: int) -> np.ndarray:
    """A picture without fine detail, three different channels."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / width * 9), np.cos(y / height * 7), np.sin((x / width + y / height) * 5)]
    return np.stack([(wave * 100 + 128) for wave in waves], axis=2).astype(np.uint8)
