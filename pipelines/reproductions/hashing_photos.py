"""Binary codes of photographs, learned without labels: which learner is worth its time on what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmfeat.evaluate.rows import Finding

if TYPE_CHECKING:
    from mmfeat.pipelines.reproductions.codes import Task
    from mmfeat.stages import Report

__all__ = ["HashingPhotos"]


@dataclass(frozen=True)
class HashingPhotos:
    """Codes of photographs by every learner, at 32 to 128 bits, on two sets: how often the nearest codes are of the same class.

    Small pictures are a subset of CIFAR-10 (protocol S1), photographs one of Caltech-101 (C1). Everything learns from the
    training part without its labels; the test part is asked of it. OPQ keeps as many bits but is no binary code: distances go to
    decoded vectors.

    Cost: half an hour on two cores. Command: mmfeat reproduce hashing-photos
    """

    bits: tuple[int, ...] = (32, 64, 128)
    sets: tuple[str, ...] = ("S1", "C1")

    def measure(self, data: Path, seed: int, report: Report) -> Iterator[Finding]:
        """First the small pictures, then the photographs."""
        from mmfeat.descriptors.patches import Patches
        from mmfeat.descriptors.pixels import Pixels
        from mmfeat.learners.itq import itq_hash
        from mmfeat.learners.kmeans import KMeans
        from mmfeat.learners.vlad import Vlad
        from mmfeat.learners.whitening import Pca
        from mmfeat.pipelines.reproductions.codes import measure, shallow

        for name in self.sets:
            task, side = (_cifar, _caltech)[name == "C1"](data, seed)
            itq = {"ITQ": itq_hash}
            coders = {key: coder for key, coder in shallow().items() if key in ("LSH", "ITQ")}
            yield from measure(
                task, f"{name} pixels", [Pixels(side)], coders, self.bits, report, floats=True, product=True
            )
            patch, stride = (6, 2) if name == "S1" else (12, 4)
            vlad = [Patches(patch, stride=stride), Pca(48, whiten=True), Vlad(KMeans(64))]
            yield from measure(task, f"{name} VLAD", vlad, itq, self.bits, report, floats=True, product=True)


def _cifar(data: Path, seed: int) -> tuple[Task, int]:
    """S1, and the side of the pictures in pixels."""
    from mmfeat.evaluate.protocols import protocol
    from mmfeat.evaluate.retrieval import same_label
    from mmfeat.pipelines.datasets import cifar10
    from mmfeat.pipelines.reproductions.codes import Task, as_images

    held = cifar10(data)
    relevant = same_label(held.test_labels, held.train_labels)
    measures = ("mAP@all", "mAP@1000")
    return Task(as_images(held.train), as_images(held.test), relevant, protocol("S1"), measures, held.about, seed), 32


def _caltech(data: Path, seed: int) -> tuple[Task, int]:
    """C1, and a side to which a photograph's thumbnail shrinks. Photographs have at most 128 px on a side."""
    from mmfeat.evaluate.protocols import protocol
    from mmfeat.evaluate.retrieval import same_label
    from mmfeat.media.decode import Decode
    from mmfeat.media.source import ArrayImages
    from mmfeat.pipelines.datasets import caltech101
    from mmfeat.pipelines.reproductions.codes import Task, photographs

    held, rule = caltech101(data), Decode(max_side=128)
    (train, labels), (queries, asked) = (photographs(folder, rule) for folder in (held.train, held.test))
    relevant, measures = same_label(asked, labels), ("mAP@all", "precision@10")
    sources = ArrayImages(train, rule), ArrayImages(queries, rule)
    return Task(*sources, relevant, protocol("C1"), measures, held.about, seed), 32
