"""What a ranking scores on average over all orders of its tied items, in closed form from counts alone.

Hamming distances are full of ties: 64 bits have 65 values for thousands of items. Whatever order a sort happens to give
them is luck, and measures that depend on it can be moved by 0.3 at 12 bits. Here every measure is its expectation
over all orders of the tied items, each equally likely, and all it needs is how many items, and how many relevant ones,
stand at each distance. Nothing is sorted.

F. McSherry and M. Najork, "Computing information retrieval performance measures efficiently in the presence of tied
scores", ECIR 2008; the ratio of AP@k is derived here.

A group of n tied items, r of them relevant, begins after N items, R of them relevant. At its place j = 1..n stands a
relevant item with probability r / n, and given that, the j - 1 places before it hold (j - 1)(r - 1) / (n - 1) relevant
ones on average. With the harmonic numbers h(t) = 1 + 1/2 + ... + 1/t and D = h(N + n) - h(N) the precisions at the hits of
the group sum to

    G(N, R, n, r) = r/n  sum_j [R + 1 + (j - 1)(r - 1)/(n - 1)] / (N + j) = r/n { (R + 1) D + (r - 1)/(n - 1) [n - (N + 1) D] }

and, with H relevant items in the whole ranking,

    E[AP]   = 1/H sum_groups G
    E[P@k]  = 1/k (R + m r/n)                  N < k <= N + n:  m = k - N places of the cut group are inside
    E[R@k]  = 1/H (R + m r/n)
    E[AP@k] = sum_x  p(x)  [A + G(N, R, m, x)] / (R + x)       p: hypergeometric, x hits among m drawn of n with r relevant

AP@k is the sum of the precisions at the hits of the top k, divided by *the number of hits in the top k*. A is what the groups
before the cut one sum to. Given x, the m places inside hold their x hits in random order, like a group of their own, so the
ratio is averaged over x: the average of a ratio, not the ratio of two averages. A ranking without a hit (in the top k) scores 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmfeat.errors import UsageError

__all__ = [
    "TieGroups",
    "average_precision_of",
    "average_precision_top",
    "count_groups",
    "hits_top",
    "interpolated_precision",
    "precision_sums",
    "sort_groups",
]


class TieGroups(NamedTuple):
    """The groups of equally distant items of q rankings, near to far; groups of size 0 change nothing and fill up rows.

    sizes: (q, g) int64, items of each group. hits: (q, g) int64, the relevant ones among them.
    """

    sizes: np.ndarray
    hits: np.ndarray


def count_groups(distances: np.ndarray, relevant: np.ndarray, largest: int) -> TieGroups:
    """Groups of whole-numbered distances 0..largest: one group for each value, by counting.

    distances: (q, n) integers. relevant: (q, n) bool.
    """
    queries, values = len(distances), largest + 1
    key = distances.astype(np.intp)
    key *= 2
    key += relevant
    key += (np.arange(queries) * (2 * values))[:, None]
    counts = np.bincount(key.ravel(), minlength=queries * values * 2).reshape(queries, values, 2)
    return TieGroups(counts.sum(axis=2), counts[:, :, 1])


def sort_groups(distances: np.ndarray, relevant: np.ndarray) -> TieGroups:
    """Groups of distances of any kind, by sorting. Runs of groups without a hit are joined: that changes no measure here.

    distances: (q, n), no NaN. relevant: (q, n) bool.
    """
    rows = []
    for values, mask in zip(distances, relevant, strict=True):
        ordered = np.sort(values)
        found, hits = np.unique(values[mask], return_counts=True)
        first, last = np.searchsorted(ordered, found, "left"), np.searchsorted(ordered, found, "right")
        sizes = np.zeros(2 * len(found) + 1, np.int64)  # in turn: what lies between groups with hits, and these
        sizes[1::2] = last - first
        sizes[2:-1:2] = first[1:] - last[:-1]
        sizes[0] = first[0] if len(found) else len(ordered)
        sizes[-1] = len(ordered) - sizes[:-1].sum() if len(found) else sizes[0]
        rows.append((sizes, hits))
    widest = max(len(sizes) for sizes, _ in rows)
    groups = TieGroups(np.zeros((len(rows), widest), np.int64), np.zeros((len(rows), widest), np.int64))
    for row, (sizes, hits) in enumerate(rows):
        groups.sizes[row, : len(sizes)] = sizes
        groups.hits[row, 1 : 2 * len(hits) : 2] = hits
    return groups


def average_precision_of(groups: TieGroups, sums: np.ndarray | None = None) -> np.ndarray:
    """Expected average precision over the whole ranking, (q,) float64; 0 without a relevant item.

    sums: `precision_sums(groups)`, where that is known already.
    """
    total = (precision_sums(groups) if sums is None else sums).sum(axis=1)
    return total / np.maximum(groups.hits.sum(axis=1), 1)


def hits_top(groups: TieGroups, k: int) -> np.ndarray:
    """Expected number of relevant items among the k nearest, (q,) float64: over k the precision, over all hits the recall."""
    start, found, size, hits = _cut(groups, k)
    return found + (k - start) * hits / np.maximum(size, 1)


def average_precision_top(groups: TieGroups, k: int, sums: np.ndarray | None = None) -> np.ndarray:
    """Expected AP@k, (q,) float64: precisions at the hits in the top k over their number; 0 where there is none."""
    start, found, size, hits = _cut(groups, k)
    earlier = groups.sizes.cumsum(axis=1) < k
    total = np.where(earlier, precision_sums(groups) if sums is None else sums, 0.0).sum(axis=1)
    scores = total / np.maximum(found, 1)
    harmonic = _harmonic(k)
    for row in np.flatnonzero(hits):
        before, drawn = int(start[row]), k - int(start[row])
        x, chance = _hypergeometric(int(size[row]), int(hits[row]), drawn)
        inside = _group_sum(before, found[row], drawn, x, harmonic[k] - harmonic[before])
        scores[row] = (chance * (total[row] + inside) / np.maximum(found[row] + x, 1)).sum()
    return scores


def interpolated_precision(groups: TieGroups, levels: np.ndarray) -> np.ndarray:
    """Precision at given recall levels, (q, levels) float64: the best at any distance that reaches the level.

    Only whole groups count: each distance is a threshold with a precision and a recall that no order of ties moves.
    levels: in [0, 1]. A query without a relevant item has 0 at every level.
    """
    seen, found = groups.sizes.cumsum(axis=1), groups.hits.cumsum(axis=1)
    best = np.maximum.accumulate((found / np.maximum(seen, 1))[:, ::-1], axis=1)[:, ::-1]
    curve = np.zeros((len(seen), len(levels)))
    for row, hits in enumerate(found):
        if hits[-1]:
            wanted = np.maximum(np.ceil(levels * hits[-1] - 1e-9), 1)
            curve[row] = best[row, np.searchsorted(hits, wanted, "left")]
    return curve


def precision_sums(groups: TieGroups) -> np.ndarray:
    """G of every group: the expected sum of the precisions at its hits, (q, g) float64."""
    sizes, hits = groups
    after, found = sizes.cumsum(axis=1), hits.cumsum(axis=1) - hits
    before = after - sizes
    harmonic = _harmonic(int(after[:, -1].max(initial=0)))
    return _group_sum(before, found, sizes, hits, harmonic[after] - harmonic[before])


def _group_sum(before: Any, found: np.ndarray, size: Any, hits: np.ndarray, d: np.ndarray) -> np.ndarray:
    """G(N, R, n, r) with D = h(N + n) - h(N)."""
    others = (hits - 1) / np.maximum(size - 1, 1)
    return hits / np.maximum(size, 1) * ((found + 1) * d + others * (size - (before + 1) * d))


def _harmonic(count: int) -> np.ndarray:
    """h(0..count)."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, count + 1))])


def _cut(groups: TieGroups, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the group that holds place k: items and hits before it, its size, its hits; (q,) each."""
    after, found = groups.sizes.cumsum(axis=1), groups.hits.cumsum(axis=1)
    fewest = int(after[:, -1].min())
    if not 1 <= k <= fewest:
        raise UsageError(f"k is between 1 and the {fewest} items ranked", f"k={k}", "choose a smaller cut")
    place = (after < k).sum(axis=1)[:, None]
    at = (np.take_along_axis(each, place, axis=1)[:, 0] for each in (after, found, *groups))
    seen, hit, size, hits = at
    return seen - size, hit - hits, size, hits


def _hypergeometric(size: int, hits: int, drawn: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of hits x that `drawn` of `size` items, `hits` of them relevant, can hold, and their probabilities.

    By the ratios p(x + 1) / p(x), which stay exact where factorials would not.
    """
    x = np.arange(max(0, drawn - (size - hits)), min(hits, drawn) + 1)
    low = x[:-1].astype(float)
    ratio = (hits - low) * (drawn - low) / ((low + 1) * (size - hits - drawn + low + 1))
    weight = np.concatenate([[0.0], np.cumsum(np.log(ratio))])
    chance = np.exp(weight - weight.max())
    return x, chance / chance.sum()
