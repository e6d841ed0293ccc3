"""Photographs found by photographs: every image vector of the house, as floats and as bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfeat.evaluate.rows import Finding

if TYPE_CHECKING:
    from mmfeat.stages import Report

__all__ = ["RetrievalCaltech"]


@dataclass(frozen=True)
class RetrievalCaltech:
    """How often the nearest of 1,500 photographs are of the category of the one asked for: 750 queries, 50 categories.

    Every vector: its branches, then 128 principal components, half whitened, of length 1 ("floats"), and ITQ on them ("bits").
    "graph" puts a short walk over the anchor graph of the 1,500 before that. Nothing learns from labels; settings were chosen
    on parts of the 1,500. `image-retrieval` is the default of `mmfeat index build`.

    Cost: seven minutes on two cores beside other work.
    Command: mmfeat reproduce retrieval-caltech

    only: names of vectors; all, if none.
    """

    bits: tuple[int, ...] = (64, 128)
    dims: int = 128
    only: tuple[str, ...] = ()

    def measure(self, data: Path, seed: int, report: Report) -> Iterator[Finding]:
        """Small descriptors first, then the branches, then all of them."""
        from mmfeat.learners.itq import itq_hash
        from mmfeat.pipelines.reproductions.codes import measure
        from mmfeat.pipelines.reproductions.hashing_photos import caltech_task, photographs_task

        small = caltech_task(data, seed)  # of 128 px: what pixels and patches learn from
        large = photographs_task(data, small)
        itq = {"ITQ": itq_hash}
        for name, (side, stages) in _vectors(self.dims).items():
            if not self.only or name in self.only:
                task = small if side == "small" else large
                further = {f"{name}, graph": [_walk()]} if side == "graph" else {}
                yield from measure(task, name, stages, itq, self.bits, report, floats=True, further=further)


def _vectors(dims: int) -> dict[str, tuple[str, list[Any]]]:
    """By name: which pictures and whether the walk is tried, and the stages."""
    from mmfeat.chain import Join
    from mmfeat.descriptors.colour import ColourHistogram
    from mmfeat.descriptors.lbp import Lbp
    from mmfeat.descriptors.pixels import Pixels
    from mmfeat.learners.wide_pca import WidePca
    from mmfeat.pipelines.patch_codes import PatchCodes
    from mmfeat.pipelines.photo_features import photo_features
    from mmfeat.pool import Normalise

    def ended(*stages: Any) -> list[Any]:
        return [*stages, WidePca(dims, whiten=0.5, epsilon=1e-3), Normalise()]

    whole = photo_features()
    shapes, colours = whole.branches
    sift, pair = shapes.stages
    lbp = Lbp(regions=((1, 1), (2, 2), (4, 4)), norm="hellinger")
    return {
        "pixels": ("small", [Pixels(side=32)]),
        "patches, VLAD": ("small", list(PatchCodes().chain(None).stages[:3])),
        "colour histogram": ("large", [ColourHistogram(regions=((1, 1), (2, 2)))]),
        "LBP": ("large", ended(lbp)),
        "Fisher of colours": ("large", ended(*colours.stages)),
        "LLC": ("large", ended(sift, *pair.branches[1].stages)),
        "Fisher": ("large", ended(sift, *pair.branches[0].stages)),
        "Fisher, LLC": ("large", ended(*shapes.stages)),
        "Fisher, LLC, LBP": ("large", ended(Join(shapes, lbp, weights=(1.0, 0.3)))),
        "Fisher, LLC, colours": ("graph", ended(whole)),
    }


def _walk() -> Any:
    """That of the recipe `image-retrieval` for 1,500 photographs."""
    from mmfeat.learners.anchor_graph import AnchorGraph
    from mmfeat.learners.kmeans import KMeans

    return AnchorGraph(KMeans(750), neighbours=5, steps=2, keep=1.0)
