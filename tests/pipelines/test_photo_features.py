"""What the recipes for photographs share, and what they do where pictures are few; descriptors kept for several codings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmfeat.arrays import Images
from mmfeat.descriptors.patches import Patches
from mmfeat.encoder import Encoder
from mmfeat.errors import SettingsError
from mmfeat.media.decode import Decode
from mmfeat.media.source import ArrayImages
from mmfeat.media.walk import walk
from mmfeat.pipelines.fitting import fit
from mmfeat.pipelines.image_classification import ImageClassification
from mmfeat.pipelines.image_retrieval import ImageRetrieval
from mmfeat.pipelines.photo_features import LARGE, MAX_SIDE, Grid, count_pictures, fitting_sizes, grid_of, suits
from mmfeat.pipelines.recommending import usual_recipe
from mmfeat.pipelines.reproductions.kept import KeptLocals
from mmfeat.stages import encode_source

DRAW = np.random.default_rng(0)


def pictures(count: int, side: int) -> list[np.ndarray]:
    """Pictures of two kinds: waves along x, waves along y, with noise."""
    y, x = 16 * np.mgrid[:side, :side] / side
    waves = [np.sin(x), np.sin(y)]
    noisy = (
        waves[number % 2][..., None] * 80 + 128 + DRAW.normal(size=(side, side, 3)) * 20 for number in range(count)
    )
    return [np.clip(each, 0, 255).astype(np.uint8) for each in noisy]


def test_sizes_are_fewer_where_descriptors_are() -> None:
    whole = np.zeros((1000, 300, 300, 3), np.uint8)
    every = Grid((4, 6, 8, 10), (4, 8), 5)
    assert fitting_sizes(whole, 300, every, 64, 1024) == (64, 1024)
    assert fitting_sizes(None, 300, every, 64, 1024) == (64, 1024)
    # 4 cells of 4, 6, 8, 10 px in 64 px, every 5: (10² + 9² + 7² + 5²) places a picture
    assert fitting_sizes(np.zeros((10, 64, 64, 3), np.uint8), 300, every, 64, 1024) == (6, 25)
    assert fitting_sizes(np.zeros((1, 8, 8, 3), np.uint8), 300, every, 64, 1024) == (1, 5)


def test_small_pictures_have_small_cells_and_no_words() -> None:
    grids = {side: grid_of(np.zeros((60, side, side // 2, 3), np.uint8), 300) for side in (24, 95, 96, 159, 160, 300)}
    assert grids[24] == grids[95] != grids[96] == grids[159] != grids[160] == grids[300] == LARGE == grid_of(None, 300)
    assert grids[24].step < grids[96].step < LARGE.step
    assert max(grids[24].sizes) < max(grids[96].sizes) < max(LARGE.sizes)
    assert grid_of(np.zeros((60, 300, 300, 3), np.uint8), 32) == grids[24]  # what they are shrunk to counts
    assert grid_of(None, 300, step=9) == LARGE._replace(step=9)
    small = np.zeros((600, 32, 32, 3), np.uint8)
    assert fitting_sizes(small, 300, grids[24], 64, 1024) == (64, 0)
    join = ImageRetrieval().chain(small).stages[0]
    assert len(join.branches) == 2
    assert "Llc" not in repr(join)
    assert "Llc" in repr(ImageRetrieval().chain(None).stages[0])


def test_many_small_pictures_have_fewer_gaussians_in_memory() -> None:
    def gaussians(count: int) -> int:
        one = Images(np.broadcast_to(np.uint8(0), (count, 32, 32, 3)), np.broadcast_to(np.int32(32), (count, 2)))
        return ImageClassification().chain(one).stages[0].branches[0].stages[-1].mixture.components

    assert [gaussians(count) for count in (5_000, 60_000, 1_000_000)] == [64, 14, 8]


def test_which_pictures_are_photographs(tmp_path: Path) -> None:
    assert suits(np.zeros((50, 24, 20, 3), np.uint8))
    assert not suits(np.zeros((49, 96, 96, 3), np.uint8))
    assert not suits(np.zeros((50, 23, 23, 3), np.uint8))
    assert count_pictures(pictures(3, 20)) == 3
    for number, each in enumerate(pictures(50, 96)):
        Image.fromarray(each).save(tmp_path / f"{number}.png")
    items = walk(tmp_path)
    assert usual_recipe(items).recipe == "image-retrieval"
    few = ImageClassification()
    assert few.decode(items).max_side == MAX_SIDE
    assert few.decode(pictures(3, 96)).max_side == 128


@pytest.mark.parametrize(("side", "settings"), [(96, {}), (24, {"colour": 0.0, "steps": 0})])
def test_the_recipe_learns_from_a_dozen_pictures_and_tells_their_kinds(side: int, settings: dict[str, Any]) -> None:
    some = pictures(12, side)
    model = fit(ImageRetrieval(bits=16, **settings), some)
    bits = model.encode(some) > 0
    apart = (bits[:, None] != bits[None]).sum(axis=2)
    same = (np.arange(12)[:, None] - np.arange(12)) % 2 == 0
    assert apart[same].mean() + 2 < apart[~same].mean()
    assert np.isfinite(model.encode(pictures(2, side))).all()


def test_kept_locals_are_those_of_the_descriptor() -> None:
    source = ArrayImages([*pictures(3, 40), *pictures(2, 80)], Decode(max_side=128))
    kept = KeptLocals([Patches(6, stride=6)], source, lambda *told: None)
    encoder = Encoder((Patches(6, stride=6),), ((),))
    assert len(kept) == 5
    for rows, out, _ in encode_source(encoder, source):
        found, weight = kept.read(rows)
        np.testing.assert_allclose(found.values, out.values, atol=2e-3)
        np.testing.assert_array_equal(found.weight, out.weight)
        np.testing.assert_array_equal(found.where, out.where)
        assert weight.all()


@pytest.mark.parametrize("name", ["photos", "sift"])
def test_unknown_features_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match='features is "auto", "photo" or "patches"'):
        ImageClassification(features=name)
