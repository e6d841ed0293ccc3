"""Learners as scikit-learn estimators, for pipelines, grid searches and everything else that speaks scikit-learn.

    Estimator(Lsh(bits=64)).fit_transform(X)
    GridSearchCV(Pipeline([("code", Estimator(Pca(16))), ("svm", LinearSVC())]), {"code__learner__dims": [8, 16, 32]})
    Classifier(Chain(Pca(32), Softmax())).fit(X, y).predict(X)

Settings are parameters: `learner__bits`, `learner__codebook__clusters`, `learner__stages__0__dims`. A learner is a frozen value, so
`set_params` puts another one in its place and what was fitted stays what it was. Nothing here is imported by `import mmfeat`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from mmfeat.chain import Chain, is_fixed
from mmfeat.classify.softmax import Softmax
from mmfeat.errors import MmfeatError, SettingsError
from mmfeat.learner import Run, default_batches, fetched, sample, start, train, transform
from mmfeat.learners.lsh import Lsh
from mmfeat.settings import replace_at

__all__ = ["Classifier", "Estimator"]

_FLOATS = (np.float64, np.float32)
_ROUNDED = (
    4096  # batches up to so many rows are rounded up to a power of two: sets of similar sizes share their programs
)


class _Settings(BaseEstimator):
    """Parameters that reach into the settings of the learner."""

    learner: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters, and with `deep` every setting of the learner under `learner__name`."""
        found = {name: getattr(self, name) for name in self._get_param_names()}
        return found | (dict(_nested("learner", found["learner"])) if deep else {})

    def set_params(self, **params: Any) -> Any:
        """Set parameters, whole or by their dotted names with two underscores for a dot."""
        known = {*self._get_param_names(), *dict(_nested("learner", params.get("learner", self.learner)))}
        unknown = sorted(set(params) - known)
        if unknown:
            raise ValueError(
                f"{type(self).__name__} has the parameters {', '.join(sorted(known))}; got {', '.join(unknown)}."
            )
        for name, value in params.items():
            if "__" not in name:
                setattr(self, name, value)
        changes = {name.split("__", 1)[1].replace("__", "."): _plain(v) for name, v in params.items() if "__" in name}
        if changes:
            self.learner = replace_at(self.learner, changes)
        return self


def _nested(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every setting below a value, under its name with two underscores."""
    inside: dict[str, Any] = {}
    if dataclasses.is_dataclass(value):
        inside = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    elif isinstance(value, tuple):
        inside = {str(number): part for number, part in enumerate(value) if dataclasses.is_dataclass(part)}
    for key, part in inside.items():
        yield f"{name}__{key}", part
        yield from _nested(f"{name}__{key}", part)


def _plain(value: Any) -> Any:
    """A setting as it is written in settings: no NumPy scalars, no lists."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(_plain(part) for part in value) if isinstance(value, list | np.ndarray) else value


def _stages(learner: Any, labels: bool) -> tuple[Any, ...]:
    """The learners of a learner or a chain, checked."""
    stages = learner.stages if isinstance(learner, Chain) else (learner,)
    for stage in stages:
        if is_fixed(stage) or not hasattr(stage, "encode") or stage.locals:
            raise SettingsError(
                "an estimator takes learners of plain rows", repr(stage), "for pictures and sound use mmfeat.fit"
            )
    if any("y" in stage.needs for stage in stages) != labels:
        rule = "a Classifier ends in a learner with labels" if labels else "an Estimator learns without labels"
        raise SettingsError(rule, repr(learner), "add Softmax()" if labels else "use Classifier")
    return tuple(stages)


def _fit(stages: tuple[Any, ...], x: np.ndarray, y: np.ndarray | None, seed: int) -> tuple[Any, ...]:
    """The states of learners trained one after another on rows (n, d), as NumPy arrays."""
    states: list[Any] = []
    for stage in stages:
        try:
            states.append(_fit_one(stage, {"x": x, "y": y} if "y" in stage.needs else x, seed))
        except MmfeatError as error:  # scikit-learn expects its own kinds of errors
            raise ValueError(f"{error} (n_samples={x.shape[0]}, n_features={x.shape[1]})") from error
        if len(states) < len(stages):
            x = _encode((stage,), (states[-1],), x)
    return tuple(states)


def _fit_one(stage: Any, data: Any, seed: int) -> Any:
    batches = default_batches(stage, data, seed)
    size = 2 ** int(np.ceil(np.log2(max(batches.rows, 8))))
    if size <= _ROUNDED and (stage.full_batch or size <= stage.batch):
        batches = dataclasses.replace(batches, size=size)
    run = start(stage, sample(batches, stage.init_rows), seed=seed)
    return fetched(stage, train(stage, run, batches))


def _encode(stages: tuple[Any, ...], states: tuple[Any, ...], x: np.ndarray) -> np.ndarray:
    """Features (n, k) float32 of rows (n, d)."""
    for stage, state in zip(stages, states, strict=True):
        x = transform(stage, Run(0, max(stage.passes, 1), jax.random.key(0), state), x)
    return x


def _rows(x: np.ndarray) -> np.ndarray:
    """float32 rows; what does not fit is refused."""
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(rows).all():
        raise ValueError("mmfeat learns in float32: X holds values beyond its range, 3.4e38. Scale X first.")
    return rows


class Estimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Settings):
    """A learner (or a `Chain` of learners) of plain rows as a scikit-learn transformer.

    learner: the learner, without labels; None is `Lsh()`. seed: of everything it draws.
    The features have the dtype of X; those of a hash are one float per bit, bit = value > 0.
    A `full_batch` learner is given all rows of X at every step.

    Fitted: `stages_` the learners, `states_` their states as NumPy arrays, `n_features_in_`.

    >>> import numpy as np
    >>> Estimator(Lsh(bits=8)).fit_transform(np.eye(4)).shape
    (4, 8)
    """

    def __init__(self, learner: Any = None, seed: int = 0) -> None:
        self.learner = learner
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> Estimator:
        """Train on rows X (n, d); y is not used."""
        rows = _rows(validate_data(self, X, dtype=_FLOATS))
        stages = _stages(self.learner if self.learner is not None else Lsh(), labels=False)
        self.states_ = _fit(stages, rows, None, self.seed)
        self.stages_ = stages
        self._n_features_out = _encode(stages, self.states_, rows[:1]).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features (n, k) of rows X (n, d)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=_FLOATS, reset=False)
        return _encode(self.stages_, self.states_, _rows(X)).astype(X.dtype, copy=False)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class Classifier(ClassifierMixin, _Settings):
    """A learner with labels (or a `Chain` that ends in one) as a scikit-learn classifier.

    learner: its `encode` gives class probabilities, or decision scores where it says `scores = True`; None is `Softmax()`. Its
        `classes` is filled in. seed: of everything it draws.
    What gives probabilities has `predict_proba`, what gives scores `decision_function`.

    Fitted: `classes_`, `stages_` the learners, `states_` their states as NumPy arrays, `n_features_in_`.

    >>> import numpy as np
    >>> Classifier().fit(np.eye(3), ["a", "b", "c"]).predict(np.eye(3)).tolist()
    ['a', 'b', 'c']
    """

    def __init__(self, learner: Any = None, seed: int = 0) -> None:
        self.learner = learner
        self.seed = seed

    def fit(self, X: Any, y: Any) -> Classifier:
        """Train on rows X (n, d) and their labels y (n,), of any kind that can be sorted."""
        X, y = validate_data(self, X, y, dtype=_FLOATS)
        check_classification_targets(y)
        names, numbers = np.unique(y, return_inverse=True)
        if len(names) < 2:
            raise ValueError(f"A classifier needs two classes or more; y holds one class, {names[0]!r}.")
        stages = _stages(self.learner if self.learner is not None else Softmax(), labels=True)
        stages = tuple(
            dataclasses.replace(stage, classes=len(names))
            if "y" in stage.needs and hasattr(stage, "classes")
            else stage
            for stage in stages
        )
        self.states_ = _fit(stages, _rows(X), numbers.astype(np.int32), self.seed)
        self.stages_ = stages
        self.classes_ = names
        return self

    def _encoded(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=_FLOATS, reset=False)
        return _encode(self.stages_, self.states_, _rows(X)).astype(X.dtype, copy=False)

    def _gives_scores(self) -> bool:
        stages = self.learner.stages if isinstance(self.learner, Chain) else (self.learner,)
        return bool(getattr(stages[-1], "scores", False))

    @available_if(lambda self: not self._gives_scores())
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (n, classes) of the classes, in the order of `classes_`."""
        found = self._encoded(X)
        return found / found.sum(axis=1, keepdims=True)

    @available_if(lambda self: self._gives_scores())
    def decision_function(self, X: Any) -> np.ndarray:
        """Scores (n, classes) in the order of `classes_`; of two classes the scores (n,) of the second, as scikit-learn has it."""
        found = self._encoded(X)
        return (found[:, 1] - found[:, 0]) / 2 if found.shape[1] == 2 else found

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class (n,) of every row."""
        return self.classes_[self._encoded(X).argmax(axis=1)]
