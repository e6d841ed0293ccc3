"""Labelled data for classifiers: pictures wherever they lie, or a folder of features that `mmfeat extract` made.

Both are looked at alike: ids, labels and splits in one order, and features of some rows, which for pictures a model makes.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import DataError, MismatchError, UsageError

if TYPE_CHECKING:
    from mmfeat.media.items import Items
    from mmfeat.model import Model
    from mmfeat.stages import Report

__all__ = [
    "FeatureFolder",
    "Matrix",
    "Pictures",
    "encode_pictures",
    "failed_rows",
    "is_features",
    "memory_limit",
    "none_readable",
    "open_data",
    "split_rows",
]

TRAIN, HELD = "train", ("test", "val", "valid", "validation")


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures with labels: a table of items."""

    items: Items

    @property
    def ids(self) -> list[str]:
        """Of all rows of the table."""
        return self.items.ids

    @property
    def labels(self) -> list[str | None]:
        """A class, or None, for each row."""
        return list(self.items.table["label"].to_pylist())

    @property
    def splits(self) -> list[str | None]:
        """A split, or None, for each row."""
        return list(self.items.table["split"].to_pylist())

    @property
    def usable(self) -> np.ndarray:
        """Rows that can be tried: pictures."""
        return self.items.images

    @property
    def failed(self) -> dict[int, str]:
        """Why, for each row that cannot be tried because already its head cannot be read."""
        statuses, reasons = (self.items.table[name].to_pylist() for name in ("status", "reason"))
        return {row: reasons[row] or "" for row, status in enumerate(statuses) if status == "failed"}

    def empty_classes(self) -> list[str]:
        """Sub-folders of the folders in which no picture was found: classes without an example."""
        roots = [place for _, place in self.items.roots] or [self.items.root]
        there = {
            entry.name
            for root in roots
            if isinstance(root, Path) and root.is_dir()
            for entry in os.scandir(root)
            if entry.is_dir() and not entry.name.startswith(".")
        }
        labels = self.labels
        return sorted(there - {labels[row] for row in self.usable.tolist()})


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureFolder:
    """Features of labelled pictures on disk. model: the sha256 of the one that made them."""

    path: Path
    model: str
    ids: list[str]
    labels: list[str | None]
    splits: list[str | None]
    values: Matrix

    @property
    def usable(self) -> np.ndarray:
        """All rows: what could not be read has none."""
        return np.arange(len(self.ids))

    @property
    def failed(self) -> dict[int, str]:
        """None: what failed has no features."""
        return {}

    def empty_classes(self) -> list[str]:
        """None: a folder of features knows nothing of folders."""
        return []


class Matrix:
    """Rows (n, d) of numbers that may lie in several files, mapped into memory.

    parts: arrays (n_i, d). rows: which of all their rows, in this order; all without it.
    """

    def __init__(self, parts: Sequence[np.ndarray], rows: np.ndarray | None = None) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.rows = np.arange(self.starts[-1]) if rows is None else np.asarray(rows, np.int64)
        self.width = int(self.parts[0].shape[1]) if self.parts else 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes as float32."""
        return 4 * len(self) * self.width

    def select(self, rows: np.ndarray) -> Matrix:
        """The same files, of these rows."""
        return Matrix(self.parts, self.rows[rows])

    def take(self, rows: np.ndarray | slice) -> np.ndarray:
        """Rows (r, d) float32, read now."""
        wanted = self.rows[rows]
        if len(self.parts) == 1:
            return np.asarray(self.parts[0][wanted], np.float32)
        out = np.empty((len(wanted), self.width), np.float32)
        part = np.searchsorted(self.starts, wanted, side="right") - 1
        for number in np.unique(part):
            mine = part == number
            out[mine] = self.parts[number][wanted[mine] - self.starts[number]]
        return out

    def blocks(self, rows: int = 8192) -> Iterator[tuple[int, np.ndarray]]:
        """(first, rows (r, d)) one after another."""
        for first in range(0, len(self), rows):
            yield first, self.take(slice(first, first + rows))


def is_features(data: Any) -> bool:
    """Whether a place is a folder of features."""
    places = [data] if isinstance(data, str | os.PathLike) else list(data)
    return len(places) == 1 and (Path(places[0]) / "features.json").is_file()


def open_data(
    data: Any, labels: Any = None, pages: str = "first", report: Report | None = None
) -> Pictures | FeatureFolder:
    """Labelled data at a place or several. UsageError: nothing is there, or labels that do not go with it."""
    from mmfeat.pipelines.fitting import is_items, walk_items

    if is_items(data):
        return Pictures(data)
    if is_features(data):
        return _features(Path(data if isinstance(data, str | os.PathLike) else next(iter(data))), labels)
    return Pictures(walk_items(data, labels, report, pages))


def _features(path: Path, labels: Any) -> FeatureFolder:
    """Open the parts that are finished; labels of a file go before those that were extracted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mmfeat.files import read_json
    from mmfeat.media.labels import label_columns

    described = read_json(path / "features.json")
    receipts = sorted((path / "parts").glob("part-*.json"))
    if described["dtype"] == "bits":
        raise UsageError("classifiers learn from floats", f"packed bits in {path}", "extract with --dtype float32")
    if not receipts:
        raise UsageError("a features folder holds finished parts", str(path), "run `mmfeat extract` again")
    arrays = [np.load(one.with_suffix(".npy"), allow_pickle=False, mmap_mode="r") for one in receipts]
    table = pa.concat_tables(
        [pq.read_table(one.with_suffix(".parquet"), columns=["id", "label", "split"]) for one in receipts]
    )
    ids = table["id"].to_pylist()
    columns = {name: table[name].to_pylist() for name in ("label", "split")}
    if labels is not None:
        given = label_columns(ids, labels)
        columns = {name: [a if a is not None else b for a, b in zip(given[name], columns[name], strict=True)]
                   for name in columns}  # fmt: skip
    full = [array for array in arrays if len(array)]
    if not full:
        raise DataError("a features folder holds features", f"{path}, which is empty", "see its items.parquet")
    return FeatureFolder(path, described["model"], ids, columns["label"], columns["split"], Matrix(full))


def split_rows(data: Pictures | FeatureFolder, wanted: str | None, training: bool) -> tuple[np.ndarray, str]:
    """The usable rows of a split, and its name: "" where nothing is said of splits.

    wanted: its name; otherwise, where the data name splits, "train" for training, and the held-out one for scoring.
    UsageError: no such split; the folder above `train/` and `test/` was named.
    """
    splits, usable = data.splits, data.usable
    there = {splits[row] for row in usable.tolist()} - {None}
    if wanted is None and there:
        names = (TRAIN,) if training else HELD
        wanted = next((name for name in names if name in there), None)
        if wanted is None and training:
            raise UsageError(
                'rows to learn from have the split "train"', f"splits {sorted(there)}", "name one: --split NAME"
            )
    labels = data.labels
    classes = {labels[row] for row in usable.tolist()} - {None}
    if classes and classes <= {TRAIN, *HELD}:
        raise UsageError(
            "the sub-folders of the folder are the classes", f"sub-folders {sorted(classes)}",
            "name the folder train (or test) itself",
        )  # fmt: skip
    if wanted is None:
        return usable, ""
    rows = np.array([row for row in usable.tolist() if splits[row] == wanted], np.int64)
    if not len(rows):
        raise UsageError(
            "a split has items", f"{wanted!r} among {sorted(there) or 'no splits'}", "choose another --split"
        )
    return rows, wanted


def failed_rows(data: Pictures | FeatureFolder, split: str) -> dict[int, str]:
    """Rows of a split ("": all) that cannot be tried, and why."""
    splits = data.splits
    return {row: why for row, why in data.failed.items() if not split or splits[row] == split}


def memory_limit() -> int:
    """Bytes of features that are held in memory: a quarter of the machine's, or MMFEAT_FEATURES_IN_MEMORY."""
    if "MMFEAT_FEATURES_IN_MEMORY" in os.environ:
        return int(os.environ["MMFEAT_FEATURES_IN_MEMORY"])
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (ValueError, OSError, AttributeError):
        return 2**31


def encode_pictures(
    model: Model, items: Items, rows: np.ndarray, report: Report | None = None
) -> tuple[Matrix, np.ndarray, dict[int, str]]:
    """Features of these rows of a table: a matrix (in memory, or beyond the limit in a file without a name), the rows that could be
    read, in order, and why the others could not.
    """
    from mmfeat.arrays import Locals
    from mmfeat.media.source import ImageSource

    source = ImageSource(items, model.decode, rows=rows)
    out: np.ndarray | None = None
    good, done = np.zeros(len(rows), bool), 0
    for places, values, read in model.stream(source):
        if isinstance(values, Locals):
            raise UsageError("a classifier takes one row per picture", "local descriptors", "end the chain with Pool()")
        if out is None:
            out = _room(len(rows), values.shape[1])
        finite = read & np.isfinite(values).all(axis=1)
        for place in places[read & ~finite]:
            source.failures.setdefault(int(rows[place]), "its features are not finite numbers")
        out[places[finite]] = values[finite]
        good[places[finite]] = True
        done += len(places)
        if report:
            report("encoding", done, len(rows), {})
    if out is None or not good.any():
        raise none_readable(items, rows, dict(source.failures))
    return Matrix([out], np.flatnonzero(good)), rows[good], dict(source.failures)


def none_readable(items: Items, rows: np.ndarray, failures: dict[int, str]) -> DataError:
    """What is wrong where none of these pictures can be read."""
    from mmfeat.pipelines.fitting import some_reasons

    return DataError(
        "there are pictures that can be read", f"none of {len(rows):,}: {some_reasons(items, failures)}",
        "look at the files",
    )  # fmt: skip


def _room(rows: int, width: int) -> np.ndarray:
    """An array (rows, width) float32 to be filled."""
    if 4 * rows * width <= memory_limit():
        return np.zeros((rows, width), np.float32)
    with tempfile.TemporaryFile(prefix="mmfeat-") as file:  # the map outlives it
        return np.memmap(file, np.float32, "w+", shape=(rows, width))


def check_made_by(data: FeatureFolder, model: str, what: str) -> None:
    """MismatchError: the features are of another model."""
    if data.model != model:
        raise MismatchError(
            f"{what} goes with features of the model {model[:12]}", data.model[:12], "extract with that model"
        )
