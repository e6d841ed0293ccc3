"""The recipe `contrastive-codes`: its stages follow from its settings and the pictures, and its codes repeat for equal pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import mmfeat
from mmfeat.arrays import Images
from mmfeat.learners import AnchorGraph
from mmfeat.pipelines.contrastive_codes import ContrastiveCodes


def stages(recipe: ContrastiveCodes, items: Any = None) -> dict[str, Any]:
    """The stages of its chain by the name of their class."""
    return {type(stage).__name__: stage for stage in recipe.chain(items).stages}


def test_pictures_become_bits() -> None:
    digits = load_digits()
    pixels = (digits.images[:120, :, :, None] * 15).astype(np.uint8)
    pixels[100:] = pixels[:20]
    images = Images(pixels, np.full((len(pixels), 2), 8, np.int32))
    recipe = ContrastiveCodes(
        bits=10, side=8, color="grey", augment="digits", widths=(4, 8), passes=2, batch=60, anchors=40, steps=1
    )
    assert recipe.decode(None).size == (8, 8)
    codes = mmfeat.fit(recipe.chain(images), images, seed=0).encode_bits(images)
    assert codes.shape == (120, 2)
    np.testing.assert_array_equal(codes[100:], codes[:20])
    assert len(np.unique(codes, axis=0)) > 10


def test_few_pictures_have_fewer_anchors_and_none_where_there_is_no_walk() -> None:
    def anchors(recipe: ContrastiveCodes, items: int) -> list[int]:
        chain = recipe.chain(np.zeros((items, 4), np.float32))
        return [stage.codebook.clusters for stage in chain.stages if isinstance(stage, AnchorGraph)]

    assert anchors(ContrastiveCodes(anchors=1000), 100_000) == [1000]
    assert anchors(ContrastiveCodes(), 90) == [30]
    assert anchors(ContrastiveCodes(steps=0), 90) == []


def test_settings_reach_the_net_and_codes_are_no_wider_than_it() -> None:
    found = stages(ContrastiveCodes(bits=200, side=20, color="grey", passes=3, augment="tiles"))
    net = found["Contrastive"]
    assert (net.side, net.channels, net.passes, net.augment) == (20, 1, 3, "tiles")
    assert found["Pca"].dims == net.code
    wide = stages(ContrastiveCodes(bits=200, output="embedding"))
    assert wide["Contrastive"].channels == 3
    assert wide["Pca"].dims == 200
