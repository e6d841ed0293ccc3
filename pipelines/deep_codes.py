"""Codes of a deep denoising autoencoder, made binary by ITQ: for many small pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["DeepCodes"]


@dataclass(frozen=True)
class DeepCodes:
    """Sigmoid units that guess the pixels taken away (Vincent et al. 2008), by PCA and ITQ (Gong & Lazebnik 2011).

    The pixels taken away are what matters: codes learned from whole pictures are worse addresses than ITQ on the pixels themselves.
    hidden, code: the layers; the code has at least as many units as there are bits. corruption: the share of pixels taken away.
    Cost: a minute for 60,000 pictures of 28 x 28 on two cores.
    Command: mmfeat index build digits/ -o digits.index --recipe deep-codes --set side=28 --set color=grey
    """

    bits: int = 64
    side: int = 32
    color: str = "rgb"
    hidden: tuple[int, ...] = (512,)
    code: int = 256
    corruption: float = 0.4
    epochs: int = 6
    fit_rows: int = 131_072

    def decode(self, items: Any) -> Any:
        """Exactly `side` x `side` px, proportions given up."""
        from mmfeat.media.decode import Decode

        return Decode(color=self.color, size=(self.side, self.side), max_side=None)

    def chain(self, items: Any) -> Any:
        """Pixels → deep denoising autoencoder → PCA → ITQ rotation."""
        from mmfeat.chain import Chain
        from mmfeat.descriptors.pixels import Pixels
        from mmfeat.learners.autoencoder import Autoencoder
        from mmfeat.learners.itq import itq_hash

        autoencoder = Autoencoder(
            self.hidden, max(self.code, self.bits), "sigmoid", "sigmoid", loss="cross_entropy", corruption=self.corruption,
            passes=self.epochs, batch=125,
        )  # fmt: skip
        return Chain(Pixels(), autoencoder, itq_hash(self.bits), fit_rows=self.fit_rows)
