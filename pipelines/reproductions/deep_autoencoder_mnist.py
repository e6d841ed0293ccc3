"""Deep autoencoders of digits: through 30 numbers, from scratch and from pretrained machines, and through 32 and 64 bits.

G. Hinton and R. Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 2006: 784-1000-500-250-30 leaves
3.00 squared error a test digit after 50 passes of pretraining a layer and 200 of conjugate gradients; 30 components 13.87.
A. Krizhevsky and G. Hinton, "Using very deep autoencoders for content-based image retrieval", ESANN 2011: bits by rounding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmfeat.evaluate.rows import Finding

if TYPE_CHECKING:
    import numpy as np

    from mmfeat.learner import Run
    from mmfeat.stages import Report

__all__ = ["DeepAutoencoderMnist"]

_PROTOCOL = "squared error a test digit, pixels in [0, 1]"


class _Digits(NamedTuple):
    """train (n, 784) and test (m, 784) float32 in [0, 1]; about: the data in words."""

    train: np.ndarray
    test: np.ndarray
    about: str


@dataclass(frozen=True)
class DeepAutoencoderMnist:
    """Squared error of test digits said again through a narrow code: 30 numbers (3.00 in Science 2006; PCA 13.87), or bits.

    Everything learns from the 60,000 training digits by cross-entropy. "from scratch" has GELU units and Adam; "pretrained" is a
    deep belief net unrolled into sigmoid units; "not pretrained" is the same net from random weights. Bits are rounded straight
    through. Rates, batches and passes were chosen on 5,000 training digits set aside.

    Cost: about six minutes on two cores. Command: mmfeat reproduce deep-autoencoder-mnist
    """

    hidden: tuple[int, ...] = (1000, 500, 250)
    code: int = 30
    passes: int = 20
    pretraining: int = 5
    tuning: int = 10
    bits: tuple[int, ...] = (32, 64)
    bit_hidden: tuple[int, ...] = (512, 256)
    bit_passes: int = 12

    def measure(self, data: Path, seed: int, report: Report) -> Iterator[Finding]:
        """PCA, the three nets of 30 numbers, then the bits."""
        import numpy as np

        from mmfeat.pipelines.datasets import mnist

        read = mnist(data)
        train, test = (part.reshape(len(part), -1).astype(np.float32) / 255 for part in (read.train, read.test))
        digits = _Digits(train, test, read.about)
        yield from self._components(digits)
        yield from self._numbers(digits, seed, report)
        for bits in self.bits:
            yield from self._bits(digits, bits, seed, report)

    def _components(self, digits: _Digits) -> Iterator[Finding]:
        """What as many principal components leave, by NumPy alone."""
        import numpy as np

        began = time.perf_counter()
        mean = digits.train.mean(axis=0, dtype=np.float64)
        covariance = digits.train.T @ digits.train / len(digits.train) - np.outer(mean, mean)
        axes = np.linalg.eigh(covariance)[1][:, -self.code :]
        rest = digits.test - mean
        error = float(np.square(rest - rest @ axes @ axes.T).sum(axis=1).mean())
        yield _error(f"PCA-{self.code}", error, 13.87 if self.code == 30 else None, digits, began)

    def _numbers(self, digits: _Digits, seed: int, report: Report) -> Iterator[Finding]:
        from mmfeat.learners.autoencoder import Autoencoder, unrolled
        from mmfeat.learners.belief_net import dbn, unroll
        from mmfeat.stages import fit_chain
        from mmfeat.stream import as_source

        shape = f"784-{'-'.join(map(str, (*self.hidden, self.code)))}"
        published = 3.00 if shape == "784-1000-500-250-30" else None
        began = time.perf_counter()
        net = Autoencoder(
            self.hidden,
            self.code,
            activation="gelu",
            loss="cross_entropy",
            learning_rate=1.5e-3,
            passes=self.passes,
            batch=250,
        )
        run = _trained(net, digits.train, seed, report)
        yield _error(f"{shape}, from scratch", _left(net, run, digits.test), published, digits, began)
        net = Autoencoder(
            self.hidden,
            self.code,
            activation="sigmoid",
            loss="cross_entropy",
            learning_rate=3e-3,
            passes=self.tuning,
            batch=250,
        )
        began = time.perf_counter()
        stack = dbn(self.hidden, code=self.code, passes=self.pretraining)
        fitted = fit_chain(stack, as_source(digits.train), seed=seed, report=report)
        state = unrolled(net, unroll(fitted.chain.stages, fitted.states))
        run = _trained(net, digits.train, seed, report, state)
        yield _error(f"{shape}, pretrained", _left(net, run, digits.test), published, digits, began)
        began = time.perf_counter()
        run = _trained(net, digits.train, seed, report)
        yield _error(f"{shape}, not pretrained", _left(net, run, digits.test), None, digits, began)

    def _bits(self, digits: _Digits, bits: int, seed: int, report: Report) -> Iterator[Finding]:
        import numpy as np

        from mmfeat.arrays import pack_bits
        from mmfeat.learner import transform
        from mmfeat.learners.autoencoder import Autoencoder
        from mmfeat.learners.semantic_hash import SemanticHash

        began = time.perf_counter()
        net = Autoencoder(
            self.bit_hidden,
            activation="gelu",
            loss="cross_entropy",
            learning_rate=1.5e-3,
            passes=self.bit_passes,
            batch=250,
        )
        learner = SemanticHash(bits, noise=0.0, net=net)
        run = _trained(learner, digits.train, seed, report)
        yield _error(f"{bits} bits", _left(learner, run, digits.test), None, digits, began)
        values = transform(learner, run, digits.train)
        about: dict[str, Any] = {"n": len(values), "data": digits.about, "seconds": time.perf_counter() - began}
        codes = len(np.unique(pack_bits(values), axis=0))
        yield Finding(f"{bits} bits", "distinct codes", codes, protocol="codes of the training digits", **about)
        skew = float(np.abs((values > 0).mean(axis=0) - 0.5).max())
        yield Finding(f"{bits} bits", "largest skew of a bit", skew, "lower", protocol="|mean of a bit - 0.5|", **about)


def _trained(learner: Any, rows: np.ndarray, seed: int, report: Report, state: Any = None) -> Run:
    from mmfeat.learner import default_batches, start, train

    batches = default_batches(learner, rows, seed)
    total, name = batches.steps * learner.passes, type(learner).__name__
    run = start(learner, rows, seed=seed, state=state)
    return train(learner, run, batches, after=lambda run, metrics: report(f"learning {name}", run.step, total, metrics))


def _left(learner: Any, run: Run, rows: np.ndarray) -> float:
    """Squared error a row of what the learner says again."""
    import jax
    import numpy as np

    from mmfeat.mesh import on_host

    state, reconstruct = on_host(run.state), jax.jit(learner.reconstruct)
    parts = [
        np.square(np.asarray(reconstruct(state, part)) - part).sum(axis=1)
        for part in np.split(rows, range(1000, len(rows), 1000))
    ]
    return float(np.concatenate(parts).mean())


def _error(row: str, error: float, published: float | None, digits: _Digits, began: float) -> Finding:
    return Finding(
        row, "squared error", error, "lower", published, n=len(digits.test), protocol=_PROTOCOL, data=digits.about,
        seconds=time.perf_counter() - began,
    )  # fmt: skip
