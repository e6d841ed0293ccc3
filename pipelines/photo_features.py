"""What the recipes for photographs share: shapes, their layout, and colours, learned from the photographs themselves.

    dense SIFT ─┬─ PCA → Fisher vector over the whole and its quarters          what gradients there are, finely told
                └─ every third → LLC → maxima over a pyramid of 21 regions      which of 1,024 words are where
    colours of patches → PCA → Fisher vector                                    the same for colours

Each branch is a row of length 1. Small pictures have smaller cells at more places (`grid_of`), and no room for a layout of words.
The settings were chosen on parts of the training photographs of Caltech-101 and CIFAR-10 subsets; `mmfeat reproduce caltech`,
`retrieval-caltech` and `hashing-photos` measure them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmfeat.arrays import count_rows

__all__ = ["LARGE", "MAX_SIDE", "Grid", "count_pictures", "fitting_sizes", "grid_of", "photo_features", "suits"]

MAX_SIDE = 200  # px; of photographs of objects, 300 px found less and cost more
FEW, SMALLEST = 50, 24  # fewer pictures, or smaller ones (px, the larger side), are better served by patches
_PYRAMID = ((1, 1), (2, 2), (4, 4))
_QUARTERS = ((1, 1), (2, 2))


class Grid(NamedTuple):
    """Where patches are. sizes, colours: sides of the cells in px, of shapes and of colours. step: px between patches.

    words: whether there is room for a layout of words.
    """

    sizes: tuple[int, ...]
    colours: tuple[int, ...]
    step: int
    words: bool = True


LARGE = Grid((4, 6, 8, 10), (4, 8), 4)
_MIDDLE = Grid((4, 6, 8), (3, 6), 3)
_SMALL = Grid((3, 4, 6), (2, 4), 2, words=False)
_GRIDS = ((160, LARGE), (96, _MIDDLE), (0, _SMALL))  # from so many px of the larger side on


def photo_features(
    grid: Grid = LARGE, components: int = 64, gaussians: int = 64, codewords: int = 1024, colour: float = 0.4
) -> Any:
    """A `Join` that makes one row of a photograph of at most `MAX_SIDE` px.

    components: of SIFT, by PCA. gaussians: of each mixture. codewords: of LLC; 0 leaves it out. colour: the weight of the branch
    of colours; 0 leaves it out.
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

    def fisher(dims: int) -> list[Any]:
        return [Pca(dims), Fisher(Mixture(gaussians), regions=_QUARTERS)]

    sift = DenseSift(sizes=grid.sizes, step=grid.step, root=True)
    if codewords:
        words = Chain(Thin(3), Llc(KMeans(codewords)), Pool(_PYRAMID, "max"), Normalise(power=0.5))
        shapes = Chain(sift, Join(Chain(*fisher(components)), words))
    else:
        shapes = Chain(sift, *fisher(components))
    if not colour:
        return shapes
    colours = Chain(LocalColour(sizes=grid.colours, step=grid.step), *fisher(48))
    return Join(shapes, colours, weights=(1.0, colour))


def suits(items: Any) -> bool:
    """Whether pictures are many and large enough for `photo_features`. items: a table of them, arrays, or None (unknown)."""
    if items is None:
        return True
    sizes = _sizes(items)
    return len(sizes) >= FEW and _larger_side(sizes, MAX_SIDE) >= SMALLEST


def grid_of(items: Any, max_side: int, step: int | None = None) -> Grid:
    """The grid for pictures of this size, by the median of their larger sides. step: instead of the usual one."""
    side = max_side if items is None else _larger_side(_sizes(items), max_side)
    grid = next(grid for least, grid in _GRIDS if side >= least)
    return grid if step is None else grid._replace(step=step)


def fitting_sizes(items: Any, max_side: int, grid: Grid, gaussians: int, codewords: int) -> tuple[int, int]:
    """Gaussians and codewords, fewer where there are too few descriptors to learn as many from; on small pictures no codewords."""
    if items is None:
        return gaussians, codewords
    sizes = _sizes(items).astype(np.float64)
    sizes = sizes * np.minimum(1, max_side / np.maximum(sizes.max(axis=1, keepdims=True, initial=1), 1))
    steps = (np.maximum((sizes - 4 * cell) // grid.step + 1, 0) for cell in grid.sizes)
    most = int(sum((each.prod(axis=1).sum() for each in steps), start=0.0)) // 100
    words = min(codewords, max(5, most)) if grid.words else 0
    return max(1, min(gaussians, most // 4)), words


def count_pictures(items: Any) -> int:
    """How many pictures there are; many where that is not known."""
    return 2**31 if items is None else len(_sizes(items))


def _larger_side(sizes: np.ndarray, max_side: int) -> float:
    """The median of the larger sides in px, once they are at most max_side; that where there are no pictures."""
    return min(float(np.median(sizes.max(axis=1))), max_side) if sizes.size else max_side


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
