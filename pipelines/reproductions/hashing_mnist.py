"""Binary codes of digits, learned without labels: every code of the house in one table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmfeat.evaluate.rows import Finding

if TYPE_CHECKING:
    from mmfeat.pipelines.reproductions.codes import Task
    from mmfeat.stages import Report

__all__ = ["HashingMnist"]


@dataclass(frozen=True)
class HashingMnist:
    """Codes of MNIST digits by every learner, at 16 to 128 bits: how often the nearest codes are of the same digit.

    Everything learns from the 60,000 training digits without their labels; 1,000 test digits are asked of these. Settings were
    chosen on a part of the training digits. Deslanting is a control in which nothing is learned but the rotation.

    Cost: under 20 minutes on two cores. Command: mmfeat reproduce hashing-mnist
    """

    bits: tuple[int, ...] = (16, 32, 64, 128)

    def measure(self, data: Path, seed: int, report: Report) -> Iterator[Finding]:
        """The shallow codes first, then the deep ones."""
        from mmfeat.descriptors.deslant import Deslant
        from mmfeat.descriptors.pixels import Pixels
        from mmfeat.learners.itq import itq_hash
        from mmfeat.pipelines.reproductions.codes import measure, shallow

        task = _task(data, seed)
        itq = {"ITQ": itq_hash}
        yield from measure(task, "pixels", [Pixels()], shallow(), self.bits, report, floats=True)
        yield from measure(task, "deslanted pixels", [Deslant(28)], itq, self.bits, report, floats=True)


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
