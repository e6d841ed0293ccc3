"""A lesson as a classifier that lasts: the index's model with what was learned behind it, for pictures to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import UsageError

if TYPE_CHECKING:
    from mmfeat.model import Model
    from mmfeat.pipelines.searching import Searcher
    from mmfeat.pipelines.teaching import Lesson

__all__ = ["check_model", "lesson_model"]

LEAST = 3  # labels of every class that probabilities are calibrated on


def check_model(searcher: Searcher) -> None:
    """UsageError: the index has no model, so nothing could be put behind it."""
    if "model" not in searcher.index.extras:
        raise UsageError(
            "what was taught is kept behind the model of the index", "an index of given vectors, which has none",
            "leave --save out; --out writes the whole ranking",
        )  # fmt: skip


def lesson_model(lesson: Lesson) -> Model:
    """The chain of the index's model, its features as the index stores them, and the classifier of the lesson.

    Its scores are those of the lesson; but for the items that were labelled or drawn, which the lesson scores as if they had not
    been. Probabilities are calibrated on these, where every class has three labels or more.
    """
    from mmfeat.chain import Chain
    from mmfeat.classify.least_squares import LeastSquares, LeastSquaresState
    from mmfeat.model import Model

    check_model(lesson.searcher)
    model, fitted, index = lesson.searcher.model, lesson.fitted, lesson.searcher.index
    learner = LeastSquares(classes=len(lesson.classes), ridge=fitted.ridge)
    stages = (*_as_stored(index.kind, index.metric), learner)
    forms = [None] * (len(stages) - 1) + [{"x": ((len(fitted.weights),), "float32"), "y": ((), "int32")}]
    states = (*((),) * (len(stages) - 1), LeastSquaresState(fitted.weights, fitted.offset))
    chain = Chain(*model.chain.stages, *stages, fit_rows=model.chain.fit_rows)
    return Model(
        chain, (*model.states, *states), (*model.forms, *forms), model.decode, lesson.classes, _facts(lesson, model), log=model.log
    )  # fmt: skip


def _as_stored(kind: str, metric: str) -> tuple[Any, ...]:
    """What makes of features the numbers that a lesson is learned from: bits as ±1, unit vectors, or the floats as they are."""
    from mmfeat.pool import Normalise, Signs

    if kind.startswith("binary"):
        return (Signs(),)
    return (Normalise(),) if metric == "cosine" else ()


def _facts(lesson: Lesson, model: Model) -> dict[str, Any]:
    from mmfeat.pipelines.fitting import versions

    labels = ", ".join(f"{count:,} {name}" for name, count in lesson.counts().items())
    none = "no" if lesson.binary else "none of these"
    drawn = f", and {lesson.drawn:,} items drawn at random taken for {none}" if lesson.drawn else ""
    return {
        "data": f"{len(lesson):,} items of an index, taught by {labels}{drawn}",
        "recipe": str(model.provenance.get("recipe", "features")), "features": model.sha256,
        "stages of features": len(model.chain.stages), "versions": versions(), **_calibration(lesson),
    }  # fmt: skip


def _calibration(lesson: Lesson) -> dict[str, Any]:
    """From what the labelled items score when they are left out; nothing where there are too few."""
    import dataclasses

    from mmfeat.classify.calibration import calibrate

    number = {name: place for place, name in enumerate(lesson.classes)}
    told = [*lesson.told.values(), *(number[name] for name in lesson.outside.values())]
    if np.bincount(told, minlength=len(number)).min() < LEAST:
        return {}
    alone = lesson.fitted.alone
    scores = np.concatenate([alone[: len(lesson.told)], alone[len(lesson.told) + lesson.drawn :]])
    both = np.concatenate([-scores, scores], axis=1) if lesson.binary else scores
    return {"calibration": dataclasses.asdict(calibrate(both, np.array(told)))}
