"""`mmfeat.fit` takes data as people have them."""

from __future__ import annotations

import numpy as np
import pytest

import mmfeat
from mmfeat.arrays import Locals
from mmfeat.classify.softmax import Softmax
from mmfeat.descriptors import Patches, Pixels
from mmfeat.errors import DataError
from mmfeat.learners import KMeans, Pca, Vlad

ROWS = np.random.default_rng(0).normal(size=(200, 6))
LABELS = np.where(ROWS[:, 0] > 0, "right", "left")


def test_labels_beside_the_rows_or_in_a_dict_give_the_same_classifier() -> None:
    one = mmfeat.fit(Softmax(), ROWS, labels=LABELS)
    two = mmfeat.fit(Softmax(), {"x": ROWS, "y": LABELS})
    assert one.classes == two.classes == ("left", "right")
    assert one.sha256 == two.sha256
    found = np.array(one.classes)[one.encode(ROWS).argmax(axis=1)]
    assert (found == LABELS).mean() > 0.97


def test_a_classifier_without_labels_is_a_sentence() -> None:
    with pytest.raises(DataError, match="two classes or more"):
        mmfeat.fit(Softmax(), ROWS)


def test_locals_in_memory_are_learned_from() -> None:
    values = np.random.default_rng(1).normal(size=(30, 20, 4)).astype(np.float32)
    data = Locals(values, np.zeros((30, 20, 2), np.float32), np.ones((30, 20), np.float32))
    model = mmfeat.fit(mmfeat.Chain(Vlad(KMeans(3)), Pca(2)), data)
    assert model.encode(data).shape == (30, 2)


def test_pictures_in_memory_need_no_decoding_to_be_said() -> None:
    pictures = np.random.default_rng(2).integers(0, 255, (40, 12, 12, 3), np.uint8)
    by_pixels = mmfeat.fit(mmfeat.Chain(Pixels(), Pca(5)), pictures)
    np.testing.assert_allclose(
        by_pixels.encode(pictures),
        mmfeat.fit(Pca(5), pictures.reshape(40, -1) / 255).encode(pictures.reshape(40, -1) / 255),
        atol=1e-3,
    )
    grey = mmfeat.fit(mmfeat.Chain(Patches(6), Pca(5), mmfeat.Pool()), list(pictures[..., 0]))
    assert grey.encode(list(pictures[..., 0])).shape == (40, 5)
