"""What the recipes for photographs share: shapes, their layout, and colours, learned from the photographs themselves.

    dense SIFT ─┬─ PCA → Fisher vector over the whole and its quarters          what gradients there are, finely told
                └─ every third → LLC → maxima over a pyramid of 21 regions      which of 1,024 words are where
    colours of patches → PCA → Fisher vector                                    the same for colours

Each branch is a row of length 1. The settings were chosen on a part of the training photographs of a Caltech-101 subset;
`mmfeat reproduce caltech` and `retrieval-caltech` measure every part by itself.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MAX_SIDE", "photo_features"]

MAX_SIDE = 300  # px
_PYRAMID = ((1, 1), (2, 2), (4, 4))
_QUARTERS = ((1, 1), (2, 2))


def photo_features(
    step: int = 5, components: int = 64, gaussians: int = 64, codewords: int = 1024, colour: float = 0.4
) -> Any:
    """A `Join` that makes one row of a photograph of at most `MAX_SIDE` px.

    step: pixels between descriptors. components: of SIFT, by PCA. gaussians: of each mixture. codewords: of LLC.
    colour: the weight of the branch of colours; 0 leaves it out.
    """
    from mmfeat.chain import Chain, Join
    from mmfeat.descriptors.colour import LocalColour
    from mmfeat.descriptors.sift import DenseSift
    from mmfeat.learners.fisher import Fisher
    from mmfeat.learners.kmeans import KMeans
    from mmfeat.learners.llc import Llc
    from mmfeat.learners.mixture import Mixture
    from mmfeat.learners.whitening import Pca
    from mmfeat.pool import Normalise, Pool, Thin

    shapes = Chain(
        DenseSift(sizes=(4, 6, 8, 10), step=step, root=True),
        Join(
            Chain(Pca(components), Fisher(Mixture(gaussians), regions=_QUARTERS)),
            Chain(Thin(3), Llc(KMeans(codewords)), Pool(_PYRAMID, "max"), Normalise(power=0.5)),
        ),
    )
    if not colour:
        return shapes
    colours = Chain(LocalColour(sizes=(4, 8), step=step), Pca(48), Fisher(Mixture(gaussians), regions=_QUARTERS))
    return Join(shapes, colours, weights=(1.0, colour))
