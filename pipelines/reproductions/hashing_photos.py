"""Binary codes of photographs, learned without labels: which learner is worth its time on what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfeat.evaluate.rows import Finding

if TYPE_CHECKING:
    from mmfeat.pipelines.reproductions.codes import Task
    from mmfeat.stages import Report

__all__ = ["HashingPhotos", "caltech_task"]


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
        from mmfeat.descriptors.pixels import Pixels
        from mmfeat.learners.itq import itq_hash
        from mmfeat.pipelines.reproductions.codes import measure, shallow

        coders = {key: coder for key, coder in shallow().items() if key in ("LSH", "ITQ")}
        itq = {"ITQ": itq_hash}
        for name in self.sets:
            task, side = (_cifar, caltech_task)[name == "C1"](data, seed)
            yield from measure(
                task, f"{name} pixels", [Pixels(side)], coders, self.bits, report, floats=True, product=True
            )
            yield from measure(task, f"{name} VLAD", _vlad(name), itq, self.bits, report, floats=True, product=True)
            yield from measure(task, f"{name} denoising autoencoder", _denoising(side), itq, self.bits, report)
            walk = {f"{name} contrastive net, anchor graph": _walk(name)}
            yield from measure(
                task, f"{name} contrastive net", _contrastive(name), itq, self.bits, report, further=walk
            )


def _vlad(name: str) -> list[Any]:
    """The recipe `patch-codes`, its patches halved where pictures are small."""
    from mmfeat.pipelines.patch_codes import PatchCodes

    small = {"patch": 6, "stride": 2} if name == "S1" else {}
    return list(PatchCodes(**small).chain(None).stages[:-2])


def _denoising(side: int) -> list[Any]:
    """The deep autoencoder of the recipe `deep-codes`, with more passes: pictures are few."""
    from mmfeat.descriptors.pixels import Pixels
    from mmfeat.pipelines.deep_codes import DeepCodes

    return [Pixels(side), *DeepCodes(epochs=20).chain(None).stages[1:2]]


def _contrastive(name: str) -> list[Any]:
    """A net of small pictures, or of thumbnails of photographs; fewer pictures are seen more often."""
    from mmfeat.descriptors.pixels import Pixels
    from mmfeat.learners.contrastive import Contrastive

    side, passes = (32, 30) if name == "S1" else (48, 60)
    return [
        Pixels(side),
        Contrastive(side=side, channels=3, augment="photo", widths=(32, 64, 128), passes=passes, batch=250),
    ]


def _walk(name: str) -> list[Any]:
    """One step over the graph of the pictures: photographs fall into no clear groups."""
    from mmfeat.learners.anchor_graph import AnchorGraph
    from mmfeat.learners.kmeans import KMeans

    return [AnchorGraph(KMeans(1000 if name == "S1" else 300), steps=1)]


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


def caltech_task(data: Path, seed: int) -> tuple[Task, int]:
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
