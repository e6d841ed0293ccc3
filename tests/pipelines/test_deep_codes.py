"""The recipe `deep-codes` learns bits that tell digits apart better than random ones."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

import mmfeat
from mmfeat.arrays import Images, pack_bits
from mmfeat.evaluate.retrieval import drop_diagonal, hamming_distances, mean_average_precision
from mmfeat.learners import Lsh
from mmfeat.pipelines.deep_codes import DeepCodes


def test_deep_codes_are_better_addresses_than_random_bits() -> None:
    digits = load_digits()
    pixels = (digits.images[..., None] * 15).astype(np.uint8)
    images = Images(pixels, np.full((len(pixels), 2), 8, np.int32))
    recipe = DeepCodes(bits=16, side=8, color="grey", hidden=(48,), code=32, epochs=25)
    assert recipe.decode(None).size == (8, 8)
    rows = pixels.reshape(len(pixels), -1).astype(np.float32)
    relevant = drop_diagonal(digits.target[:, None] == digits.target[None, :])
    deep = pack_bits(mmfeat.fit(recipe.chain(None), images, seed=0).encode(images))
    random = pack_bits(mmfeat.fit(Lsh(16), rows, seed=0).encode(rows))
    assert deep.shape == (len(pixels), 2)
    scores = [
        mean_average_precision(drop_diagonal(hamming_distances(codes, codes)), relevant) for codes in (deep, random)
    ]
    assert scores[0] > scores[1] + 0.05, scores
