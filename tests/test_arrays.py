"""Rows, padding and packed bits."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from mmfeat.arrays import Images, Locals, count_rows, pack_bits, pad_rows, take_rows, unpack_bits
from mmfeat.errors import ShapeError

X = np.arange(12, dtype=np.float32).reshape(4, 3)
PICTURES = Images(np.ones((4, 5, 6, 3), np.uint8), np.full((4, 2), 5, np.int32))
PARTS: dict[str, np.ndarray] = {"x": X, "y": np.arange(4)}
LOCALS = Locals(np.ones((4, 2, 3)), np.ones((4, 2, 2)), np.ones((4, 2)))


@pytest.mark.parametrize("x", [X, PICTURES, PARTS, LOCALS])
def test_rows_of_any_structure(x: Any) -> None:
    assert count_rows(x) == 4
    some = take_rows(x, np.array([3, 1]))
    assert type(some) is type(x)
    assert count_rows(some) == 2
    padded, weight = pad_rows(x, 6)
    assert type(padded) is type(x)
    assert count_rows(padded) == 6
    np.testing.assert_array_equal(weight, [1, 1, 1, 1, 0, 0])
    assert weight.dtype == np.float32
    same, weight = pad_rows(x, 4)
    assert same is x
    assert weight.all()


def test_the_rows_themselves() -> None:
    np.testing.assert_array_equal(take_rows(PARTS, np.array([3, 1]))["x"], X[[3, 1]])
    np.testing.assert_array_equal(take_rows(X, slice(1, 3)), X[1:3])
    padded, _ = pad_rows(PARTS, 5)
    np.testing.assert_array_equal(padded["x"][:4], X)
    assert not padded["x"][4:].any()
    assert padded["y"].dtype == PARTS["y"].dtype


def test_what_has_no_common_rows_is_refused() -> None:
    for bad in ({"x": X, "y": np.zeros(3)}, np.float32(1), {"x": X, "y": np.float32(1)}, {}):
        with pytest.raises(ShapeError, match="one leading axis"):
            count_rows(bad)
    with pytest.raises(ShapeError, match="at most 3 rows; got 4"):
        pad_rows(X, 3)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 40)), elements=st.sampled_from([-1, -0.0, 0, 2]))
)
def test_bits_come_back(values: np.ndarray) -> None:
    packed = pack_bits(values)
    assert packed.dtype == np.uint8
    assert packed.shape == (len(values), -(-values.shape[1] // 8))
    np.testing.assert_array_equal(unpack_bits(packed, values.shape[1]), values > 0)


def test_bits_are_laid_as_faiss_lays_them() -> None:
    """Bit j of a code is bit j % 8 of byte j // 8; the Hamming distance to zero then counts the ones."""
    faiss = pytest.importorskip("faiss")
    values = np.random.default_rng(0).normal(size=(50, 19)).astype(np.float32)
    lsh = faiss.IndexLSH(19, 19, False)
    packed = np.zeros((50, 3), np.uint8)
    lsh.sa_encode(values, packed)
    np.testing.assert_array_equal(pack_bits(values) & 7, packed & 7)
    index = faiss.IndexBinaryFlat(24)
    index.add(pack_bits(values))
    distances, rows = index.search(np.zeros((1, 3), np.uint8), 50)
    np.testing.assert_array_equal(distances[0], (values > 0).sum(1)[rows[0]])


def test_wrong_codes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"matrix \(n, bits\)"):
        pack_bits(np.zeros(8))
    for bad in (np.zeros((2, 3), np.uint8), np.zeros((2, 2), np.int64), np.zeros(2, np.uint8)):
        with pytest.raises(ShapeError, match=r"9-bit codes are uint8 of shape \(n, 2\)"):
            unpack_bits(bad, 9)
