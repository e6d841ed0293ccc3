"""What the experiments on binary codes share: features learned once, codes of several lengths on them, measured alike.

A code is a chain: stages that make features, and a coder of a given length. Stages before the coder do not depend on the
length, so they are learned once; the codes are those of the whole chain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.arrays import Images, pack_bits
from mmfeat.chain import Chain
from mmfeat.encoder import Encoder
from mmfeat.evaluate.product import opq_decoded
from mmfeat.evaluate.retrieval import Relevance, measure_codes, measure_vectors
from mmfeat.evaluate.rows import Finding
from mmfeat.evaluate.scores import RetrievalScores
from mmfeat.learners.whitening import Pca
from mmfeat.stages import encode_source, fit_chain
from mmfeat.stream import as_source

if TYPE_CHECKING:
    from mmfeat.evaluate.protocols import Protocol
    from mmfeat.media.decode import Decode
    from mmfeat.stages import Report

__all__ = [
    "Columns",
    "Task",
    "Times",
    "as_images",
    "beside",
    "encode",
    "findings",
    "learn",
    "measure",
    "measure_rows",
    "photographs",
    "shallow",
]

Coder = Callable[[int], Chain]  # bits -> stages that end in that many bits


@dataclass(frozen=True)
class Task:
    """What is asked of every code: the pictures learned from are the database.

    train, queries: `Images`, or rows (n, d). relevant: which of the database is right for which query.
    measures: the names of what is reported. data: the data set in words.
    """

    train: Any
    queries: Any
    relevant: Relevance
    protocol: Protocol
    measures: tuple[str, ...]
    data: str
    seed: int


@dataclass(frozen=True)
class Columns:
    """The first `count` values of rows (n, d): one branch of what was joined."""

    count: int

    def __call__(self, x: Any) -> Any:
        """Rows (n, d) to (n, count)."""
        return x[:, : self.count]


@dataclass(frozen=True)
class Times:
    """Rows times a number."""

    factor: float

    def __call__(self, x: Any) -> Any:
        """Rows (n, d) to (n, d)."""
        return x * self.factor


def as_images(pixels: np.ndarray) -> Images:
    """Pictures of one size (n, h, w, c) uint8."""
    return Images(pixels, np.tile(np.array(pixels.shape[1:3], np.int32), (len(pixels), 1)))


def photographs(folder: Path, rule: Decode) -> tuple[list[np.ndarray], np.ndarray]:
    """The decoded pictures below a folder, in the order of their paths, and the names of their sub-folders (n,)."""
    from mmfeat.media.decode import decode

    files = sorted(folder.glob("*/*.jpg"))
    return [decode(file.read_bytes(), rule) for file in files], np.array([file.parent.name for file in files])


def encode(fitted: Any, data: Any) -> np.ndarray:
    """Features (n, k) float32 of pictures or rows, by a fitted chain."""
    source = as_source(data)
    out: np.ndarray | None = None
    for rows, values, _ in encode_source(Encoder(fitted.chain.stages, fitted.states), source):
        if out is None:
            out = np.empty((len(source), values.shape[1]), np.float32)
        out[rows] = values
    return np.empty((0, 0), np.float32) if out is None else out


def learn(task: Task, stages: Sequence[Any], report: Report, spent: float = 0.0) -> tuple[Task, float]:
    """The task with rows (n, d) in place of its pictures, by stages that learn from its training part; and the seconds it took."""
    began = time.perf_counter()
    fitted = fit_chain(Chain(*stages), task.train, seed=task.seed, report=report)
    train, queries = encode(fitted, task.train), encode(fitted, task.queries)
    return replace(task, train=train, queries=queries), spent + time.perf_counter() - began


def beside(one: Task, other: Task, weight: float = 1.0) -> Task:
    """Rows (n, d), times the weight, and rows (n, e) of the same pictures as rows (n, d + e)."""
    train, queries = (weight * one.train, other.train), (weight * one.queries, other.queries)
    return replace(one, train=np.concatenate(train, axis=1), queries=np.concatenate(queries, axis=1))


def measure(
    task: Task,
    name: str,
    stages: Sequence[Any],
    coders: Mapping[str, Coder],
    bits: Sequence[int],
    report: Report,
    *,
    floats: bool = False,
    product: bool = False,
    further: Mapping[str, Sequence[Any]] = {},
    spent: float = 0.0,
) -> Iterator[Finding]:
    """Learn `stages`, then every coder at every length on their features, and measure each code.

    name: of the features. floats: the features themselves are measured as well, by L2. product: so is optimised product
    quantisation of them (FAISS) to as many bits, which keeps distances but is no binary code. further: by name, stages that go
    on from these features and are measured likewise. spent: seconds that went into `task` already.
    """
    rows, spent = learn(task, stages, report, spent)
    yield from measure_rows(rows, name, coders, bits, report, floats=floats, product=product, spent=spent)
    for longer, more in further.items():
        yield from measure(rows, longer, more, coders, bits, report, floats=floats, spent=spent)


def measure_rows(
    task: Task,
    name: str,
    coders: Mapping[str, Coder],
    bits: Sequence[int],
    report: Report,
    *,
    floats: bool = False,
    product: bool = False,
    spent: float = 0.0,
) -> Iterator[Finding]:
    """As `measure`, of a task that holds features (n, d) already."""
    train, queries = task.train, task.queries
    if floats:
        scores = measure_vectors(queries, train, task.relevant, ks=task.protocol.ks, report=report)
        yield from findings(task, f"{name}, {train.shape[1]} floats", scores, spent)
    for label, coder in coders.items():
        for count in bits:
            began = time.perf_counter()
            code = fit_chain(coder(count), train, seed=task.seed, report=report)
            asked, held = (pack_bits(encode(code, part)) for part in (queries, train))
            seconds = spent + time.perf_counter() - began
            scores = measure_codes(asked, held, task.relevant, bits=count, ks=task.protocol.ks, report=report)
            yield from findings(task, f"{name} + {label}, {count} bits", scores, seconds)
    for count in bits if product else ():
        began = time.perf_counter()
        reduced = fit_chain(Chain(Pca(min(count // 2, *train.shape))), train, seed=task.seed, report=report)
        asked, held = (encode(reduced, part) for part in (queries, train))
        decoded = opq_decoded(held, held, count)
        seconds = spent + time.perf_counter() - began
        scores = measure_vectors(asked, decoded, task.relevant, ks=task.protocol.ks, report=report)
        yield from findings(task, f"{name} + OPQ, {count} bits", scores, seconds)


def findings(task: Task, row: str, scores: RetrievalScores, seconds: float) -> Iterator[Finding]:
    """The measures of the protocol, each with its 95 % interval over the queries."""
    estimates, text = scores.estimates(task.seed), f"{task.protocol.name}. {task.protocol.sentence}"
    for name in task.measures:
        one = estimates[name]
        interval = one.low, one.high
        yield Finding(row, name, one.mean, "higher", None, interval, len(scores), text, task.data, seconds)


def shallow() -> dict[str, Coder]:
    """The coders that learn in seconds, by the names they go by in the literature."""
    from mmfeat.learners.itq import itq_hash
    from mmfeat.learners.lsh import Lsh
    from mmfeat.learners.pca_hash import PcaHash
    from mmfeat.learners.spectral import spectral_hash

    return {
        "LSH": lambda bits: Chain(Lsh(bits)),
        "PCAH": lambda bits: Chain(PcaHash(bits)),
        "PCA-RR": lambda bits: Chain(Pca(bits), Lsh(bits, orthogonal=True)),
        "SH": spectral_hash,
        "ITQ": itq_hash,
    }
