"""The mixture of Gaussians: equal to scikit-learn's, to its own definition, and to what it was drawn from."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import default_batches, start, train
from mmfeat.learners.mixture import Mixture, MixtureState, posteriors, powers
from mmfeat.visualise.looking import prototypes_of


def drawn(rows: int = 3000, components: int = 5, columns: int = 4, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a mixture about 7, and its means."""
    draw = np.random.default_rng(0)
    means = apart * draw.normal(size=(components, columns)) + 7
    widths = draw.uniform(0.3, 1.0, (components, columns))
    which = draw.choice(components, rows, p=np.arange(1, components + 1) / sum(range(components + 1)))
    return (means[which] + widths[which] * draw.normal(size=(rows, columns))).astype(np.float32), means


def learned(learner: Mixture, x: np.ndarray, state: Any = None) -> tuple[MixtureState, list[float]]:
    """The end of a training, and the log-likelihood after the last step of every pass."""
    seen: list[float] = []
    steps = default_batches(learner, x).steps

    def look(run: Any, metrics: Any) -> None:
        if metrics and run.step % steps == 0:
            seen.append(float(metrics["log_likelihood"]))

    return train(learner, start(learner, x, state=state), default_batches(learner, x), after=look).state, seen


def theirs(first: MixtureState, x: np.ndarray, passes: int) -> GaussianMixture:
    """scikit-learn's mixture after as many passes from the same start."""
    weights = np.asarray(first.weights, np.float64)
    found = GaussianMixture(
        len(weights),
        covariance_type="diag",
        reg_covar=0,
        tol=0,
        max_iter=passes,
        weights_init=weights / weights.sum(),
        means_init=np.asarray(first.means, np.float64),
        precisions_init=1 / np.asarray(first.variances, np.float64),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return found.fit(x.astype(np.float64))


def test_it_is_scikit_learn_from_the_same_start() -> None:
    x, _ = drawn()
    learner = Mixture(5, floor=1e-9, start=1, passes=8, batch=500)
    first = learner.init(jax.random.key(0), x[:500])
    state, seen = learned(learner, x, first)
    other = theirs(first, x, 8)
    np.testing.assert_allclose(state.means, other.means_, atol=1e-4)
    np.testing.assert_allclose(state.variances, other.covariances_, rtol=1e-3)
    np.testing.assert_allclose(state.weights, other.weights_, atol=1e-5)
    assert seen[-1] == pytest.approx(other.lower_bound_, abs=1e-5)  # the mean of log p before the last M step
    np.testing.assert_allclose(learner.encode(state, x), other.predict_proba(x), atol=1e-4)
    assert np.diff(seen).min() > -1e-6
    assert seen[-1] > seen[0] + 0.01, "it had nothing to learn"


def test_probabilities_and_likelihood_are_the_definition() -> None:
    draw = np.random.default_rng(1)
    weights, means = draw.dirichlet(np.ones(3)), draw.normal(size=(3, 4)) + 20
    variances, x = draw.uniform(0.2, 2, (3, 4)), (draw.normal(size=(30, 4)) * 2 + 20).astype(np.float32)
    state = Mixture(3).given(weights, means, variances, origin=x.mean(0), scale=x.std(0))
    joint = [w * multivariate_normal(m, np.diag(v)).pdf(x) for w, m, v in zip(weights, means, variances, strict=True)]
    q, likelihood = posteriors(state, powers(state, x))
    np.testing.assert_allclose(q, (np.array(joint) / np.sum(joint, axis=0)).T, atol=1e-4)
    np.testing.assert_allclose(likelihood, np.log(np.sum(joint, axis=0)), atol=1e-3)


def test_online_it_finds_what_the_rows_were_drawn_from() -> None:
    x, means = drawn(20_000)
    shifted = means + 0.3 * np.random.default_rng(2).normal(size=means.shape)
    learner = Mixture(5, online=0.7, passes=2, batch=100)
    first = learner.given(np.ones(5), shifted, np.ones((5, 4)), origin=x.mean(0), scale=x.std(0))
    state, _ = learned(learner, x, first)
    np.testing.assert_allclose(state.means, means, atol=0.1)
    np.testing.assert_allclose(state.weights, np.arange(1, 6) / 15, atol=0.02)
    best = theirs(first, x, 50).score(x)
    assert float(posteriors(state, powers(state, x))[1].mean()) > best - 0.01


def test_one_online_step_is_the_average_of_the_sums() -> None:
    """Cappé & Moulines, eq. 12 and 13, in float64: γ = 2^-κ at the first step."""
    x, _ = drawn(400, components=3)
    learner = Mixture(3, online=0.8, floor=1e-9)
    first = learner.init(jax.random.key(0), x[:200])
    state, _ = learner.step(jax.random.key(1), first, x[200:], np.ones(200, np.float32))
    q = np.asarray(learner.encode(first, x[200:]), np.float64)
    u = (x[200:] - np.asarray(first.origin)) / np.asarray(first.scale)
    share = 2**-0.8
    counts = (1 - share) * np.asarray(first.counts) + share * q.mean(axis=0)
    sums = (1 - share) * np.asarray(first.sums)[:, :4] + share * q.T @ u / 200
    means = sums / counts[:, None] * np.asarray(first.scale) + np.asarray(first.origin)
    np.testing.assert_allclose(state.weights, counts, atol=1e-6)
    np.testing.assert_allclose(state.means, means, atol=1e-5)


def test_online_a_batch_of_padding_changes_nothing() -> None:
    x, _ = drawn(100)
    learner = Mixture(3, online=0.7)
    first = learner.init(jax.random.key(0), x)
    state, _ = learner.step(jax.random.key(1), first, x, np.zeros(100, np.float32))
    for one, other in zip(first, state, strict=True):
        np.testing.assert_array_equal(one, other)


def test_variances_have_a_floor() -> None:
    """Rows that are all alike but for one, a column that is constant: nothing becomes 0, infinite or NaN."""
    x = np.ones((50, 3), np.float32)
    x[0] = (5, 5, 1)
    state, _ = learned(Mixture(3, floor=0.01, passes=5), x)
    assert all(np.isfinite(leaf).all() for leaf in state)
    assert np.all(np.asarray(state.variances) >= 0.0099 * np.asarray(state.scale) ** 2)
    assert float(np.asarray(state.weights).sum()) == pytest.approx(1)
    assert np.isfinite(Mixture(3).encode(state, x)).all()


def test_its_means_are_its_prototypes() -> None:
    x, _ = drawn(200)
    learner = Mixture(3)
    state = learner.init(jax.random.key(0), x)
    np.testing.assert_array_equal(prototypes_of(learner, state), state.means)


def test_mistakes_are_told() -> None:
    for wrong in ({"components": 0}, {"floor": 0.0}, {"online": 0.5}, {"passes": 0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            Mixture(**wrong)
    with pytest.raises(ShapeError, match="3 components"):
        Mixture(3).given(np.ones(2), np.ones((2, 4)), np.ones((2, 4)))
    with pytest.raises(ShapeError, match="2 rows"):
        Mixture(3).init(jax.random.key(0), np.ones((2, 4), np.float32))
