"""The page of a classifier: measures with intervals, what is taken for what, the surest mistakes as pictures, every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from mmfeat.evaluate.classification import Classification
from mmfeat.visualise.curves import Svg
from mmfeat.visualise.pages import demo_page
from mmfeat.visualise.results import Thumb, visible
from mmfeat.visualise.sections import ChartSection, GridSection, Section, TableSection, TextSection

__all__ = ["ClassificationReport", "classification_page", "confusion_chart", "measure_lines"]

LARGEST = 101  # classes of a matrix that is drawn
CLASSES = 60  # lines of the table of classes
PAIRS = 12
_NAMES = 60  # classes whose names stand beside the matrix


@dataclass(frozen=True)
class ClassificationReport:
    """Everything on the page.

    measured: of the items. mistakes: pictures, each with its label and note. facts: of the model. notes: what was left out.
    """

    measured: Classification
    mistakes: Sequence[Thumb] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()


def classification_page(report: ClassificationReport, title: str = "How well are the classes told apart?") -> str:
    """The page as HTML."""
    found = report.measured
    sections: list[Section] = [
        TableSection(
            "Measures",
            "The interval holds 95 % of what other items of the same classes would give (the bootstrap: items drawn again within "
            f"their class). {' '.join(report.notes)}",
            ("measure", "value", "from", "to"),
            [(name, value, _share(low), _share(high)) for name, value, low, high in measure_lines(found)],
        )
    ]
    if len(found.classes) <= LARGEST:
        sections.append(
            ChartSection(
                "What is taken for what",
                "A row for each true class, a column for each answer; the darker, the larger the share of the row. On the diagonal "
                "are the right answers.",
                confusion_chart(found),
            )
        )
    sections += _pairs(found)
    if report.mistakes:
        text = "The wrong answers with the highest probabilities, at most three of a class: what it is, what it was taken for."
        sections.append(GridSection("The surest mistakes", text, report.mistakes))
    sections.append(_classes(found))
    facts = "\n\n".join(f"{name}: {value}" for name, value in report.facts.items())
    sections.append(TextSection("The classifier", facts))
    right = int(np.diag(found.confusion).sum())
    lead = f"{right:,} of {found.items:,} items are right, among {len(found.classes):,} classes."
    return demo_page(sections, title, lead)


def measure_lines(found: Classification) -> list[tuple[str, float, float | None, float | None]]:
    """(measure, value, low, high) of what a classifier is measured by; None where there is no interval."""
    lines: list[tuple[str, float, float | None, float | None]] = [
        ("accuracy", found.accuracy, *found.interval),
        ("mean per-class accuracy", found.mean_per_class, *found.mean_interval),
    ]
    lines += [(f"top-{k}", share, None, None) for k, share in found.top.items() if k > 1]
    more = (("log loss", found.log_loss), ("calibration error", found.calibration_error))
    return lines + [(name, value, None, None) for name, value in more if np.isfinite(value)]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _pairs(found: Classification) -> list[Section]:
    """The most frequent confusions."""
    wrong = found.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    rows = []
    for truth, answer in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[truth, answer]:
            count, whole = int(wrong[truth, answer]), int(found.confusion[truth].sum())
            rows.append((found.classes[truth], found.classes[answer], count, whole))
    if not rows:
        return []
    text = "How many items of a class were taken for another, of how many."
    return [TableSection("The most frequent confusions", text, ("class", "taken for", "items", "of"), rows)]


def _classes(found: Classification) -> TableSection:
    """Every class, the worst first: items, share of right answers, share of answers that are right, what it is taken for."""
    counts, answers, right = found.confusion.sum(axis=1), found.confusion.sum(axis=0), np.diag(found.confusion)
    order = [int(k) for k in np.lexsort((np.arange(len(counts)), np.nan_to_num(found.per_class, nan=2.0)))]
    shown, text = (
        order,
        "The worst first. Recall: the share of the class that is right; precision: of those taken for it.",
    )
    if len(order) > CLASSES:
        half = CLASSES // 2
        shown = order[:half] + order[-half:]
        text = f"The {half} worst and the {half} best of {len(order):,} classes. {text[17:]}"
    rows = []
    for k in shown:
        other = found.confusion[k].copy()
        other[k] = 0
        most = f"{found.classes[int(other.argmax())]} ({int(other.max()):,})" if other.any() else ""
        recall = f"{found.per_class[k]:.3f}" if counts[k] else "no item"
        precision = f"{right[k] / answers[k]:.3f}" if answers[k] else "never"
        rows.append((found.classes[k], int(counts[k]), recall, precision, most))
    return TableSection("By class", text, ("class", "items", "recall", "precision", "most often taken for"), rows)


def confusion_chart(found: Classification) -> Svg:
    """The confusion matrix as squares whose darkness is the share of their row; names beside it where they can be read."""
    k = len(found.classes)
    named = k <= _NAMES
    cell = max(8.0, min(26.0, 560 / k))
    font = min(13.0, cell * 1.05)
    names = [visible(name) for name in found.classes]
    names = [name if len(name) <= 18 else f"{name[:17]}…" for name in names]
    margin = 8 + (0.6 * font * max(map(len, names)) if named else 0.0)
    side = margin + k * cell + 4
    totals = np.maximum(found.confusion.sum(axis=1, keepdims=True), 1)
    shares = found.confusion / totals
    parts = [_frame(margin, k * cell)]
    for row, column in zip(*np.nonzero(found.confusion), strict=True):
        parts.append(_cell(found, shares, int(row), int(column), margin, cell))
    if named:
        for place, name in enumerate(names):
            middle = margin + (place + 0.5) * cell
            parts.append(
                f'<text x="{margin - 5:.1f}" y="{middle + font / 3:.1f}" text-anchor="end">{escape(name)}</text>'
            )
            parts.append(
                f'<text transform="translate({middle + font / 3:.1f} {margin - 5:.1f}) rotate(-90)">{escape(name)}</text>'
            )
    told = "; ".join(
        f"{visible(name)}: {share:.2f}"
        for name, share in zip(found.classes, found.per_class, strict=True)
        if share == share
    )
    return Svg(
        f'<div class="scroll"><svg class="chart matrix" style="--least: {0.8 * side:.0f}px; max-width: {1.4 * side:.0f}px" '
        f'viewBox="0 0 {side:.0f} {side:.0f}" '
        f'role="img" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="inherit" font-size="{font:.1f}" fill="currentColor" aria-label="confusion matrix">'
        f"<title>confusion matrix</title><desc>right answers by class: {escape(told)}</desc>{''.join(parts)}</svg></div>"
    )


def _frame(margin: float, side: float) -> str:
    return (
        f'<rect x="{margin:.1f}" y="{margin:.1f}" width="{side:.1f}" height="{side:.1f}" fill="none" '
        'stroke="currentColor" opacity="0.3"/>'
    )


def _cell(found: Classification, shares: np.ndarray, row: int, column: int, margin: float, cell: float) -> str:
    """One square, with words that a pointer shows."""
    colour = "var(--accent, #0b6b5d)" if row == column else "var(--wrong, #b3261e)"
    of = int(found.confusion[row].sum())
    words = f"{visible(found.classes[row])} taken for {visible(found.classes[column])}: {found.confusion[row, column]} of {of}"
    x, y = margin + column * cell, margin + row * cell
    return (
        f'<rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}" fill="{colour}" '
        f'opacity="{0.12 + 0.88 * shares[row, column]:.2f}"><title>{escape(words)}</title></rect>'
    )
