"""What the bits of a hash are worth, without labels: balance, correlation, distinct codes.

A bit that is one for half of the items and independent of the other bits tells most (Y. Weiss, A. Torralba and R. Fergus, "Spectral
hashing", NIPS 2008, eq. 1). The entropy of a bit with mean p is -p log2 p - (1 - p) log2 (1 - p): 1 at p = 1/2, 0 for a dead bit.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mmfeat.arrays import unpack_bits
from mmfeat.errors import DataError

__all__ = ["DEAD", "BitStatistics", "bit_statistics"]

DEAD = 0.005  # a bit whose mean is nearer to 0 or 1 than this is dead
_BLOCK = 1 << 16  # codes unpacked at once


@dataclasses.dataclass(frozen=True)
class BitStatistics:
    """Statistics of n codes of some bits.

    items: n. distinct: different codes among them. means: (bits,) float64, the share of ones of each bit.
    correlation: (bits, bits) float64, of Pearson; 0 where a bit never changes.
    """

    items: int
    distinct: int
    means: np.ndarray
    correlation: np.ndarray

    @property
    def bits(self) -> int:
        """The length of the codes."""
        return len(self.means)

    @property
    def dead(self) -> int:
        """Bits that are the same for 99.5 % of the items or more."""
        return int(((self.means < DEAD) | (self.means > 1 - DEAD)).sum())

    @property
    def entropy(self) -> float:
        """Mean entropy of the bits, in [0, 1]."""
        p = np.clip(self.means, 1e-12, 1 - 1e-12)
        value = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
        return float(np.where((self.means > 0) & (self.means < 1), value, 0.0).mean())

    @property
    def mean_correlation(self) -> float:
        """Mean of the absolute correlation between two different bits; 0 for a single bit."""
        pairs = self.bits * (self.bits - 1)
        return float((np.abs(self.correlation).sum() - np.trace(np.abs(self.correlation))) / pairs) if pairs else 0.0

    def to_json(self) -> dict[str, Any]:
        """The numbers, without the matrix."""
        return {
            "bits": self.bits,
            "items": self.items,
            "distinct codes": self.distinct,
            "dead bits": self.dead,
            "lowest bit mean": float(self.means.min()),
            "highest bit mean": float(self.means.max()),
            "mean entropy of a bit": self.entropy,
            "mean absolute correlation": self.mean_correlation,
        }


def bit_statistics(codes: np.ndarray, bits: int) -> BitStatistics:
    """Statistics of packed codes (n, bytes) uint8 of so many bits, in blocks.

    ShapeError: the width does not fit the bits. DataError: no codes.

    >>> bit_statistics(np.array([[1], [3], [1], [3]], np.uint8), 2).means.tolist()
    [1.0, 0.5]
    """
    if not len(codes):
        raise DataError("bits are counted over codes", "none", "pass at least one")
    ones, both = np.zeros(bits), np.zeros((bits, bits))
    for start in range(0, len(codes), _BLOCK):
        block = unpack_bits(codes[start : start + _BLOCK], bits).astype(np.float32)
        ones += block.sum(axis=0, dtype=np.float64)
        both += block.T @ block  # whole numbers below 2^24: exact in float32
    means = ones / len(codes)
    spread = np.sqrt(means * (1 - means))
    scale = np.outer(spread, spread)
    covariance = both / len(codes) - np.outer(means, means)
    correlation = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
    rows = np.ascontiguousarray(codes).view(np.dtype((np.void, codes.shape[1])))
    return BitStatistics(len(codes), len(np.unique(rows)), means, np.clip(correlation, -1, 1))
