"""The page of an evaluation: measures with intervals, curves, best and worst queries, classes, bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmfeat.evaluate.bits import BitStatistics
from mmfeat.evaluate.scores import LEVELS, RetrievalScores
from mmfeat.visualise.curves import bar_chart, line_chart
from mmfeat.visualise.pages import demo_page
from mmfeat.visualise.results import QueryResult, labels_differ
from mmfeat.visualise.sections import ChartSection, Section, StripSection, TableSection, TextSection

__all__ = ["EvaluationReport", "evaluation_page", "measure_rows"]

CLASSES = 30  # shown at most
POINTS, BINS = 11, 6  # of recall, and of distances: as many names as fit below a chart


@dataclass(frozen=True)
class EvaluationReport:
    """Everything on the page of an evaluation.

    scores: of the queries, with their protocol. labels: of the queries, in their order. facts: of the index. bits: None for floats.
    rows and names: queries with their neighbours and what is said above each. notes: what was left out. unit: of distances.
    """

    scores: RetrievalScores
    labels: Sequence[str]
    facts: Mapping[str, object]
    bits: BitStatistics | None = None
    rows: list[QueryResult] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: Sequence[str] = ()
    unit: str = ""


def evaluation_page(report: EvaluationReport, title: str = "How well do neighbours agree with labels?") -> str:
    """The page as HTML."""
    scores = report.scores
    protocol = scores.protocol.sentence if scores.protocol else ""
    sections: list[Section] = [
        TableSection(
            "Measures",
            f"{protocol} {' '.join(report.notes)}\n\nThe interval is that of the mean over queries (95 %, queries drawn again "
            "with replacement). A number without its protocol says little: mAP@all and mAP@k of the same codes differ widely.",
            ("measure", "mean", "from", "to", "random order"),
            measure_rows(scores),
        ),
        _recall_chart(scores),
        _rank_chart(scores),
    ]
    if scores.shells is not None and scores.ball is not None:
        sections.append(_distance_chart(scores.shells, scores.relevant, scores.items))
    if report.rows:
        sections.append(_examples(report))
    sections.append(_classes(scores, report.labels))
    if report.bits is not None:
        sections += _bits(report.bits)
    facts = ", ".join(f"{name}: {_plain(value)}" for name, value in report.facts.items())
    sections.append(TextSection("The index", facts))
    return demo_page(sections, title, f"{len(scores):,} queries, {int(scores.items.max()):,} items ranked for each.")


def measure_rows(scores: RetrievalScores, seed: int = 0) -> list[tuple[str, float, float, float, str]]:
    """Rows of a table: measure, mean, the two ends of its interval, what a random order scores."""
    random = scores.at_random()
    return [
        (name, one.mean, one.low, one.high, f"{random[name]:.3f}" if name in random else "")
        for name, one in scores.estimates(seed).items()
    ]


def _examples(report: EvaluationReport) -> Section:
    """Queries with their neighbours as pictures; as a table of labels where there is none, as for vectors."""
    title, text = "The best and the worst queries", "By average precision, at most one of each label."
    if any(thumb.image for row in report.rows for thumb in (row.query, *row.neighbours)):
        text += " A neighbour of another label is marked."
        return StripSection(title, text, report.rows, report.names, unit=report.unit)
    cells = []
    for name, row in zip(report.names, report.rows, strict=True):
        wrong = labels_differ(row.query, row.neighbours)
        found = [f"{'✗ ' if bad else ''}{each.label}" for each, bad in zip(row.neighbours, wrong, strict=True)]
        cells.append((name, row.query.id, row.query.label or "", ", ".join(found)))
    text += " The labels of the nearest items, those that differ marked."
    return TableSection(title, text, ("", "query", "label", "nearest first"), cells)


def _recall_chart(scores: RetrievalScores) -> ChartSection:
    at = np.linspace(0, len(LEVELS) - 1, POINTS).astype(int)
    base = float((scores.relevant / scores.items).mean())
    series = _lines(scores.curve[at], base)
    return ChartSection(
        "Precision and recall",
        "How many of those found are right (interpolated precision), at the distance where so many of the relevant items are found "
        "(recall). Whole groups of equally distant items only.",
        line_chart([f"{LEVELS[i]:.1f}" for i in at], series, "precision by recall", "precision", "recall"),
    )


def _rank_chart(scores: RetrievalScores) -> ChartSection:
    ranks = scores.by_rank or {k: scores[f"precision@{k}"] for k in _cuts(scores)}
    ranks = ranks or {int(scores.items.min()): float((scores.relevant / scores.items).mean())}
    base = float((scores.relevant / scores.items).mean())
    return ChartSection(
        "Precision among the nearest",
        "The share of right ones among the k nearest, ties in random order.",
        line_chart(
            [f"{k:,}" for k in ranks], _lines(list(ranks.values()), base),
            "precision by rank", "precision", "k nearest",
        ),
    )  # fmt: skip


def _distance_chart(shells: np.ndarray, relevant: np.ndarray, items: np.ndarray) -> ChartSection:
    """Shares of right items by distance, in as many bins of whole distances as a chart takes."""
    there = np.flatnonzero(shells[:, 0])
    bins = np.array_split(np.arange(there[0], there[-1] + 1), min(BINS, int(there[-1] + 1 - there[0])))
    kept = [(each, shells[each].sum(axis=0)) for each in bins]
    kept = [(each, counts) for each, counts in kept if counts[0]]
    names = [f"{each[0]}–{each[-1]}" if len(each) > 1 else str(each[0]) for each, _ in kept]
    base = float(relevant.sum() / items.sum())
    pairs = ", ".join(f"{name}: {counts[0]:,}" for name, (_, counts) in zip(names, kept, strict=True))
    return ChartSection(
        "Precision by distance",
        f"Of all pairs of a query and an item so many bits apart, the share that agree. Pairs: {pairs}.",
        line_chart(
            names, _lines([counts[1] / counts[0] for _, counts in kept], base),
            "share of right pairs by distance", "share that agree", "bits apart",
        ),
    )  # fmt: skip


def _classes(scores: RetrievalScores, labels: Sequence[str]) -> TableSection:
    names, places = np.unique(np.array(labels), return_inverse=True)
    counts = np.bincount(places)
    means = np.bincount(places, weights=scores.values["mAP@all"]) / counts
    cuts = [f"precision@{k}" for k in _cuts(scores)[:1]]
    more = {name: np.bincount(places, weights=scores.values[name]) / counts for name in cuts}
    order = np.argsort(-means, kind="stable")
    shown, text = order, "Every label, the best first."
    if len(order) > CLASSES:
        half = CLASSES // 2
        shown = np.concatenate([order[:half], order[-half:]])
        text = f"The {half} best and the {half} worst of {len(order):,} labels."
    rows = [
        (str(names[i]), int(counts[i]), float(means[i]), *(float(column[i]) for column in more.values())) for i in shown
    ]
    return TableSection("By label", text, ("label", "queries", "mAP@all", *cuts), rows)


def _bits(bits: BitStatistics) -> list[Section]:
    edges = np.linspace(0, 1, 11)
    counts = np.histogram(bits.means, edges)[0]
    bars = {f"{edges[i]:.1f} to {edges[i + 1]:.1f}": float(counts[i]) for i in range(10)}
    fullest = max(bars, key=lambda name: bars[name])
    told = (
        f"{bits.distinct:,} distinct codes among {bits.items:,} items; {bits.dead} of {bits.bits} bits are dead (the same for "
        f"99.5 % of the items); a bit carries {bits.entropy:.2f} bits of information on average, and two bits correlate by "
        f"{bits.mean_correlation:.2f} (mean of the absolute values).\n\nBelow: how many bits are one for which share of the items; "
        "a bit near 0.5 tells most."
    )
    return [ChartSection("The bits", told, bar_chart(bars, "bits by their mean", fullest))]


def _lines(values: Sequence[float] | np.ndarray, base: float) -> dict[str, list[float]]:
    """What was measured beside what a random order scores, with as many digits as stand beside a chart."""
    return {"index": [round(float(value), 3) for value in values], "random": [round(base, 3)] * len(values)}


def _cuts(scores: RetrievalScores) -> list[int]:
    return [int(name.partition("@")[2]) for name in scores.values if name.startswith("precision@")]


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
