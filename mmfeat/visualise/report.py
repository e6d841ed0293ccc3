"""What the page of an index tells: its facts, the self-check in plain words, and what became of every file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmfeat.visualise.results import QueryResult

__all__ = ["BuildReport", "Measure", "Outcome", "check_measures"]

GOOD, LOOK, WORRY = "good", "look", "worry"


@dataclass(frozen=True)
class Measure:
    """One number of the self-check: its value as text, what it means, and whether to worry.

    level: "good", "look" (have a look) or "worry".
    """

    name: str
    value: str
    meaning: str
    level: str = GOOD


@dataclass(frozen=True)
class Outcome:
    """How many files ended in one status, and the first of them with their reasons, as (id, reason)."""

    status: str
    count: int
    reasons: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class BuildReport:
    """Everything on the page of an index.

    facts: such as items, bits, model, data. check: see `check_measures`. outcomes: one per status.
    mosaic: items drawn at random with their neighbours. progress: (indexed, found) while the build goes on.
    commands: lines to copy, such as the search that works now.
    """

    title: str
    facts: Mapping[str, object]
    check: list[Measure] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    mosaic: list[QueryResult] = field(default_factory=list)
    progress: tuple[int, int] | None = None
    commands: list[str] = field(default_factory=list)


def check_measures(
    found: float,
    probes: int,
    changes: Mapping[str, float] | None = None,
    kept: float | None = None,
    bits: int | None = None,
    dead: int | None = None,
    neighbours: int = 10,
) -> list[Measure]:
    """The self-check of a build in plain words.

    found: share in [0, 1] of the `probes` changed pictures that found their original at rank 1; changes: the same by
    kind of change. kept: share of the `neighbours` nearest float vectors that the codes of `bits` bits find too; dead:
    bits with the same value on all items; both None for an index of floats.

    >>> [measure.value for measure in check_measures(0.96, 200, kept=0.78, bits=128, dead=3)]
    ['96 %', '78 %', '3 of 128']
    """
    worst = min(changes, key=lambda name: changes[name]) if changes else None
    detail = f" The hardest change was {worst}: {_percent(changes[worst])}." if changes and worst else ""
    measures = [
        Measure(
            "found at rank 1",
            _percent(found),
            f"{probes:,} items were changed (cropped, compressed, resized, made brighter) and searched for; so many came "
            f"back as the first hit.{detail} Below 70 % the features see the change more than the picture.",
            _level(found, 0.9, 0.7),
        )
    ]
    if kept is not None and bits is not None:
        measures.append(
            Measure(
                f"of the float top {neighbours} kept",
                _percent(kept),
                f"What the {bits}-bit codes still find of the {neighbours} nearest neighbours that the uncompressed "
                "features have. Below 35 %, take more bits.",
                _level(kept, 0.6, 0.35),
            )
        )
    if dead is not None and bits is not None:
        measures.append(
            Measure(
                "dead bits",
                f"{dead} of {bits}",
                "Bits that have one value on all items and tell nothing apart. More than a twentieth means that the "
                "items are very alike, or fewer than the bits can use.",
                _level(-dead / bits, 0.0, -0.05),
            )
        )
    return measures


def _percent(share: float) -> str:
    """Rounded down from above 99.5 %, so that 100 % means all.

    >>> _percent(0.9999), _percent(1.0)
    ('99 %', '100 %')
    """
    return f"{99 if 0.99 < share < 1 else round(100 * share)} %"


def _level(value: float, good: float, look: float) -> str:
    return GOOD if value >= good else LOOK if value >= look else WORRY
