"""What a classifier says of pictures or of features: a table of every file, and how good its answers are.

for block in predict(model, "photos/test"): block.ids, block.probabilities, block.status
scored = score(model, "photos/test"); scored.measured.accuracy; scored.save("report.html")
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import DataError, UsageError
from mmfeat.pipelines.labelled_data import FeatureFolder, Pictures, check_made_by, failed_rows, open_data, split_rows

if TYPE_CHECKING:
    from mmfeat.evaluate.classification import Classification
    from mmfeat.media.items import Items
    from mmfeat.model import Model
    from mmfeat.stages import Report

__all__ = ["Block", "Counts", "Scored", "predict", "score", "write_predictions"]

ROWS = 4096  # of a table in a block
SHOWN = 20  # classes whose probabilities are all written unless told


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Some items with their probabilities (n, classes), NaN where there are none; status and reason of each."""

    ids: list[str]
    probabilities: np.ndarray
    status: list[str]
    reason: list[str | None]
    rows: np.ndarray


@dataclasses.dataclass
class Counts:
    """How many items ended in each status."""

    done: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, statuses: Sequence[str]) -> None:
        """Count the statuses of a block."""
        for name in ("done", "failed", "skipped"):
            setattr(self, name, getattr(self, name) + sum(one == name for one in statuses))

    @property
    def exit_code(self) -> int:
        """0 all well, 1 some failed, 3 none could be read."""
        return 3 if not self.done else 1 if self.failed else 0


def predict(
    model: Model, data: Any, *, pages: str = "first", report: Report | None = None, rows: np.ndarray | None = None
) -> Iterator[Block]:
    """Every item of the data with its probabilities, block by block, in the order of the table.

    data: as for `fit_classifier`, or what `open_data` gave. rows: of its table, only these.
    UsageError, MismatchError: the model is no classifier, or takes something else.
    """
    if not model.classes:
        raise UsageError(
            "classes are told by a classifier", "a model without classes", "make one with `mmfeat classify fit`"
        )
    found = data if isinstance(data, Pictures | FeatureFolder) else open_data(data, None, pages, report)
    wanted = np.arange(len(found.ids)) if rows is None else rows
    if isinstance(found, FeatureFolder):
        check_made_by(found, str(model.provenance.get("features", "")), "the classifier")
        return _of_features(model, found, wanted, report)
    if model.decode is None:
        raise UsageError(
            "this classifier takes features",
            "pictures",
            "extract them with its model of features, and give that folder",
        )
    return _of_pictures(model, found.items, wanted, report)


def _of_pictures(model: Model, items: Items, wanted: np.ndarray, report: Report | None) -> Iterator[Block]:
    """Pictures, decoded and encoded; files that are none keep their status."""
    from mmfeat.media.source import ImageSource

    ids, waits = items.ids, np.isin(wanted, items.images)
    statuses, reasons = items.table["status"].to_pylist(), items.table["reason"].to_pylist()
    for first in range(0, len(wanted), ROWS):
        rows, images = wanted[first : first + ROWS], waits[first : first + ROWS]
        out = np.full((len(rows), len(model.classes)), np.nan, np.float32)
        status, reason = [statuses[row] for row in rows], [reasons[row] for row in rows]
        if images.any():
            source = ImageSource(items, model.decode, rows=rows[images])
            at = np.flatnonzero(images)
            for places, values, read in model.stream(source):
                fine = read & np.isfinite(values).all(axis=1)
                out[at[places[fine]]] = to_probabilities(model, values[fine])
            for place in at.tolist():
                good = np.isfinite(out[place, 0])
                status[place] = "done" if good else "failed"
                reason[place] = (
                    None if good else source.failures.get(int(rows[place]), "its features are no finite numbers")
                )
        if report:
            report("classifying", first + len(rows), len(wanted), {})
        yield Block([ids[row] for row in rows], out, status, reason, rows)


def _of_features(model: Model, found: FeatureFolder, wanted: np.ndarray, report: Report | None) -> Iterator[Block]:
    """Features on disk, by what stands behind the features' model: the last stage, unless the model says where it begins."""
    from mmfeat.chain import Chain
    from mmfeat.model import Model

    first = int(model.provenance.get("stages of features", len(model.chain.stages) - 1))
    last = Model(Chain(*model.chain.stages[first:]), model.states[first:], model.forms[first:], None, model.classes)
    for first, x in found.values.select(wanted).blocks(ROWS):
        rows = wanted[first : first + ROWS]
        out = np.full((len(rows), len(model.classes)), np.nan, np.float32)
        values = last.encode(x)
        fine = np.isfinite(values).all(axis=1)
        out[fine] = to_probabilities(model, values[fine])
        good = np.isfinite(out[:, 0]).tolist()
        if report:
            report("classifying", first + len(rows), len(wanted), {})
        yield Block(
            [found.ids[row] for row in rows], out, ["done" if one else "failed" for one in good],
            [None if one else "its features are no finite numbers" for one in good], rows,
        )  # fmt: skip


def to_probabilities(model: Model, values: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) of what the classifier gives, by the calibration that the model keeps."""
    if not getattr(model.chain.stages[-1], "scores", False):
        return values
    from mmfeat.classify.calibration import Calibration

    kept = model.provenance.get("calibration")
    calibration = Calibration() if not kept else Calibration(kept["method"], tuple(kept["scale"]), tuple(kept["shift"]))
    return calibration.probabilities(values)


def columns_of(classes: Sequence[str], top: int | None) -> list[str]:
    """The columns of a table of predictions: all classes, or the likeliest few."""
    if top is None:
        each = [f"p_{name}" for name in classes]
    else:
        each = [f"{what}_{rank}" for rank in range(2, min(top, len(classes)) + 1) for what in ("label", "probability")]
    return ["id", "label", "probability", *each, "status", "reason"]


def write_predictions(
    path: str | os.PathLike[str], blocks: Iterator[Block], classes: Sequence[str], top: int | None = None
) -> Counts:
    """Write a table as it comes: CSV or Parquet by the name's ending; it takes its name when it is whole.

    top: the so many likeliest classes of each item; without it all, as columns p_<class>, of up to 20 classes, of more the first 5.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise UsageError("predictions are written as .csv or .parquet", str(path), "end the name in one of these")
    if top is None and len(classes) > SHOWN:
        top = 5
    path.parent.mkdir(parents=True, exist_ok=True)
    names = columns_of(classes, top)
    write = _write_csv if path.suffix.lower() == ".csv" else _write_parquet
    counts = Counts()

    def tables() -> Iterator[dict[str, list[Any]]]:
        for block in blocks:
            counts.add(block.status)
            yield _table(block, classes, top, names)

    write(path, names, tables())
    return counts


def _table(block: Block, classes: Sequence[str], top: int | None, names: Sequence[str]) -> dict[str, list[Any]]:
    """The columns of one block; nothing where an item has no answer."""
    good = np.isfinite(block.probabilities[:, 0])
    filled = np.where(good[:, None], block.probabilities, 0)
    order = np.argsort(-filled, axis=1, kind="stable")[:, : max(top or 1, 1)]
    lines = np.arange(len(good))

    def kept(values: Sequence[Any]) -> list[Any]:
        return [value if fine else None for value, fine in zip(values, good.tolist(), strict=True)]

    found: dict[str, list[Any]] = {"id": block.ids, "status": block.status, "reason": list(block.reason)}
    for rank in range(order.shape[1]):
        end = "" if rank == 0 else f"_{rank + 1}"
        found[f"label{end}"] = kept([classes[one] for one in order[:, rank]])
        found[f"probability{end}"] = kept(filled[lines, order[:, rank]].tolist())
    if top is None:
        found |= {f"p_{name}": kept(filled[:, place].tolist()) for place, name in enumerate(classes)}
    return {name: found[name] for name in names}


def _write_csv(path: Path, names: Sequence[str], tables: Iterator[Mapping[str, list[Any]]]) -> None:
    from mmfeat.files import writing

    def text(value: Any) -> str:
        return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)

    with writing(path) as file:
        for number, table in enumerate(tables):
            out = io.StringIO()
            writer = csv.writer(out, lineterminator="\n")
            if not number:
                writer.writerow(names)
            writer.writerows(map(text, row) for row in zip(*table.values(), strict=True))
            file.write(out.getvalue().encode("utf-8", "surrogateescape"))


def _write_parquet(path: Path, names: Sequence[str], tables: Iterator[Mapping[str, list[Any]]]) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    from mmfeat.files import writing

    texts = ("id", "status", "reason")
    fields = [(name, pa.string() if name in texts or name.startswith("label") else pa.float32()) for name in names]
    schema = pa.schema(fields)
    with writing(path) as file, ParquetWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(pa.table(dict(table), schema=schema))


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """What `score` found.

    measured: accuracy, intervals, confusion (`mmfeat.evaluate.classification`). ids, truth, probabilities: of the labelled items in
    their order; failures: reasons by id. notes: what was left out, in sentences.
    """

    model: Model
    data: Pictures | FeatureFolder
    measured: Classification
    rows: np.ndarray
    truth: np.ndarray
    probabilities: np.ndarray
    failures: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 all well, 1 some files failed."""
        return 1 if self.failures else 0

    def mistakes(self, count: int = 24, each: int = 3) -> np.ndarray:
        """Places of the wrong answers, the surest first, at most `each` of one true class."""
        answer = np.nan_to_num(self.probabilities, nan=-1).argmax(axis=1)
        wrong = np.flatnonzero(np.isfinite(self.probabilities[:, 0]) & (answer != self.truth))
        sure = self.probabilities[wrong].max(axis=1) if len(wrong) else np.zeros(0)
        kept: list[int] = []
        seen: dict[int, int] = {}
        for place in wrong[np.argsort(-sure, kind="stable")].tolist():
            kind = int(self.truth[place])
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] <= each and len(kept) < count:
                kept.append(place)
        return np.array(kept, np.int64)

    def page(self) -> str:
        """A self-contained HTML page."""
        from mmfeat.pipelines.classification_page import score_page

        return score_page(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, whose folder is made if need be."""
        from mmfeat.files import write_bytes

        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, self.page().encode())
        return Path(path)


def score(
    model: Model,
    data: Any,
    *,
    labels: Any = None,
    split: str | None = None,
    pages: str = "first",
    seed: int = 0,
    report: Report | None = None,
) -> Scored:
    """Measure a classifier on labelled data. DataError: no item has a label that the model knows, or none can be read."""
    from mmfeat.evaluate.classification import measure

    found = open_data(data, labels, pages, report)
    rows, name = split_rows(found, split, training=False)
    given, number = found.labels, {name: place for place, name in enumerate(model.classes)}
    unlabelled = sum(given[row] is None for row in rows.tolist())
    strange = sorted({str(given[row]) for row in rows.tolist() if given[row] is not None} - number.keys())
    foreign = sum(given[row] in strange for row in rows.tolist())
    known = np.array([row for row in rows.tolist() if given[row] in number], np.int64)
    if not len(known) and model.classes:
        raise DataError(
            "a classifier is measured on items of its classes",
            f"{len(rows):,} items, {unlabelled:,} without a label" + (f", others labelled {strange[0]!r}" if strange else ""),
            f"its classes are {', '.join(model.classes[:5])}, …; give --labels FILE, or name the folder of the classes",
        )  # fmt: skip
    blocks = list(predict(model, found, report=report, rows=known))
    probabilities = np.concatenate([block.probabilities for block in blocks])
    truth = np.array([number[str(given[row])] for row in known.tolist()])
    failures = {id: why or "" for block in blocks
                for id, why, one in zip(block.ids, block.reason, block.status, strict=True) if one == "failed"}  # fmt: skip
    failures |= {found.ids[row]: why for row, why in failed_rows(found, name).items()}
    if not np.isfinite(probabilities[:, 0]).any():
        why = next(iter(failures.values()), "")
        raise DataError("there are items that can be read", f"none of {len(known):,}: {why}", "look at the files")
    left = {
        "have no label": unlabelled, f"carry a label that the model does not know ({', '.join(strange[:3])})": foreign,
        "could not be read": len(failures),
    }  # fmt: skip
    notes = [f"{count:,} items {what}: they are left out." for what, count in left.items() if count]
    notes += [f"Measured on the split {name!r}."] if name else []
    measured = measure(probabilities, truth, model.classes, seed=seed)
    return Scored(model, found, measured, known, truth, probabilities, failures, tuple(notes))
