"""Learning to tell classes apart: features without labels, then a linear classifier with them, saved as one model.

    found = fit_classifier("photos/train")                      # pictures in one sub-folder a class
    found.model.save("photos.model"); found.choice.table        # what every C was worth, by cross-validation

The features are learned from the training pictures alone, and labels never touch them. Every picture is encoded once; C is chosen
by cross-validation on these features; probabilities are calibrated on the scores of rows by machines that did not see them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmfeat.errors import DataError, SettingsError, UsageError
from mmfeat.pipelines.labelled_data import (
    FeatureFolder,
    Matrix,
    Pictures,
    check_made_by,
    encode_pictures,
    failed_rows,
    memory_limit,
    open_data,
    split_rows,
)

if TYPE_CHECKING:
    from mmfeat.classify.calibration import Calibration
    from mmfeat.classify.choosing import Choice
    from mmfeat.model import Model
    from mmfeat.pipelines.fitting import Job
    from mmfeat.resume import Kept
    from mmfeat.stages import Report

__all__ = ["CLASSIFIERS", "Fitted", "fit_classifier"]

CLASSIFIERS = ("linear-svm", "softmax", "averaged-sgd")
DEFAULT = "image-classification"
_CHOOSING = 2**30  # bytes of features that C is chosen on at the most
_AHEAD = "classifier."  # settings of the classifier begin with this


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """A model whose chain ends in a classifier, and how it came about.

    choice: of C, None where there was nothing to choose. counts: examples of each class. done, failed: pictures that were read,
    and those that could not be, with reasons. notes: what was left out, in sentences.
    """

    model: Model
    choice: Choice | None
    counts: Mapping[str, int]
    done: int
    failures: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 all well, 1 some files failed."""
        return 1 if self.failures else 0


def fit_classifier(
    data: Any,
    *,
    recipe: Any = DEFAULT,
    model: Model | None = None,
    labels: Any = None,
    classifier: str | None = None,
    c: float | str = "auto",
    settings: Mapping[str, Any] | None = None,
    split: str | None = None,
    seed: int = 0,
    pages: str = "first",
    report: Report | None = None,
    kept_in: str | os.PathLike[str] | None = None,
) -> Fitted:
    """Learn a classifier.

    data: pictures (a folder with one sub-folder a class, a table with labels, tar shards, …), or a folder of features.
    recipe: how features of pictures are learned. model: a model of features instead, which is used as it is.
    labels: a file of labels. classifier: "linear-svm", "softmax" or "averaged-sgd"; otherwise what the recipe names, and
        averaged-sgd where the features do not fit into memory.
    c: of linear-svm; "auto" chooses it by cross-validation.
    settings: replace settings of the recipe, and of the classifier under "classifier.".
    split: the rows to learn from where the data name splits; "train" otherwise.
    kept_in: a folder in which the model of features and what it gives are kept as they are made: the same call goes on from there.
        `mmfeat.resume.forget` takes it away when the model is saved. Features on disk need none.

    DataError: fewer than two classes with a picture that can be read. UsageError: what does not go together.
    """
    ours, theirs = _settings_of(settings or {})
    found = open_data(data, labels, pages, report)
    rows, chosen_split = split_rows(found, split, training=True)
    job, given, name = _features(found, rows, recipe, model, theirs, seed, report)
    named, labelled = classifier or _default_classifier(recipe, model), _labelled(found, rows)
    told = {"classifier": named, "asked": classifier, "c": c, "settings": sorted(ours.items()), "split": split}
    with _keeping(kept_in, found, job or given, labelled, seed, told) as kept:
        features = _learned(job, seed, report, kept) if job is not None else given
        matrix, rows, failures = _matrix(found, features, labelled, report, kept)
        failures = {**failed_rows(found, chosen_split), **failures}
        read = _Read(found, features, name, matrix, rows, failures, chosen_split)
        return _fitted(read, named, classifier is None, c, ours, seed, report)


class _Read(NamedTuple):
    """Labelled data with their features: matrix (n, d) of these rows of the data, why others have none, and their split."""

    found: Pictures | FeatureFolder
    features: Model | None
    recipe: str
    matrix: Matrix
    rows: np.ndarray
    failures: Mapping[int, str]
    split: str


def _fitted(
    read: _Read, named: str, free: bool, c: float | str, settings: Mapping[str, Any], seed: int, report: Report | None
) -> Fitted:
    """The classifier on features that are there. free: nobody asked for this one."""
    found, features, recipe, matrix, rows, failures, chosen_split = read
    y, classes, notes = _classes(found, rows, failures)
    notes += (f"Learned from the split {chosen_split!r}.",) if chosen_split else ()
    if free and matrix.nbytes > memory_limit():
        named = "averaged-sgd"
        notes += ("The features do not fit into memory: learned from the stream, by averaged-sgd.",)
    learner = _learner(named, len(classes), c, settings)
    learner, choice, calibration = _chosen(learner, matrix, y, c, seed, report)
    notes += () if calibration or not getattr(learner, "scores", False) else (
        "Probabilities are not calibrated: that takes two examples of two classes or more.",)  # fmt: skip
    facts = {
        "data": f"{len(y):,} labelled items", "recipe": recipe, "features": _sha256(found, features), "classifier": named,
        "seed": seed, **({"calibration": dataclasses.asdict(calibration)} if calibration else {}),
        **({"cross-validation": [dict(line) for line in choice.table]} if choice and c == "auto" else {}),
    }  # fmt: skip
    whole = _whole(features, learner, _train(learner, matrix, y, seed, report), classes, facts)
    counts = dict(zip(classes, np.bincount(y, minlength=len(classes)).tolist(), strict=True))
    ids = found.ids
    return Fitted(whole, choice, counts, len(y), {ids[row]: why for row, why in failures.items()}, notes)


def _settings_of(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings of the classifier, of the recipe)."""
    ours = {name.removeprefix(_AHEAD): value for name, value in settings.items() if name.startswith(_AHEAD)}
    return ours, {name: value for name, value in settings.items() if not name.startswith(_AHEAD)}


def _features(
    found: Pictures | FeatureFolder, rows: np.ndarray, recipe: Any, model: Model | None, settings: Mapping[str, Any],
    seed: int, report: Report | None,
) -> tuple[Job | None, Model | None, str]:  # fmt: skip
    """What learns the model of features, or the one that is given, and what it is called; features on disk need neither."""
    from mmfeat.pipelines.fitting import find_recipe, prepare
    from mmfeat.registry import hyphens, name_of

    if model is not None or isinstance(found, FeatureFolder):
        if settings:
            raise UsageError(
                "settings are those of a recipe", ", ".join(settings), 'only those under "classifier." go here'
            )
        if model is not None and model.classes:
            raise UsageError(
                "features come from a model without classes", "a classifier", "give the model of the features"
            )
        if model is not None and isinstance(found, FeatureFolder):
            check_made_by(found, model.sha256, "the model")
        return None, model, str((model.provenance.get("recipe") if model else None) or "features")
    if not len(rows):
        raise DataError("there are pictures to learn from", "none", "name another folder")
    chosen = find_recipe(recipe, settings) if isinstance(recipe, str) else recipe
    job = prepare(chosen, found.items.select(rows), seed=seed, report=report)
    if any("y" in getattr(stage, "needs", ()) for stage in job.chain.stages):
        raise UsageError("a recipe gives the features, without labels", f"{recipe}", "name another recipe")
    name = hyphens(name_of(type(chosen)))
    return dataclasses.replace(job, labels=None, classes=()), None, name


def _keeping(
    folder: str | os.PathLike[str] | None, found: Pictures | FeatureFolder, what: Job | Model | None, rows: np.ndarray,
    seed: int, told: Mapping[str, Any],
) -> AbstractContextManager[Kept | None]:  # fmt: skip
    """What is kept while pictures become features; features on disk are there already."""
    if folder is None or what is None or isinstance(found, FeatureFolder):
        return nullcontext()
    from mmfeat.pipelines.kept_features import keep

    return keep(folder, what, found.items.select(rows), seed, told)


def _learned(job: Job, seed: int, report: Report | None, kept: Kept | None) -> Model:
    from mmfeat.pipelines.kept_features import learned

    return learned(job, seed, report, kept)


def _default_classifier(recipe: Any, model: Model | None) -> str:
    """What the recipe says; else the first."""
    from mmfeat.pipelines.fitting import find_recipe

    if model is not None:
        return CLASSIFIERS[0]
    chosen = find_recipe(recipe) if isinstance(recipe, str) else recipe
    return str(getattr(chosen, "classifier", CLASSIFIERS[0]))


def _labelled(found: Pictures | FeatureFolder, rows: np.ndarray) -> np.ndarray:
    """Those of the rows that have a label. DataError: none has."""
    labels = found.labels
    kept = np.array([row for row in rows.tolist() if labels[row] is not None], np.int64)
    if not len(kept):
        raise DataError(
            "a classifier learns from labels", f"none of {len(rows):,} items has one",
            "put pictures into one sub-folder a class, or give --labels FILE (columns id and label)",
        )  # fmt: skip
    return kept


def _matrix(
    found: Pictures | FeatureFolder, features: Model | None, rows: np.ndarray, report: Report | None, kept: Kept | None
) -> tuple[Matrix, np.ndarray, dict[int, str]]:
    """Features of the rows, the rows that have them, and why others have not."""
    if isinstance(found, FeatureFolder):
        return found.values.select(rows), rows, {}
    if features is None:
        raise UsageError("pictures are encoded by a model", "none", "give a recipe")
    if kept is None:
        return encode_pictures(features, found.items, rows, report)
    from mmfeat.pipelines.kept_features import encoded

    return encoded(features, found.items, rows, report, kept)


def _classes(
    found: Pictures | FeatureFolder, rows: np.ndarray, failures: Mapping[int, str]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Class numbers (n,) int32 of the rows, the classes' names, and notes on classes that have no example."""
    labels = found.labels
    names = [str(labels[row]) for row in rows.tolist()]
    classes = tuple(sorted(set(names)))
    lost = sorted({str(labels[row]) for row in failures if labels[row] is not None} - set(classes))
    notes = [f"{len(lost):,} classes without a picture that can be read are left out: {_some(lost)}."] if lost else []
    empty = [name for name in found.empty_classes() if name not in lost and name not in classes]
    notes += [f"{len(empty):,} sub-folders without a picture are no classes: {_some(empty)}."] if empty else []
    if len(classes) < 2:
        raise DataError(
            "a classifier needs two classes or more", f"{classes[0]!r} alone" + ("; " + " ".join(notes) if notes else ""),
            "label a second class",
        )  # fmt: skip
    number = {name: place for place, name in enumerate(classes)}
    y = np.array([number[name] for name in names], np.int32)
    single = [classes[place] for place in np.flatnonzero(np.bincount(y) == 1)]
    notes += [f"{len(single):,} classes have a single example: {_some(single)}."] if single else []
    return y, classes, tuple(notes)


def _some(names: list[str], count: int = 5) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count:,} more" if len(names) > count else "")


def _learner(name: str, classes: int, c: float | str, settings: Mapping[str, Any]) -> Any:
    """The unfitted classifier. UsageError: there is none of that name, or c where it has none."""
    from mmfeat.registry import class_named
    from mmfeat.settings import replace_at

    name = name.replace("_", "-")
    if name not in CLASSIFIERS:
        raise UsageError(f"a classifier is one of {', '.join(CLASSIFIERS)}", name, "choose one of these")
    learner = class_named(name)(classes=classes)
    if c != "auto" and not hasattr(learner, "c"):
        raise UsageError("c is a setting of linear-svm", name, "leave --c out; see --set classifier.l2=...")
    if "c" in settings and c == "auto":
        raise UsageError("C is given by --c", "--set classifier.c", "write --c NUMBER")
    if c != "auto":
        settings = {**settings, "c": _number(c)}
    return replace_at(learner, {name: value for name, value in settings.items() if name != "classes"})


def _number(c: float | str) -> float:
    try:
        value = float(c)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SettingsError("C is auto or a number above 0", str(c), "for example --c 10")
    return value


def _chosen(
    learner: Any, x: Matrix, y: np.ndarray, c: float | str, seed: int, report: Report | None
) -> tuple[Any, Choice | None, Calibration | None]:
    """The classifier with its C, the choice, and the calibration by rows that a fit did not see."""
    if not getattr(learner, "scores", False) or (np.bincount(y) > 1).sum() < 2:
        return learner, None, None
    from mmfeat.classify.calibration import calibrate
    from mmfeat.classify.choosing import choose_c, folds_of

    if report:
        report("choosing C" if hasattr(learner, "c") else "calibrating", 0, 1, {})
    some = _part(x, y, seed)
    if hasattr(learner, "c"):
        rows, names = x.take(some), y[some]
        choice = (
            choose_c(rows, names, learner.classes, seed=seed, learner=learner)
            if c == "auto"
            else choose_c(rows, names, learner.classes, cs=(learner.c,), seed=seed, learner=learner)
        )
        learner = dataclasses.replace(learner, c=choice.c)
        return learner, choice, calibrate(choice.scores, y[some])
    held = folds_of(y, 5, seed) == 0
    held[np.flatnonzero(held)[_CHOOSING // (4 * x.width) :]] = False
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    state, _ = _train(learner, x.select(train), y[train], seed, report)
    return learner, None, calibrate(np.asarray(learner.encode(state, x.take(test))), y[test])


def _part(x: Matrix, y: np.ndarray, seed: int) -> np.ndarray:
    """All rows, or where they are too many to fit again and again a seeded part."""
    most = max(_CHOOSING // (4 * x.width), 1000)
    if len(x) <= most:
        return np.arange(len(x))
    return np.sort(np.random.default_rng(seed).permutation(len(x))[:most])


class _Rows:
    """Features and labels as the source of a training run: batches are read from where the rows lie."""

    def __init__(self, x: Matrix, y: np.ndarray) -> None:
        self.x, self.y = x, y
        self.groups = np.zeros(len(y), np.int32)

    def __len__(self) -> int:
        return len(self.y)

    def read(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """{"x": (r, d), "y": (r,)} and weights of 1."""
        return {"x": self.x.take(rows), "y": self.y[rows]}, np.ones(len(rows), np.float32)


def _train(learner: Any, x: Matrix, y: np.ndarray, seed: int, report: Report | None) -> tuple[Any, Any]:
    """The state of the fitted classifier, and the form of what its `init` saw."""
    import jax

    from mmfeat.learner import default_batches, fetched, pick, sample, start, train
    from mmfeat.mesh import default_mesh

    mesh, name = default_mesh(), type(learner).__name__
    batches = default_batches(learner, _Rows(x, y), seed, mesh)
    rows = sample(batches, learner.init_rows)
    total = max(batches.steps * learner.passes, 1)

    def after(run: Any, metrics: Any) -> None:
        if report:
            report(f"learning {name}", run.step, total, metrics)

    run = train(learner, start(learner, rows, mesh, seed), batches, mesh, after, together=True)
    form = jax.tree.map(lambda leaf: (leaf.shape[1:], str(leaf.dtype)), pick(learner, rows))
    return fetched(learner, run), form


def _sha256(found: Pictures | FeatureFolder, features: Model | None) -> str:
    """The identity of the model of the features."""
    if features is not None:
        return features.sha256
    return found.model if isinstance(found, FeatureFolder) else ""


def _whole(
    features: Model | None, learner: Any, trained: tuple[Any, Any], classes: tuple[str, ...], facts: Mapping[str, Any]
) -> Model:
    """One model: the features' chain with the classifier behind it, or the classifier alone."""
    from mmfeat.chain import Chain
    from mmfeat.model import Model
    from mmfeat.pipelines.fitting import versions

    state, form = trained
    facts = {**facts, "versions": versions()}
    if features is None:
        return Model(Chain(learner), (state,), (form,), None, classes, facts)
    chain = Chain(*features.chain.stages, learner, fit_rows=features.chain.fit_rows)
    return Model(
        chain, (*features.states, state), (*features.forms, form), features.decode, classes, facts, log=features.log
    )
