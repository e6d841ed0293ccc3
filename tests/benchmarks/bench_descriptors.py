"""Descriptors of photographs beside VLFeat, OpenCV and scikit-image: pictures per second on one core.

Every group of rows is one generator in `_GROUPS`, called with the photographs: colour, uint8 (h, w, 3), decoded by mmfeat at a
longer side of 300 pixels. Decoding is not timed. The process is held on one core, ours and the rivals alike.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import vlfeat
from measuring import Row, Timing, alone, missing, side_by_side, speed, stated
from pictures import real_or_made

from mmfeat.arrays import Images
from mmfeat.media.decode import Decode, bucket, decode

_PICTURES, _SIDE = 64, 300
_CELLS, _STEP = (4, 6, 8), 8


def run(work: Path) -> Iterator[Row]:
    """The rows of every group; a group whose rival is not installed says so."""
    if hasattr(os, "sched_setaffinity"):  # before JAX starts its threads
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pictures = photographs(work / "pictures")
    for name, group in _GROUPS.items():
        try:
            yield from group(pictures)
        except (ImportError, OSError) as error:
            yield missing(name, f"cannot run here: {error}")


def photographs(folder: Path, count: int = _PICTURES) -> list[np.ndarray]:
    """Colour photographs (h, w, 3) uint8, longer side 300 pixels at most, spread over the set."""
    files = sorted(real_or_made(folder, 20 * count).iterdir())[::20]
    return [decode(file, Decode(max_side=_SIDE)) for file in files]


def _grey(picture: np.ndarray) -> np.ndarray:
    """Luma (h, w) float32 in [0, 1]."""
    return picture.astype(np.float32) @ (np.array([0.299, 0.587, 0.114], np.float32) / 255)


def _square(picture: np.ndarray, side: int = _SIDE) -> np.ndarray:
    """A picture mirrored at its lower and right border until it is side x side."""
    spare = [(0, side - length) for length in picture.shape[:2]]
    return np.pad(picture, [*spare, (0, 0)], mode="symmetric")


def _batches(pictures: list[np.ndarray]) -> list[Images]:
    """Pictures of like sizes together, padded up to buckets of 64 pixels."""
    grouped: dict[tuple[int, int], list[np.ndarray]] = {}
    for picture in pictures:
        grouped.setdefault(bucket(*picture.shape[:2]), []).append(picture)
    batches = []
    for shape, group in grouped.items():
        pixels = np.zeros((len(group), *shape, 3), np.uint8)
        for row, picture in zip(pixels, group, strict=True):
            row[: picture.shape[0], : picture.shape[1]] = picture
        batches.append(Images(pixels, np.array([picture.shape[:2] for picture in group], np.int32)))
    return batches


def _sift(pictures: list[np.ndarray]) -> Iterator[Row]:
    """Dense SIFT with the exact window beside VLFeat's two windows and OpenCV: cells of 4, 6 and 8 pixels, step 8."""
    import jax

    from mmfeat.descriptors import DenseSift

    ours = jax.jit(DenseSift(_CELLS, _STEP, contrast=0))
    squares = [_square(picture) for picture in pictures[:16]]
    whole = Images(np.stack(squares), np.full((len(squares), 2), _SIDE, np.int32))
    padded, greys = _batches(pictures), [_grey(picture) for picture in pictures]
    flat = [vlfeat.DenseSift(side, _STEP, flat=True) for side in _CELLS]
    grey = [_grey(picture) for picture in squares]
    name = f"dense SIFT, {_SIDE} x {_SIDE}"

    def one() -> None:
        jax.block_until_ready(ours(whole))

    timing = side_by_side(one, lambda: [sift(picture) for picture in grey for sift in flat], 9)
    note = f"exact window; rival: VLFeat's flat window, grey already; {_agreement(grey[0], squares[0])}"
    yield speed(name, timing, len(squares), 1.5, "pictures/s", note)
    timing = side_by_side(
        lambda: [jax.block_until_ready(ours(images)) for images in padded],
        lambda: [sift(picture) for picture in greys for sift in flat],
        5,
    )
    note = f"in {len(padded)} buckets, padding included; rival: VLFeat's flat window on each alone"
    yield stated("dense SIFT, photographs as they are", timing, len(pictures), "pictures/s", note)
    exact = [vlfeat.DenseSift(side, _STEP, flat=False) for side in _CELLS]
    few = len(squares) // 8
    timing = side_by_side(one, lambda: [sift(picture) for picture in grey[:few] for sift in exact], 3)
    note = "rival: VLFeat's exact window"
    yield _per_picture(f"{name}, the same window", timing, len(squares), few, note)
    timing = side_by_side(one, lambda: [_opencv(picture) for picture in squares[:few]], 3)
    yield _per_picture(
        f"{name}, OpenCV", timing, len(squares), few, "rival: OpenCV's SIFT at the same places and sizes"
    )


def _per_picture(name: str, timing: Timing, ours: int, rival: int, note: str) -> Row:
    """A row where the rival, being slow, did fewer pictures."""
    return Row(
        name, ours / timing.ours, rival / timing.rival, timing.ratio * ours / rival, unit="pictures/s", note=note
    )


def _agreement(grey: np.ndarray, picture: np.ndarray) -> str:
    """With cells of an odd side VLFeat's centres of cells are ours; with an even one they are half a pixel away."""
    from mmfeat.descriptors import DenseSift

    images = Images(picture[None], np.array([picture.shape[:2]], np.int32))
    found = np.asarray(DenseSift((5,), _STEP, contrast=0)(images).values)[0]
    wanted = vlfeat.DenseSift(5, _STEP, flat=False)(grey)
    cosine = (found * wanted).sum(1) / np.maximum(np.linalg.norm(wanted, axis=1), 1e-9)
    return f"median cosine {np.median(cosine):.5f} with VLFeat's exact window (cells of 5 pixels)"


def _opencv(picture: np.ndarray) -> np.ndarray:
    import cv2

    cv2.setNumThreads(1)
    height, width = picture.shape[:2]
    points = [
        cv2.KeyPoint(x + 2.0 * side, y + 2.0 * side, side / 1.5, 0.0)  # its cells are 1.5 sizes wide
        for side in _CELLS
        for y in range(0, height - 4 * side + 1, _STEP)
        for x in range(0, width - 4 * side + 1, _STEP)
    ]
    return np.asarray(cv2.SIFT_create().compute(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), points)[1])


def _against_skimage(pictures: list[np.ndarray]) -> Iterator[Row]:
    """HOG and LBP beside scikit-image on each picture alone, without padding; local colour beside the same sums in NumPy."""
    import jax
    from skimage.color import rgb2gray
    from skimage.feature import hog, local_binary_pattern

    from mmfeat.descriptors import Hog, Lbp

    padded = [jax.device_put(images) for images in _batches(pictures)]
    few = pictures[: len(pictures) // 8]
    greys = [np.round(rgb2gray(picture) * 255).astype(np.uint8) for picture in few]

    def our(describe: Callable[[Images], object]) -> Callable[[], object]:
        compiled = jax.jit(describe)
        return lambda: [jax.block_until_ready(compiled(images)) for images in padded]

    def their_hog() -> list[np.ndarray]:
        return [hog(picture, cells_per_block=(2, 2), channel_axis=-1) for picture in few]

    def their_lbp() -> list[np.ndarray]:
        codes = (local_binary_pattern(grey, 8, 1, "nri_uniform")[1:-1, 1:-1] for grey in greys)
        return [np.bincount(code.astype(np.int64).ravel(), minlength=59) for code in codes]

    note = f"in {len(padded)} buckets, padding included; rival: scikit-image; {_agreement_hog(few[0])}"
    timing = side_by_side(our(Hog()), their_hog, 5)
    yield _per_picture("HOG, photographs as they are", timing, len(pictures), len(few), note)
    timing = side_by_side(our(Lbp(regions=((1, 1),))), their_lbp, 5)
    row = _per_picture(
        "LBP 8, 1 uniform, photographs as they are",
        timing,
        len(pictures),
        len(few),
        "rival: scikit-image, grey already",
    )
    yield dataclasses.replace(row, target="≥ 20 ×", reached=bool(row.ratio and row.ratio >= 20))


def _all(describe: Callable[[Images], Any], batches: list[Images]) -> None:
    import jax

    for images in batches:
        for leaf in jax.tree.leaves(describe(images)):
            leaf.block_until_ready()


def _agreement_hog(picture: np.ndarray) -> str:
    from skimage.feature import hog

    from mmfeat.descriptors import Hog

    images = Images(picture[None], np.array([picture.shape[:2]], np.int32))
    wanted = hog(picture, cells_per_block=(2, 2), channel_axis=-1)
    return f"largest difference {np.abs(np.asarray(Hog()(images).values).ravel() - wanted).max():.0e}"


def _colour(pictures: list[np.ndarray]) -> Iterator[Row]:
    """Colour histograms beside scikit-image's HSV and NumPy's histogramdd, equal bins, whole pictures."""
    import jax
    from skimage.color import rgb2hsv

    from mmfeat.descriptors import ColourHistogram, LocalColour

    padded = [jax.device_put(images) for images in _batches(pictures)]
    few = pictures[: len(pictures) // 8]
    hard, soft, local = (
        jax.jit(each)
        for each in (ColourHistogram(soft=False, regions=((1, 1),)), ColourHistogram(), LocalColour((4, 6, 8), _STEP))
    )

    def theirs() -> list[np.ndarray]:
        return [np.histogramdd(rgb2hsv(x).reshape(-1, 3), (8, 4, 4), ((0, 1),) * 3)[0] for x in few]

    timing = side_by_side(lambda: [jax.block_until_ready(hard(images)) for images in padded], theirs, 5)
    note = "rival: scikit-image's HSV and NumPy's histogramdd"
    yield _per_picture("HSV histogram, hard bins", timing, len(pictures), len(few), note)
    for name, ours in (("HSV histogram, soft bins, 5 regions", soft), ("local colour, 3 sizes", local)):
        seconds = alone(functools.partial(_all, ours, padded), 5)
        yield Row(name, len(pictures) / seconds, unit="pictures/s", note="no rival")


_GROUPS: dict[str, Callable[[list[np.ndarray]], Iterator[Row]]] = {
    "dense SIFT": _sift,
    "HOG and LBP": _against_skimage,
    "colour": _colour,
}
