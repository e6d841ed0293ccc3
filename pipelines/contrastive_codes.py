"""Binary codes of a convolutional net that learns from changed pictures: for many small pictures of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmfeat.arrays import count_rows

__all__ = ["ContrastiveCodes"]


@dataclass(frozen=True)
class ContrastiveCodes:
    """A contrastive net (SimCLR), walks over its graph of the pictures, and ITQ bits. `augment` says what may change in a picture.

    Cost: 480 CPU seconds for 60,000 pictures of 28 x 28 (twenty passes of the net take nearly all of it).
    Result: docs/REPRODUCTIONS.md, `mmfeat reproduce hashing-mnist` and `hashing-photos`: with steps=16 among the best codes of
    digits; on small photographs and thumbnails far behind `image-retrieval`. Long walks suit data that fall into groups.
    Command: mmfeat index build digits/ -o digits.index --recipe contrastive-codes --set side=28 --set color=grey
        --set augment=digits --set steps=16

    augment: "photo" (crops, colours, mirrored), "tiles" (any orientation, stains), "digits" (slants, shifts, elastic; no mirror).
    widths: channels of the net's convolutions; each halves the side. output: "projection", or "embedding" (no groups wanted).
    passes, batch: of the net; with few pictures many passes. steps: of the walk over the graph; 0 leaves it out.
    anchors: its stations; at most a third of the pictures.
    deslanted: so many components of the deslanted picture stand beside the net's code, before the walk; for writing. 0: none.
    """

    bits: int = 64
    side: int = 32
    color: str = "rgb"
    augment: str = "photo"
    widths: tuple[int, ...] = (16, 32, 64)
    output: str = "projection"
    passes: int = 20
    batch: int = 512
    anchors: int = 2000
    steps: int = 4
    deslanted: int = 0
    fit_rows: int = 131_072

    def decode(self, items: Any) -> Any:
        """Exactly `side` x `side` px, proportions given up."""
        from mmfeat.media.decode import Decode

        return Decode(color=self.color, size=(self.side, self.side), max_side=None)

    def chain(self, items: Any) -> Any:
        """Pixels → contrastive net (beside it the deslanted pixels → PCA) → anchor graph → PCA → ITQ rotation."""
        from mmfeat.chain import Chain, Join
        from mmfeat.descriptors.deslant import Deslant
        from mmfeat.descriptors.pixels import Pixels
        from mmfeat.learners.anchor_graph import AnchorGraph
        from mmfeat.learners.contrastive import Contrastive
        from mmfeat.learners.itq import itq_hash
        from mmfeat.learners.kmeans import KMeans
        from mmfeat.learners.scale import Scale
        from mmfeat.learners.whitening import Pca

        net = Contrastive(
            side=self.side,
            channels=1 if self.color == "grey" else 3,
            augment=self.augment,
            widths=self.widths,
            output=self.output,
            passes=self.passes,
            batch=self.batch,
        )
        anchors = max(1, min(self.anchors, _count(items) // 3))
        graph = (AnchorGraph(KMeans(anchors), neighbours=min(5, anchors), steps=self.steps),) if self.steps else ()
        width = (net.code if self.output == "projection" else net.hidden) + self.deslanted
        code: Any = Chain(Pixels(), net)
        if self.deslanted:
            code = Join(code, Chain(Deslant(self.side), Pca(self.deslanted), Scale()))
        return Chain(code, *graph, itq_hash(min(self.bits, width)), fit_rows=self.fit_rows)


def _count(items: Any) -> int:
    """How many pictures there are; many where that is not known."""
    if items is None:
        return 2**31
    images = getattr(items, "images", None)
    return count_rows(items) if images is None else len(images)
