"""Linear classifiers on unsupervised codes of digits: sparse, local, with tangents, and of patches that are pooled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.evaluate.rows import Finding

if TYPE_CHECKING:
    from mmfeat.pipelines.reproductions.labelled import Labelled
    from mmfeat.stages import Report

__all__ = ["CodingMnist"]


@dataclass(frozen=True)
class CodingMnist:
    """Error of a linear SVM on codes of MNIST digits that are learned without labels.

    Whole digits, of length 1: sparse coding (published: 2.10 %), local coordinate coding (1.90; Yu, Zhang & Gong 2009) and its
    extension by tangents (1.64; Yu & Zhang 2010), both on 100 principal components and with more anchors than the 4,096 of the
    papers: on digits held out 8,192 made 2.04 % and 16,384 made 1.72 %. Tangents help where anchors are few (4,096: from 2.35 %
    to 1.88 %) and hardly beyond, whether 16 or 256 rows around an anchor span them, 4 or 64. One layer of codes of patches,
    pooled over a grid (0.98): patches around every pixel normalised for contrast, whitened, coded, summed over the cells of a
    grid, square roots taken. The atoms are those of sparse coding; soft thresholds, its first step, stand for the codes
    themselves, which cost more and were no better on digits held out. Everything learns from the 60,000 training digits; no
    digit is turned, shifted or bent. Settings, and the C of every row, were chosen on training digits held out; the test digits
    were asked once. `only` names the rows that are wanted; all, if none.

    Cost: not measured in one run on a quiet machine; half an hour is an estimate.
    Command: mmfeat reproduce coding-mnist
    """

    atoms: int = 2048
    lam: float = 0.02
    anchors: int = 16_384
    tangents: int = 4
    components: int = 100
    size: int = 9
    pad: int = 3
    words: int = 128
    patch_lam: float = 1.0
    threshold: float = 1.0
    grid: int = 4
    only: tuple[str, ...] = ()

    def measure(self, data: Path, seed: int, report: Report) -> Iterator[Finding]:
        """A row for every coding: those of whole digits first."""
        whole, padded = digits(data), digits(data, self.pad)
        for name, (coder, c, published) in self.whole().items():
            if not self.only or name in self.only:
                yield whole_error(whole, f"whole digits, {name}", coder, c, published, seed, report)
        for name, (stages, c, published) in self.pooled().items():
            if not self.only or name in self.only:
                yield pooled_error(padded, f"patches pooled, {name}", stages, c, published, seed, report)

    def whole(self) -> dict[str, tuple[list[Any], float, float | None]]:
        """Stages, C and the published error of the codes of whole digits, by name."""
        from mmfeat.learners.dictionary import Dictionary
        from mmfeat.learners.extended_lcc import ExtendedLcc
        from mmfeat.learners.kmeans import KMeans
        from mmfeat.learners.lcc import Lcc
        from mmfeat.learners.whitening import Pca

        sparse = Dictionary(self.atoms, lam=self.lam, positive=True, passes=2)
        local = Lcc(KMeans(self.anchors, passes=2), penalty=0.05, neighbours=32)
        bent = ExtendedLcc(local, tangents=self.tangents, scale=0.3, rounds=2)
        return {
            "sparse coding": ([sparse], 1.0, 2.10),
            "LCC": ([Pca(self.components), local], 1.0, 1.90),
            "extended LCC": ([Pca(self.components), bent], 1.0, 1.64),
        }

    def pooled(self) -> dict[str, tuple[list[Any], float, float | None]]:
        """Stages, C and the published error of the codes of patches, by name."""
        from mmfeat.descriptors.patches import Patches
        from mmfeat.learners.dictionary import Dictionary
        from mmfeat.learners.soft_threshold import SoftThreshold
        from mmfeat.learners.whitening import Zca
        from mmfeat.pool import Normalise, Pool

        atoms = Dictionary(self.words, lam=self.patch_lam, passes=2)
        layer = [
            Patches(self.size, 1, floor=0.01, contrast=0.05),
            Zca(epsilon=1.0),
            SoftThreshold(atoms, self.threshold),
            Pool(((self.grid, self.grid),), "sum"),
            Normalise(power=0.5),
        ]
        return {"soft threshold": (layer, 10.0, 0.98)}


def digits(data: Path, pad: int = 0) -> Labelled:
    """All digits, with so many black pixels on every side."""
    from mmfeat.pipelines.datasets import mnist
    from mmfeat.pipelines.reproductions.codes import as_images
    from mmfeat.pipelines.reproductions.labelled import Labelled

    held = mnist(data)
    train, test = (
        as_images(np.pad(part, ((0, 0), (pad, pad), (pad, pad), (0, 0)))) for part in (held.train, held.test)
    )
    told = "codes learned without labels and a linear SVM on the training digits; % of the test digits named wrongly"
    return Labelled(train, test, held.train_labels, held.test_labels, 10, held.about, told)


def whole_error(
    task: Labelled, row: str, coder: list[Any], c: float, published: float | None, seed: int, report: Report
) -> Finding:
    """The error of an SVM on the non-zeros of codes of whole digits of length 1; the mean code has length 1 as well."""
    from mmfeat.chain import Chain
    from mmfeat.descriptors.pixels import Pixels
    from mmfeat.pipelines.reproductions.labelled import error_of
    from mmfeat.pipelines.reproductions.sparse_svm import sparse_rows, sparse_scores, sparse_svm
    from mmfeat.pool import Normalise
    from mmfeat.stages import fit_chain

    began = time.perf_counter()
    fitted = fit_chain(Chain(Pixels(), Normalise(), *coder), task.train, seed=seed, report=report)
    train, test = sparse_rows(fitted, task.train), sparse_rows(fitted, task.test)
    size = np.sqrt(np.square(train.value).sum() / len(task.labels))
    train, test = (part._replace(value=part.value / size) for part in (train, test))
    scores = sparse_scores(test, sparse_svm(train, task.labels, task.classes, c, seed))
    return error_of(task, row, scores, train.width, time.perf_counter() - began, published)


def pooled_error(
    task: Labelled, row: str, stages: list[Any], c: float, published: float | None, seed: int, report: Report
) -> Finding:
    """The error of an SVM on rows made by these stages."""
    from mmfeat.pipelines.reproductions.labelled import classified, error_of, features

    began = time.perf_counter()
    found = features(task, stages, seed, report)
    scores, _ = classified(task, found, seed, c)
    return error_of(task, row, scores, found.train.shape[1], time.perf_counter() - began, published)
