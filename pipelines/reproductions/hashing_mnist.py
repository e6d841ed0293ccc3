"""Binary codes of digits, learned without labels: every code of the house in one table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.evaluate.rows import Finding

if TYPE_CHECKING:
    from mmfeat.pipelines.reproductions.codes import Task
    from mmfeat.stages import Report

__all__ = ["HashingMnist"]


@dataclass(frozen=True)
class HashingMnist:
    """Codes of MNIST digits by every learner, at 16 to 128 bits: how often the nearest codes are of the same digit.

    Everything learns from the 60,000 training digits without their labels; 1,000 test digits are asked of these. Settings were
    chosen on a part of the training digits. Deslanting is a control: nothing is learned but the rotation. A contrastive net is
    told which changes leave a digit what it is; its code is measured alone, beside 64 components of the deslanted digits, and both
    after a walk over their anchor graph. "Fisher of SIFT" is what the recipe `image-retrieval` makes of pictures that small, and
    is told nothing. Nobody is told how many digits there are.

    Cost: under 20 minutes on two cores. Command: mmfeat reproduce hashing-mnist
    """

    bits: tuple[int, ...] = (16, 32, 64, 128)
    only: tuple[str, ...] = ()

    def measure(self, data: Path, seed: int, report: Report) -> Iterator[Finding]:
        """The shallow codes first, then the deep ones. `only` names the features that are wanted; all, if none."""
        from mmfeat.descriptors.pixels import Pixels
        from mmfeat.learners.itq import itq_hash
        from mmfeat.pipelines.reproductions.codes import measure, shallow

        task, itq = _task(data, seed), {"ITQ": itq_hash}
        if not self.only or "pixels" in self.only:
            yield from measure(task, "pixels", [Pixels()], shallow(), self.bits, report, floats=True)
        for name, (stages, further) in _features().items():
            if not self.only or name in self.only:
                yield from measure(task, name, stages, itq, self.bits, report, further=further)
        if not self.only or "semantic hash" in self.only:
            few = tuple(bits for bits in self.bits if bits in (32, 64))
            yield from measure(task, "pixels", [Pixels()], {"semantic hash": _semantic}, few, report)


def _features() -> dict[str, tuple[list[Any], dict[str, list[Any]]]]:
    """What the learners make of the pixels, and what others make of that, by name; the recipes' settings where there is one."""
    from mmfeat.descriptors.deslant import Deslant
    from mmfeat.descriptors.pixels import Pixels
    from mmfeat.learners.anchor_graph import AnchorGraph
    from mmfeat.learners.kmeans import KMeans
    from mmfeat.learners.rbm import Rbm
    from mmfeat.pipelines.contrastive_codes import ContrastiveCodes
    from mmfeat.pipelines.deep_codes import DeepCodes
    from mmfeat.pipelines.reproductions.codes import Columns

    deep = DeepCodes(side=28, color="grey").chain(None).stages
    both = ContrastiveCodes(side=28, color="grey", augment="digits", steps=16, deslanted=64).chain(None).stages
    net = Columns(both[0].branches[0].stages[-1].code)
    return {
        "deslanted": ([Deslant(28)], {"deslanted, anchor graph": [AnchorGraph(KMeans(2000), steps=16)]}),
        "Fisher of SIFT": (_photo(), {"Fisher of SIFT, graph": [AnchorGraph(KMeans(2000), steps=16)]}),
        "RBM 500": ([Pixels(), Rbm(500)], {"DBN 500-500": [Rbm(500)]}),
        "denoising autoencoder": ([*deep[:2]], {}),
        "contrastive net, deslanted": (
            [both[0]],
            {
                "contrastive net": [net],
                "contrastive net, anchor graph": [net, both[1]],
                "contrastive net, deslanted, anchor graph": [both[1]],
            },
        ),
    }


def _photo() -> list[Any]:
    """The features of the recipe `image-retrieval` for small pictures without colours."""
    from mmfeat.arrays import Images
    from mmfeat.pipelines.image_retrieval import ImageRetrieval

    like = Images(np.zeros((1000, 28, 28, 1), np.uint8), np.full((1000, 2), 28, np.int32))
    return list(ImageRetrieval(colour=0.0, steps=0).chain(like).stages[:-2])


def _semantic(bits: int) -> Any:
    """Bits of a deep denoising autoencoder that learned them under noise."""
    from mmfeat.chain import Chain
    from mmfeat.learners.autoencoder import Autoencoder
    from mmfeat.learners.semantic_hash import SemanticHash

    net = Autoencoder(
        (1000, 500, 250),
        activation="gelu",
        loss="cross_entropy",
        corruption=0.25,
        learning_rate=1.5e-3,
        batch=250,
        passes=6,
    )
    return Chain(SemanticHash(bits, net=net))


def _task(data: Path, seed: int) -> Task:
    from mmfeat.evaluate.protocols import protocol
    from mmfeat.evaluate.retrieval import same_label
    from mmfeat.pipelines.datasets import mnist
    from mmfeat.pipelines.reproductions.codes import Task, as_images

    digits, m1 = mnist(data), protocol("M1")
    queries = m1.split(digits.train_labels, digits.test_labels, seed).queries - len(digits.train)
    return Task(
        as_images(digits.train), as_images(digits.test[queries]), same_label(digits.test_labels[queries], digits.train_labels),
        m1, ("mAP@all", "mAP@1000"), digits.about, seed,
    )  # fmt: skip
