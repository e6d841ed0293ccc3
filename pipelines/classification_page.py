"""The page of a scored classifier, with the pictures of its surest mistakes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from mmfeat.pipelines.labelled_data import FeatureFolder

if TYPE_CHECKING:
    from mmfeat.pipelines.predicting import Scored
    from mmfeat.visualise.results import Thumb

__all__ = ["score_page"]


def score_page(scored: Scored) -> str:
    """The page as HTML."""
    from mmfeat.visualise.classification import ClassificationReport, classification_page

    places = scored.mistakes().tolist()
    with ThreadPoolExecutor() as pool:
        mistakes = list(pool.map(lambda place: _thumb(scored, place), places))
    return classification_page(ClassificationReport(scored.measured, mistakes, _facts(scored), scored.notes))


def _thumb(scored: Scored, place: int) -> Thumb:
    """A picture, what it is, and what it was taken for."""
    from mmfeat.pipelines.pictures import fragment_of, picture_of
    from mmfeat.visualise.results import Thumb
    from mmfeat.visualise.thumbnails import thumbnail

    probabilities, classes = scored.probabilities[place], scored.model.classes
    answer, row = int(probabilities.argmax()), int(scored.rows[place])
    said = f"taken for {classes[answer]}: {probabilities[answer]:.2f} (its own class: {probabilities[scored.truth[place]]:.2f})"
    id, image = scored.data.ids[row], None
    if not isinstance(scored.data, FeatureFolder):
        found = picture_of(scored.data.items.path_of(row), fragment_of(id))
        image = None if found is None else thumbnail(found)
    return Thumb(image, id, label=classes[scored.truth[place]], note=said)


def _facts(scored: Scored) -> dict[str, Any]:
    """What a page says of the model."""
    model = scored.model
    facts: dict[str, Any] = {
        "model": model.sha256[:12],
        **{
            name: model.provenance[name]
            for name in ("data", "recipe", "classifier", "seed")
            if name in model.provenance
        },
        "stages": " → ".join(type(stage).__name__ for stage in model.chain.stages),
        "the classifier": repr(model.chain.stages[-1]),
    }
    lines = model.provenance.get("cross-validation")
    if lines:
        told = ", ".join(f"C = {line['c']:g}: {line['mean_per_class']:.3f}" for line in lines)
        facts["mean per-class accuracy by cross-validation"] = told
    return facts
