"""Photographs told apart by a linear classifier: every coding of local descriptors in one table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfeat.evaluate.rows import Finding

if TYPE_CHECKING:
    from mmfeat.stages import Report

__all__ = ["Caltech"]

_PYRAMID = ((1, 1), (2, 2), (4, 4))
_QUARTERS = ((1, 1), (2, 2))
_SIDE = 300  # px
_RECIPE = "image-classification"


@dataclass(frozen=True)
class Caltech:
    """Mean per-class accuracy on a Caltech-101 subset: 50 categories, 30 photographs of each to learn from, 15 to tell.

    Every coding stands on the same dense RootSIFT (photographs of at most 300 px, four sizes of cells, every 5 px) and before the
    same linear SVM, whose C is chosen by cross-validation. Codebooks, mixtures and dictionaries learn from the training photographs
    without labels. Settings were chosen on parts of the training photographs. The last rows join branches; `image-classification`
    is the recipe's own chain, on photographs of its own size. One standard error is 0.014. Seconds per picture are those of both
    cores, from decoded pictures.

    Cost: most of an hour on two cores beside other work.
    Command: mmfeat reproduce caltech

    only: names of rows; all, if none.
    """

    step: int = 5
    words: int = 1024
    more: int = 2048
    gaussians: int = 64
    only: tuple[str, ...] = ()

    def measure(self, data: Path, seed: int, report: Report) -> Iterator[Finding]:
        """The baseline, every coding, and the joins."""
        import time
        from dataclasses import replace

        from mmfeat.descriptors.sift import DenseSift
        from mmfeat.media.decode import Decode
        from mmfeat.pipelines.image_classification import ImageClassification
        from mmfeat.pipelines.reproductions.kept import KeptLocals
        from mmfeat.pipelines.reproductions.labelled import Features, accuracy, caltech, features, joined

        task, recipe = caltech(data, Decode(max_side=_SIDE)), ImageClassification()
        found: dict[str, Features] = {}
        for name, stages in _plain().items():
            if not self.only or name in self.only:
                found[name] = features(task, stages, seed, report)
                yield from accuracy(task, name, found[name], seed)
        if not self.only or _RECIPE in self.only:
            own = features(caltech(data, recipe.decode(None)), recipe.chain(None).stages, seed, report)
            yield from accuracy(task, _RECIPE, own, seed)
        codings = {name: stages for name, stages in self._codings().items() if not self.only or name in self.only}
        if not codings:
            return
        began = time.perf_counter()
        sift = [DenseSift(sizes=(4, 6, 8, 10), step=self.step, root=True)]
        kept = replace(task, train=KeptLocals(sift, task.train, report), test=KeptLocals(sift, task.test, report))
        each = (time.perf_counter() - began) / (len(task.labels) + len(task.truth))
        for name, stages in codings.items():
            found[name] = features(kept, stages, seed, report, spent=each)
            yield from accuracy(task, name, found[name], seed)
        for name, weights in _JOINS.items():
            if all(part in found for part in weights):
                yield from accuracy(task, name, joined(found, weights), seed)

    def _codings(self) -> dict[str, list[Any]]:
        from mmfeat.learners.dictionary import Dictionary
        from mmfeat.learners.fisher import Fisher
        from mmfeat.learners.kmeans import KMeans
        from mmfeat.learners.lcc import Lcc
        from mmfeat.learners.llc import Llc
        from mmfeat.learners.mixture import Mixture
        from mmfeat.learners.super_vector import SuperVector
        from mmfeat.learners.vlad import Vlad
        from mmfeat.learners.vq import Vq
        from mmfeat.learners.whitening import Pca
        from mmfeat.pool import Normalise, Pool, Thin

        words, maxima = KMeans(self.words), (Pool(_PYRAMID, "max"), Normalise(power=0.5))
        return {
            f"VQ {self.words}, Hellinger": [Vq(words), Pool(_PYRAMID, "mean"), Normalise(power=0.5)],
            f"soft VQ {self.words}": [Vq(words, soft=10.0), *maxima],
            f"LLC {self.words}": [Llc(words), *maxima],
            f"LLC {self.more}": [Llc(KMeans(self.more)), *maxima],
            f"LCC {self.words}": [Thin(3), Lcc(words), *maxima],
            f"sparse coding {self.words}": [Thin(3), Dictionary(self.words), *maxima],
            "super-vector 128": [Pca(64), SuperVector(KMeans(128), regions=_QUARTERS, power=0.5)],
            "VLAD 128": [Pca(64), Vlad(KMeans(128), regions=_QUARTERS)],
            f"Fisher {self.gaussians}": [Pca(64), Fisher(Mixture(self.gaussians), regions=_QUARTERS)],
            f"Fisher {4 * self.gaussians}": [Pca(64), Fisher(Mixture(4 * self.gaussians), regions=_QUARTERS)],
        }


_JOINS = {
    "LLC 2048 + Fisher 256": {"LLC 2048": 1.0, "Fisher 256": 1.0},
    "LLC 2048 + Fisher 256 + colours": {"LLC 2048": 1.0, "Fisher 256": 1.0, "Fisher of colours": 0.4},
}


def _plain() -> dict[str, list[Any]]:
    """What needs no SIFT: a control, and what the colours and the other descriptors can do alone."""
    from mmfeat.chain import Chain, Join
    from mmfeat.descriptors.colour import ColourHistogram, LocalColour
    from mmfeat.descriptors.hog import Hog
    from mmfeat.descriptors.lbp import Lbp
    from mmfeat.descriptors.pixels import Pixels
    from mmfeat.learners.fisher import Fisher
    from mmfeat.learners.mixture import Mixture
    from mmfeat.learners.whitening import Pca
    from mmfeat.pool import Normalise

    grey = Chain(Pixels(side=16, grey=True), Normalise())
    return {
        "colour histogram + 16 x 16 grey": [Join(Chain(ColourHistogram(), Normalise()), grey)],
        "LBP": [Lbp(regions=_PYRAMID, norm="hellinger")],
        "HOG": [Hog(side=64, flatten=True), Normalise()],
        "Fisher of colours": [LocalColour(sizes=(4, 8), step=5), Pca(48), Fisher(Mixture(64), regions=_QUARTERS)],
    }
