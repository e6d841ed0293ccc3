"""The type of an index that is built: told, flat, or "auto".

"auto" for floats: types are measured on a sample (`choosing`), the table is said, and the choice is its choice. For bits: the
flat scan is exact and takes about a millisecond for each million of 16-byte codes on one core, so it is the choice below
`FLAT` items; from there on inverted lists, which visit a part of the codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmfeat.errors import UsageError
from mmfeat.progress import tell

if TYPE_CHECKING:
    import numpy as np

    from mmfeat.stages import Report

__all__ = ["FLAT", "MEASURED", "check_type", "say_if_few", "type_of_bits", "type_of_vectors"]

FLAT = 20_000_000  # items up to which bits are scanned
MEASURED = 6_000  # pictures that are encoded to measure types with; 300 of them ask


def check_type(kind: str | None, hashed: bool, metric: str | None = None) -> None:
    """UsageError before anything is learned: no such type, or floats as bits, or bits as floats.

    hashed: whether the codes are bits. metric: that of floats.
    """
    if kind in (None, "auto"):
        return
    from mmfeat.indexes.kinds import find_kind

    find_kind(str(kind))
    if hashed and not str(kind).startswith("binary"):
        raise UsageError(
            "codes of bits have a type binary-…",
            str(kind),
            "choose binary-flat, binary-ivf or binary-hnsw, or a recipe or model that gives floats",
        )
    if not hashed and str(kind).startswith("binary"):
        raise UsageError(
            "floats have a type float-flat or float:…", str(kind), "choose one of these, or a recipe that gives bits"
        )
    find_kind(str(kind), None if hashed else metric)


def type_of_bits(kind: str | None, count: int, report: Report | None = None) -> str:
    """The type for so many codes of bits.

    >>> type_of_bits(None, 10), type_of_bits("binary-hnsw", 10), type_of_bits("auto", 50_000_000)
    ('binary-flat', 'binary-hnsw', 'binary-ivf')
    """
    if kind != "auto":
        return kind or "binary-flat"
    chosen = "binary-flat" if count < FLAT else "binary-ivf"
    why = "an exact scan is quick" if count < FLAT else "a scan would be slow"
    tell(report, [f"type: {chosen} ({why} for {count:,} codes of bits; the limit is {FLAT:,})"])
    return chosen


def type_of_vectors(
    kind: str | None, vectors: np.ndarray | None, metric: str = "l2", seed: int = 0, report: Report | None = None
) -> str:
    """The type for floats. vectors: (n, d) float32, all of them or a sample; needed for "auto"."""
    if kind != "auto" or vectors is None:
        return kind or "float-flat"
    from mmfeat.pipelines.choosing import fewest, measure_kinds

    if len(vectors) < fewest():
        few = f"types are compared on {fewest():,} vectors or more, these are {len(vectors):,}"
        tell(report, [f"type: float-flat ({few})"])
        return "float-flat"
    found = measure_kinds(vectors, metric=metric, seed=seed, report=report)
    said = f"type: {found.chosen.kind} (measured with {found.queries:,} queries on {found.rows:,} vectors, {metric})"
    tell(report, [*found.lines(), said])
    return found.chosen.kind


def say_if_few(kind: str, count: int, report: Report | None) -> None:
    """Say it where so many items are too few for the structure of a type: they are scanned, or its clusters are poor ones."""
    from mmfeat.indexes.kinds import find_kind, resolve, trained_well
    from mmfeat.indexes.structures import LEAST

    found = find_kind(kind)[0]
    if found.factory is None:
        return
    least, well = max(LEAST, resolve(found.factory, count)[1]), trained_well(found, count)
    if count < least:
        tell(
            report, [f"{kind} needs {least:,} items or more; these {count:,} are scanned exactly until there are more"]
        )
    elif count < well:
        tell(report, [f"{kind} is trained well by {well:,} items or more, 39 for each centroid; these are {count:,}"])
