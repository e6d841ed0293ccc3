"""What the experiments on labelled pictures share: features learned without the labels, a linear classifier on them, and accuracy.

The classifier is a one-vs-rest linear SVM. Its C is given, or chosen by cross-validation on the training part; test labels are read
once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.chain import Chain
from mmfeat.evaluate.rows import Finding
from mmfeat.pipelines.reproductions.codes import encode, photographs
from mmfeat.stages import fit_chain

if TYPE_CHECKING:
    from mmfeat.media.decode import Decode
    from mmfeat.stages import Report

__all__ = [
    "Features",
    "Labelled",
    "accuracy",
    "caltech",
    "classified",
    "error_of",
    "features",
    "halves",
    "held_out_c",
    "joined",
    "standardised",
]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures with labels, in two parts.

    train, test: sources, or arrays. labels, truth: (n,) int32 of each, in 0..classes-1. data, protocol: in words.
    """

    train: Any
    test: Any
    labels: np.ndarray
    truth: np.ndarray
    classes: int
    data: str
    protocol: str


@dataclass(frozen=True, eq=False)
class Features:
    """train (n, d), test (m, d) float32; seconds of learning and encoding all; each: seconds of encoding one test picture."""

    train: np.ndarray
    test: np.ndarray
    seconds: float
    each: float


def caltech(data: Path, rule: Decode) -> Labelled:
    """The Caltech-101 subset as photographs in memory, its categories sorted by name."""
    from mmfeat.media.source import ArrayImages
    from mmfeat.pipelines.datasets import caltech101

    held = caltech101(data)
    (train, names), (test, asked) = (photographs(folder, rule) for folder in (held.train, held.test))
    classes, labels = np.unique(names, return_inverse=True)
    truth = np.searchsorted(classes, asked).astype(np.int32)
    sources = ArrayImages(train, rule), ArrayImages(test, rule)
    told = "30 training and 15 test photographs of each of 50 categories; mean per-class accuracy of a linear SVM"
    return Labelled(*sources, labels.astype(np.int32), truth, len(classes), held.about, told)


def halves(task: Labelled, seed: int, share: float = 1 / 3) -> Labelled:
    """The training part alone, cut into two by class: what settings are chosen on. The second has `share` of each class."""
    from mmfeat.stream import Subset, as_source

    random, order = np.random.default_rng(seed), np.zeros(len(task.labels))
    for number in range(task.classes):
        members = np.flatnonzero(task.labels == number)
        order[members] = random.permutation(len(members)) / max(len(members), 1)
    rows, held = np.flatnonzero(order >= share), np.flatnonzero(order < share)
    source = as_source(task.train)
    return Labelled(
        Subset(source, rows), Subset(source, held), task.labels[rows], task.labels[held], task.classes, task.data,
        "a part of the training photographs",
    )  # fmt: skip


def features(task: Labelled, stages: Sequence[Any], seed: int, report: Report, spent: float = 0.0) -> Features:
    """What stages, fitted on the training part without labels, make of both parts. spent: seconds one picture has cost before."""
    began = time.perf_counter()
    fitted = fit_chain(Chain(*stages), task.train, seed=seed, report=report)
    train = encode(fitted, task.train)
    middle = time.perf_counter()
    test = encode(fitted, task.test)
    each = spent + (time.perf_counter() - middle) / max(len(task.truth), 1)
    return Features(train, test, middle - began + spent * len(task.labels), each)


def joined(parts: Mapping[str, Features], weights: Mapping[str, float]) -> Features:
    """Branches side by side, each weighed: what a `Join` of their chains gives."""
    train = np.concatenate([weights[name] * parts[name].train for name in weights], axis=1)
    test = np.concatenate([weights[name] * parts[name].test for name in weights], axis=1)
    return Features(
        train, test, sum(parts[name].seconds for name in weights), sum(parts[name].each for name in weights)
    )


def standardised(found: Features) -> Features:
    """Every column with mean 0 and deviation 1 over the training part; columns that say nothing stay 0."""
    mean, size = found.train.mean(axis=0), found.train.std(axis=0)
    size = np.where(size > 0, size, np.float32(1))
    return replace(found, train=(found.train - mean) / size, test=(found.test - mean) / size)


def held_out_c(task: Labelled, found: Features, cs: Sequence[float], seed: int) -> float:
    """The C that names most of a quarter of the training part rightly, learned from the rest: one path instead of five folds."""
    import jax.numpy as jnp

    from mmfeat.classify.choosing import folds_of
    from mmfeat.classify.linear_svm import LinearSvm, problem_of
    from mmfeat.classify.squared_hinge import Rows, solve

    held = folds_of(task.labels, 4, seed) == 0
    x, y = jnp.asarray(found.train), jnp.asarray(task.labels)
    targets, costs, _ = problem_of(LinearSvm(classes=task.classes, c=1.0), y, jnp.asarray(~held, jnp.float32))
    problem, right = Rows(x, 1.0), []
    machines = problem.zeros(len(targets))
    for c in sorted(cs):
        solved = solve(problem, targets, jnp.float32(c) * costs, machines, 1e-3)
        machines = solved.machines
        right.append((np.asarray(solved.scores).T.argmax(axis=1) == task.labels)[held].mean())
    return sorted(cs)[int(np.argmax(right))]


def classified(task: Labelled, found: Features, seed: int, c: float | None = None) -> tuple[np.ndarray, float]:
    """Decision scores (m, classes) of the test part, and C: the one given, or one chosen on the training part."""
    from mmfeat.classify.choosing import choose_c
    from mmfeat.classify.linear_svm import LinearSvm
    from mmfeat.model import Model

    c = c or choose_c(found.train, task.labels, task.classes, seed=seed).c
    chain = Chain(LinearSvm(classes=task.classes, c=c))
    fitted = fit_chain(chain, found.train, labels=task.labels, classes=task.classes, seed=seed)
    return Model(fitted.chain, fitted.states, fitted.forms).encode(found.test), c


def accuracy(
    task: Labelled, row: str, found: Features, seed: int, published: float | None = None, c: float | None = None
) -> Iterator[Finding]:
    """The mean per-class accuracy of a linear SVM on these features, and what one picture costs."""
    from mmfeat.evaluate.classification import measure

    began = time.perf_counter()
    scores, _ = classified(task, found, seed, c)
    result = measure(scores, task.truth, task.classes)
    seconds, told = found.seconds + time.perf_counter() - began, f"{found.train.shape[1]:,} dimensions"
    yield Finding(
        f"{row}, {told}", "accuracy", result.mean_per_class, "higher", published, result.mean_interval, len(task.truth),
        task.protocol, task.data, seconds,
    )  # fmt: skip
    yield Finding(
        f"{row}, {told}", "seconds per picture", found.each, "lower", None, None, len(task.truth),
        "decoded picture to vector", task.data, seconds,
    )  # fmt: skip


def error_of(
    task: Labelled, row: str, scores: np.ndarray, dimensions: int, seconds: float, published: float | None = None
) -> Finding:
    """How many of a hundred test pictures these decision scores (m, classes) name wrongly."""
    from mmfeat.evaluate.classification import measure

    result = measure(scores, task.truth, task.classes)
    low, high = (100 * (1 - share) for share in reversed(result.interval))
    return Finding(
        f"{row}, {dimensions:,} dimensions", "error %", 100 * (1 - result.accuracy), "lower", published, (low, high),
        len(task.truth), task.protocol, task.data, seconds,
    )  # fmt: skip
