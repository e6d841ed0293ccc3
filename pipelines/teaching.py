"""Teaching an index by a few examples: a linear classifier on the stored vectors ranks the whole archive in a moment.

    lesson = teach("photos.index", {"a.jpg": "yes", "b.jpg": "yes", "c.jpg": "no"})
    lesson.best(10)                   # the likeliest of all items
    lesson.questions                  # the twenty to label next
    lesson.model().save("barns.model")  # a classifier for pictures that are not in the index

Vectors are taken as they are stored: bits as ±1, floats as they stand. Without a "no", items drawn at random stand for it; with
some, the drawn ones count less (`mmfeat.classify.few_labels`). An item that was labelled or drawn is scored as if it had not been.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import DataError, UsageError
from mmfeat.pipelines.naming_items import Places, places_of
from mmfeat.pipelines.searching import Searcher
from mmfeat.pipelines.searching import open as open_searcher

if TYPE_CHECKING:
    from mmfeat.classify.few_labels import FewLabels
    from mmfeat.indexes.store import Index
    from mmfeat.model import Model

__all__ = ["NO", "YES", "Lesson", "Ranked", "teach"]

YES, NO = "yes", "no"
DRAWN = 200  # items at random that stand for "no"
_POOL = 10  # times as many uncertain items as are asked, among which they are chosen
_ALIKE = 0.3  # of the median squared distance among those: nearer ones say the same
_BLOCK = 1 << 16  # rows scored at once


@dataclasses.dataclass(frozen=True)
class Ranked:
    """One item: its answer, its score (above 0 lies on the side of yes, or of the answer), what it was told."""

    id: str
    row: int
    answer: str
    score: float
    told: str | None = None
    second: str = ""


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What was learned from labels.

    classes: the names, ("no", "yes") for yes and no. rows: (n,) rows of the living items; score (n,) and answer (n,) of them:
        for two classes the score of the second, for more that of the best, the answer; `second` (n,) is the class after it.
    told: what the user said, row to class number. asked: rows to label next. order: places in `rows`, likeliest first.
    drawn: items that stood for "no". names: row by name as it was given.
    missing: names in the labels that are no item and no file. seconds: it took.
    """

    searcher: Searcher
    classes: tuple[str, ...]
    rows: np.ndarray
    score: np.ndarray
    answer: np.ndarray
    second: np.ndarray
    told: Mapping[int, int]
    outside: Mapping[str, str]
    asked: np.ndarray
    order: np.ndarray
    fitted: FewLabels
    doubtful: tuple[int, ...]
    drawn: int
    names: Mapping[str, int]
    missing: tuple[str, ...]
    seconds: float

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def binary(self) -> bool:
        """Whether it is one question, yes or no."""
        return len(self.classes) == 2

    def counts(self) -> dict[str, int]:
        """How many labels each class had; the likelier classes of a yes-no question first."""
        said = [self.classes[number] for number in self.told.values()] + list(self.outside.values())
        names = reversed(self.classes) if self.binary else self.classes
        return {name: said.count(name) for name in names if name in said}

    def ranked(self, places: np.ndarray) -> list[Ranked]:
        """The items at these places of `rows`."""
        rows = self.rows[places]
        told = [self.told.get(row) for row in rows.tolist()]
        return [
            Ranked(
                id, int(row), self.classes[self.answer[place]], float(self.score[place]),
                None if said is None else self.classes[said], self.classes[self.second[place]],
            )
            for id, row, place, said in zip(self.searcher.index.ids_at(rows), rows, places, told, strict=True)
        ]  # fmt: skip

    def best(self, count: int) -> list[Ranked]:
        """The likeliest items that are not labelled; of several classes as many of each, the surest first."""
        order = self.order
        if self.told:
            order = order[~np.isin(self.rows[order], list(self.told))]
        if self.binary:
            return self.ranked(order[:count])
        each = max(4, count // len(self.classes))
        return [
            one
            for number in range(len(self.classes))
            for one in self.ranked(order[np.flatnonzero(self.answer[order] == number)[:each]])
        ]

    @property
    def questions(self) -> list[Ranked]:
        """The items to label next, the least certain first, none like another."""
        return self.ranked(np.searchsorted(self.rows, self.asked))

    @property
    def doubts(self) -> list[Ranked]:
        """Labelled items that all other labels speak against, the most doubtful first."""
        return self.ranked(np.searchsorted(self.rows, np.array(self.doubtful, np.int64)))

    def write(self, path: str | os.PathLike[str]) -> None:
        """All items with rank, answer, score and label as CSV or Parquet, by the name's ending."""
        from mmfeat.pipelines.lesson_page import write_ranking

        write_ranking(self, path)

    def model(self) -> Model:
        """A classifier of pictures: the index's model with what was learned behind it. UsageError: the index has no model."""
        from mmfeat.pipelines.lesson_model import lesson_model

        return lesson_model(self)

    def page(self, command: str = "", shown: int = 120) -> str:
        """The page: what to label next, the likeliest `shown` items, the labels."""
        from mmfeat.pipelines.lesson_page import lesson_page

        return lesson_page(self, command, shown)


def teach(
    index: str | os.PathLike[str] | Searcher, labels: Mapping[str, str], *, ask: int = 20, seed: int = 0
) -> Lesson:
    """Learn from labels, and rank every item of an index. Of several classes an item may belong to none: it scores low.

    labels: class by id, or by path: of a file that the index holds, or of a new picture, which is encoded with the index's model.
        "yes" and "no", or one class alone, make one question; more are told from one another.
    ask: how many items to list for labelling next.

    UsageError: a label names nothing, but others do (`Lesson.missing` has them if at least one class is left); there is no yes.
    """
    began = time.perf_counter()
    searcher = index if isinstance(index, Searcher) else open_searcher(index)
    if not len(searcher):
        raise DataError("an index that is taught holds items", "none", "add some")
    found = places_of(searcher, list(labels))
    classes = _classes(found, labels)
    number = {name: place for place, name in enumerate(classes)}
    told = {row: number[labels[name]] for name, row in found.rows.items()}
    rows = np.flatnonzero(searcher.index.snapshot.living)
    drawn = rows[:0] if len(classes) == 2 and classes[0] != NO else _drawn(rows, told, seed)
    fitted, known = _fit(
        searcher.index, classes, told, {name: number[labels[name]] for name in found.codes}, found, drawn
    )
    score, answer, second, certain = columns = _scores(searcher.index, rows, fitted, len(classes) == 2)
    _as_if_untold(rows, known, fitted, columns)
    order = np.argsort(-score, kind="stable")
    asked = _questions(searcher.index, rows, certain, told, ask)
    doubtful = _doubtful(rows, told, score, answer, len(classes) == 2)
    outside = {name: labels[name] for name in found.codes}
    seconds = time.perf_counter() - began
    return Lesson(searcher, classes, rows, score, answer, second, told, outside, asked, order, fitted, doubtful, len(drawn),
                  found.rows, found.missing, seconds)  # fmt: skip


def _classes(found: Places, labels: Mapping[str, str]) -> tuple[str, ...]:
    """("no", the one class), or all classes by name."""
    names = sorted({labels[name] for name in (*found.rows, *found.codes)})
    positive = [name for name in names if name != NO]
    if not positive and found.missing:
        some = ", ".join(found.missing[:3])
        raise UsageError(
            "a label names an item of the index, or a picture that exists", some, "check the path or the id"
        )
    if not positive:
        raise UsageError("teaching begins with one yes", f"{len(labels)} labels, none of them a yes", "add --yes ITEM")
    return (NO, *positive) if len(positive) == 1 else tuple(names)


def _drawn(rows: np.ndarray, told: Mapping[int, int], seed: int) -> np.ndarray:
    """Rows at random that nobody has labelled, at most half of what is left."""
    free = rows[~np.isin(rows, list(told))] if told else rows
    count = min(DRAWN, len(free) // 2)
    return np.sort(np.random.default_rng(seed).choice(free, count, replace=False)) if count else free[:0]


def _fit(
    index: Index, classes: tuple[str, ...], told: Mapping[int, int], outside: Mapping[str, int], found: Places,
    drawn: np.ndarray,
) -> tuple[FewLabels, np.ndarray]:  # fmt: skip
    """The classifier, and the rows of the index that it was fitted on, in their order; others come after them."""
    from mmfeat.classify.few_labels import fit_few, weigh

    known = np.concatenate([np.array(list(told), np.int64), drawn])
    codes = [index.codes_at(known), *(code[None] for code in found.codes.values())]
    x = _plain(index, np.concatenate([part for part in codes if len(part)]))
    none = 0 if len(classes) == 2 else len(classes)
    kinds = np.array([*told.values(), *([none] * len(drawn)), *outside.values()])
    weak = np.zeros(len(kinds), bool)
    weak[len(told) : len(told) + len(drawn)] = True
    if len(np.unique(kinds)) < 2:
        raise DataError(
            "a yes is told from other items", "no item besides those labelled yes", "label a no, or add items"
        )
    targets = 2.0 * np.eye(len(classes) + 1)[kinds, : len(classes)] - 1  # what was drawn is of no class: -1 for each
    if len(classes) == 2:
        targets = targets[:, 1:]
    weight = weigh(kinds, weak)
    fitted = fit_few(x, targets, weight, sure=~weak)
    return (fitted if len(classes) == 2 else _balanced(fitted, targets, weight)), known


def _balanced(fitted: FewLabels, targets: np.ndarray, weight: np.ndarray) -> FewLabels:
    """Scores moved so that 0 lies midway between a class and all else, of which there is more."""
    mine, others = weight[:, None] * (targets > 0), weight[:, None] * (targets < 0)
    cut = (
        (mine * fitted.alone).sum(axis=0) / mine.sum(axis=0) + (others * fitted.alone).sum(axis=0) / others.sum(axis=0)
    ) / 2
    cut = cut.astype(np.float32)
    return fitted._replace(offset=fitted.offset - cut, alone=fitted.alone - cut)


def _plain(index: Index, codes: np.ndarray) -> np.ndarray:
    """Stored vectors as numbers: bits as ±1."""
    from mmfeat.arrays import unpack_bits

    return 2.0 * unpack_bits(codes, index.dim) - 1 if index.kind.startswith("binary") else codes.astype(np.float32)


def _scores(index: Index, rows: np.ndarray, fitted: FewLabels, binary: bool) -> tuple[np.ndarray, ...]:
    """Score, answer, second-best class and certainty, (n,) each, of these rows, block by block."""
    kinds = (np.float32, np.int32, np.int32, np.float32)
    columns = tuple(np.empty(len(rows), kind) for kind in kinds)
    for place, values in _blocks(index, rows, fitted):
        for column, part in zip(columns, _read(values, binary), strict=True):
            column[place] = part
    return columns


def _read(values: np.ndarray, binary: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of scores (n, k): that of the answer, the answer, the class after it, and how certain it is.

    Certain is what lies far from 0; of several classes, what is far ahead of the second, or below 0 for all of them.
    """
    if binary:
        yes = (values[:, 0] > 0).astype(np.int32)
        return values[:, 0], yes, 1 - yes, np.abs(values[:, 0])
    after, best = np.argpartition(values, -2, axis=1)[:, -2:].T
    lines = np.arange(len(values))
    own = values[lines, best]
    certain = own - values[lines, after] + np.maximum(0, -own)
    return own, best.astype(np.int32), after.astype(np.int32), certain


def _blocks(index: Index, rows: np.ndarray, fitted: FewLabels) -> Iterator[tuple[slice, np.ndarray]]:
    """(places in `rows`, scores (b, k)) block by block. Bits go through a table of the 256 bytes: eight products at once."""
    snapshot, weights = index.snapshot, fitted.weights
    table = _bytes_table(weights) if index.kind.startswith("binary") else None
    at = 0
    for segment, start in zip(snapshot.segments, snapshot.starts.tolist(), strict=False):
        for first in range(0, len(segment.codes), _BLOCK):
            block = segment.codes[first : first + _BLOCK]
            low, high = np.searchsorted(rows, [start + first, start + first + len(block)])
            if high - low < len(block):
                block = block[rows[low:high] - start - first]
            values = np.asarray(block) @ weights if table is None else sum(
                np.take(part, block[:, byte], axis=0) for byte, part in enumerate(table)
            )  # fmt: skip
            yield slice(at, at + int(high - low)), values + fitted.offset
            at += int(high - low)


def _bytes_table(weights: np.ndarray) -> np.ndarray:
    """For bits as ±1 with weights (d, k): what each value of each byte adds, (bytes, 256, k)."""
    width = -(-len(weights) // 8)
    padded = np.zeros((8 * width, weights.shape[1]), np.float32)
    padded[: len(weights)] = weights
    signs = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") - 1
    return np.einsum("vb,wbk->wvk", signs, padded.reshape(width, 8, -1)).astype(np.float32)


def _as_if_untold(
    rows: np.ndarray, known: np.ndarray, fitted: FewLabels, columns: tuple[np.ndarray, ...]
) -> None:  # fmt: skip
    """Items that were fitted get the score they have when they are left out, in place."""
    places = np.searchsorted(rows, known)
    alone = fitted.alone[: len(known)]
    if len(known):
        for column, part in zip(columns, _read(alone, alone.shape[1] == 1), strict=True):
            column[places] = part


def _questions(
    index: Index, rows: np.ndarray, certain: np.ndarray, told: Mapping[int, int], count: int
) -> np.ndarray:  # fmt: skip
    """Rows of the least certain items that are unlike one another and unlike the labelled ones, the least certain first.

    In the order of certainty; what is nearly the same as a chosen or a labelled one is passed over, for it would say the same.
    """
    unsure = certain.copy()
    unsure[np.searchsorted(rows, np.array(list(told), np.int64))] = np.inf
    free = len(rows) - len(told)
    pool = min(_POOL * count, max(count, free // 4), free)
    if pool < 1:
        return rows[:0]
    places = np.argpartition(unsure, pool - 1)[:pool]
    places = places[np.lexsort((places, unsure[places]))]
    x = _plain(index, index.codes_at(rows[places])).astype(np.float64)
    labelled = _plain(index, index.codes_at(list(told))).astype(np.float64) if told else x[:0]
    apart = np.median(_squares(x, x[:: max(1, pool // 50)]))
    near = _squares(x, labelled).min(axis=1) if len(labelled) else np.full(pool, np.inf)
    chosen: list[int] = []
    for place in range(pool):
        if near[place] > _ALIKE * apart and len(chosen) < count:
            chosen.append(place)
            near = np.minimum(near, _squares(x, x[place : place + 1])[:, 0])
    return rows[places[chosen]]


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances (n, m) of rows (n, d) and (m, d)."""
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0)


def _doubtful(
    rows: np.ndarray, told: Mapping[int, int], score: np.ndarray, answer: np.ndarray, binary: bool
) -> tuple[int, ...]:
    """Labelled rows whose label the others speak against, where every class has three labels or more to speak with."""
    if min(np.bincount(list(told.values()), minlength=2), default=0) < 3:
        return ()
    places = dict(zip(told, np.searchsorted(rows, np.array(list(told), np.int64)).tolist(), strict=True))
    wrong = [row for row, kind in told.items() if answer[places[row]] != kind]
    return tuple(sorted(wrong, key=lambda row: -abs(float(score[places[row]]))))


def facts_of(lesson: Lesson) -> dict[str, Any]:
    """What a page says of a lesson."""
    return {
        **lesson.searcher.facts,
        "labels": ", ".join(f"{count:,} {name}" for name, count in lesson.counts().items()),
        "items drawn at random, taken for no, or for none": lesson.drawn,
        "penalty, as a share of the variance": lesson.fitted.ridge,
    }
