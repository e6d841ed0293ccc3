"""Small helpers of the tests of sources: rows by id, pixels by id, tar shards."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from fixtures_media import saved
from PIL import Image

from mmfeat.media.decode import Decode
from mmfeat.media.items import Items
from mmfeat.media.source import ImageSource

SMALL = Decode(size=(8, 9))


def rows(items: Items) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in items.table.to_pylist()}


def pixels(items: Items, decode: Decode = SMALL) -> dict[str, np.ndarray | None]:
    """The pixels of every picture that waits, by id; None where it failed."""
    source = ImageSource(items, decode, threads=2)
    images, weight = source.read(np.arange(len(source)))
    return {items.ids[row]: images.pixels[at] if weight[at] else None for at, row in enumerate(source.rows)}


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            one = tarfile.TarInfo(name)
            one.size = len(data)
            archive.addfile(one, io.BytesIO(data))
    return path


def png(seed: int, height: int = 20, width: int = 30) -> bytes:
    return saved(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)), "PNG")
