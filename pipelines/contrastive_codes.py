"""Binary codes of a convolutional net that learns from changed pictures: for many small pictures of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["ContrastiveCodes"]


@dataclass(frozen=True)
class ContrastiveCodes:
    """A contrastive net (SimCLR), walks over its graph of the pictures, and ITQ bits. `augment` says what may change in a picture.

    Cost: about ten minutes for 60,000 pictures of 28 x 28 on two cores; passes=5 is half of it.
    Command: mmfeat index build digits/ -o d.index --recipe contrastive-codes --set side=28 --set color=grey --set augment=digits

    augment: "photo" (crops, colours, mirrored), "tiles" (any orientation, stains), "digits" (slants, shifts, elastic; no mirror).
    steps: of the walk; 0 leaves it out. anchors: its stations, at most a third of the pictures.
    """

    bits: int = 64
    side: int = 32
    color: str = "rgb"
    augment: str = "photo"
    widths: tuple[int, ...] = (32, 64, 128)
    output: str = "projection"
    passes: int = 10
    anchors: int = 1000
    steps: int = 8
    fit_rows: int = 131_072

    def decode(self, items: Any) -> Any:
        """Exactly `side` x `side` px, proportions given up."""
        from mmfeat.media.decode import Decode

        return Decode(color=self.color, size=(self.side, self.side), max_side=None)

    def chain(self, items: Any) -> Any:
        """Pixels → contrastive net → anchor graph → PCA → ITQ rotation."""
        from mmfeat.chain import Chain
        from mmfeat.descriptors.pixels import Pixels
        from mmfeat.learners.anchor_graph import AnchorGraph
        from mmfeat.learners.contrastive import Contrastive
        from mmfeat.learners.itq import itq_hash
        from mmfeat.learners.kmeans import KMeans

        net = Contrastive(
            side=self.side,
            channels=1 if self.color == "grey" else 3,
            augment=self.augment,
            widths=self.widths,
            output=self.output,
            passes=self.passes,
        )
        graph = (AnchorGraph(KMeans(self.anchors), steps=self.steps),) if self.steps else ()
        width = net.code if self.output == "projection" else net.hidden
        return Chain(Pixels(), net, *graph, itq_hash(min(self.bits, width)), fit_rows=self.fit_rows)
