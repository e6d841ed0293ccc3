"""Statistics of bits against NumPy's own on the unpacked matrix."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from mmfeat.arrays import pack_bits
from mmfeat.errors import DataError, ShapeError
from mmfeat.evaluate import bits as module
from mmfeat.evaluate.bits import bit_statistics


def test_statistics_equal_numpys(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 64)
    rng = np.random.default_rng(0)
    ones = rng.random((300, 13)) < np.linspace(0.05, 0.95, 13)
    ones[:, 3] = ones[:, 2] ^ (rng.random(300) < 0.1)
    ones[:, 7] = True  # never changes
    ones[:, 9] = np.arange(300) == 5  # 1 of 300: dead
    found = bit_statistics(pack_bits(ones.astype(float)), 13)
    np.testing.assert_allclose(found.means, ones.mean(axis=0))
    others = np.delete(np.arange(13), 7)
    np.testing.assert_allclose(found.correlation[np.ix_(others, others)], np.corrcoef(ones[:, others].T), atol=1e-12)
    assert not found.correlation[7].any()
    pairs = found.correlation[np.triu_indices(13, 1)]
    assert found.mean_correlation == pytest.approx(np.abs(pairs).mean())
    assert found.distinct == len({tuple(row) for row in ones.tolist()}) < 300
    assert found.dead == 2
    means = ones.mean(axis=0)
    assert found.entropy == pytest.approx(entropy(np.stack([means, 1 - means]), base=2).mean())
    assert found.to_json()["dead bits"] == 2


def test_one_bit_and_one_item():
    found = bit_statistics(np.array([[1]], np.uint8), 1)
    assert (found.distinct, found.dead, found.entropy, found.mean_correlation) == (1, 1, 0.0, 0.0)


def test_bad_codes_are_named():
    with pytest.raises(DataError, match="over codes"):
        bit_statistics(np.zeros((0, 1), np.uint8), 8)
    with pytest.raises(ShapeError, match="12-bit"):
        bit_statistics(np.zeros((3, 1), np.uint8), 12)
