"""The shapes data travel in: pictures of one bucket, local descriptors, packed bits, padded rows.

Nothing here imports JAX: leaves may be NumPy or JAX arrays, and both NamedTuples are pytrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mmfeat.errors import ShapeError

__all__ = ["Images", "Locals", "count_rows", "pack_bits", "pad_rows", "take_rows", "unpack_bits"]

Array = Any  # a NumPy or JAX array


class Images(NamedTuple):
    """Pictures of one shape bucket, padded with zeros at the right and the bottom.

    pixels: (B, H, W, C), uint8 in 0..255 or float32 in [0, 1]; C is 1 or 3.
    size:   (B, 2) int32, the valid height and width of each picture in pixels.
    """

    pixels: Array
    size: Array


class Locals(NamedTuple):
    """Local descriptors of a batch of items: patches, frames or cuboids.

    values: (B, L, d) float32; L is fixed for a shape bucket.
    where:  (B, L, k) float32: x, y in [0, 1] of the item (patches), seconds (frames), or seconds, x, y (cuboids).
    weight: (B, L) float32: 1, or 0 where the local is padding.
    """

    values: Array
    where: Array
    weight: Array


def _leaves(x: Any) -> list[Array]:
    if isinstance(x, Mapping):
        return [leaf for key in sorted(x) for leaf in _leaves(x[key])]
    if isinstance(x, tuple):
        return [leaf for part in x for leaf in _leaves(part)]
    return [x]


def _map(function: Any, x: Any) -> Any:
    if isinstance(x, Mapping):
        return {key: _map(function, value) for key, value in x.items()}
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*(_map(function, part) for part in x))
    return function(x)


def count_rows(x: Any) -> int:
    """The common length of the leading axis of an array, a dict of arrays, `Images` or `Locals`."""
    lengths = {int(leaf.shape[0]) if getattr(leaf, "ndim", 0) else -1 for leaf in _leaves(x)}
    if len(lengths) != 1 or -1 in lengths:
        raise ShapeError(
            "all arrays of a batch share one leading axis",
            f"leading lengths {sorted(lengths)}",
            "pass arrays with one row per item",
        )
    return lengths.pop()


def take_rows(x: Any, rows: np.ndarray | slice) -> Any:
    """The same structure with only these rows."""
    return _map(lambda leaf: leaf[rows], x)


def pad_rows(x: Any, rows: int) -> tuple[Any, np.ndarray]:
    """`x` with zero rows added up to `rows`, and the weights (rows,) float32: 1 for real rows, 0 for padding.

    >>> pad_rows(np.ones((2, 3), np.float32), 4)[1]
    array([1., 1., 0., 0.], dtype=float32)
    """
    count = count_rows(x)
    if count > rows:
        raise ShapeError(f"a batch holds at most {rows} rows", f"{count}", "cut it into smaller batches")
    weight = (np.arange(rows) < count).astype(np.float32)
    if count == rows:
        return x, weight

    def pad(leaf: Array) -> np.ndarray:
        out = np.zeros((rows, *leaf.shape[1:]), leaf.dtype)
        out[:count] = leaf
        return out

    return _map(pad, x), weight


def pack_bits(values: Array) -> np.ndarray:
    """Float codes (n, bits) to packed bits (n, ceil(bits / 8)) uint8: bit = value > 0, little-endian as in FAISS, padded with 0.

    >>> pack_bits(np.array([[1.0, -1.0, 2.0]]))
    array([[5]], dtype=uint8)
    """
    values = np.asarray(values)
    if values.ndim != 2:
        raise ShapeError("codes are a matrix (n, bits)", f"shape {values.shape}", "add the leading axis")
    return np.packbits(values > 0, axis=1, bitorder="little")


def unpack_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Packed bits (n, ceil(bits / 8)) uint8 to (n, bits) bool; the inverse of `pack_bits`."""
    if codes.ndim != 2 or codes.dtype != np.uint8 or codes.shape[1] != -(-bits // 8):
        raise ShapeError(
            f"{bits}-bit codes are uint8 of shape (n, {-(-bits // 8)})",
            f"{codes.dtype} {codes.shape}",
            "check the width",
        )
    return np.unpackbits(codes, axis=1, count=bits, bitorder="little").astype(bool)
