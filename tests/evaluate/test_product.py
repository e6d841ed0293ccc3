"""Optimised product quantisation against what must hold of any product code."""

from __future__ import annotations

import numpy as np
import pytest

from mmfeat.errors import UsageError
from mmfeat.evaluate.product import opq_decoded


def rows(count: int = 600, width: int = 24, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, width)) * np.linspace(3, 0.3, width)).astype(np.float32)


def least_error(variances: np.ndarray, bits: int) -> float:
    """What no code of so many bits can go below on Gaussian rows: reverse water-filling (Cover & Thomas, theorem 10.3.3)."""
    low, high = 0.0, float(variances.max())
    for _ in range(60):
        level = (low + high) / 2
        needed = 0.5 * np.log2(np.maximum(variances / level, 1)).sum()
        low, high = (level, high) if needed > bits else (low, level)
    return float(np.minimum(variances, high).sum())


def test_more_bytes_decode_better_but_not_beyond_what_rate_distortion_allows() -> None:
    train, other = rows(2000), rows(1000, seed=1)
    variances = np.linspace(3, 0.3, 24) ** 2
    errors = [float(((other - opq_decoded(train, other, bits)) ** 2).sum(axis=1).mean()) for bits in (8, 16, 32, 64)]
    assert errors == sorted(errors, reverse=True)
    for bits, error in zip((8, 16, 32, 64), errors, strict=True):
        assert least_error(variances, bits) < error < variances.sum()
    assert errors[-1] < 0.2 * variances.sum()


def test_one_byte_has_at_most_256_values() -> None:
    column = np.sort(opq_decoded(rows(), rows(), 8)[:, 0])
    assert 100 < np.sum(np.diff(column) > 1e-4) + 1 <= 256


def test_mistakes_are_told() -> None:
    with pytest.raises(UsageError, match="multiple of 8"):
        opq_decoded(rows(), rows(), 12)
    with pytest.raises(UsageError, match="100 rows"):
        opq_decoded(rows(100), rows(), 8)
    with pytest.raises(UsageError, match="24 dimensions"):
        opq_decoded(rows(), rows(), 256)
