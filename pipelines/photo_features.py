"""What the recipes for photographs share: shapes, their layout, and colours, learned from the photographs themselves.

    dense SIFT ─┬─ PCA → Fisher vector over the whole and its quarters          what gradients there are, finely told
                └─ every third → LLC → maxima over a pyramid of 21 regions      which of 1,024 words are where
    colours of patches → PCA → Fisher vector                                    the same for colours

Each branch is a row of length 1. The settings were chosen on a part of the training photographs of a Caltech-101 subset;
`mmfeat reproduce caltech` and `retrieval-caltech` measure every part by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmfeat.arrays import count_rows

__all__ = ["MAX_SIDE", "count_pictures", "fitting_sizes", "photo_features", "suits"]

MAX_SIDE = 300  # px
FEW, SMALL = 50, 96  # fewer pictures, or smaller ones (px, the larger side), are better served by patches
_SIZES = (4, 6, 8, 10)  # px, of SIFT's cells
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
        DenseSift(sizes=_SIZES, step=step, root=True),
        Join(
            Chain(Pca(components), Fisher(Mixture(gaussians), regions=_QUARTERS)),
            Chain(Thin(3), Llc(KMeans(codewords)), Pool(_PYRAMID, "max"), Normalise(power=0.5)),
        ),
    )
    if not colour:
        return shapes
    colours = Chain(LocalColour(sizes=(4, 8), step=step), Pca(48), Fisher(Mixture(gaussians), regions=_QUARTERS))
    return Join(shapes, colours, weights=(1.0, colour))


def suits(items: Any) -> bool:
    """Whether pictures are many and large enough for `photo_features`. items: a table of them, arrays, or None (unknown)."""
    if items is None:
        return True
    sizes = _sizes(items)
    return len(sizes) >= FEW and (not sizes.size or float(np.median(sizes.max(axis=1))) >= SMALL)


def fitting_sizes(items: Any, max_side: int, step: int, gaussians: int, codewords: int) -> tuple[int, int]:
    """Gaussians and codewords, fewer where there are too few descriptors to learn as many from."""
    if items is None:
        return gaussians, codewords
    sizes = _sizes(items).astype(np.float64)
    sizes = sizes * np.minimum(1, max_side / np.maximum(sizes.max(axis=1, keepdims=True, initial=1), 1))
    places = sum((np.maximum((sizes - 4 * cell) // step + 1, 0).prod(axis=1).sum() for cell in _SIZES), start=0.0)
    most = int(places) // 100
    return max(1, min(gaussians, most // 4)), max(5, min(codewords, most))


def count_pictures(items: Any) -> int:
    """How many pictures there are; many where that is not known."""
    return 2**31 if items is None else len(_sizes(items))


def _sizes(items: Any) -> np.ndarray:
    """Height and width (n, 2) of every picture, in px."""
    images = getattr(items, "images", None)
    if images is not None and hasattr(items, "table"):
        table = items.table.select(["height", "width"]).take(images)
        columns = [table[name].fill_null(1).to_numpy() for name in ("height", "width")]
        return np.stack(columns, axis=1).astype(np.int64)
    if hasattr(items, "size") and hasattr(items, "pixels"):
        return np.asarray(items.size)
    if isinstance(items, Sequence):
        return np.array([np.shape(each)[:2] if np.ndim(each) >= 2 else (MAX_SIDE, MAX_SIDE) for each in items])
    shape = getattr(items, "shape", ())
    return np.full((count_rows(items), 2), shape[1:3] if len(shape) > 2 else MAX_SIDE)
