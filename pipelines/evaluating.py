"""Evaluating an index: how well do neighbours agree with labels?

    evaluation = evaluate_index("photos.index", ks=(10, 100))           # leave one out: every item asks for the others
    evaluation = evaluate_index("photos.index", queries="test/")        # a labelled folder, encoded with the index's model
    evaluation.scores["mAP@all"]; evaluation.save("evaluation.html")

Labels are those kept in the index (its sub-folders, or what --labels said when it was built), or come from a file. They only score.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.arrays import pack_bits
from mmfeat.errors import DataError, UsageError
from mmfeat.pipelines.searching import Answer, Neighbour, Searcher
from mmfeat.pipelines.searching import open as open_searcher

if TYPE_CHECKING:
    from mmfeat.evaluate.bits import BitStatistics
    from mmfeat.evaluate.protocols import Protocol
    from mmfeat.evaluate.scores import RetrievalScores
    from mmfeat.indexes.store import Index
    from mmfeat.media.remote import Url
    from mmfeat.stages import Report

__all__ = ["Evaluation", "evaluate_index"]

_RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # of the curve of precision


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate_index` found.

    scores: see `mmfeat.evaluate.scores.RetrievalScores`. labels: of the queries, in their order. bits: of the items' codes, None
    for floats. facts: of the index. notes: what was left out, in sentences.
    """

    scores: RetrievalScores
    labels: list[str]
    bits: BitStatistics | None
    facts: dict[str, Any]
    notes: tuple[str, ...]
    asked: _Asked
    held: _Held

    def to_json(self) -> dict[str, Any]:
        """Protocol, measures with intervals, bits and facts."""
        return {
            **self.scores.to_json(),
            "bits": self.bits.to_json() if self.bits else None,
            "index": self.facts,
            "notes": list(self.notes),
        }

    def extremes(self, best: int = 4, worst: int = 6, neighbours: int = 8) -> list[tuple[str, Answer, str]]:
        """The best and the worst queries by average precision, at most one of each label: (name, answer, label)."""
        values = self.scores.values["mAP@all"]
        order = [int(row) for row in np.argsort(values, kind="stable") if self.scores.relevant[row]]
        low = _one_a_label(order, self.labels)[:worst]
        high = [row for row in _one_a_label(order[::-1], self.labels) if row not in low][:best]
        rows = [("best", row) for row in high] + [("worst", row) for row in low]
        return [
            (
                f"{kind}: average precision {values[row]:.2f}, {self.scores.relevant[row]:,} relevant",
                self._answer(row, neighbours),
                self.labels[row],
            )
            for kind, row in rows
        ]

    def page(self) -> str:
        """A self-contained HTML page."""
        from mmfeat.pipelines.pictures import view
        from mmfeat.visualise.evaluation import EvaluationReport, evaluation_page

        rows, names = [], []
        for name, answer, label in self.extremes():
            shown = view(answer)
            rows.append(dataclasses.replace(shown, query=dataclasses.replace(shown.query, label=label)))
            names.append(name)
        unit = "bits" if self.bits else ""
        return evaluation_page(
            EvaluationReport(self.scores, self.labels, self.facts, self.bits, rows, names, self.notes, unit)
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, whose folder is made if need be."""
        from mmfeat.files import write_bytes

        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, self.page().encode())
        return Path(path)

    def _answer(self, row: int, neighbours: int) -> Answer:
        """A query with its nearest labelled items; equals in the order of the index."""
        held = self.held
        distances = held.distances(self.asked.codes[row : row + 1])[0]
        order = np.argsort(distances, kind="stable")
        if self.asked.own is not None:
            order = order[order != self.asked.own[row]]
        found = tuple(
            Neighbour(held.ids[one], distances[one].item(), held.labels[one], held.searcher.path_of(held.ids[one]))
            for one in order[:neighbours].tolist()
        )
        return Answer(self.asked.names[row], found, self.asked.picture(row, held.searcher))


@dataclasses.dataclass(frozen=True)
class _Held:
    """The labelled items of an index."""

    searcher: Searcher
    ids: list[str]
    labels: list[str]
    codes: np.ndarray
    unlabelled: int

    def distances(self, codes: np.ndarray) -> np.ndarray:
        from mmfeat.evaluate.distances import hamming_distances, prepare_vectors

        index = self.searcher.index
        if index.metric == "hamming":
            return hamming_distances(codes, self.codes)
        return prepare_vectors(self.codes, index.metric)(codes)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The queries: own are their rows among the labelled items (leave one out), files are theirs otherwise."""

    names: list[str]
    labels: list[str]
    codes: np.ndarray
    own: np.ndarray | None = None
    files: Sequence[Path | Url] = ()
    notes: tuple[str, ...] = ()

    def picture(self, row: int, searcher: Searcher) -> Path | Url | None:
        return self.files[row] if self.files else searcher.path_of(self.names[row])


def evaluate_index(
    index: str | os.PathLike[str] | Searcher,
    *,
    queries: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    query_labels: str | os.PathLike[str] | None = None,
    ks: Sequence[int] = (10, 100),
    most: int = 5000,
    seed: int = 0,
    report: Report | None = None,
) -> Evaluation:
    """Measure how well the neighbours of an index agree with labels.

    queries: a labelled folder of pictures; without it labelled items ask for one another, at most `most` of them (seeded).
    labels, query_labels: files of labels for the items and for the folder; otherwise the index's labels and the sub-folders.
    ks: the cuts; one that is larger than what is ranked is left out with a note.

    UsageError, DataError: no labels, one label only, no label twice, a folder without pictures that can be read.
    """
    from mmfeat.evaluate.bits import bit_statistics

    searcher = index if isinstance(index, Searcher) else open_searcher(index)
    held = _labelled(searcher, labels)
    folder = None if queries is None else Path(queries)
    asked = _leave_one_out(held, most, seed) if folder is None else _of_folder(searcher, folder, query_labels, report)
    notes = [*asked.notes, *_strangers(asked, held)]
    if held.unlabelled:
        notes.append(f"{held.unlabelled:,} items of the index have no label and were left out.")
    ranked = len(held.ids) - (asked.own is not None)
    fit = tuple(k for k in sorted(set(ks)) if 1 <= k <= ranked)
    if len(fit) < len(set(ks)):
        notes.append(f"Only {ranked:,} items are ranked: larger cuts were left out.")
    scores = _measure(searcher.index, asked, held, fit, report)
    facts = {**searcher.facts, "labels": len(set(held.labels)), "labelled items": len(held.ids)}
    bits = bit_statistics(held.codes, searcher.index.dim) if searcher.index.metric == "hamming" else None
    return Evaluation(scores, asked.labels, bits, facts, tuple(notes), asked, held)


def _measure(index: Index, asked: _Asked, held: _Held, ks: tuple[int, ...], report: Report | None) -> RetrievalScores:
    from mmfeat.evaluate.retrieval import measure_codes, measure_vectors, same_label

    ranked = len(held.ids) - (asked.own is not None)
    binary, radius = index.metric == "hamming", min(2, index.dim)
    measures = ["mAP@all", *(f"{name}@{k}" for k in ks for name in ("mAP", "precision", "recall"))]
    measures += [f"{name} within radius {radius}" for name in ("precision", "recall")] if binary else []
    relevant = same_label(np.array(asked.labels), np.array(held.labels))
    shared: dict[str, Any] = {
        "ks": ks, "own": asked.own, "report": report, "ranks": [k for k in _RANKS if k <= ranked],
        "protocol": _protocol(asked, held, tuple(measures)),
    }  # fmt: skip
    if binary:
        return measure_codes(asked.codes, held.codes, relevant, bits=index.dim, radius=radius, **shared)
    return measure_vectors(asked.codes, held.codes, relevant, metric=index.metric, **shared)


def _strangers(asked: _Asked, held: _Held) -> list[str]:
    """A note where queries carry labels that no item has. DataError: all do."""
    known = set(held.labels)
    count = sum(label not in known for label in asked.labels)
    if count == len(asked.labels):
        raise DataError(
            "queries carry labels that items of the index have", f"{asked.labels[0]!r} against {held.labels[0]!r}",
            "name the classes alike",
        )  # fmt: skip
    return [f"{count:,} queries carry a label that no item has: they count 0."] if count else []


def _labelled(searcher: Searcher, labels: Any) -> _Held:
    """The items that have a label, and their codes."""
    index = searcher.index
    rows = np.flatnonzero(index.snapshot.living)
    parts = index.parts_at(rows)
    ids = parts["id"].to_pylist()
    if labels is not None:
        from mmfeat.media.labels import label_columns

        found = label_columns(ids, labels)["label"]
    else:
        found = parts["label"].to_pylist() if "label" in parts.column_names else [None] * len(ids)
    places = [place for place, label in enumerate(found) if label is not None]
    held = [str(found[place]) for place in places]
    if not places:
        raise DataError(
            "retrieval is measured against labels", f"none of the {len(ids):,} items of {index.path} has one",
            "pass --labels FILE (columns id and label), or build the index from one sub-folder a class",
        )  # fmt: skip
    if len(set(held)) < 2:
        raise DataError(
            "right and wrong need two labels", f"all {len(held):,} labelled items are {held[0]!r}",
            "label a second class",
        )  # fmt: skip
    return _Held(searcher, [ids[place] for place in places], held, index.codes_at(rows[places]), len(ids) - len(places))


def _leave_one_out(held: _Held, most: int, seed: int) -> _Asked:
    if len(set(held.labels)) == len(held.labels):
        raise DataError(
            "an item is right where it has the query's label", f"{len(held.labels):,} items, each of another label",
            "label several items alike, or pass --queries FOLDER",
        )  # fmt: skip
    own = np.arange(len(held.ids))
    if len(own) > most:
        own = np.sort(np.random.default_rng(seed).permutation(len(own))[:most])
    labels = np.array(held.labels)[own].tolist()
    alone = int((np.unique(np.array(held.labels), return_counts=True)[1] == 1).sum())
    notes = (f"{alone:,} labels stand on one item only: as queries these count 0.",) if alone else ()
    return _Asked([held.ids[place] for place in own], labels, held.codes[own], own, notes=notes)


def _of_folder(searcher: Searcher, folder: Path, labels: Any, report: Report | None) -> _Asked:
    """A labelled folder, encoded with the index's model."""
    from mmfeat.media.walk import walk
    from mmfeat.pipelines.extracting import encode_items

    if searcher.index.info.get("root") == str(folder.resolve()):
        raise UsageError(
            "queries are not the items themselves", f"{folder}, which the index was built from",
            "leave --queries out: then every item asks for the others",
        )  # fmt: skip
    model = searcher.model
    if model.decode is None:
        raise UsageError("a folder of pictures asks an index of pictures", f"{searcher.index.path}", "leave it out")
    items = walk([folder], labels=labels)
    found = items.table["label"].to_pylist()
    rows = np.array([row for row in items.images.tolist() if found[row] is not None], np.int64)
    if not len(rows):
        raise DataError(
            "queries are pictures with labels", f"{len(items.images):,} pictures in {folder}, none with a label",
            "put them into one sub-folder a class, or pass --query-labels FILE",
        )  # fmt: skip
    encoded = encode_items(model, items, rows, report)
    if not len(encoded.rows):
        reason = next(iter(encoded.failures.values()), "no reason is known")
        raise DataError("a query is a picture that can be read", f"none of {len(rows):,}: {reason}", "look at them")
    codes = pack_bits(encoded.features) if model.hash else encoded.features
    left = {"pictures without a label": len(items.images) - len(rows), "unreadable": len(rows) - len(encoded.rows)}
    notes = tuple(f"Queries left out: {count:,} {what}." for what, count in left.items() if count)
    ids = items.ids
    names, files = [ids[row] for row in encoded.rows], [items.path_of(int(row)) for row in encoded.rows]
    return _Asked(names, [str(found[row]) for row in encoded.rows], codes, None, files, notes)


def _protocol(asked: _Asked, held: _Held, measures: tuple[str, ...]) -> Protocol:
    """The protocol in the numbers of this index."""
    from mmfeat.evaluate.protocols import PROTOCOLS

    count, whole = f"{len(asked.names):,}", f"{len(held.ids):,}"
    if asked.own is None:
        name, queries, database = "GIVEN", f"{count} labelled pictures of a folder", f"the {whole} labelled items"
    else:
        each = f"each of the {count}" if count == whole else f"{count} seeded ones of the {whole}"
        name, queries, database = "LOO", f"{each} labelled items", "all the others"
    return dataclasses.replace(PROTOCOLS[name], queries=queries, database=database, measures=measures)


def _one_a_label(order: Sequence[int], labels: list[str]) -> list[int]:
    """The first row of each label, in order."""
    first: dict[str, int] = {}
    for row in order:
        first.setdefault(labels[row], row)
    return list(first.values())
