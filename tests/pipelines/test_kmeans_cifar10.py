"""`reproduce kmeans-cifar10`, small, on made photographs whose classes differ in texture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmfeat.pipelines.reproducing import find_experiment, reproduce
from mmfeat.pipelines.reproductions.kmeans_cifar10 import KmeansCifar10
from mmfeat.pipelines.reproductions.labelled import Features, standardised
from mmfeat.progress import Progress


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Gratings of ten directions at any phase: pixels say nothing of them on average, patches do."""
    (tmp_path / "cifar10").mkdir()
    rng, y, x = np.random.default_rng(0), *np.mgrid[:32, :32]
    parts = {}
    for name, count in (("train", 120), ("test", 60)):
        labels = np.arange(count) % 10
        angle = np.pi * labels / 10
        wave = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
        grey = np.sin(1.5 * wave + rng.uniform(0, 6.3, (count, 1, 1))) + rng.normal(0, 0.3, (count, 32, 32))
        parts[f"x_{name}"] = np.clip(128 + 50 * grey[..., None] + np.zeros(3), 0, 255).astype(np.uint8)
        parts[f"y_{name}"] = labels.astype(np.uint8)
    np.savez(tmp_path / "cifar10" / "cifar10_subset.npz", **parts)
    return tmp_path


def test_codes_of_patches_see_textures_and_pixels_do_not(data: Path) -> None:
    settings = {"means": (16,), "atoms": 12, "only": ("pixels", "k-means 16, triangle", "soft threshold 12")}
    rows = reproduce(find_experiment("kmeans-cifar10", settings), data, [0], Progress(quiet=True))
    found = {row.row: row.measured for row in rows if row.metric == "accuracy"}
    assert list(found) == [
        "pixels, 3,072 dimensions",
        "k-means 16, triangle, 64 dimensions",
        "soft threshold 12, 96 dimensions",
        "k-means 16, triangle + soft threshold 12, 160 dimensions",
    ]
    pixels, *coded = found.values()
    assert min(coded) > pixels + 0.1
    assert min(coded) > 0.7
    assert all(row.published is None for row in rows)
    assert all(row.measured > 0 for row in rows if row.metric == "seconds per picture")


def test_every_coding_is_named() -> None:
    names = list(KmeansCifar10(means=(10, 20), atoms=9).codings())
    assert names == [
        "pixels",
        "k-means 20, hard",
        "k-means 10, triangle",
        "k-means 20, triangle",
        "sparse codes 9, every second pixel",
        "soft threshold 9",
    ]


def test_columns_are_standardised_by_the_training_part() -> None:
    rng = np.random.default_rng(0)
    train, test = (rng.normal(3, 2, (50, 4)).astype(np.float32) for _ in range(2))
    train[:, 1] = 7
    made = standardised(Features(train, test, 0.0, 0.0))
    np.testing.assert_allclose(made.train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(made.train.std(0), [1, 0, 1, 1], atol=1e-5)
    np.testing.assert_allclose(made.test[:, 0], (test[:, 0] - train[:, 0].mean()) / train[:, 0].std(), rtol=1e-4)
