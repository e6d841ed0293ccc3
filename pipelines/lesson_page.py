"""What becomes of a lesson: the whole ranking as a table, and a page with the pictures that matter."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmfeat.errors import UsageError

if TYPE_CHECKING:
    from mmfeat.pipelines.searching import Searcher
    from mmfeat.pipelines.teaching import Lesson, Ranked
    from mmfeat.visualise.results import Thumb

__all__ = ["lesson_page", "write_ranking"]

ENDS = (".csv", ".parquet", ".pq")


def write_ranking(lesson: Lesson, path: str | os.PathLike[str]) -> None:
    """Every item with rank, id, answer, score and what it was told, the likeliest first: CSV or Parquet, by the name's ending."""
    import pyarrow as pa

    from mmfeat.files import writing

    if Path(path).suffix.lower() not in ENDS:
        raise UsageError("a ranking is written as .csv or .parquet", str(path), "end the name in one of these")
    order, names = lesson.order, np.array(lesson.classes, dtype=object)
    told = np.full(lesson.searcher.index.snapshot.rows, -1)
    told[list(lesson.told)] = list(lesson.told.values())
    said = told[lesson.rows[order]]
    columns = {
        "rank": pa.array(np.arange(1, len(order) + 1)),
        "id": lesson.searcher.index.ids.take(pa.array(order)),
        "answer": pa.array(names[lesson.answer[order]], pa.string()),
        "score": pa.array(lesson.score[order]),
        "label": pa.array([None if one < 0 else lesson.classes[one] for one in said.tolist()], pa.string()),
    }
    table = pa.table(columns)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as file:
        if Path(path).suffix.lower() == ".csv":
            from pyarrow.csv import write_csv

            write_csv(table, file)
        else:
            from pyarrow.parquet import write_table

            write_table(table, file)


def lesson_page(lesson: Lesson, command: str = "", shown: int = 120) -> str:
    """The page as HTML. command: what answers the questions, to copy. shown: how many of the likeliest have a picture."""
    from mmfeat.pipelines.teaching import facts_of
    from mmfeat.visualise.teaching import LessonPage, teach_page

    questions, best, doubts = lesson.questions, lesson.best(shown), lesson.doubts[:12]
    told = lesson.ranked(np.searchsorted(lesson.rows, np.array(list(lesson.told)[-60:], np.int64)))
    wanted = {one.row: one for one in (*questions, *best, *doubts, *told)}
    with ThreadPoolExecutor() as pool:
        thumbs = dict(zip(wanted, pool.map(lambda one: _thumb(lesson.searcher, one), wanted.values()), strict=True))

    def of(some: list[Ranked]) -> list[tuple[Thumb, Ranked]]:
        return [(thumbs[one.row], one) for one in some]

    return teach_page(
        LessonPage(
            classes=lesson.classes, counts=lesson.counts(), items=len(lesson), likely=_likely(lesson),
            questions=of(questions), best=of(best), doubts=of(doubts), told=of(told), command=command,
            outside=[f"{label}: {name}" for name, label in lesson.outside.items()], missing=list(lesson.missing),
            facts=facts_of(lesson),
        )
    )  # fmt: skip


def _likely(lesson: Lesson) -> dict[str, int]:
    """How many items have each answer."""
    counts = np.bincount(lesson.answer, minlength=len(lesson.classes)).tolist()
    return dict(zip(lesson.classes, counts, strict=True))


def _thumb(searcher: Searcher, item: Ranked) -> Thumb:
    from mmfeat.pipelines.pictures import fragment_of, picture_of
    from mmfeat.visualise.results import Thumb
    from mmfeat.visualise.thumbnails import thumbnail

    path = searcher.path_of(item.id)
    found = None if path is None else picture_of(path, fragment_of(item.id))
    gone = "the file cannot be read any more" if path is not None and found is None else None
    return Thumb(None if found is None else thumbnail(found), item.id, note=gone)
