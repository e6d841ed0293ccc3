"""Which recipe suits these pictures: each learns from a sample and is checked without labels, and the best is taken.

Recipes are tried with the settings that go with the pictures: small ones (at most `SMALL` px) at their own size, grey ones
in grey. Contrastive nets are tried on small pictures alone: on photographs they take long, and local features do better.

What is measured is whether a changed picture finds its original, not whether its neighbours are of its kind. Codes that draw
pictures of a kind together do badly by it: of MNIST's digits contrastive-codes finds 15 % again and pixel-codes 88 %, while by
labels it is contrastive-codes that is far ahead. Where kinds are wanted, and for very many pictures, name the recipe.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmfeat.errors import MmfeatError, UsageError
from mmfeat.pipelines.photo_features import suits
from mmfeat.progress import tell

if TYPE_CHECKING:
    from mmfeat.media.items import Items
    from mmfeat.stages import Report

__all__ = [
    "MANY",
    "SMALL",
    "Candidate",
    "Trial",
    "best",
    "candidates",
    "choose_recipe",
    "describe_trials",
    "try_recipes",
    "usual_recipe",
]

SMALL = 64  # px of the larger side up to which pictures are small
MANY = 2000  # small pictures from which a net learns enough
_ALIKE = 0.01  # shares of changed pictures that are no different on a few hundred of them
_GREY = 2  # of 255: channels of a grey picture differ by no more, JPEG's rounding included
_LOOKED_AT = 64  # pictures, to see whether all are grey


class Candidate(NamedTuple):
    """A recipe with the settings that go with the pictures."""

    recipe: str
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        return " ".join([self.recipe, *(f"--set {name}={value}" for name, value in self.settings.items())])


class Trial(NamedTuple):
    """What a recipe came to on the sample.

    rank1: share of changed pictures that find their original first. top10: of the float neighbours that bits keep, None for
    floats. dead: bits that tell nothing. seconds: learning, encoding and checking. why: the reason where it could not be tried.
    """

    candidate: Candidate
    rank1: float
    top10: float | None
    dead: int
    seconds: float
    why: str = ""


def candidates(items: Items, rows: np.ndarray) -> list[Candidate]:
    """The recipes to be tried for pictures like these `rows` of a table, from the cheapest to learn to the dearest."""
    sides = _larger_sides(items, rows)
    small, grey = bool(np.median(sides) <= SMALL), _all_grey(items, rows[:_LOOKED_AT])
    shape: dict[str, Any] = {"side": int(np.median(sides))} if small else {}
    shape |= {"color": "grey"} if grey else {}
    found = [Candidate("pixel-codes", shape), Candidate("patch-codes", {})]
    if suits(items):
        found.append(_photo(grey))
    found.append(Candidate("deep-codes", shape))
    if small:
        found.append(Candidate("contrastive-codes", {**shape, "augment": "digits" if grey else "photo"}))
    return found


def _larger_sides(items: Items, rows: np.ndarray) -> np.ndarray:
    """The larger side of each picture (n,) in px."""
    table = items.table.select(["width", "height"]).take(rows)
    return np.maximum(table["width"].fill_null(1).to_numpy(), table["height"].fill_null(1).to_numpy())


def _all_grey(items: Items, rows: np.ndarray) -> bool:
    """Whether none of these pictures has a colour."""
    from mmfeat.media.decode import Decode
    from mmfeat.media.source import ImageSource

    source = ImageSource(items, Decode(size=(32, 32)), rows=rows)
    images, weight = source.read(np.arange(len(rows)))
    pixels = images.pixels[weight > 0].astype(np.int16)
    return bool(len(pixels)) and int((pixels.max(axis=3) - pixels.min(axis=3)).max()) <= _GREY


def try_recipes(
    items: Items, tried: Sequence[Candidate], rows: np.ndarray, seed: int = 0, report: Report | None = None
) -> list[Trial]:
    """Try recipes on these rows of a table, each by the self-check of an index of these pictures alone.

    KeyboardInterrupt: somebody wants it to end; no recipe is chosen by half a trial.
    """
    from mmfeat.pipelines.building import build_index

    trials = []
    for number, candidate in enumerate(tried, 1):
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="mmfeat-trial-") as folder:
            try:
                built = build_index(
                    items.select(rows), Path(folder) / "index", recipe=candidate.recipe, settings=dict(candidate.settings),
                    seed=seed, report=_named(report, f"trial {number} of {len(tried)}, {candidate.recipe}"),
                )  # fmt: skip
            except MmfeatError as error:
                trials.append(Trial(candidate, 0.0, None, 0, time.perf_counter() - began, str(error)))
                continue
        if not built.complete:
            raise KeyboardInterrupt
        check, seconds = built.check, time.perf_counter() - began
        top10, dead = check.get("float_top10"), check.get("dead_bits", 0)
        trials.append(Trial(candidate, check.get("rank1", 0.0), top10, dead, seconds))
    return trials


def _named(report: Report | None, name: str) -> Report | None:
    """The same report, which says what the work is for."""
    return report and (lambda what, done, total, metrics: report(f"{name}: {what}", done, total, metrics))


def best(trials: Sequence[Trial]) -> int:
    """The place of the recipe whose codes find most changed pictures again; of those alike, the first.

    Not the quickest: clocks differ from run to run, and the same seed is to give the same model. UsageError: none could be tried.

    >>> trial = lambda rank1: Trial(Candidate("x", {}), rank1, 0.5, 0, 1.0)
    >>> best([trial(0.6), trial(0.905), trial(0.91)])
    1
    """
    if all(trial.why for trial in trials):
        raise UsageError(
            "one recipe can be tried at least", "; ".join(trial.why for trial in trials), "choose one with --recipe"
        )
    most = max(trial.rank1 for trial in trials if not trial.why)
    return next(place for place, trial in enumerate(trials) if not trial.why and trial.rank1 >= most - _ALIKE)


def describe_trials(trials: Sequence[Trial]) -> list[str]:
    """The trials as lines of a table."""
    lines = [f"{'recipe':<18} {'found again':>11} {'float top-10':>12} {'dead bits':>9} {'seconds':>8}  settings"]
    for trial in trials:
        name, settings = trial.candidate.recipe, str(trial.candidate).partition(" ")[2].replace("--set ", "")
        if trial.why:
            lines.append(f"{name:<18} not tried: {trial.why}")
            continue
        top10 = "" if trial.top10 is None else f"{trial.top10:.0%}"
        numbers = f"{trial.rank1:>11.1%} {top10:>12} {trial.dead:>9} {trial.seconds:>8.0f}"
        lines.append(f"{name:<18} {numbers}  {settings}".rstrip())
    return lines


def usual_recipe(items: Items, seed: int = 0, report: Report | None = None) -> Candidate:
    """What is learned unless told: `image-retrieval`, without colours where there are none; of `MANY` pictures too small for it a
    contrastive net, of few pictures and others that are too small patches.

    Each is what did best by labels on such pictures (docs/which-learner.md). report: a `Progress` is told which.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(items.images)[:1000])
    many = len(items.images) >= MANY and np.median(_larger_sides(items, rows)) <= SMALL
    if suits(items):
        chosen = _photo(_all_grey(items, rows[:_LOOKED_AT]))
    elif many:
        *_, chosen = candidates(items, rows)  # of grey pictures: changes of shape alone, nothing mirrored
    else:
        chosen = Candidate("patch-codes", {})
    what = "small pictures" if many else "pictures"
    tell(report, [f"{len(items.images):,} {what}: {chosen} is learned; name another with --recipe"])
    return chosen


def _photo(grey: bool) -> Candidate:
    return Candidate("image-retrieval", {"colour": 0.0} if grey else {})


def choose_recipe(items: Items, count: int = 1000, seed: int = 0, report: Report | None = None) -> Candidate:
    """The best recipe for the pictures of a table, by a seeded sample of at most `count` of them.

    report: a `Progress` says the table of all trials, too.
    """
    if not len(items.images):
        raise UsageError("recipes are tried on pictures", "none that can be read", "name a folder with pictures")
    rows = np.sort(np.random.default_rng(seed).permutation(items.images)[:count])
    trials = try_recipes(items, candidates(items, rows), rows, seed, report)
    chosen = trials[best(trials)].candidate
    tell(report, [*describe_trials(trials), f"recipe: {chosen} (by {len(rows):,} pictures; learned from all)"])
    return chosen
