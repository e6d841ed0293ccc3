"""Batches: a pure function of (source, seed, pass, step)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from mmfeat.arrays import Images
from mmfeat.errors import DataError, UsageError
from mmfeat.stream import ArraySource, Batches, Subset, ahead, as_source, permutation


class Grouped:
    """Rows whose value is their number, in groups; odd multiples of 5 cannot be read."""

    def __init__(self, groups: list[int]) -> None:
        self.groups = np.array(groups)

    def __len__(self) -> int:
        return len(self.groups)

    def read(self, rows: np.ndarray) -> Any:
        return rows.astype(np.float32)[:, None], (rows % 10 != 5).astype(np.float32)


def flat(batches: Batches, epoch: int = 0) -> list[int]:
    return [int(row) for batch in batches.read(epoch) for row in batch.rows]


sources = st.lists(st.integers(0, 3), min_size=1, max_size=40).map(Grouped)


@given(sources, st.integers(1, 9), st.none() | st.integers(0, 5), st.integers(0, 3))
def test_every_row_once_in_batches_of_one_group(source: Grouped, size: int, seed: int | None, epoch: int) -> None:
    batches = Batches(source, size, seed)
    read = list(batches.read(epoch))
    assert len(read) == batches.steps
    assert sorted(int(row) for batch in read for row in batch.rows) == list(range(len(source)))
    for batch in read:
        assert len(set(source.groups[batch.rows])) == 1
        assert batch.x.shape == (size, 1)
        count = len(batch.rows)
        np.testing.assert_array_equal(batch.x[:count, 0], batch.rows)
        np.testing.assert_array_equal(batch.weight[:count], batch.rows % 10 != 5)
        assert not batch.x[count:].any()
        assert not batch.weight[count:].any()


@given(sources, st.integers(1, 4), st.integers(1, 3), st.integers(0, 5), st.integers(0, 30))
def test_any_step_by_any_process_can_be_read_again(
    source: Grouped, part: int, count: int, seed: int, first: int
) -> None:
    """The union over processes is the batch of one, and step n of a pass is step 0 of reading from n."""
    whole = list(Batches(source, part * count, seed).read(1))
    shares = [list(Batches(source, part * count, seed, (number, count)).read(1, first)) for number in range(count)]
    for step, batch in enumerate(whole[first:]):
        np.testing.assert_array_equal(np.concatenate([share[step].weight for share in shares]), batch.weight)
        np.testing.assert_array_equal(np.concatenate([share[step].rows for share in shares]), batch.rows)
        joined = np.concatenate([share[step].x for share in shares])
        np.testing.assert_array_equal(joined[batch.weight > 0], batch.x[batch.weight > 0])
    assert all(len(share) == max(len(whole) - first, 0) for share in shares)


def test_the_order_is_shuffled_anew_in_every_pass() -> None:
    source = ArraySource(np.arange(50)[:, None])
    assert flat(Batches(source, 8)) == list(range(50))
    first, second, other = flat(Batches(source, 8, 1)), flat(Batches(source, 8, 1), 1), flat(Batches(source, 8, 2))
    assert first == flat(Batches(source, 8, 1))
    assert len({tuple(each) for each in (first, second, other, sorted(first))}) == 4


def test_the_order_is_the_same_on_every_machine() -> None:
    """Philox with key (seed, pass); the numbers are those of NumPy's own generator."""
    wanted = np.random.Generator(np.random.Philox(key=[7, 2])).permutation(6)
    np.testing.assert_array_equal(permutation(6, 7, 2), wanted)
    np.testing.assert_array_equal(permutation(6, 7 + 2**64, 2), wanted)
    for seed, epoch in ((-1, 0), (2**63 + 5, 1), (3, 2**63 + 1)):
        key = np.array([seed % 2**64, epoch], np.uint64)
        wanted = np.random.Generator(np.random.Philox(key=key)).permutation(20)
        np.testing.assert_array_equal(permutation(20, seed, epoch), wanted)


def test_batches_of_groups_are_mixed_when_shuffled() -> None:
    source = Grouped([0] * 40 + [1] * 40)
    first, second = ([int(source.groups[each.rows[0]]) for each in Batches(source, 4, 3).read(n)] for n in (0, 1))
    assert first != sorted(first)
    assert first != second, "mixed anew in every pass"
    assert [int(source.groups[batch.rows[0]]) for batch in Batches(source, 4).read()] == [0] * 10 + [1] * 10


def test_sizes_may_differ_between_groups() -> None:
    source = Grouped([0, 1] * 10)
    batches = Batches(source, {0: 2, 1: 8})
    assert [len(batch.weight) for batch in batches.read()] == [2] * 5 + [8] * 2
    assert (batches.steps, batches.rows) == (7, 8)
    whole = Batches(source, None)
    assert [len(batch.rows) for batch in whole.read()] == [10, 10]


def test_a_batch_divides_by_the_processes() -> None:
    with pytest.raises(UsageError, match="7 rows over 2"):
        Batches(Grouped([0]), 7, share=(0, 2))
    assert Batches(Grouped([0] * 7), None, share=(0, 2)).rows == 8


def test_what_becomes_a_source() -> None:
    x = np.zeros((3, 2))
    assert as_source(Grouped([0])).groups.tolist() == [0]
    for data in (x, {"x": x}, Images(x, x), x.tolist()):
        assert len(as_source(data)) == 3
    pictures = as_source(Images(np.zeros((3, 4, 4, 1)), np.zeros((3, 2))))
    assert isinstance(pictures.read(np.array([1]))[0], Images)
    with pytest.raises(DataError, match="at least one row"):
        as_source(np.zeros((0, 2)))


def test_a_subset_reads_its_rows_in_its_order() -> None:
    subset = Subset(Grouped([0, 0, 1, 1, 0, 0]), np.array([5, 2, 0]))
    assert len(subset) == 3
    assert subset.groups.tolist() == [0, 1, 0]
    x, weight = subset.read(np.array([0, 1]))
    assert x[:, 0].tolist() == [5, 2]
    assert weight.tolist() == [0, 1]


def threads() -> int:
    return sum(thread.name == "mmfeat-ahead" for thread in threading.enumerate())


def test_reading_ahead_keeps_the_order_and_stops_with_the_reader() -> None:
    assert list(ahead(iter(range(100)))) == list(range(100))
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    reader: Any = ahead(items(), depth=2)
    assert next(reader) == 0
    time.sleep(0.05)
    assert len(made) <= 5, "no more than two are kept ready"
    assert threads() == 1
    reader.close()
    assert threads() == 0


def test_an_error_appears_where_its_item_would_have() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    reader = ahead(items())
    assert [next(reader), next(reader)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(reader)
    assert threads() == 0
