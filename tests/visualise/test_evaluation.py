"""The page of an evaluation says what the scores say, in as few words and points as can be read."""

from __future__ import annotations

import re

import numpy as np

from mmfeat.evaluate.bits import bit_statistics
from mmfeat.evaluate.protocols import PROTOCOLS
from mmfeat.evaluate.retrieval import measure_codes, measure_vectors, same_label
from mmfeat.visualise.evaluation import BINS, CLASSES, EvaluationReport, evaluation_page, measure_rows


def report(classes: int = 40, count: int = 160, **more: object) -> EvaluationReport:
    rng = np.random.default_rng(0)
    labels = np.array([f"class {number:02}" for number in np.arange(count) % classes])
    codes = rng.integers(0, 256, (count, 4), np.uint8)
    same = same_label(labels, labels)
    settings = {"ks": (5,), "own": np.arange(count), "protocol": PROTOCOLS["LOO"], "ranks": (1, 10)}
    scores = measure_codes(codes, codes, same, **settings)  # type: ignore[arg-type]
    return EvaluationReport(scores, labels.tolist(), {"items": count}, bit_statistics(codes, 32), **more)  # type: ignore[arg-type]


def test_every_measure_stands_in_the_table_with_its_interval() -> None:
    shown = report(notes=["Something was left out."])
    page = evaluation_page(shown)
    for name, mean, low, high, random in measure_rows(shown.scores):
        assert low <= mean <= high
        cells = [name, f"{mean:.3f}", f"{low:.3f}", f"{high:.3f}", random]
        row = next(row for row in re.findall(r"<tr>(.*?)</tr>", page, re.S) if f">{name}<" in row)
        assert re.findall(r"<td[^>]*>(.*?)</td>", row) == cells
    assert "Something was left out." in page
    assert "Items of the index asked of" in page
    assert "160 queries, 159 items ranked for each." in page


def test_a_random_order_of_random_codes_is_what_is_measured() -> None:
    rows = {name: (low, high, random) for name, _, low, high, random in measure_rows(report(4, 400).scores)}
    low, high, random = rows["precision@5"]
    assert low < float(random) < high


def test_many_labels_are_cut_to_the_best_and_the_worst() -> None:
    page = evaluation_page(report())
    shown = re.findall(r"<td>(class \d\d)</td>", page)
    assert len(shown) == len(set(shown)) == CLASSES
    assert "best and the" in page
    assert evaluation_page(report(classes=5)).count("<td>class") == 5


def test_the_chart_by_distance_has_as_many_points_as_names_fit() -> None:
    page = evaluation_page(report())
    chart = re.search(r'aria-label="share of right pairs by distance".*?</svg>', page, re.S)
    assert chart is not None
    told = re.search(r"<desc>index: (.*?);", chart[0])
    assert told is not None
    assert 1 < len(told[1].split(",")) <= BINS
    pairs = re.search(r"Pairs: (.*?)\.<", page)
    assert pairs is not None
    counted = sum(int(part.replace(",", "")) for part in re.findall(r": ([\d,]*\d)", pairs[1]))
    assert counted == 160 * 159  # every pair of a query and another item stands in one bin


def test_vectors_have_no_bits_and_two_items_are_enough() -> None:
    x = np.array([[0.0], [1.0], [5.0]])
    labels = np.array(["a", "a", "b"])
    scores = measure_vectors(x, x, same_label(labels, labels), ks=(), own=np.arange(3))
    page = evaluation_page(EvaluationReport(scores, labels.tolist(), {"items": 3}))
    assert "The bits" not in page
    assert "0.667" in page  # two of three find their partner first; the third has none
