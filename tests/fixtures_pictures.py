"""Real pictures for tests: crops of the two photographs that come with scikit-learn."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image


@cache
def photographs() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_sample_images

    found = load_sample_images()
    return {Path(str(name)).stem: np.asarray(image) for name, image in zip(found.filenames, found.images, strict=True)}


def crops(count: int, side: int = 96, seed: int = 0) -> list[tuple[str, np.ndarray]]:
    """(name of the photograph, crop (side, side, 3)) at seeded places; every third is wider than tall."""
    random = np.random.default_rng(seed)
    names = sorted(photographs())
    out = []
    for number in range(count):
        name = names[number % len(names)]
        pixels = photographs()[name]
        width = side + (side // 2 if number % 3 == 0 else 0)
        y = int(random.integers(0, pixels.shape[0] - side))
        x = int(random.integers(0, pixels.shape[1] - width))
        out.append((name, pixels[y : y + side, x : x + width]))
    return out


def write_folder(root: Path, count: int, side: int = 96, seed: int = 0) -> Path:
    """A folder with one sub-folder per photograph and `count` JPEG files in all."""
    for number, (name, pixels) in enumerate(crops(count, side, seed)):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"crop {number:03}.jpg", quality=92)
    return root
