"""Bits of a deep autoencoder trained under noise: for many small pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["DeepCodes"]


@dataclass(frozen=True)
class DeepCodes:
    """Semantic hashing of pixels (Salakhutdinov & Hinton 2009; Krizhevsky & Hinton 2011): a deep autoencoder whose code is bits.

    noise on the bits in training brings like pictures together; 0 keeps more of each. corruption: the share of pixels the net has
    to guess. Cost: minutes for 60,000 pictures of 28 x 28 on two cores.
    Command: mmfeat index build digits/ -o digits.index --recipe deep-codes --set side=28 --set color=grey
    """

    bits: int = 64
    side: int = 32
    color: str = "rgb"
    hidden: tuple[int, ...] = (1000, 500, 250)
    noise: float = 1.0
    corruption: float = 0.25
    epochs: int = 10
    fit_rows: int = 131_072

    def decode(self, items: Any) -> Any:
        """Exactly `side` x `side` px, proportions given up."""
        from mmfeat.media.decode import Decode

        return Decode(color=self.color, size=(self.side, self.side), max_side=None)

    def chain(self, items: Any) -> Any:
        """Pixels → the bits of a deep autoencoder."""
        from mmfeat.chain import Chain
        from mmfeat.descriptors.pixels import Pixels
        from mmfeat.learners.autoencoder import Autoencoder
        from mmfeat.learners.semantic_hash import SemanticHash

        net = Autoencoder(
            self.hidden, activation="gelu", loss="cross_entropy", learning_rate=1.5e-3, passes=self.epochs, batch=250,
            corruption=self.corruption,
        )  # fmt: skip
        return Chain(Pixels(), SemanticHash(self.bits, noise=self.noise, net=net), fit_rows=self.fit_rows)
