"""Binary codes of photographs, learned without labels: which learner is worth its time on what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfeat.evaluate.rows import Finding

if TYPE_CHECKING:
    from mmfeat.pipelines.reproductions.codes import Task
    from mmfeat.stages import Report

__all__ = ["HashingPhotos", "caltech_task", "photographs_task"]

_SIDE = 32  # px of a thumbnail


@dataclass(frozen=True)
class HashingPhotos:
    """Codes of photographs by every learner, at 32 to 128 bits, on two sets: how often the nearest codes are of the same class.

    Small pictures are a subset of CIFAR-10 (protocol S1), photographs one of Caltech-101 (C1). Everything learns from the
    training part without its labels; the test part is asked of it. "Photo features" are those of the recipe `image-retrieval`,
    "graph" its walk over the pictures. OPQ keeps as many bits but is no binary code: distances go to decoded vectors.

    Cost: a quarter of an hour on two cores. Command: mmfeat reproduce hashing-photos

    only: "pixels", "patches", "machines", "autoencoders", "photo features" (a contrastive net is beside them); all, if none.
    """

    bits: tuple[int, ...] = (32, 64, 128)
    sets: tuple[str, ...] = ("S1", "C1")
    only: tuple[str, ...] = ()

    def measure(self, data: Path, seed: int, report: Report) -> Iterator[Finding]:
        """First the small pictures, then the photographs."""
        from mmfeat.descriptors.pixels import Pixels
        from mmfeat.learners.itq import itq_hash
        from mmfeat.pipelines.reproductions.codes import measure, shallow

        coders = {key: coder for key, coder in shallow().items() if key in ("LSH", "SH", "ITQ")}
        itq, pixels = {"ITQ": itq_hash}, [Pixels(_SIDE)]
        for name in self.sets:
            small = name == "S1"
            task = (_cifar if small else caltech_task)(data, seed)
            if self._wanted("pixels"):
                yield from measure(task, f"{name} pixels", pixels, coders, self.bits, report, floats=True, product=True)
            if self._wanted("patches"):
                yield from measure(task, f"{name} patches, VLAD", _vlad(small), itq, self.bits, report, floats=True)
            if self._wanted("machines"):
                first, second = _machines()
                deep = {f"{name} Gaussian RBM, RBM": second}
                yield from measure(task, f"{name} Gaussian RBM", first, itq, self.bits, report, further=deep)
            if self._wanted("autoencoders"):
                yield from measure(task, f"{name} denoising autoencoder", _denoising(), itq, self.bits, report)
                learned = {"semantic hash": _semantic}
                yield from measure(task, f"{name} pixels", pixels, learned, self.bits, report)
            if self._wanted("photo features"):
                yield from self._beside(name, task, task if small else photographs_task(data, task), report)

    def _wanted(self, what: str) -> bool:
        return not self.only or what in self.only

    def _beside(self, name: str, task: Task, large: Task, report: Report) -> Iterator[Finding]:
        """Photo features of the pictures as they are, a contrastive net's code of small ones, and both side by side."""
        from mmfeat.learners.itq import itq_hash
        from mmfeat.pipelines.image_retrieval import ImageRetrieval
        from mmfeat.pipelines.reproductions.codes import Times, beside, learn, measure, measure_rows, shallow

        coders = {key: coder for key, coder in shallow().items() if key in ("LSH", "SH", "ITQ")}
        itq = {"ITQ": itq_hash}
        *features, walk, _, _ = ImageRetrieval().chain(getattr(large.train, "images", large.train)).stages
        photo, spent = learn(large, features, report)
        what = f"{name} photo features"
        yield from measure_rows(photo, what, coders, self.bits, report, floats=True, product=True, spent=spent)
        learned = {"semantic hash": lambda bits: _semantic_features(bits, len(photo.train))}
        unit = Times(photo.train.shape[1] ** 0.5)  # values of mean square 1
        yield from measure(photo, what, [unit], learned, self.bits, report, spent=spent)
        yield from measure(photo, f"{what}, graph", [walk], itq, self.bits, report, floats=True, spent=spent)
        net, learning = learn(task, _contrastive(name), report)
        what = f"{name} contrastive net"
        yield from measure_rows(net, what, itq, self.bits, report, floats=True, spent=learning)
        yield from measure(net, f"{what}, graph", [walk], itq, self.bits, report, spent=learning)
        both, what = beside(photo, net, 2.0), f"{name} photo features, contrastive net"
        yield from measure_rows(both, what, itq, self.bits, report, spent=spent + learning)
        yield from measure(both, f"{what}, graph", [walk], itq, self.bits, report, spent=spent + learning)


def _vlad(small: bool) -> list[Any]:
    """The recipe `patch-codes`, its patches halved where pictures are small."""
    from mmfeat.pipelines.patch_codes import PatchCodes

    halved = {"patch": 6, "stride": 2} if small else {}
    return list(PatchCodes(**halved).chain(None).stages[:-2])


def _machines() -> tuple[list[Any], list[Any]]:
    """A machine of pixels, and another of its hidden units (Krizhevsky & Hinton 2011 stack them so)."""
    from mmfeat.descriptors.pixels import Pixels
    from mmfeat.learners.gaussian_rbm import GaussianRbm
    from mmfeat.learners.rbm import Rbm

    return [Pixels(_SIDE), GaussianRbm(512, passes=30, learning_rate=5e-4)], [Rbm(512, passes=20)]


def _denoising() -> list[Any]:
    """The deep autoencoder of the recipe `deep-codes`, with more passes: pictures are few."""
    from mmfeat.descriptors.pixels import Pixels
    from mmfeat.pipelines.deep_codes import DeepCodes

    return [Pixels(_SIDE), *DeepCodes(epochs=20).chain(None).stages[1:2]]


def _semantic(bits: int) -> Any:
    """Bits of a deep denoising autoencoder that learned them under noise, of pixels."""
    from mmfeat.learners.autoencoder import Autoencoder

    net = Autoencoder(
        (1000, 500, 250), activation="gelu", loss="cross_entropy", corruption=0.25, learning_rate=1.5e-3, batch=250, passes=20
    )  # fmt: skip
    return _hashed(net, bits)


def _semantic_features(bits: int, count: int) -> Any:
    """The same of `count` rows of photo features: a smaller net, which sees few rows more often."""
    from mmfeat.learners.autoencoder import Autoencoder

    net = Autoencoder((512, 256), activation="gelu", corruption=0.4, passes=max(1, 240_000 // count))
    return _hashed(net, bits)


def _hashed(net: Any, bits: int) -> Any:
    from mmfeat.chain import Chain
    from mmfeat.learners.semantic_hash import SemanticHash

    return Chain(SemanticHash(bits, net=net))


def _contrastive(name: str) -> list[Any]:
    """A net of small pictures, or of thumbnails of photographs; fewer pictures are seen more often."""
    from mmfeat.descriptors.pixels import Pixels
    from mmfeat.learners.contrastive import Contrastive

    side, passes = (32, 30) if name == "S1" else (48, 60)
    return [
        Pixels(side),
        Contrastive(side=side, channels=3, augment="photo", widths=(32, 64, 128), passes=passes, batch=250),
    ]


def _cifar(data: Path, seed: int) -> Task:
    """S1: pictures of 32 x 32."""
    from mmfeat.evaluate.protocols import protocol
    from mmfeat.evaluate.retrieval import same_label
    from mmfeat.pipelines.datasets import cifar10
    from mmfeat.pipelines.reproductions.codes import Task, as_images

    held = cifar10(data)
    relevant = same_label(held.test_labels, held.train_labels)
    measures = ("mAP@all", "mAP@1000")
    return Task(as_images(held.train), as_images(held.test), relevant, protocol("S1"), measures, held.about, seed)


def caltech_task(data: Path, seed: int) -> Task:
    """C1: photographs of at most 128 px on a side."""
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
    return Task(*sources, relevant, protocol("C1"), measures, held.about, seed)


def photographs_task(data: Path, small: Task) -> Task:
    """The same photographs as large as the recipes for photographs see them."""
    from mmfeat.media.decode import Decode
    from mmfeat.media.source import ArrayImages
    from mmfeat.pipelines.datasets import caltech101
    from mmfeat.pipelines.photo_features import MAX_SIDE
    from mmfeat.pipelines.reproductions.codes import photographs

    held, rule = caltech101(data), Decode(max_side=MAX_SIDE)
    train, queries = (ArrayImages(photographs(part, rule)[0], rule) for part in (held.train, held.test))
    return replace(small, train=train, queries=queries)
