"""Optimised product quantisation against what must hold of any product code."""

from __future__ import annotations

import numpy as np
import pytest

from mmfeat.errors import UsageError
from mmfeat.evaluate.product import opq_decoded


def rows(count: int = 600, width: int = 24, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, width)) * np.linspace(3, 0.3, width)).astype(np.float32)


def test_more_bytes_decode_better_and_never_beyond_what_the_dimensions_allow() -> None:
    x = rows()
    errors = [float(((x - opq_decoded(x, x, bits)) ** 2).sum(axis=1).mean()) for bits in (8, 16, 32, 48)]
    assert errors == sorted(errors, reverse=True)
    spectrum = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1]
    for bits, error in zip((8, 16, 32), errors, strict=False):
        assert error >= 0.99 * spectrum[4 * bits // 8 :].sum()  # PCA to as many dimensions loses least
    assert errors[-1] < 0.2 * x.var(axis=0).sum()


def test_one_byte_has_at_most_256_values() -> None:
    x = rows()
    assert len(np.unique(opq_decoded(x, x, 8).round(3), axis=0)) <= 256


def test_mistakes_are_told() -> None:
    with pytest.raises(UsageError, match="multiple of 8"):
        opq_decoded(rows(), rows(), 12)
    with pytest.raises(UsageError, match="100 rows"):
        opq_decoded(rows(100), rows(), 8)
    with pytest.raises(UsageError, match="24 dimensions"):
        opq_decoded(rows(), rows(), 256)
