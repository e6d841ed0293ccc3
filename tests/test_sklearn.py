"""The scikit-learn face: scikit-learn's own checks, grid searches over settings, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_estimator

from mmfeat.chain import Chain
from mmfeat.classify.averaged_sgd import AveragedSgd
from mmfeat.classify.linear_svm import LinearSvm
from mmfeat.classify.softmax import Softmax
from mmfeat.errors import SettingsError
from mmfeat.learners.autoencoder import Autoencoder
from mmfeat.learners.itq import ItqRotation
from mmfeat.learners.kmeans import KMeans
from mmfeat.learners.lsh import Lsh
from mmfeat.learners.pca_hash import PcaHash
from mmfeat.learners.whitening import Pca, Zca
from mmfeat.pool import Pool
from mmfeat.sklearn import Classifier, Estimator

QUICK = {"lsh": Estimator(Lsh(8)), "pca": Estimator(Pca())}
OTHERS = {
    "autoencoder": Estimator(Autoencoder((4,), 2, passes=2)),
    "chain": Estimator(Chain(Zca(), KMeans(3))),
    "default": Estimator(),
    "itq": Estimator(Chain(Pca(), ItqRotation())),
    "averaged_sgd": Classifier(AveragedSgd(batch=8)),
    "kmeans": Estimator(KMeans(3)),
    "linear_svm": Classifier(LinearSvm()),
    "pca_hash": Estimator(PcaHash(1)),
    "softmax": Classifier(Softmax(passes=50)),
    "softmax_of_a_chain": Classifier(Chain(Pca(), Softmax(passes=50))),
    "zca": Estimator(Zca()),
}
needs_time = pytest.mark.skipif(os.environ.get("MMFEAT_CHECK_ALL") != "1", reason="run by `make check-all`")


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return x[:450], y[:450]


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=needs_time) for name in OTHERS)])
def test_all_checks_of_sklearn_pass(name: str) -> None:
    # no expected failures; checks are skipped only where an optional package is missing
    results = check_estimator((QUICK | OTHERS)[name], on_skip=None)
    assert sum(result["status"] == "passed" for result in results) >= 45
    assert {result["status"] for result in results} <= {"passed", "skipped"}


def test_a_grid_search_over_settings_in_a_pipeline(digits: Any) -> None:
    x, y = digits
    pipeline = Pipeline([("code", Estimator(Pca(4))), ("classify", LogisticRegression(C=0.01, max_iter=500))])
    search = GridSearchCV(pipeline, {"code__learner__dims": [2, 12], "code__seed": [0]}, cv=3).fit(x, y)
    assert search.best_params_ == {"code__learner__dims": 12, "code__seed": 0}
    assert search.best_estimator_.named_steps["code"].learner == Pca(12)
    for dims, score in zip([2, 12], search.cv_results_["mean_test_score"], strict=True):
        known = make_pipeline(PCA(dims, svd_solver="full"), LogisticRegression(C=0.01, max_iter=500))
        assert score == pytest.approx(cross_val_score(known, x, y, cv=3).mean(), abs=0.01)


def test_a_classifier_searches_its_settings_and_knows_its_labels(digits: Any) -> None:
    x, y = digits
    names = np.array([f"digit {number}" for number in range(10)])[y]
    search = GridSearchCV(
        Classifier(Chain(Pca(20), Softmax(passes=40))), {"learner__stages__1__l2": [1e-2, 10.0]}, cv=3
    ).fit(x, names)
    assert search.best_params_ == {"learner__stages__1__l2": 1e-2}
    assert search.best_score_ > 0.85
    assert search.best_estimator_.classes_.tolist() == sorted(set(names))
    found = search.predict_proba(x)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    assert search.predict(x)[0] == names[0]


def test_a_classifier_gives_the_probabilities_of_sklearn() -> None:
    x, y = load_iris(return_X_y=True)
    z = (x - x.mean(0)) / x.std(0)
    known = LogisticRegression(C=1 / (1e-2 * len(y)), tol=1e-8, max_iter=1000).fit(z, y).predict_proba(z)
    np.testing.assert_allclose(Classifier(Softmax(l2=1e-2)).fit(x, y).predict_proba(x), known, atol=1e-3)


def test_a_chain_is_its_stages_one_after_another(digits: Any) -> None:
    x, _ = digits
    whole = Estimator(Chain(Pca(16), Lsh(8)), seed=3).fit_transform(x)
    parts = make_pipeline(Estimator(Pca(16), seed=3), Estimator(Lsh(8), seed=3)).fit_transform(x.astype(np.float32))
    np.testing.assert_array_equal(whole, parts)


def test_parameters_reach_into_settings() -> None:
    estimator = Estimator(Chain(Pca(4), Lsh(8)), seed=1)
    found = estimator.get_params()
    assert found["learner__stages__1__bits"] == 8
    assert estimator.get_params(deep=False) == {"learner": Chain(Pca(4), Lsh(8)), "seed": 1}
    assert estimator.set_params(learner__stages__1__bits=np.int64(16), seed=2) is estimator
    assert estimator.learner == Chain(Pca(4), Lsh(16))
    estimator.set_params(learner=Autoencoder(code=3), learner__hidden=[5, 4])
    assert estimator.learner == Autoencoder(hidden=(5, 4), code=3)
    twin = clone(estimator)
    assert twin is not estimator
    assert twin.get_params() == estimator.get_params()
    assert "Lsh(bits=8" in repr(Estimator(Lsh(bits=8)))
    for wrong in ({"learner__no_such": 1}, {"bits": 8}, {"learner__code__x": 1}):
        with pytest.raises(ValueError, match="has the parameters"):
            estimator.set_params(**wrong)
    with pytest.raises(SettingsError, match="code is int"):
        estimator.set_params(learner__code="many")


def test_what_was_fitted_stays(digits: Any) -> None:
    x, _ = digits
    estimator = Estimator(Lsh(bits=8), seed=1).fit(x)
    codes = estimator.transform(x)
    estimator.set_params(learner__bits=16, seed=2)
    np.testing.assert_array_equal(estimator.transform(x), codes)
    assert estimator.get_feature_names_out().tolist() == [f"estimator{i}" for i in range(8)]
    assert not np.array_equal(Estimator(Lsh(bits=8), seed=2).fit_transform(x), codes)
    assert codes.dtype == x.dtype == np.float64


def test_what_cannot_be_is_said() -> None:
    x, y = np.ones((6, 3)), np.arange(6) % 2
    with pytest.raises(SettingsError, match="Use Classifier"):
        Estimator(Softmax()).fit(x, y)
    with pytest.raises(SettingsError, match=r"(?i)add softmax"):
        Classifier(Lsh()).fit(x, y)
    with pytest.raises(SettingsError, match="plain rows"):
        Estimator(Chain(Pool(), Lsh())).fit(x)
    with pytest.raises(ValueError, match=r"float32"):
        Estimator().fit(x * 1e300)
    with pytest.raises(ValueError, match=r"n_features=3"):
        Estimator(Pca(5)).fit(x)
    with pytest.raises(ValueError, match="Autoencoder must end in finite numbers"):
        Estimator(Autoencoder(hidden=(4,), code=2, optimiser="sgd", learning_rate=1e9)).fit(np.eye(9))


def test_importing_mmfeat_does_not_import_it() -> None:
    code = "import sys, mmfeat; sys.exit(any(name in sys.modules for name in ('sklearn', 'jax', 'mmfeat.sklearn')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=os.path.dirname(os.path.dirname(__file__))).returncode == 0


def test_a_classifier_that_gives_scores_is_the_one_of_sklearn(digits: Any) -> None:
    x, y = digits[0] / 16, digits[1]
    for labels in (y, y > 4):
        known = LinearSVC(C=0.5, tol=1e-6, dual=False).fit(x, labels)
        mine = Classifier(LinearSvm(c=0.5, tolerance=1e-6)).fit(x, labels)
        np.testing.assert_allclose(mine.decision_function(x), known.decision_function(x), atol=5e-3)
        assert (mine.predict(x) == known.predict(x)).all()
    assert not hasattr(mine, "predict_proba")
    assert not hasattr(Classifier(), "decision_function")
    streamed = Classifier(AveragedSgd(batch=16, l2=1e-4)).fit(x, y)
    assert streamed.score(x, y) > 0.97
    assert streamed.decision_function(x).shape == (len(x), 10)
