"""The page of a lesson: what to label next, what the archive holds of it, and the labels so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mmfeat.visualise.pages import _facts, _render
from mmfeat.visualise.results import Thumb, split_id, visible
from mmfeat.visualise.views import Item, view

__all__ = ["LessonPage", "teach_page"]


class _Scored(Protocol):
    """What is shown of an item: `pipelines.teaching.Ranked`."""

    @property
    def id(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def told(self) -> str | None: ...
    @property
    def second(self) -> str: ...


Shown = Sequence[tuple[Thumb, Any]]


@dataclass(frozen=True)
class LessonPage:
    """Everything on the page.

    classes: two names, ("no", "yes") or others, or more. counts: labels of each class. items: in the index. likely: items by
    answer. questions, best, doubts, told: pictures with what is known of them. outside: labelled pictures that are no items.
    missing: labels of nothing. command: what answers the questions. facts: at the end.
    """

    classes: Sequence[str]
    counts: Mapping[str, int]
    items: int
    likely: Mapping[str, int]
    questions: Shown = ()
    best: Shown = ()
    doubts: Shown = ()
    told: Shown = ()
    outside: Sequence[str] = ()
    missing: Sequence[str] = ()
    command: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


def teach_page(page: LessonPage, title: str = "Taught by a few labels") -> str:
    """The page as HTML."""
    binary = len(page.classes) == 2
    labels = ", ".join(f"{count:,} {name}" for name, count in page.counts.items())
    wanted = page.classes[-1]
    lead = f"{page.items:,} items ranked after {labels}."
    groups = [(f"Most likely {_quoted(wanted)}" if binary else "The surest of each class", page.best)]
    if not binary:
        groups = [
            (
                f"{_quoted(name)}: {page.likely.get(name, 0):,} items",
                [one for one in page.best if one[1].answer == name],
            )
            for name in page.classes
        ]
    return _render(
        "teach.html",
        title=title,
        lead=lead,
        binary=binary,
        wanted=wanted,
        likely=f"{page.likely.get(wanted, 0):,}",
        questions=[_item(thumb, one, str(rank), binary) for rank, (thumb, one) in enumerate(page.questions, 1)],
        groups=[
            (name, [_item(thumb, one, str(rank), binary) for rank, (thumb, one) in enumerate(some, 1)])
            for name, some in groups
            if some
        ],
        doubts=[_item(thumb, one, "", binary, told=True) for thumb, one in page.doubts],
        told=[_item(thumb, one, "", binary, told=True) for thumb, one in page.told],
        outside=[visible(text) for text in page.outside],
        missing=[visible(text) for text in page.missing],
        command=page.command,
        info=_facts(page.facts),
    )


def _quoted(name: str) -> str:
    return f"“{name}”"


def _item(thumb: Thumb, one: _Scored, rank: str, binary: bool, told: bool = False) -> Item:
    """One picture: its score, and of several classes the answer; of a labelled one its label, marked where others speak against."""
    folder, name = split_id(thumb.id)
    score = f"{one.score:+.2f}".replace("-", "−")
    wrong = told and one.told != one.answer
    answer = one.answer if binary else f"{one.answer}, or {one.second}"
    label = (one.told or "") if told else "" if binary else answer
    said = [f"rank {rank}: {name}"] if rank else [name]
    said += [f"score {score}", f"taken for {answer}"] + ([f"labelled {one.told}"] if one.told else [])
    note = f"taken for {answer}" if wrong else thumb.note or ""
    shown = view(thumb.image, ", ".join(said))
    return replace(
        shown, id=thumb.id, folder=folder, name=name, label=label, distance=score, note=note, rank=rank, wrong=wrong
    )
