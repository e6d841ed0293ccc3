"""Measures of retrieval that treat ties exactly: mAP, mAP@k, precision, recall, within a Hamming radius, curves.

    scores = measure_codes(queries, database, same_label(query_labels, labels), bits=64, ks=(100, 1000))
    scores["mAP@all"], scores["mAP@1000"], scores["precision within radius 2"]

Every measure is its expectation over all orders of equally distant items (see `mmfeat.evaluate.rankings`), so it depends neither on
the order of the database nor on anybody's sort. A query without a relevant item scores 0 and stays in the mean; so does, within a
radius, a query whose ball is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmfeat.errors import DataError, ShapeError, UsageError
from mmfeat.evaluate.distances import bits_apart, drop_diagonal, hamming_distances, pack_words, prepare_vectors
from mmfeat.evaluate.rankings import (
    TieGroups,
    average_precision_of,
    average_precision_top,
    count_groups,
    hits_top,
    sort_groups,
)
from mmfeat.evaluate.scores import RetrievalScores, Tally

if TYPE_CHECKING:
    from mmfeat.evaluate.protocols import Protocol

__all__ = [
    "Relevance",
    "average_precision",
    "average_precision_at",
    "drop_diagonal",
    "hamming_distances",
    "mean_average_precision",
    "measure_codes",
    "measure_vectors",
    "near_in_space",
    "precision_at",
    "recall_at",
    "same_label",
]

BLOCK = 1 << 18  # elements of a (queries, items) block worked on at once
Relevance = Callable[[slice], np.ndarray]  # rows of queries -> (rows, n) bool
Report = Callable[[str, int, int, dict[str, float]], None]  # as in mmfeat.progress


def measure_codes(
    queries: np.ndarray,
    database: np.ndarray,
    relevant: np.ndarray | Relevance,
    *,
    bits: int | None = None,
    ks: Sequence[int] = (100, 1000),
    radius: int = 2,
    ranks: Sequence[int] = (),
    own: np.ndarray | None = None,
    protocol: Protocol | None = None,
    report: Report | None = None,
) -> RetrievalScores:
    """All measures of packed codes ranked by Hamming distance. Distances are counted, never sorted.

    queries: (q, bytes) and database: (n, bytes) uint8, as `mmfeat.arrays.pack_bits` packs them. bits: their length, 8 · bytes
        unless told.
    relevant: which items are relevant to which query: (q, n) bool, or what `same_label` or `near_in_space` return.
    ks: the cuts of mAP@k, precision@k and recall@k. radius: of the measures within a Hamming ball.
    ranks: where only the mean precision is wanted, for a curve (`RetrievalScores.by_rank`).
    own: (q,) the row of the database that is the query itself, which is then left out (leave-one-out).
    protocol: named in the result. report: told how many queries are done.
    """
    words, others = pack_words(queries, database)
    width = 8 * database.shape[1] if bits is None else bits
    if -(-width // 8) != database.shape[1]:
        raise ShapeError(f"{width} bits are packed in {-(-width // 8)} bytes", f"{database.shape}", "check the width")
    if not 0 <= radius <= width:
        raise UsageError(f"a radius is between 0 and the {width} bits", f"radius={radius}", "choose another")
    tally = Tally(ks, bits=width, radius=radius, ranks=ranks)
    for rows, mask in _blocks(len(queries), len(database), relevant, own, (*ks, *ranks)):
        distances = bits_apart(words[:, rows], others)
        groups = count_groups(distances, mask, width)
        if own is not None:
            each, mine = np.arange(len(distances)), own[rows]
            groups.sizes[each, distances[each, mine]] -= 1
            groups.hits[each, distances[each, mine]] -= mask[each, mine]
        tally.add(groups)
        if report:
            report("measuring", min(rows.stop, len(queries)), len(queries), {})
    return tally.scores(protocol)


def measure_vectors(
    queries: np.ndarray,
    database: np.ndarray,
    relevant: np.ndarray | Relevance,
    *,
    metric: str = "l2",
    ks: Sequence[int] = (100, 1000),
    ranks: Sequence[int] = (),
    own: np.ndarray | None = None,
    protocol: Protocol | None = None,
    report: Report | None = None,
) -> RetrievalScores:
    """All measures of float vectors, by "l2", "cosine" or "ip" (the larger the product, the nearer), in blocks of products.

    queries: (q, d), database: (n, d) floats. Other arguments as in `measure_codes`; there is no radius.
    """
    near = prepare_vectors(database, metric)
    tally = Tally(ks, ranks=ranks)
    for rows, mask in _blocks(len(queries), len(database), relevant, own, (*ks, *ranks)):
        distances = near(queries[rows])
        if np.isnan(distances).any():
            raise DataError("distances can be ordered", "NaN among them", "look for NaN in the vectors")
        if own is not None:
            others = np.ones(mask.shape, bool)
            others[np.arange(len(mask)), own[rows]] = False
            distances, mask = (each[others].reshape(len(mask), -1) for each in (distances, mask))
        tally.add(sort_groups(distances, mask))
        if report:
            report("measuring", min(rows.stop, len(queries)), len(queries), {})
    return tally.scores(protocol)


def same_label(query_labels: np.ndarray, labels: np.ndarray) -> Relevance:
    """Relevance of items that carry the query's label. query_labels (q,), labels (n,): integers or strings."""
    query_labels, labels = np.asarray(query_labels), np.asarray(labels)
    if query_labels.ndim != 1 or labels.ndim != 1:
        raise ShapeError("there is one label an item", f"{query_labels.shape} and {labels.shape}", "pass (q,) and (n,)")
    numbers = np.unique(np.concatenate([query_labels, labels]), return_inverse=True)[1].astype(np.int32)
    asked, held = numbers[: len(query_labels)], numbers[len(query_labels) :]
    return lambda rows: asked[rows, None] == held[None, :]


def near_in_space(queries: np.ndarray, database: np.ndarray, nth: int = 50) -> Relevance:
    """Relevance without labels: items nearer than a query's nth neighbour is on average (L2).

    The ground truth of Y. Gong and S. Lazebnik, "Iterative quantization", CVPR 2011: one radius for all queries, the mean distance
    of the nth neighbour. queries: (q, d), database: (n, d), the floats behind the codes.
    """
    if not 1 <= nth <= len(database):
        raise UsageError(f"a neighbour is among {len(database)} items", f"nth={nth}", "choose a nearer one")
    near = prepare_vectors(database, "l2")
    step = max(1, BLOCK // len(database))
    squares = [
        np.partition(near(queries[first : first + step]), nth - 1, axis=1)[:, nth - 1]
        for first in range(0, len(queries), step)
    ]
    radius = float(np.sqrt(np.maximum(np.concatenate(squares), 0)).mean())
    return lambda rows: near(queries[rows]) <= radius**2


def average_precision(distances: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Expected average precision of every query over the random orders of tied items.

    distances: (q, n) integers or floats, smaller is nearer; infinity is allowed, NaN is not.
    relevant: (q, n) bool.
    Returns (q,) float64 in [0, 1]; 0 for a query without a relevant item. The whole ranking counts, no cut.

    >>> float(average_precision(np.array([[3, 3, 7]]), np.array([[True, False, False]]))[0])
    0.75
    """
    return np.concatenate([average_precision_of(groups) for groups in _grouped(distances, relevant)])


def average_precision_at(distances: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Expected AP@k: the precisions at the hits among the k nearest, divided by the number of these hits.

    Arguments as in `average_precision`; returns (q,) float64. How a cut group of ties counts: `mmfeat.evaluate.rankings`.

    >>> float(average_precision_at(np.array([[1, 2, 2]]), np.array([[True, True, False]]), 2)[0])
    1.0
    """
    return np.concatenate([average_precision_top(groups, k) for groups in _grouped(distances, relevant)])


def mean_average_precision(distances: np.ndarray, relevant: np.ndarray) -> float:
    """Mean average precision over all queries: the mean of `average_precision`, which see."""
    return float(average_precision(distances, relevant).mean())


def precision_at(distances: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Expected share of relevant items among the k nearest, over the random orders of tied items.

    A group that is cut by place k gives its places to random members: the mean of a hypergeometric draw.
    Arguments as in `average_precision`; returns (q,) float64.

    >>> float(precision_at(np.array([[1, 2, 2]]), np.array([[True, True, False]]), 2)[0])
    0.75
    """
    return np.concatenate([hits_top(groups, k) for groups in _grouped(distances, relevant)]) / k


def recall_at(distances: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Expected share of a query's relevant items among its k nearest; 0 for a query that has none. (q,) float64."""
    found = np.concatenate([hits_top(groups, k) for groups in _grouped(distances, relevant)])
    return found / np.maximum(relevant.sum(axis=1), 1)


def _grouped(distances: np.ndarray, relevant: np.ndarray) -> Iterator[TieGroups]:
    """Blocks of given rankings as groups of ties."""
    if distances.ndim != 2 or distances.shape != relevant.shape or relevant.dtype != bool:
        raise ShapeError(
            "distances (q, n) and relevant (q, n) bool have one shape",
            f"{distances.shape} and {relevant.dtype} {relevant.shape}",
            "give one row per query and one column per item",
        )
    if not distances.size:
        raise DataError("a ranking needs queries and items", f"shape {distances.shape}", "pass at least one of each")
    if np.issubdtype(distances.dtype, np.floating) and np.isnan(distances).any():
        raise DataError("distances can be ordered", "NaN among them", "look for NaN in the features")
    step = max(1, BLOCK // distances.shape[1])
    for start in range(0, len(distances), step):
        rows = slice(start, start + step)
        yield sort_groups(distances[rows], relevant[rows])


def _blocks(
    queries: int, items: int, relevant: np.ndarray | Relevance, own: np.ndarray | None, ks: Sequence[int]
) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of queries, few enough for the caches, with what is relevant to them."""
    ranked = items - (own is not None)
    if queries < 1 or ranked < 1:
        raise DataError("a ranking needs queries and items", f"{queries} and {ranked}", "pass at least one of each")
    if own is not None and (own.shape != (queries,) or own.min() < 0 or own.max() >= items):
        raise ShapeError("own names a row of the database for every query", f"{own.shape}", f"give {queries} rows")
    for k in ks:
        if not 1 <= k <= ranked:
            raise UsageError(f"k is between 1 and the {ranked} items ranked", f"k={k}", "choose a smaller cut")
    if not callable(relevant) and (relevant.shape != (queries, items) or relevant.dtype != bool):
        raise ShapeError(
            f"relevance is bool of shape ({queries}, {items})", f"{relevant.dtype} {relevant.shape}", "check it"
        )
    step = max(1, BLOCK // items)
    for start in range(0, queries, step):
        rows = slice(start, start + step)
        yield rows, relevant(rows) if callable(relevant) else relevant[rows]
