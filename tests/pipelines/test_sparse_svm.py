"""The SVM on sparse rows is the SVM on the same rows, dense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from mmfeat.chain import Chain
from mmfeat.learners.kmeans import KMeans
from mmfeat.learners.llc import Llc
from mmfeat.learners.triangle import Triangle
from mmfeat.learners.whitening import Pca
from mmfeat.pipelines.reproductions.codes import encode
from mmfeat.pipelines.reproductions.sparse_svm import Csr, sparse_rows, sparse_scores, sparse_svm
from mmfeat.stages import fit_chain


def made() -> tuple[np.ndarray, np.ndarray]:
    """Rows (500, 40) of which two thirds are 0, one row and one column wholly, and labels of 3 classes."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random((500, 40)) < 1 / 3, rng.normal(size=(500, 40)), 0).astype(np.float32)
    x[7], x[:, 3] = 0, 0
    return x, (x @ rng.normal(size=(40, 3)) + rng.normal(size=(500, 3))).argmax(1).astype(np.int32)


def as_csr(x: np.ndarray) -> Csr:
    row, column = np.nonzero(x)
    starts = np.append(0, np.cumsum(np.bincount(row, minlength=len(x))))
    return Csr(starts, column.astype(np.int32), x[row, column], x.shape[1])


@pytest.mark.parametrize("c", [0.1, 3.0])
def test_it_is_liblinears_optimum(c: float) -> None:
    x, y = made()
    machines = sparse_svm(as_csr(x), y, 3, c, tolerance=1e-4, most=3000)
    known = LinearSVC(C=c, tol=1e-8, max_iter=100_000).fit(x, y)
    np.testing.assert_allclose(machines[:-1].T, known.coef_, atol=2e-3)
    np.testing.assert_allclose(machines[-1], known.intercept_, atol=2e-3)
    np.testing.assert_allclose(sparse_scores(as_csr(x), machines), known.decision_function(x), atol=5e-3)


@pytest.mark.parametrize("coder", [Llc(KMeans(30, passes=2), neighbours=4), Triangle(KMeans(30, passes=2))])
def test_sparse_rows_are_the_rows(coder: Any) -> None:
    x = np.random.default_rng(1).normal(size=(700, 6)).astype(np.float32)
    fitted = fit_chain(Chain(Pca(), coder), x)
    codes, dense = sparse_rows(fitted, x), encode(fitted, x)
    assert codes.width == 30
    assert len(codes.columns) == (4 * 700 if isinstance(coder, Llc) else np.count_nonzero(dense))
    back = np.zeros_like(dense)
    back[np.repeat(np.arange(700), np.diff(codes.starts)), codes.columns] = codes.value
    np.testing.assert_allclose(back, dense, rtol=1e-4, atol=1e-5)
