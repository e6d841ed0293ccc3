"""K-means against scikit-learn, FAISS and clusters that are known."""

from __future__ import annotations

import warnings
from typing import Any

import faiss
import jax
import numpy as np
import pytest
from sklearn.cluster import KMeans as Known
from sklearn.exceptions import ConvergenceWarning

from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import Run, default_batches, start, train, transform
from mmfeat.learners import kmeans
from mmfeat.learners.kmeans import KMeans, nearest, sum_by
from mmfeat.learners.vlad import Vlad


def blobs(count: int = 600, clusters: int = 8, width: int = 5, spread: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Rows around well separated centres, and which centre each belongs to."""
    generator = np.random.default_rng(0)
    labels = generator.integers(clusters, size=count)
    centres = 4 * np.eye(clusters, width) + 4 * generator.normal(size=(clusters, width))
    return (centres[labels] + spread * generator.normal(size=(count, width))).astype(np.float32), labels


def fit(learner: KMeans, x: np.ndarray, state: Any = None, seed: int = 0) -> tuple[Run, list[float]]:
    """The finished run, and the distortion of every pass."""
    found, batches = list[float](), default_batches(learner, x, seed)

    def after(run: Run, metrics: Any) -> None:
        if metrics and run.step % batches.steps == 0:
            found.append(float(metrics["distortion"]))

    return train(learner, start(learner, x, seed=seed, state=state), batches, after=after), found


def test_separable_clusters_are_found() -> None:
    x, labels = blobs()
    learner = KMeans(8, passes=5, batch=128)
    run, found = fit(learner, x)
    codes = transform(learner, run, x)
    assert (codes.sum(1) == 1).all()
    pairs = set(zip(labels.tolist(), codes.argmax(1).tolist(), strict=True))
    assert len(pairs) == 8
    middles = np.stack([x[labels == label].mean(0) for label, _ in sorted(pairs)])
    np.testing.assert_allclose(np.asarray(run.state.means)[[code for _, code in sorted(pairs)]], middles, atol=1e-5)
    assert found[-1] == pytest.approx(((x - middles[labels]) ** 2).sum(1).mean(), rel=1e-4)


def test_passes_are_the_iterations_of_sklearn() -> None:
    x = np.random.default_rng(1).normal(size=(1000, 6)).astype(np.float32) + 5
    learner = KMeans(12, passes=6, batch=300)
    state = learner.init(jax.random.key(0), x)
    known = Known(12, init=np.array(state.means), n_init=1, max_iter=6, tol=0, algorithm="lloyd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        known.fit(x)
    run, found = fit(learner, x, state)
    np.testing.assert_allclose(np.asarray(run.state.means), known.cluster_centers_, atol=1e-4)
    assert (np.diff(found) <= 1e-6).all()
    _, distances = nearest(run.state.means, x)
    assert np.asarray(distances).sum() == pytest.approx(known.inertia_, rel=1e-4)


def test_codes_are_those_of_faiss_in_blocks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    x, means = (generator.normal(size=(n, 24)).astype(np.float32) + 30 for n in (3072, 100))
    gaps, known = faiss.knn(x.astype(np.float32) - 30, means - 30, 1)
    for block in (2**20, 2**12):
        monkeypatch.setattr(kmeans, "_BLOCK", block)
        codes, distances = jax.jit(lambda means, x: nearest(means, x))(means, x)
        np.testing.assert_array_equal(codes, known[:, 0])
        np.testing.assert_allclose(distances, gaps[:, 0], rtol=1e-4)


def test_both_ways_to_add_up_agree() -> None:
    generator = np.random.default_rng(3)
    x, codes = generator.normal(size=(500, 4)).astype(np.float32), generator.integers(9, size=500).astype(np.int32)
    weight = generator.integers(3, size=500).astype(np.float32)
    exact = np.zeros((9, 4))
    np.add.at(exact, codes, x * weight[:, None])
    for way in (sum_by, kmeans._scatter, kmeans._product):
        np.testing.assert_allclose(way(codes, x, weight, 9), exact, atol=1e-4)


def test_an_empty_mean_moves_to_the_farthest_row() -> None:
    x = np.concatenate([np.zeros((50, 2)), np.ones((50, 2)), [[9.0, 9.0]]]).astype(np.float32)
    learner, key = KMeans(3, passes=1), jax.random.key(0)
    state = learner.init(key, x)._replace(means=np.array([[0, 0], [1, 1], [-50, 0]], np.float32))
    padded = np.concatenate([x, np.full((3, 2), 1000, np.float32)])
    weight = np.r_[np.ones(101), np.zeros(3)].astype(np.float32)
    state, metrics = learner.step(key, state, padded, weight)
    means = np.asarray(learner.finish(key, state).means)
    np.testing.assert_allclose(means, np.array([[0, 0], [59 / 51, 59 / 51], [9, 9]]), rtol=1e-6)
    assert float(metrics["distortion"]) == pytest.approx(128 / 101)


def test_an_empty_mean_without_candidates_stays() -> None:
    x, learner, key = np.ones((4, 2), np.float32), KMeans(3), jax.random.key(0)
    state = learner.init(key, x)._replace(means=np.array([[1, 1], [1, 1], [7, 7]], np.float32))
    state = learner.finish(key, learner.step(key, state, x, np.ones(4, np.float32))[0])
    np.testing.assert_array_equal(state.means, [[1, 1], [1, 1], [7, 7]])


@pytest.mark.parametrize("clusters", [40, 200])
def test_the_start_is_better_than_chance_and_made_of_rows(clusters: int) -> None:
    generator = np.random.default_rng(4)
    x = (generator.normal(size=(2000, 3)) * generator.choice([0.01, 3], size=(2000, 1)) + 100).astype(np.float32)
    means = np.asarray(KMeans(clusters).init(jax.random.key(0), x).means)
    np.testing.assert_allclose(np.asarray(nearest(x, means)[1]), 0, atol=1e-3)
    assert len(np.unique(means, axis=0)) == clusters
    chance = np.asarray(nearest(x[generator.permutation(2000)[:clusters]], x)[1]).mean()
    assert np.asarray(nearest(means, x)[1]).mean() < 0.8 * chance
    other = np.asarray(KMeans(clusters).init(jax.random.key(1), x).means)
    assert (means != other).any()


def test_equal_rows_are_no_trouble() -> None:
    run, found = fit(KMeans(4, passes=2), np.full((10, 3), 2.0, np.float32))
    np.testing.assert_array_equal(np.asarray(run.state.means), np.full((4, 3), 2.0))
    assert found == [0, 0]


def test_mistakes_are_told() -> None:
    with pytest.raises(ShapeError, match="9 rows for 10 clusters"):
        start(KMeans(10), np.ones((9, 2), np.float32))
    with pytest.raises(SettingsError, match="clusters=0"):
        KMeans(0)


def test_as_many_rows_are_drawn_from_as_there_are_means() -> None:
    """30,000 codewords, as in a table of Le et al. 2012, need a start among more than 16,384 rows."""
    learner = KMeans(30_000)
    rows = jax.ShapeDtypeStruct((learner.init_rows, 3), np.float32)
    assert jax.eval_shape(learner.init, jax.random.key(0), rows).means.shape == (30_000, 3)
    assert Vlad(learner).init_rows == learner.init_rows


def test_means_far_from_the_origin_keep_their_digits() -> None:
    """Sums of a thousand rows about 100,000 would be off by several units, and their means by a tenth of the clusters' width."""
    x = (np.random.default_rng(0).normal(size=(12_000, 3)) + 1e5).astype(np.float32)
    learner = KMeans(4, passes=8)
    state = train(learner, start(learner, x), default_batches(learner, x)).state
    codes = np.asarray(learner.assign(state, x))
    middles = np.stack([x[codes == k].astype(np.float64).mean(0) for k in range(4)])
    before = ((x - np.asarray(state.means, np.float64)[codes]) ** 2).sum(1).mean()
    assert before - ((x - middles[codes]) ** 2).sum(1).mean() < 0.01
