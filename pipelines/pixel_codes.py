"""The simplest recipe: small pictures as they are, and ITQ codes of their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["PixelCodes"]


@dataclass(frozen=True)
class PixelCodes:
    """Binary codes of the pixels themselves (PCA and ITQ): for small, aligned pictures such as digits, symbols, spectrograms.

    Cost: seconds. Two photographs are near when their layout of colours is; see image-retrieval for photographs.
    Command: mmfeat index build digits/ -o digits.index --recipe pixel-codes --set side=28 --set color=grey
    """

    bits: int = 128
    side: int = 32
    color: str = "rgb"
    fit_rows: int = 131_072

    def decode(self, items: Any) -> Any:
        """Exactly `side` x `side` px, proportions given up."""
        from mmfeat.media.decode import Decode

        return Decode(color=self.color, size=(self.side, self.side), max_side=None)

    def chain(self, items: Any) -> Any:
        """Pixels → PCA → ITQ rotation."""
        from mmfeat.chain import Chain
        from mmfeat.descriptors.pixels import Pixels
        from mmfeat.learners.itq import itq_hash

        return Chain(Pixels(), itq_hash(self.bits), fit_rows=self.fit_rows)
