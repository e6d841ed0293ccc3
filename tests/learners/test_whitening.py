"""PCA and ZCA against scikit-learn, float64 NumPy and a published figure."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.decomposition import PCA

from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import default_batches, start, train, transform
from mmfeat.learners.whitening import Pca, Zca


def fit(learner: Any, x: np.ndarray, mesh: Any = None) -> Any:
    """The finished run of a learner on x."""
    return train(learner, start(learner, x, mesh), default_batches(learner, x, mesh=mesh), mesh)


def rows(count: int = 1000, width: int = 12, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    """Correlated rows with a spectrum from about 4 down to about 0.01."""
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.normal(size=(width, width)))[0]
    return (generator.normal(size=(count, width)) * np.geomspace(2, 0.1, width) @ turn + mean).astype(np.float32)


def test_components_and_variances_are_those_of_sklearn() -> None:
    x = rows()
    run, known = fit(Pca(5, batch=128), x), PCA(5, svd_solver="full").fit(x.astype(np.float64))
    np.testing.assert_allclose(run.state.variance, known.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(np.abs(known.components_ @ np.asarray(run.state.matrix)), np.eye(5), atol=1e-5)
    codes = transform(Pca(5, batch=128), run, x)
    np.testing.assert_allclose(np.abs(codes), np.abs(known.transform(x)), atol=1e-4)


def test_signs_do_not_depend_on_the_library() -> None:
    matrix = np.asarray(fit(Pca(batch=100), rows()).state.matrix)
    assert (np.take_along_axis(matrix, np.abs(matrix).argmax(0)[None], 0) > 0).all()


def test_a_large_mean_costs_no_digits() -> None:
    x = rows(4000, mean=3000.0)
    run = fit(Pca(batch=256), x)
    values = np.linalg.eigvalsh(np.cov(x.astype(np.float64).T))[::-1]
    np.testing.assert_allclose(run.state.variance, values, rtol=1e-4)
    np.testing.assert_allclose(run.state.mean, x.astype(np.float64).mean(0), rtol=1e-7)
    codes = transform(Pca(batch=256), run, x)
    exact = (x.astype(np.float64) - np.asarray(run.state.mean)) @ np.asarray(run.state.matrix, np.float64)
    np.testing.assert_allclose(codes, exact, atol=1e-5)


def test_streaming_is_the_whole_at_once_and_padding_weighs_nothing() -> None:
    x = rows(777)
    whole, streamed = fit(Pca(batch=777), x).state, fit(Pca(batch=64), x).state
    np.testing.assert_allclose(np.asarray(streamed.matrix), np.asarray(whole.matrix), atol=2e-5)
    learner, key = Pca(), jax.random.key(0)
    state = learner.init(key, x)
    padded = np.concatenate([x, np.full((23, x.shape[1]), np.nan, np.float32)])
    weight = np.r_[np.ones(777), np.zeros(23)].astype(np.float32)
    one = learner.step(key, state, x, weight[:777])[0]
    two = learner.step(key, state, padded, weight)[0]
    np.testing.assert_allclose(np.asarray(one.gram), np.asarray(two.gram), rtol=1e-5, atol=1e-3)
    assert float(two.count) == 777


@pytest.mark.parametrize("learner", [Pca(whiten=True, epsilon=1e-9), Zca(epsilon=1e-9)])
def test_whitened_covariance_is_the_identity(learner: Any) -> None:
    x = rows(2000)
    codes = transform(learner, fit(learner, x), x)
    np.testing.assert_allclose(np.cov(codes.T), np.eye(12), atol=2e-4)
    np.testing.assert_allclose(codes.mean(0), 0, atol=1e-4)


def test_zca_is_symmetric_and_the_inverse_root_of_the_covariance() -> None:
    x = rows(2000)
    state = fit(Zca(epsilon=0.01), x).state
    matrix = np.asarray(state.matrix, np.float64)
    np.testing.assert_array_equal(matrix, matrix.T)
    inverse = np.linalg.inv(np.cov(x.astype(np.float64).T) + 0.01 * np.eye(12))
    np.testing.assert_allclose(matrix @ matrix, inverse, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("learner", [Pca(3), Pca(whiten=True), Zca()])
def test_affine_is_encode(learner: Any) -> None:
    x = rows(mean=1.0)
    state = fit(learner, x).state
    mean, matrix = learner.affine(state)
    np.testing.assert_allclose(learner.encode(state, x), (x - np.asarray(mean)) @ np.asarray(matrix), atol=2e-3)


def test_constant_columns_are_no_trouble() -> None:
    x = rows()
    x[:, 3] = 7.0
    codes = transform(Pca(whiten=True), fit(Pca(whiten=True), x), x)
    assert np.isfinite(codes).all()
    np.testing.assert_allclose(codes[:, -1], 0, atol=1e-2)


def test_mistakes_are_told() -> None:
    with pytest.raises(ShapeError, match="12 dims"):
        start(Pca(13), rows())
    with pytest.raises(ShapeError, match="8192"):
        jax.eval_shape(lambda x: Pca(4).init(jax.random.key(0), x), np.zeros((1, 9000), np.float32))
    for wrong in ({"dims": 0}, {"epsilon": 0.0}):
        with pytest.raises(SettingsError):
            Pca(**wrong)


def mnist(folder: Path, name: str) -> np.ndarray:
    """Pictures (n, 784) float32 in [0, 1]."""
    with gzip.open(folder / "mnist" / f"{name}-images-idx3-ubyte.gz") as file:
        return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784).astype(np.float32) / 255


def test_mnist_error_of_thirty_components_is_the_published_one(data_folder: Path, one_device_mesh: Any) -> None:
    """Hinton & Salakhutdinov, Science 2006: the squared error per test picture is 13.87."""
    state = fit(Pca(30), mnist(data_folder, "train"), one_device_mesh).state
    x, matrix, mean = mnist(data_folder, "t10k"), np.asarray(state.matrix), np.asarray(state.mean)
    error = ((x - mean - (x - mean) @ matrix @ matrix.T) ** 2).sum(1).mean()
    assert error == pytest.approx(13.87, abs=0.01)
