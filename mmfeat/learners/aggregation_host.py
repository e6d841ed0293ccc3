"""Sums of local descriptors over the regions of a picture, on the host: only locals that weigh, and each of them once.

The levels of a pyramid cut an item into groups: the locals that lie in the same cell of every level. The locals of an item are
ordered by their group and go through in blocks that stay in the cache; the sums of a group are added to those of each of its
regions. So a pyramid costs hardly more than the whole item, whether its grids nest or not. Every item is summed by one thread
in an order of its own, with a BLAS of one thread: its company changes no bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from mmfeat.arrays import Locals
from mmfeat.host import one_blas_thread
from mmfeat.learners.aggregation import Sums, check_locals
from mmfeat.pool import Regions, cells, count_regions

__all__ = ["Block", "block_rows", "host_locals", "region_sums"]

_MOST, _LEAST, _CELLS = 512, 64, 2**17  # rows of a block: 512 KB of responses stay in the cache between two products


class Block(Protocol):
    """Some rows of an item, read together and added to the sums group by group; it owns the memory they need."""

    def read(self, values: np.ndarray, index: np.ndarray) -> None:
        """The rows values[index] of an item's values (L, d); index (b,), at most `block_rows` of them."""

    def add(self, first: int, last: int, weight: np.ndarray, counts: np.ndarray, sums: np.ndarray) -> None:
        """Adds the rows from first to last - 1 of those read, of weight (last - first,), to counts (K,) and sums (K, W)."""


class _Groups(NamedTuple):
    """The places order (n,) of an item's locals that weigh, group by group; where each group ends; its regions' numbers."""

    order: np.ndarray
    ends: list[int]
    regions: list[tuple[int, ...]]


def host_locals(x: Any, name: str) -> Locals:
    """Give x as Locals of NumPy arrays, the values (B, L, d) float32; ShapeError where it is something else."""
    x = check_locals(x, name)
    values = np.asarray(x.values, np.float32)
    values = values.reshape(*values.shape[:2], -1)
    return Locals(np.ascontiguousarray(values), np.asarray(x.where), np.asarray(x.weight, np.float32))


def block_rows(clusters: int) -> int:
    """Rows of a block with so many responses each."""
    return max(_LEAST, min(_MOST, _CELLS // clusters))


def region_sums(x: Locals, regions: Regions, shape: tuple[int, int], block: Callable[[], Block]) -> Sums:
    """The sums of all regions of Locals of NumPy arrays (B, L, d); shape: (K, W); block: makes the `Block` of one item."""
    items, number = len(x.weight), count_regions(regions)
    found = Sums(
        np.zeros((items, number, shape[0]), np.float32),
        np.zeros((items, number, *shape), np.float32),
        np.zeros((items, number), np.float32),
    )
    one = partial(_sum_item, x, regions, block_rows(shape[0]), block, found)
    with one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(one, range(items)))
    return found


def _sum_item(x: Locals, regions: Regions, rows: int, make: Callable[[], Block], found: Sums, item: int) -> None:
    """Into `found` the sums of an item, in blocks of so many rows."""
    order, ends, members = _groups(x, regions, item)
    values, weight, block = x.values[item], x.weight[item][order], make()
    counts, sums = np.zeros_like(found.counts[0, 0]), np.zeros_like(found.sums[0, 0])
    group = 0
    for start in range(0, len(order), rows):
        index = order[start : start + rows]
        block.read(values, index)
        first = 0
        while first < len(index):
            last = min(ends[group] - start, len(index))
            block.add(first, last, weight[start + first : start + last], counts, sums)
            first = last
            if start + last < ends[group]:
                continue
            mass = weight[ends[group - 1] if group else 0 : ends[group]].sum()
            for region in members[group]:
                found.counts[item, region] += counts
                found.sums[item, region] += sums
                found.total[item, region] += mass
            counts[:], sums[:] = 0, 0
            group += 1


def _groups(x: Locals, regions: Regions, item: int) -> _Groups:
    """How the levels cut an item. The number of a group has the cells of the levels as its digits."""
    order = np.flatnonzero(x.weight[item] > 0)
    if not len(order):
        return _Groups(order, [], [])
    here = Locals(None, x.where[item, order][None], x.weight[item, order][None])
    sizes = [count_regions((level,)) for level in regions]
    numbers, unit = np.zeros(len(order), np.int64), 1
    for level, size in zip(regions, sizes, strict=True):
        if size > 1:
            numbers += unit * cells(here, *level)[0].astype(np.int64)
        unit *= size
    if unit > 1:  # short integers are sorted by counting
        sort = np.argsort(numbers.astype(np.uint16) if unit <= 2**16 else numbers, kind="stable")
        order, numbers = order[sort], numbers[sort]
    ends = [*(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(order)]
    members = []
    for number in numbers[np.array(ends) - 1].tolist():
        before, own = 0, []
        for size in sizes:
            own.append(before + number % size)
            number, before = number // size, before + size
        members.append(tuple(own))
    return _Groups(order, ends, members)
