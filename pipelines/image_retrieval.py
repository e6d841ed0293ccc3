"""The default recipe for pictures: Fisher vectors, LLC and colours, smoothed over the collection's own graph, as ITQ codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmfeat.pipelines.photo_features import MAX_SIDE

__all__ = ["ImageRetrieval"]


@dataclass(frozen=True)
class ImageRetrieval:
    """Binary codes for pictures from 24 px to photographs, learned from the pictures themselves.

    Dense SIFT becomes a Fisher vector and a pyramid of LLC codes, colours of patches another Fisher vector; small pictures (up to
    95 px) have smaller patches and no LLC codes. Their principal components, partly whitened, are drawn towards those of like
    pictures (a short walk over an anchor graph); then they become bits by PCA and a learned rotation (ITQ).

    Cost: about 30 ms of one core a photograph, and a minute or two to learn (the programs are compiled for each shape of
    picture, once): half an hour for 100,000 on two cores. A code has 16 bytes. Result: docs/REPRODUCTIONS.md, `mmfeat
    reproduce retrieval-caltech` and `hashing-photos`; three times the mAP of `patch-codes`. What it is worth on yours is
    what the self-check says.
    Command: mmfeat index build photos/ -o photos.index --recipe image-retrieval

    max_side: px. step: px between patches; None goes by the size of the pictures. components, gaussians, codewords, colour: of
        `photo_features`; fewer where there are few pictures.
    kept: components of all that. anchors, steps, keep: of the walk; steps=0 leaves it out. whiten: from 0 to 1.
    """

    bits: int = 128
    max_side: int = MAX_SIDE
    step: int | None = None
    components: int = 64
    gaussians: int = 64
    codewords: int = 1024
    colour: float = 0.4
    kept: int = 128
    whiten: float = 0.5
    anchors: int = 2000
    steps: int = 2
    keep: float = 1.0
    fit_rows: int = 131_072

    def decode(self, items: Any) -> Any:
        """Colour, at most `max_side` px on a side, proportions kept."""
        from mmfeat.media.decode import Decode

        return Decode(max_side=self.max_side)

    def chain(self, items: Any) -> Any:
        """Photo features → PCA, partly whitened → anchor graph → PCA → ITQ rotation."""
        from mmfeat.chain import Chain
        from mmfeat.learners.anchor_graph import AnchorGraph
        from mmfeat.learners.itq import itq_hash
        from mmfeat.learners.kmeans import KMeans
        from mmfeat.learners.wide_pca import WidePca
        from mmfeat.pipelines.photo_features import count_pictures, fitting_sizes, grid_of, photo_features
        from mmfeat.pool import Normalise

        grid = grid_of(items, self.max_side, self.step)
        gaussians, codewords = fitting_sizes(items, self.max_side, grid, self.gaussians, self.codewords)
        features = photo_features(grid, self.components, gaussians, codewords, self.colour)
        anchors = max(1, min(self.anchors, count_pictures(items) // 2))
        walk = AnchorGraph(KMeans(anchors), neighbours=min(5, anchors), steps=self.steps, keep=self.keep)
        return Chain(
            features,
            WidePca(max(self.kept, self.bits), whiten=self.whiten, epsilon=1e-3, most_rows=8192),
            Normalise(),
            *((walk,) if self.steps else ()),
            itq_hash(self.bits),
            fit_rows=self.fit_rows,
        )
