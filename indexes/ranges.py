"""All rows within a radius, exactly: what a semantic hash is asked, and what near-duplicates are found with.

    ball(q, r) = {x : d(q, x) <= r}

Salakhutdinov & Hinton, «Semantic hashing», 2009: short codes are addresses, and the ball around a query's address is its
answer. Here the ball is found by a scan; every type answers it from its exact codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mmfeat.indexes.kinds import Kind, faiss_metric
from mmfeat.indexes.search import Block, Ways, ways_of
from mmfeat.indexes.threads import library

__all__ = ["Balls", "ball_blocks", "distance_blocks"]

_ROWS = 1 << 16  # codes that are scanned at once
_ELEMENTS = 1 << 21


class Balls(NamedTuple):
    """The rows within a radius of each query, nearest first, ties in the order of rows.

    limits: (q + 1,) int64; the rows of query i are `row[limits[i]:limits[i + 1]]` (int64), their distances likewise.
    """

    limits: np.ndarray
    distance: np.ndarray
    row: np.ndarray

    def of(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances and rows of one query."""
        part = slice(int(self.limits[query]), int(self.limits[query + 1]))
        return self.distance[part], self.row[part]


def ball_blocks(kind: Kind, metric: str, blocks: Sequence[Block], queries: np.ndarray, radius: float) -> Balls:
    """The balls of one radius around queries (q, w) among the kept rows of all blocks."""
    ways = ways_of(kind, metric)
    which, near, rows = [np.empty(0, np.int64)], [np.empty(0, ways.distance)], [np.empty(0, np.int64)]
    for block in blocks:
        for start in range(0, len(block.codes) if block.kept and len(queries) else 0, _ROWS):
            codes = np.ascontiguousarray(block.codes[start : start + _ROWS])
            keep = slice(None) if block.keep is None else np.flatnonzero(block.keep[start : start + _ROWS])
            number = np.arange(len(codes))[keep]
            if not len(number):
                continue
            query, row, distance = _in_ball(kind, metric, ways, codes[keep], queries, radius)
            which.append(query)
            near.append(distance)
            rows.append(number[row] + start + block.start)
    query, distance, row = np.concatenate(which), np.concatenate(near), np.concatenate(rows)
    order = np.lexsort((row, distance, query))
    limits = np.searchsorted(query[order], np.arange(len(queries) + 1))
    return Balls(limits.astype(np.int64), distance[order], row[order])


def _in_ball(
    kind: Kind, metric: str, ways: Ways, codes: np.ndarray, queries: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query, row and distance (m,) of every pair within the radius: FAISS proposes, exact distances decide."""
    faiss = library()

    if kind.dtype is np.uint8:
        scan = faiss.IndexBinaryFlat(codes.shape[1] * 8)
        limit: float = int(min(radius, codes.shape[1] * 8)) + 1  # FAISS answers what is below it
    else:
        from mmfeat.indexes.floats import horizon

        scan = faiss.IndexFlat(codes.shape[1], faiss_metric(metric))
        reach = horizon(metric, codes, queries, np.full(len(queries), radius)).max()
        limit = float(reach if metric == "l2" else (1.0 if metric == "cosine" else 0.0) - reach)
        limit = float(np.nextafter(np.float32(limit), np.float32(np.inf if metric == "l2" else -np.inf)))
    scan.add(codes)
    limits, _, row = scan.range_search(queries, limit)
    query = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
    distance = np.empty(len(row), ways.distance)
    step = max(1, _ELEMENTS // codes.shape[1])
    for start in range(0, len(row), step):
        part = slice(start, start + step)
        distance[part] = ways.measure(queries[query[part]], codes[row[part]])
    inside = distance <= (int(radius) if kind.dtype is np.uint8 else np.float32(radius))
    return query[inside], row[inside], distance[inside]


def distance_blocks(
    ways: Ways, blocks: Sequence[Block], queries: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Kept rows (b,) and their exact distances (q, b) to all queries, some at once, in the order of rows."""
    for block in blocks:
        kept = np.arange(len(block.codes)) if block.keep is None else np.flatnonzero(block.keep)
        step = max(1, _ELEMENTS // max(1, block.codes.shape[1]))
        for start in range(0, len(kept), step):
            row = kept[start : start + step]
            codes = block.codes[row]
            yield row + block.start, np.stack([ways.measure(query, codes) for query in queries])
