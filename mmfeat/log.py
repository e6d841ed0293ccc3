"""The log of a training: what each learner measured in each of its passes. A model keeps it as `log.jsonl`; it is only for looking.

One line is one pass of one stage:

    {"learner": "KMeans", "metrics": {"distortion": 0.41}, "pass": 3, "stage": 1, "steps": 12}

`metrics` are the means over the pass's steps of what `step` gave. There are no times in it: the same training writes the same
bytes. It is no part of a model's identity.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmfeat.errors import DamagedError

__all__ = ["PassLog", "as_lines", "read_log"]

Row = Mapping[str, Any]


class PassLog:
    """Gathers the metrics of one learner. They stay on their devices until a pass ends: nothing waits for them before."""

    def __init__(self, stage: int, learner: str) -> None:
        self.stage, self.learner = stage, learner
        self.rows: list[Row] = []
        self._steps: list[tuple[int, Mapping[str, Any]]] = []
        self._done = 0

    def add(self, metrics: Mapping[str, Any], done: int) -> None:
        """The metrics of the steps since the last call, `done` of the run so far. Empty ones, as after `finish`, end the pass."""
        if metrics:
            self._steps.append((done - self._done, dict(metrics)))
            self._done = done
        elif self._steps:
            self.rows.append(self._row(self._steps))
            self._steps = []

    def resume(self, rows: Sequence[Row], done: int) -> None:
        """Go on after these passes, when `done` steps of the run were done."""
        self.rows, self._done = list(rows), done

    def _row(self, steps: Sequence[tuple[int, Mapping[str, Any]]]) -> Row:
        count = sum(times for times, _ in steps)
        means = {
            name: math.fsum(times * _number(each[name]) for times, each in steps) / count
            for name in sorted(steps[0][1])
        }
        return {
            "learner": self.learner,
            "metrics": {name: value for name, value in means.items() if math.isfinite(value)},
            "pass": len(self.rows) + 1,
            "stage": self.stage,
            "steps": count,
        }


def _number(metric: Any) -> float:
    """A scalar: every process holds all of it, though not every device may be its own."""
    return float(np.asarray(metric.addressable_data(0) if hasattr(metric, "addressable_data") else metric))


def as_lines(rows: Sequence[Row]) -> bytes:
    """The rows as JSON, one a line."""
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode()


def read_log(path: Path) -> tuple[Row, ...]:
    """The rows of a log; none where there is no file. DamagedError where a line is none of a log."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError as error:
        raise _damaged(path, 1) from error
    return tuple(_read(path, number, line) for number, line in enumerate(lines, 1))


def _read(path: Path, number: int, line: str) -> Row:
    try:
        row = json.loads(line)
        stage, at, metrics = int(row["stage"]), int(row["pass"]), dict(row["metrics"])
        values = {str(name): float(value) for name, value in metrics.items()}
        return {**row, "stage": stage, "pass": at, "metrics": values, "learner": str(row["learner"])}
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path, number) from error


def _damaged(path: Path, number: int) -> DamagedError:
    return DamagedError(
        f"{path} holds one pass of a stage on every line",
        f"something else on line {number}",
        "restore it from a copy, or delete it: only the learning curves go with it",
    )
