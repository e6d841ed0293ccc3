"""How probable restricted Boltzmann machines find unseen digits, exactly: contrastive divergence beside persistent chains.

T. Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", ICML 2008: at equal updates
persistent chains give the better density model than one step of contrastive divergence. With 20 hidden units Z is a sum of 2^20
terms, so nothing here has to be estimated; the estimate that larger machines need is put beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfeat.evaluate.rows import Finding

if TYPE_CHECKING:
    from mmfeat.stages import Report

__all__ = ["RbmLikelihood"]

_METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("CD-1", {"steps": 1}),
    ("CD-10", {"steps": 10}),
    ("PCD-1", {"negative": "pcd"}),
)


@dataclass(frozen=True)
class RbmLikelihood:
    """Log-likelihood of MNIST's test digits under 784-20 machines: CD-1, CD-10 and PCD after equal updates, Z enumerated.

    Pixels are cut at 1/2. All machines learn in batches of 100 at the same rate, which falls to 0, and with the same momentum; both
    were chosen on the last 10,000 training digits. Annealed importance sampling (5,000 temperatures, 100 chains) stands beside
    the exact log Z. Last, the squared error of a 784-500 machine, pixels in [0, 1], by the rule of Science 2006's released code:
    hidden units drawn, over the last pass of the training digits; and of test digits through hidden means.

    Cost: four to seven minutes on two cores. Command: mmfeat reproduce rbm-likelihood
    """

    hidden: int = 20
    learning_rate: float = 0.05
    momentum: float = 0.5
    passes: int = 20
    wide_passes: int = 15

    def measure(self, data: Path, seed: int, report: Report) -> Iterator[Finding]:
        """Log-likelihood and log Z of each method, then the error of reconstruction."""
        import numpy as np

        from mmfeat.pipelines.datasets import mnist

        digits = mnist(data)
        rows, test = (part.reshape(len(part), -1).astype(np.float32) / 255 for part in (digits.train, digits.test))
        bits = [(part > 0.5).astype(np.float32) for part in (rows, test)]
        for name, settings in _METHODS:
            yield from self._likelihood(name, settings, *bits, about=digits.about, seed=seed, report=report)
        yield from self._reconstruction(rows, test, seed, report, digits.about)

    def _likelihood(
        self, name: str, settings: dict[str, Any], rows: Any, test: Any, *, about: str, seed: int, report: Report
    ) -> Iterator[Finding]:
        import numpy as np

        from mmfeat.evaluate.likelihood import annealed, log_likelihood, log_partition
        from mmfeat.learners.rbm import Rbm

        began = time.perf_counter()
        learner = Rbm(
            self.hidden, learning_rate=self.learning_rate, momentum=(self.momentum, self.momentum), passes=self.passes,
            schedule="linear", spread=0.01, **settings,
        )  # fmt: skip
        state, _ = _learned(learner, rows, seed, report, name)
        exact = log_partition(learner, state)
        logs = log_likelihood(learner, state, test, exact)
        error, mean = 1.96 * float(logs.std(ddof=1)) / np.sqrt(len(logs)), float(logs.mean())
        row, protocol = (
            f"{name}, 784-{self.hidden}",
            f"784-{self.hidden} machines after equal updates, Z by enumeration",
        )
        shared: dict[str, Any] = {"protocol": protocol, "data": f"{about}, pixels cut at 1/2", "n": len(test)}
        yield Finding(
            row, "log-likelihood, nats", mean, interval=(mean - error, mean + error),
            seconds=time.perf_counter() - began, **shared,
        )  # fmt: skip
        found = annealed(learner, state, seed, temperatures=5000, rows=rows[:10_000])
        yield Finding(row, "annealed log Z, |error|", abs(found.log_z - exact), "lower", **(shared | {"n": 100}))

    def _reconstruction(self, rows: Any, test: Any, seed: int, report: Report, about: str) -> Iterator[Finding]:
        import jax
        import numpy as np

        from mmfeat.learners.rbm import Rbm

        began, learner = time.perf_counter(), Rbm(hidden=500, passes=self.wide_passes)
        state, last = _learned(learner, rows, seed, report, "784-500")
        seconds = time.perf_counter() - began
        rebuilt = np.asarray(jax.jit(learner.reconstruct)(state, test))
        for metric, value, count in (
            ("training error, last pass", last, len(rows)),
            ("test error, hidden means", float(np.square(rebuilt - test).sum(axis=1).mean()), len(test)),
        ):
            yield Finding(
                "CD-1, 784-500", metric, value, "lower", None, None, count,
                f"squared error a digit after {self.wide_passes} passes, pixels in [0, 1]", about, seconds,
            )  # fmt: skip


def _learned(learner: Any, rows: Any, seed: int, report: Report, name: str) -> tuple[Any, float]:
    """The state after all passes, and the mean of the last pass's reconstruction errors (0 without them)."""
    import numpy as np

    from mmfeat.learner import default_batches, start, train

    batches = default_batches(learner, rows, seed=seed)
    total, errors = batches.steps * learner.passes, []

    def after(run: Any, metrics: Any) -> None:
        report(f"learning {name}", run.step, total, metrics)
        if run.passes == learner.passes - 1 and "reconstruction_error" in metrics:
            errors.append(metrics["reconstruction_error"])

    run = train(learner, start(learner, rows, seed=seed), batches, after=after)
    return run.state, float(np.mean(errors)) if errors else 0.0
