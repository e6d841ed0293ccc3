"""The pictures that the benchmarks read: photographs of a real set, or cuts of scikit-learn's two photographs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

__all__ = ["make_pictures", "real_or_made"]


def real_or_made(folder: Path, count: int) -> Path:
    """A folder with `count` JPEG files: those of caltech101 (linked as often as it takes), or made ones."""
    data = os.environ.get("MMFEAT_DATA")
    files = sorted(Path(data, "caltech101").resolve().rglob("*.jpg")) if data else []
    if not files:
        return make_pictures(folder, count)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:06}.jpg").symlink_to(files[number % len(files)])
    return folder


def make_pictures(folder: Path, count: int, seed: int = 0) -> Path:
    """Seeded cuts of about 300 x 200 px as JPEG of quality 90; beyond 1,000 they are linked again."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:06}.jpg"
        if number >= 1000:
            path.symlink_to(folder / f"{number % 1000:06}.jpg")
            continue
        photograph = photographs[number % len(photographs)]
        height, width = int(rng.integers(180, 221)), int(rng.integers(280, 321))
        top = int(rng.integers(0, photograph.shape[0] - height + 1))
        left = int(rng.integers(0, photograph.shape[1] - width + 1))
        Image.fromarray(photograph[top : top + height, left : left + width]).save(path, quality=90)
    return folder
