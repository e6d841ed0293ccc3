"""PCA hashing against scikit-learn's components."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import default_batches, start, train, transform
from mmfeat.learners.pca_hash import PcaHash


def test_bits_are_the_signs_of_the_components() -> None:
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(500, 8)) * np.geomspace(4, 0.5, 8) + 3).astype(np.float32)
    learner = PcaHash(bits=6, batch=100)
    run = train(learner, start(learner, x), default_batches(learner, x))
    codes = transform(learner, run, x)
    known = PCA(6, svd_solver="full").fit_transform(x.astype(np.float64))
    flips = np.sign((codes * known).sum(0))
    np.testing.assert_allclose(codes, known * flips, atol=1e-4)
    assert ((codes > 0) == (known * flips > 0))[np.abs(known) > 1e-3].all()
    mean, matrix = learner.affine(run.state)
    np.testing.assert_allclose((x - np.asarray(mean)) @ np.asarray(matrix), codes, atol=1e-4)


def test_mistakes_are_told() -> None:
    with pytest.raises(SettingsError, match="bits=0"):
        PcaHash(bits=0)
    with pytest.raises(ShapeError, match="4 dims"):
        start(PcaHash(bits=5), np.ones((9, 4), np.float32))
