"""The index types: what their codes look like, and how one block of codes is scanned.

A type is one entry of `KINDS`. Its exact codes are always stored (`codes.npy`, n rows); FAISS bytes are stored beside
them only by types that have a structure worth keeping. The two flat types have none: the codes are mapped into memory
and scanned where they lie, so opening an index of any size copies nothing.

Distances, smaller is nearer in every metric:
    hamming  number of different bits, int32
    l2       Euclidean distance |x - y|, float32
    cosine   1 - x·y / (|x| |y|) in [0, 2], float32; a zero vector is at distance 1 from everything
    ip       -x·y, float32
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmfeat.errors import DataError, ShapeError, UsageError

__all__ = ["KINDS", "Kind", "as_codes", "as_count", "find_kind", "name_some", "scanner", "to_unit"]

Scan = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Kind:
    """An index type: the dtype of its codes, what they measure with (the first is the default), and its distances."""

    name: str
    dtype: type[np.generic]
    distance: type[np.generic]
    metrics: tuple[str, ...]

    def width(self, dim: int) -> int:
        """Columns of the codes: bytes of packed bits, or floats."""
        return -(-dim // 8) if self.dtype is np.uint8 else dim


KINDS = {
    "binary-flat": Kind("binary-flat", np.uint8, np.int32, ("hamming",)),
    "float-flat": Kind("float-flat", np.float32, np.float32, ("l2", "cosine", "ip")),
}


def find_kind(name: str, metric: str | None = None) -> tuple[Kind, str]:
    """The type and its metric, or a UsageError that lists what there is."""
    kind = KINDS.get(name)
    if kind is None:
        raise UsageError(f"an index kind is one of {', '.join(KINDS)}", repr(name), "choose one of these")
    if metric is not None and metric not in kind.metrics:
        raise UsageError(f"{name} measures {' or '.join(kind.metrics)}", f"metric {metric!r}", "choose one of these")
    return kind, metric or kind.metrics[0]


def scanner(kind: Kind, metric: str) -> Scan:
    """The exact scan of this type: (codes (n, w), queries (q, w), k ≤ n) → distance and row, both (q, k).

    Rows are in the order of a stable sort by (distance, row). FAISS is imported here and nowhere earlier.
    """
    if kind.dtype is np.uint8:
        from mmfeat.indexes.hamming import nearest

        return nearest
    from mmfeat.indexes.floats import nearest_by

    return nearest_by(metric)


def as_count(value: Any, rule: str, do: str) -> int:
    """A whole number of at least 1, NumPy's among them, as an int; UsageError otherwise."""
    try:
        count = int(operator.index(value))
    except TypeError:
        count = 0
    if count < 1:
        raise UsageError(rule, str(value), do)
    return count


def name_some(ids: Sequence[Any]) -> str:
    """Up to three ids, for a message."""
    return ", ".join(repr(str(i)) for i in ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


def _refuse_rows(rule: str, bad: np.ndarray, ids: Sequence[Any] | None, do: str) -> None:
    if not len(bad):
        return
    who = name_some([ids[i].as_py() if hasattr(ids[i], "as_py") else ids[i] for i in bad]) if ids is not None else ""
    rows = who or f"rows {', '.join(str(i) for i in bad[:3])}{'…' if len(bad) > 3 else ''}"
    raise DataError(rule, f"{len(bad)} that are not: {rows}", do)


def as_codes(kind: Kind, dim: int, codes: Any, ids: Sequence[Any] | None = None) -> np.ndarray:
    """Codes or queries as a contiguous matrix (n, width) of the type's dtype, without a copy when they are one.

    ShapeError: another dtype or width (nothing is converted unasked). DataError: padding bits that are not zero, or
    floats that are not finite; it names the ids, or the rows when there are no ids.
    """
    codes = np.asarray(codes)
    width = kind.width(dim)
    if codes.dtype != kind.dtype or codes.ndim != 2 or codes.shape[1] != width:
        what = f"{dim} bits packed to uint8" if kind.dtype is np.uint8 else "float32"
        raise ShapeError(
            f"vectors of this index are {what} of shape (n, {width})",
            f"{codes.dtype} {codes.shape}",
            "convert them, or check that they come from the model of the index",
        )
    if kind.dtype is np.uint8:
        if dim % 8 and codes.size:
            bad = np.flatnonzero(codes[:, -1] >> (dim % 8))
            _refuse_rows(
                f"bits beyond the {dim}th are padding and must be 0", bad, ids, "pack with mmfeat.arrays.pack_bits"
            )
    elif not np.isfinite(codes).all():
        bad = np.flatnonzero(~np.isfinite(codes).all(axis=1))
        _refuse_rows("vectors must be finite", bad, ids, "leave these items out or find where NaN or infinity arises")
    return np.ascontiguousarray(codes)


def to_unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, d) float32 scaled to length 1, the length taken in float64; zero vectors stay zero."""
    out = np.empty_like(vectors)
    for start in range(0, len(vectors), 4096):
        block = vectors[start : start + 4096].astype(np.float64)
        norm = np.sqrt(np.einsum("nd,nd->n", block, block))
        norm[norm == 0] = 1.0
        out[start : start + 4096] = block / norm[:, None]
    return out
