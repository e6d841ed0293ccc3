"""The scores of a retrieval experiment: one value for each query and measure, their means, and how sure these are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmfeat.evaluate.rankings import (
    TieGroups,
    average_precision_of,
    average_precision_top,
    hits_top,
    interpolated_precision,
    precision_sums,
)

if TYPE_CHECKING:
    from mmfeat.evaluate.protocols import Protocol

__all__ = ["LEVELS", "Estimate", "RetrievalScores", "Tally", "bootstrap"]

LEVELS = np.linspace(0, 1, 101)  # recall levels of the interpolated curve


class Estimate(NamedTuple):
    """A mean over the queries with its 95 % interval, from queries drawn again with replacement."""

    mean: float
    low: float
    high: float


def bootstrap(values: np.ndarray, seed: int = 0, resamples: int = 1000) -> list[Estimate]:
    """Means over rows and their 95 % percentile intervals (B. Efron, "Bootstrap methods", Annals of Statistics 1979).

    values: (q, m), m measures of q queries; the same queries are drawn for all measures.
    """
    rng = np.random.default_rng(seed)
    count = len(values)
    means = np.empty((resamples, values.shape[1]))
    for draw in range(resamples):
        times = np.bincount(rng.integers(0, count, count), minlength=count)
        means[draw] = times @ values / count
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return [Estimate(*map(float, each)) for each in zip(values.mean(axis=0), low, high, strict=True)]


@dataclasses.dataclass(frozen=True)
class RetrievalScores:
    """What `measure_codes` and `measure_vectors` return; every array over queries is (q,) float64.

    values: by the name of the measure: "mAP@all", and for each k "mAP@k", "precision@k", "recall@k"; for codes also
        "precision within radius r" and "recall within radius r".
    relevant: relevant items of each query. items: how many were ranked for each query.
    curve: (101,) mean interpolated precision at the recalls `LEVELS`.
    ball: for codes (bits + 1, 2): mean precision and mean recall within each Hamming radius; None for vectors.
    shells: for codes (bits + 1, 2): pairs of a query and an item at exactly each distance, and the relevant ones of them.
    by_rank: the mean precision among the k nearest, for the `ranks` that were asked for.
    protocol: what was asked of what, or None.
    """

    values: dict[str, np.ndarray]
    relevant: np.ndarray
    items: np.ndarray
    curve: np.ndarray
    ball: np.ndarray | None = None
    shells: np.ndarray | None = None
    by_rank: dict[int, float] = dataclasses.field(default_factory=dict)
    protocol: Protocol | None = None

    def __len__(self) -> int:
        return len(self.relevant)

    def __getitem__(self, measure: str) -> float:
        """The mean of a measure over all queries, those without a relevant item included as 0."""
        return float(self.values[measure].mean())

    def means(self) -> dict[str, float]:
        """The mean of every measure."""
        return {name: self[name] for name in self.values}

    def estimates(self, seed: int = 0, resamples: int = 1000) -> dict[str, Estimate]:
        """The mean of every measure with its 95 % interval over the queries."""
        found = bootstrap(np.stack(list(self.values.values()), axis=1), seed, resamples)
        return dict(zip(self.values, found, strict=True))

    def at_random(self) -> dict[str, float]:
        """What a random order of the same items scores on average, exactly; not for measures within a radius."""
        pairs, times = np.unique(np.stack([self.items, self.relevant]), axis=1, return_counts=True)
        tally = Tally(sorted({int(name.partition("@")[2]) for name in self.values if name.startswith("precision@")}))
        tally.add(TieGroups(pairs[0][:, None], pairs[1][:, None]))
        return {name: float(times @ each / len(self)) for name, each in tally.scores().values.items()}

    def to_json(self, seed: int = 0) -> dict[str, Any]:
        """Protocol, counts, and for every measure its mean and interval."""
        return {
            "protocol": self.protocol.name if self.protocol else "",
            "sentence": self.protocol.sentence if self.protocol else "",
            "queries": len(self),
            "queries without a relevant item": int((self.relevant == 0).sum()),
            "items": int(self.items.max(initial=0)),
            "random order": self.at_random(),
            "measures": {
                name: {"mean": one.mean, "interval": [one.low, one.high]} for name, one in self.estimates(seed).items()
            },
            "recall": LEVELS.round(2).tolist(),
            "interpolated precision": self.curve.tolist(),
        }


class Tally:
    """Adds up the measures of blocks of rankings.

    ks: the cuts. bits: of rankings whose groups are the Hamming distances 0..bits; None for others. radius: of the ball.
    ranks: where only the precision is wanted, for a curve.
    """

    def __init__(
        self, ks: Sequence[int], *, bits: int | None = None, radius: int = 2, ranks: Sequence[int] = ()
    ) -> None:
        self.ks, self.bits, self.radius = tuple(ks), bits, radius
        self._ranks = dict.fromkeys(ranks, 0.0)
        self._blocks: list[dict[str, np.ndarray]] = []
        self._curve = np.zeros(len(LEVELS))
        self._ball = np.zeros((0 if bits is None else bits + 1, 2))
        self._shells = np.zeros(self._ball.shape, np.int64)

    def add(self, groups: TieGroups) -> None:
        """Measure a block of rankings."""
        relevant, items = groups.hits.sum(axis=1), groups.sizes.sum(axis=1)
        wanted, sums = np.maximum(relevant, 1), precision_sums(groups)
        found = {"mAP@all": average_precision_of(groups, sums)}
        for k in self.ks:
            hits = hits_top(groups, k)
            found |= {f"mAP@{k}": average_precision_top(groups, k, sums), f"precision@{k}": hits / k}
            found |= {f"recall@{k}": hits / wanted}
        if self.bits is not None:
            within, all_hits = groups.sizes.cumsum(axis=1), groups.hits.cumsum(axis=1)
            precision, recall = all_hits / np.maximum(within, 1), all_hits / wanted[:, None]
            found[f"precision within radius {self.radius}"] = precision[:, self.radius]
            found[f"recall within radius {self.radius}"] = recall[:, self.radius]
            self._ball += np.stack([precision.sum(axis=0), recall.sum(axis=0)], axis=1)
            self._shells += np.stack([groups.sizes.sum(axis=0), groups.hits.sum(axis=0)], axis=1)
        self._curve += interpolated_precision(groups, LEVELS).sum(axis=0)
        for k in self._ranks:
            self._ranks[k] += float(hits_top(groups, k).sum() / k)
        self._blocks.append(found | {"relevant": relevant, "items": items})

    def scores(self, protocol: Protocol | None = None) -> RetrievalScores:
        """The scores of all blocks, in the order they came."""
        joined = {name: np.concatenate([block[name] for block in self._blocks]) for name in self._blocks[0]}
        relevant, items = (joined.pop(name) for name in ("relevant", "items"))
        codes, count = self.bits is not None, len(relevant)
        ball, shells = (self._ball / count, self._shells) if codes else (None, None)
        by_rank = {k: total / count for k, total in self._ranks.items()}
        return RetrievalScores(joined, relevant, items, self._curve / count, ball, shells, by_rank, protocol)
