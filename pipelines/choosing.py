"""Which type of index for these vectors: measured on a sample of them, not guessed.

For each contender: bytes per item, recall@10 by its codes alone (of the ten nearest by the floats, how many it finds;
whatever is as near as the tenth counts), the same when its 100 first are measured again on the floats, and queries/s.

    float-flat          the floats themselves, d x 4 bytes
    SQ8                 one byte a dimension
    PQ, OPQ             product quantisation, with and without a learned rotation (Jégou et al. 2011; Ge et al. 2013)
    RaBitQ              a bit a dimension and two numbers, after a rotation (Gao & Long 2024)
    ITQ                 bits after the rotation that loses least (Gong & Lazebnik 2011)
    random, signs       bits of random directions; bits of the dimensions themselves, cut at their medians

The choice at a size is among those whose recall is within 0.02 of the best of that size (or smaller): bits before quantised codes
before whole vectors, which is also their order by speed; then the fewest bytes, then the highest recall. Queries/s are shown and
decide nothing: a clock differs from run to run, and the same seed is to give the same index.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import DataError, UsageError

if TYPE_CHECKING:
    from mmfeat.stages import Report

__all__ = ["QUERIES", "Choices", "Contender", "choose", "contenders", "fewest", "measure_kinds"]

TOLERANCE = 0.02
SIZES = (8, 16, 32, 64)
QUERIES = 300
_NEIGHBOURS, _AGAIN = 10, 100


@dataclasses.dataclass(frozen=True)
class Contender:
    """One type, measured. bytes: of a code, that searches read. recall: by codes alone. reranked: after measuring again."""

    name: str
    kind: str
    bytes: int
    recall: float
    reranked: float
    queries_per_s: float
    size: int


@dataclasses.dataclass(frozen=True)
class Choices:
    """All that was measured, by size, on `rows` items with `queries` queries; `chosen` is one of `table`."""

    table: tuple[Contender, ...]
    chosen: Contender
    rows: int
    queries: int
    metric: str

    def lines(self) -> list[str]:
        """The table as text, the choice marked."""
        head = f"{'':2}{'type':<10} {'kind':<28} {'bytes':>6} {'recall@10':>10} {'re-ranked':>10} {'queries/s':>10}"
        lines = [head]
        for one in self.table:
            mark = "* " if one is self.chosen else "  "
            lines.append(
                f"{mark}{one.name:<10} {one.kind:<28} {one.bytes:>6} {one.recall:>10.3f} {one.reranked:>10.3f} "
                f"{one.queries_per_s:>10,.0f}"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "chosen": self.chosen.kind}


def contenders(dim: int, sizes: Sequence[int] = SIZES) -> list[tuple[str, str, int]]:
    """(name, kind, size) of what is compared for vectors of `dim` dimensions; size 0 stands for whole vectors.

    >>> [kind for _, kind, size in contenders(64, (8,)) if size == 8]
    ['float:PQ8', 'float:OPQ8,PQ8', 'float:ITQ64,LSH', 'float:LSH64r', 'float:LSH64t']
    """
    found = [("float", "float-flat", 0), ("SQ8", "float:SQ8", 0)]
    for size in sizes:
        bits, held = 8 * size, dim // size * size
        if 2 * size <= dim:  # with fewer than two dimensions a byte, SQ8 is the same and quicker
            if dim % size == 0:
                found.append(("PQ", f"float:PQ{size}", size))
            found.append(("OPQ", f"float:OPQ{size}{'' if held == dim else f'_{held}'},PQ{size}", size))
        if size > 8 and bits - 64 <= dim:  # RaBitQ keeps two floats beside its bits
            found.append(("RaBitQ", f"float:PCAR{bits - 64},RaBitQ", size))
        if bits <= dim:
            found.append(("ITQ", f"float:ITQ{bits},LSH", size))
        found.append(("random", f"float:LSH{bits}r", size))
        if bits == dim:
            found.append(("signs", f"float:LSH{bits}t", size))
    if dim % 8 == 0 and dim // 8 not in sizes:
        found.append(("signs", f"float:LSH{dim}t", dim // 8))
    return found


def fewest(queries: int = QUERIES) -> int:
    """How many vectors it takes to compare types: fewer rows are scanned whatever the type, and all types would seem alike."""
    from mmfeat.indexes.search import FEW

    return FEW + queries + 1


def measure_kinds(
    vectors: np.ndarray,
    *,
    metric: str = "l2",
    sizes: Sequence[int] = SIZES,
    sample: int = 10_000,
    queries: int = QUERIES,
    seed: int = 0,
    size: int | None = None,
    recall: float = 0.9,
    report: Report | None = None,
) -> Choices:
    """Measure all contenders on a seeded sample of vectors (n, d) float32 and choose one.

    The sample is divided: `queries` of it ask, the others answer. size: choose at this size in bytes; otherwise the
    smallest size whose best recall by codes alone is at least `recall`, or the floats as they are.
    """
    from mmfeat.indexes.kinds import find_kind, scanner, to_unit

    there, least = min(len(vectors), sample + queries), fewest(queries)
    if there < least:
        raise DataError(
            f"types are compared on at least {least:,} vectors", f"{there:,}", "float-flat is right for so few"
        )
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(vectors))[: sample + queries]
    queries = min(queries, len(rows) // 10)
    chosen = np.ascontiguousarray(vectors[np.sort(rows)], np.float32)
    chosen = chosen[rng.permutation(len(chosen))]
    if metric == "cosine":
        chosen = to_unit(chosen)
    asked, held = chosen[:queries], np.ascontiguousarray(chosen[queries:])
    scan = scanner(find_kind("float-flat", metric)[0], metric)
    farthest = scan(held, asked, _NEIGHBOURS)[0][:, -1]
    table = []
    listed = contenders(held.shape[1], sizes)
    for number, (name, kind, group) in enumerate(listed, 1):
        found = _measure(name, kind, group, metric, asked, held, farthest)
        table += [found] if found else []
        if report:
            report("measuring types", number, len(listed), {})
    whole = sorted(table, key=lambda one: (one.bytes, one.name))
    return Choices(tuple(whole), choose(whole, size, recall), len(held), queries, metric)


def choose(table: Sequence[Contender], size: int | None = None, recall: float = 0.9) -> Contender:
    """The best choice within 0.02 recall of the best at a size; see `measure_kinds` for how the size is found."""
    if size is not None:
        within = [one for one in table if one.bytes <= size]
        if not within:
            least = min(one.bytes for one in table)
            raise UsageError(f"the smallest code has {least} bytes", f"{size}", "allow more bytes")
        return _preferred(within)
    for limit in sorted({one.bytes for one in table}):
        within = [one for one in table if one.bytes <= limit]
        if max(one.recall for one in within) >= recall:
            return _preferred(within)
    return _preferred(list(table))


def _preferred(within: Sequence[Contender]) -> Contender:
    best = max(one.recall for one in within)
    near = [one for one in within if one.recall >= best - TOLERANCE]
    return min(near, key=lambda one: (_slowness(one.kind), one.bytes, -one.recall, one.kind))


def _slowness(kind: str) -> int:
    """Broad classes of speed: 0 bits are counted, 1 codes are looked up, 2 whole vectors are read.

    >>> [_slowness(kind) for kind in ("float:ITQ64,LSH", "float:OPQ8,PQ8", "float:PCAR64,RaBitQ", "float:SQ8", "float-flat")]
    [0, 1, 1, 2, 2]
    """
    return 0 if "LSH" in kind else 1 if "PQ" in kind or "RaBitQ" in kind else 2


def _measure(
    name: str, kind: str, size: int, metric: str, asked: np.ndarray, held: np.ndarray, farthest: np.ndarray
) -> Contender | None:
    """One contender; None where FAISS has it not for this metric, or there are too few vectors to train it."""
    from mmfeat.indexes.kinds import find_kind, measurer
    from mmfeat.indexes.search import Block, search_blocks, ways_of
    from mmfeat.indexes.structures import Effort, Structure, build, check_kind, code_bytes

    found, _ = find_kind(kind, metric)
    structure = None
    if found.factory is not None:
        try:
            check_kind(found, held.shape[1], metric)
            index = build(found, metric, held)
        except (UsageError, DataError):
            return None
        if index is None:
            return None
        structure = Structure.of(index, found, metric)
    block = Block(0, held, None, len(held), structure)
    ways = ways_of(found, metric)

    def ask(effort: Effort) -> np.ndarray:
        return search_blocks(ways, [block], asked, _NEIGHBOURS, effort).row

    def share(row: np.ndarray) -> float:
        near = measurer(found, metric)(asked[:, None], held[row])
        return float((near <= farthest[:, None]).mean())

    times = list(_timed(lambda: ask(Effort(rerank=False))))
    return Contender(
        name,
        kind,
        code_bytes(structure.index) if structure else held.shape[1] * 4,
        round(share(ask(Effort(rerank=False))), 4),
        round(share(ask(Effort(candidates=_AGAIN))), 4),
        round(len(asked) / float(np.median(times)), 1),
        size,
    )


def _timed(function: Any, rounds: int = 3) -> Iterator[float]:
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        yield time.perf_counter() - start
