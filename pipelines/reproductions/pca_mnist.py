"""The first check of everything: what principal components leave of MNIST.

G. Hinton and R. Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 2006, print 13.87 squared error
a test picture for 30 components; it is reached only if the data are read and scaled as they did.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmfeat.evaluate.rows import Finding

if TYPE_CHECKING:
    from mmfeat.stages import Report

__all__ = ["PcaMnist"]


@dataclass(frozen=True)
class PcaMnist:
    """Squared error of test digits rebuilt from their principal components: 13.87 with 30 (Science 2006).

    Components are learned from the 60,000 training digits, pixels in [0, 1]; Σ (x - x')² over the 784 pixels of a picture,
    mean over the 10,000 test digits.

    Cost: seconds. Command: mmfeat reproduce pca-mnist
    """

    components: tuple[int, ...] = (2, 30)

    def measure(self, data: Path, seed: int, report: Report) -> Iterator[Finding]:
        """One finding for each number of components."""
        import numpy as np

        from mmfeat.learner import default_batches, start, train
        from mmfeat.learners.whitening import Pca
        from mmfeat.mesh import on_host
        from mmfeat.pipelines.datasets import mnist

        digits = mnist(data)
        rows, test = (part.reshape(len(part), -1).astype(np.float32) / 255 for part in (digits.train, digits.test))
        for number, count in enumerate(self.components):
            report("components", number, len(self.components), {})
            began = time.perf_counter()
            learner = Pca(count)
            run = train(learner, start(learner, rows, seed=seed), default_batches(learner, rows, seed=seed))
            mean, matrix = (np.asarray(part, np.float64) for part in learner.affine(on_host(run.state)))
            centred = test - mean
            rest = centred - centred @ matrix @ matrix.T
            yield Finding(
                f"PCA-{count}", "squared error", float((rest**2).sum(axis=1).mean()), "lower", 13.87 if count == 30 else None,
                n=len(test), protocol="squared error a test digit, pixels in [0, 1]", data=digits.about,
                seconds=time.perf_counter() - began,
            )  # fmt: skip
