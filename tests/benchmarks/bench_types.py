"""Every index type: how much it finds, how quickly, beside bare FAISS; searches with dead rows and filters; cold queries.

A million codes each, ten million with BENCH=full. BENCH_ROWS sets another number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_search import asked, bare_search, threads_of
from measuring import Row, alone, missing, side_by_side, speed

_BITS, _DIM, _K, _QUERIES = 128, 64, 10, 1000
_ROWS = int(os.environ.get("BENCH_ROWS") or (10_000_000 if os.environ.get("BENCH") == "full" else 1_000_000))
_BINARY = ("binary-ivf", "binary-hnsw")
_FLOATS = ("float-flat", "float:IVF,Flat", "float:IVF,PQ16", "float:OPQ16,IVF,PQ16", "float:IVF,RaBitQ", "float:HNSW16")


def run(work: Path) -> Iterator[Row]:
    """Filters first, then each type."""
    yield from _filtered(work / "filtered.index")
    for kind in (*_BINARY, *_FLOATS):
        yield from _type(work / kind.replace(":", "-").replace(",", "-"), kind)


def _codes(kind: str, count: int, seed: int) -> np.ndarray:
    """Codes with neighbours: noise around ten thousand centres."""
    rng = np.random.default_rng(seed)
    if kind.startswith("binary"):
        centres = np.random.default_rng(9).integers(0, 256, (10_000, _BITS // 8), dtype=np.uint8)
        noise = rng.integers(0, 256, (3, count, _BITS // 8), dtype=np.uint8)
        return centres[rng.integers(0, len(centres), count)] ^ (noise[0] & noise[1] & noise[2])
    centres = np.random.default_rng(9).normal(size=(10_000, _DIM)).astype(np.float32)
    out = centres[rng.integers(0, len(centres), count)]
    out += 0.5 * rng.standard_normal(out.shape, dtype=np.float32)
    return out


def _made(path: Path, kind: str, codes: np.ndarray, parts: Any = None) -> Any:
    import mmfeat.indexes

    index = mmfeat.indexes.create(path, kind=kind, dim=_BITS if kind.startswith("binary") else _DIM)
    index.add([f"{number:08}.jpg" for number in range(len(codes))], codes, parts)
    return index


def _filtered(path: Path) -> Iterator[Row]:
    """Flat bits with 1 % of the rows removed and a condition that half of the rows meet, beside FAISS without either."""
    import faiss
    import pyarrow as pa

    from mmfeat.indexes.asking import REMEMBERED

    codes = _codes("binary", _ROWS, 0)
    index = _made(path, "binary-flat", codes, pa.table({"label": np.array(["a", "b"])[np.arange(_ROWS) % 2]}))
    index.remove([f"{number:08}.jpg" for number in range(0, _ROWS, 100)])
    bare = faiss.IndexBinaryFlat(_BITS)
    bare.query_batch_size = 1 << 16  # not 32: every batch waits for the slowest thread
    bare.add(codes)
    keep = (np.arange(_ROWS) % 2 == 0) & (np.arange(_ROWS) % 100 > 0)
    chosen = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(keep, bitorder="little")))
    for count, rounds, inner in ((1, 51, 20), (_QUERIES, 5, 1)):
        queries = _codes("binary", count, 1)
        rival = f"rival: faiss.IndexBinaryFlat, {threads_of(queries)}, {_ROWS:,} codes of {_BITS} bits"
        for name, where in (("1 % removed", None), ("1 % removed and a filter", "label = 'a'")):
            timing = side_by_side(
                lambda queries=queries, where=where: index.search(queries, _K, where=where),
                lambda queries=queries: bare_search(bare, queries, _K),
                rounds, inner,
            )  # fmt: skip
            note = f"{rival}, nothing removed and no filter"
            yield speed(f"search, {name}, {asked(count)}", timing, count, 0.9, "queries/s", note)
        timing = side_by_side(
            lambda queries=queries: index.search(queries, _K, where="label = 'a'"),
            lambda queries=queries: bare_search(bare, queries, _K, params=chosen),
            rounds, inner,
        )  # fmt: skip
        name = f"search, 1 % removed and a filter, {asked(count)}, beside a selector"
        yield speed(name, timing, count, 0.9, "queries/s", f"{rival} with an IDSelectorBitmap of the same rows")
    first = 1000 * alone(lambda: index.search(queries[:1], _K, where=f"label = 'a' and {time.time_ns()} > 0"), 7)
    note = f"{_ROWS:,} rows; above, conditions were asked before: the last {REMEMBERED} are remembered while an index is open"
    yield Row("search, a condition that is new, one query", first, unit="ms", note=note)


def _type(path: Path, kind: str) -> Iterator[Row]:
    """One type beside the same FAISS index with the same search parameters, and the share of true neighbours found."""
    from mmfeat.indexes.structures import Effort

    codes, queries = _codes(kind, _ROWS, 0), _codes(kind, _QUERIES, 1)
    start = time.perf_counter()
    index = _made(path, kind, codes)
    built = time.perf_counter() - start
    exact = index.search(queries[:100], _K, effort=Effort(exact=True))
    found = index.search(queries[:100], _K)
    recall = np.mean([len(set(a) & set(b)) / _K for a, b in zip(found.row.tolist(), exact.row.tolist(), strict=True)])
    segment = index.snapshot.segments[0]
    note = f"{_ROWS:,} rows, recall@{_K} {recall:.3f}, built in {built:.0f} s"
    if segment.structure is None:
        yield missing(f"{kind}, {_QUERIES:,} queries", f"scanned: {note}")
        return
    structure = segment.structure
    timing = side_by_side(
        lambda: index.search(queries, _K),
        lambda: structure.search(queries, _K, Effort(), None),
        5,
    )  # fmt: skip
    note += "; rival: the FAISS index alone with the same parameters, without measuring again on exact codes"
    yield speed(f"{kind}, {_QUERIES:,} queries", timing, _QUERIES, 0.5, "queries/s", note)
