"""Batches of fixed shape: a pure function of (source, seed, pass, step), so that any step can be read again, anywhere.

A `Source` holds rows that can be read in any order. Rows of one group share one shape and may be batched together: arrays have one
group, pictures of mixed sizes one per shape bucket. Every batch is padded to the same number of rows; padding, and rows
that could not be read, weigh 0.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from mmfeat.arrays import count_rows, pad_rows, take_rows
from mmfeat.errors import DataError, UsageError

__all__ = ["ArraySource", "Batch", "Batches", "Source", "Subset", "ahead", "as_source", "permutation"]


class Source(Protocol):
    """Rows that can be read in any order. `groups` is (n,) int: which rows share a shape."""

    @property
    def groups(self) -> np.ndarray:
        """The group of every row, (n,) int."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> tuple[Any, np.ndarray]:
        """The rows (all of one group) and their weights (len(rows),) float32: 0 where a row could not be read."""


class Batch(NamedTuple):
    """One step's data: the source's row numbers (r,), x padded to the batch size, and the weights (size,) float32."""

    rows: np.ndarray
    x: Any
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Rows held in memory (or memory-mapped): an array, a dict of arrays, or a NamedTuple such as `Images`."""

    x: Any

    def __post_init__(self) -> None:
        if count_rows(self.x) == 0:
            raise DataError(
                "learning and encoding need at least one row", "an empty array", "check where the rows come from"
            )

    def __len__(self) -> int:
        return count_rows(self.x)

    @property
    def groups(self) -> np.ndarray:
        """One group: every row has the same shape."""
        return np.zeros(len(self), np.int32)

    def read(self, rows: np.ndarray) -> tuple[Any, np.ndarray]:
        """These rows, each of weight 1: a view where they follow one another. A label below 0 is the learner's business."""
        run = len(rows) > 0 and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all())
        wanted = slice(int(rows[0]), int(rows[0]) + len(rows)) if run else rows
        return take_rows(self.x, wanted), np.ones(len(rows), np.float32)


def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(count) that depends on (seed, epoch) alone, on any machine (Philox counters)."""
    key = np.array([seed % 2**64, epoch], np.uint64)  # a list with numbers from 2^63 on would become floats
    return np.random.Generator(np.random.Philox(key=key)).permutation(count)


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of a source.

    size: rows per batch; None puts all rows of a group into one batch; a mapping gives each group its own size.
    seed: None reads in order (encoding); a number shuffles anew in every pass (training), unless `shuffle` is off.
    share: (number, count): this process reads only its part of every batch, positions
        [number * size / count, (number + 1) * size / count), so that the union over processes is the same batch.
    """

    source: Source
    size: int | Mapping[int, int] | None
    seed: int | None = None
    share: tuple[int, int] = (0, 1)
    shuffle: bool = True

    def __post_init__(self) -> None:
        bad = [rows for _, rows in self._groups() if rows % self.share[1]]
        if bad:
            raise UsageError(
                "a batch is split evenly over the processes", f"{bad[0]} rows over {self.share[1]}", "choose a multiple"
            )

    def _groups(self) -> list[tuple[int, int]]:
        """Each group with its rows per batch."""
        numbers, counts = np.unique(np.asarray(self.source.groups), return_counts=True)
        if isinstance(self.size, Mapping):
            return [(int(number), self.size[int(number)]) for number in numbers]
        whole = [-(-int(count) // self.share[1]) * self.share[1] for count in counts]
        return [(int(number), self.size or all_rows) for number, all_rows in zip(numbers, whole, strict=True)]

    @property
    def rows(self) -> int:
        """Rows per batch, padding included (the most, where groups differ)."""
        return max(rows for _, rows in self._groups())

    @property
    def steps(self) -> int:
        """Batches per pass."""
        counts = np.unique(np.asarray(self.source.groups), return_counts=True)[1]
        return sum(-(-int(count) // rows) for count, (_, rows) in zip(counts, self._groups(), strict=True))

    def plan(self, epoch: int = 0) -> list[tuple[np.ndarray, int]]:
        """The row numbers and the padded size of every batch of a pass; each batch holds rows of one group."""
        count, mixed = len(self.source), self.seed is not None and self.shuffle
        order = permutation(count, self.seed or 0, epoch) if mixed else np.arange(count)
        groups = np.asarray(self.source.groups)[order]
        plan = []
        for group, size in self._groups():
            part = order[groups == group]
            plan += [(part[first : first + size], size) for first in range(0, len(part), size)]
        if mixed and len(self._groups()) > 1:
            plan = [plan[i] for i in permutation(len(plan), self.seed or 0, 2**63 + epoch)]
        return plan

    def read(self, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
        """The batches of a pass from step `first` on; the next two are read while the caller works, unless all are in memory."""
        batches = (self._read(rows, size) for rows, size in self.plan(epoch)[first:])
        return batches if isinstance(self.source, ArraySource) else ahead(batches)

    def _read(self, rows: np.ndarray, size: int) -> Batch:
        number, count = self.share
        part = size // count
        own = rows[number * part : (number + 1) * part]
        if len(own) == 0:  # the last batch may leave a process with padding alone: give it the shape all the same
            x, _ = self.source.read(rows[:1])
            x, weight = pad_rows(x, part)
            return Batch(own, x, np.zeros_like(weight))
        x, read = self.source.read(own)
        x, weight = pad_rows(x, part)
        weight[: len(own)] *= read
        return Batch(own, x, weight)


def ahead(items: Iterator[Any], depth: int = 2) -> Iterator[Any]:
    """The same items, prepared by a thread up to `depth` ahead. An error appears where its item would have."""
    box: queue.Queue[tuple[Any, BaseException | None, bool]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(entry: tuple[Any, BaseException | None, bool]) -> bool:
        while not stop.is_set():
            try:
                box.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None, False)):
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            put((None, error, True))
        else:
            put((None, None, True))

    thread = threading.Thread(target=work, daemon=True, name="mmfeat-ahead")
    thread.start()
    try:
        while True:
            item, error, ended = box.get()
            if error is not None:
                raise error
            if ended:
                return
            yield item
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True, eq=False)
class Subset:
    """Some rows of a source, in the order given."""

    source: Source
    rows: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """The groups of these rows."""
        return np.asarray(self.source.groups)[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: np.ndarray) -> tuple[Any, np.ndarray]:
        """Rows of the subset, read from the source."""
        return self.source.read(self.rows[rows])


def as_source(data: Any) -> Source:
    """Arrays, dicts and NamedTuples of arrays become an `ArraySource`; a source stays what it is."""
    if hasattr(data, "read") and hasattr(data, "groups"):
        return data
    if isinstance(data, Mapping | tuple) or hasattr(data, "shape"):
        return ArraySource(data)
    return ArraySource(np.asarray(data))
