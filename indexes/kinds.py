"""The index types: what their codes look like, and how one block of codes is scanned.

The exact codes of every type are stored (`codes.npy`, n rows); types with a structure have FAISS bytes beside them
(`structures`). The two flat types have none: the codes are mapped into memory and scanned where they lie, so opening an
index of any size copies nothing.

    binary-flat                                     an exact scan of packed bits
    binary-ivf, binary-ivf:256                      inverted lists; so many, or as many as fit the rows
    binary-hnsw, binary-hnsw:16                     a graph with so many links a node (16)
    float-flat                                      an exact scan of float32
    float:IVF256,Flat   float:IVF,PQ16   float:OPQ16,PQ16   float:RaBitQ   float:HNSW32   …
                                                    a factory string of FAISS; IVF without a number fits the rows

Distances, smaller is nearer in every metric:
    hamming  number of different bits, int32
    l2       Euclidean distance |x - y|, float32
    cosine   1 - x·y / (|x| |y|) in [0, 2], float32; a zero vector is at distance 1 from everything
    ip       -x·y, float32
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmfeat.errors import DataError, ShapeError, UsageError

__all__ = ["KINDS", "Kind", "as_codes", "as_count", "faiss_metric", "find_kind", "name_some", "resolve", "scanner"]
__all__ += ["knobs", "measurer", "to_unit", "trained_well"]

Scan = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Kind:
    """An index type: the dtype of its codes, what they measure with (the first is the default), and its distances.

    factory: FAISS's string for the structure beside the codes; None for a flat type.
    """

    name: str
    dtype: type[np.generic]
    distance: type[np.generic]
    metrics: tuple[str, ...]
    factory: str | None = None

    def width(self, dim: int) -> int:
        """Columns of the codes: bytes of packed bits, or floats."""
        return -(-dim // 8) if self.dtype is np.uint8 else dim


KINDS = {
    "binary-flat": Kind("binary-flat", np.uint8, np.int32, ("hamming",)),
    "float-flat": Kind("float-flat", np.float32, np.float32, ("l2", "cosine", "ip")),
}


def find_kind(name: str, metric: str | None = None) -> tuple[Kind, str]:
    """The type and its metric, or a UsageError that lists what there is."""
    kind = KINDS.get(name) or _structured(str(name))
    if kind is None:
        there = ", ".join(KINDS)
        raise UsageError(
            f"an index kind is one of {there}, binary-ivf, binary-hnsw, or float:FACTORY",
            repr(name),
            "choose one of these; a factory string of FAISS is for example float:IVF256,PQ16",
        )
    if metric is not None and metric not in kind.metrics:
        raise UsageError(f"{name} measures {' or '.join(kind.metrics)}", f"metric {metric!r}", "choose one of these")
    return kind, metric or kind.metrics[0]


def _structured(name: str) -> Kind | None:
    """A type with a structure, by its name; None where it has no such form."""
    bits = re.fullmatch(r"binary-(ivf|hnsw)(?::([1-9][0-9]{0,5}))?", name)
    if bits:
        factory = f"BIVF{bits[2] or ''}" if bits[1] == "ivf" else f"BHNSW{bits[2] or 16}"
        return dataclasses.replace(KINDS["binary-flat"], name=name, factory=factory)
    floats = re.fullmatch(r"float:([A-Za-z][\w,()]{0,99})", name)
    # FAISS's own ids and re-ranking are what segments and exact codes are for.
    if floats and not re.search(r"IDMap|Refine|RFlat|(?:^|,)R[0-9(]", floats[1]):
        return dataclasses.replace(KINDS["float-flat"], name=name, factory=floats[1])
    return None


def resolve(factory: str, rows: int) -> tuple[str, int]:
    """The string for so many rows, and how many rows it takes to train it at least.

    IVF without a number gets the power of two next below 4 sqrt(rows), with at least 39 rows a list.

    >>> resolve("IVF,PQ16", 100_000), resolve("BIVF", 3_000), resolve("HNSW32", 10)
    (('IVF1024,PQ16', 1024), ('BIVF64', 64), ('HNSW32', 1))
    """
    lists = max(1, min(int(4 * rows**0.5), rows // 39))
    name = re.sub(r"IVF(?=,|$|_)", f"IVF{1 << (lists.bit_length() - 1)}", factory)
    counts = [int(number) for number in re.findall(r"IVF([0-9]+)", name)]
    return name, max([*counts, 256 if "PQ" in name else 1])


def knobs(kind: Kind) -> tuple[str, ...]:
    """Which of nprobe, ef and candidates a search in this type can be told.

    >>> [knobs(find_kind(name)[0]) for name in ("binary-flat", "binary-ivf", "float:HNSW32")]
    [(), ('nprobe', 'candidates'), ('ef', 'candidates')]
    """
    if kind.factory is None:
        return ()
    lists = "IVF" in kind.factory
    return (*(["nprobe"] if lists else ["ef"] if "HNSW" in kind.factory else []), "candidates")


def trained_well(kind: Kind, rows: int) -> int:
    """How many rows a type should have for its centroids: 39 for each, as FAISS holds; 1 where nothing is clustered.

    >>> trained_well(find_kind("float:IVF1000,PQ4")[0], 300), trained_well(find_kind("float:PQ4x4")[0], 300)
    (39000, 624)
    """
    name, _ = resolve(str(kind.factory), rows)
    counts = [int(number) for number in re.findall(r"IVF([0-9]+)", name)]
    counts += [1 << int(bits or 8) for bits in re.findall(r"PQ[0-9]+(?:x([0-9]+))?", name)]
    return 39 * max(counts) if counts else 1


def faiss_metric(metric: str) -> int:
    """FAISS's number of a metric of floats; unit vectors are as near by cosine as by their product."""
    from mmfeat.indexes.threads import library

    faiss = library()
    return int(faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def scanner(kind: Kind, metric: str) -> Scan:
    """The exact scan of this type: (codes (n, w), queries (q, w), k ≤ n) → distance and row, both (q, k).

    Rows are in the order of a stable sort by (distance, row). FAISS is imported here and nowhere earlier.
    """
    if kind.dtype is np.uint8:
        from mmfeat.indexes.hamming import nearest

        return nearest
    from mmfeat.indexes.floats import nearest_by

    return nearest_by(metric)


def measurer(kind: Kind, metric: str) -> Measure:
    """The exact distances of this type along the last axis of two arrays that broadcast: (..., w), (..., w) → (...)."""
    if kind.dtype is np.uint8:
        from mmfeat.indexes.hamming import measure

        return measure
    from mmfeat.indexes.floats import measure_by

    return measure_by(metric)


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
