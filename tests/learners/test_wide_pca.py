"""Subspace iteration against the singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest

from mmfeat.chain import Chain
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learners.wide_pca import WidePca
from mmfeat.model import Model
from mmfeat.stages import Fitted, fit_chain

DRAW = np.random.default_rng(0)
TRUE = np.linalg.qr(DRAW.normal(size=(600, 40)))[0] * 0.8 ** np.arange(40)
ROWS = (DRAW.normal(size=(200, 40)) @ TRUE.T * 5 + 3).astype(np.float32)


def fitted(**settings: object) -> Fitted:
    return fit_chain(Chain(WidePca(dims=8, **settings)), ROWS)  # type: ignore[arg-type]


def test_components_and_variances_are_those_of_the_svd() -> None:
    found = fitted(passes=6).states[0]
    centred = ROWS.astype(np.float64) - ROWS.mean(0, dtype=np.float64)
    _, sizes, vectors = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found.variance, sizes[:8] ** 2 / 199, rtol=1e-3)
    np.testing.assert_allclose(np.abs((vectors[:8] * found.matrix.T).sum(1)), 1, atol=1e-3)
    np.testing.assert_allclose(found.mean, ROWS.mean(0), atol=1e-4)


@pytest.mark.parametrize("whiten", [0.0, 0.5, 1.0])
def test_whitening_raises_the_variances_to_a_power(whiten: float) -> None:
    both = fitted(whiten=whiten)
    codes = Model(both.chain, both.states, both.forms).encode(ROWS)
    np.testing.assert_allclose(codes.var(0, ddof=1), both.states[0].variance ** (1 - whiten), rtol=1e-3)


def test_more_components_than_rows_stay_finite() -> None:
    few = fit_chain(Chain(WidePca(dims=20, whiten=0.5)), ROWS[:6])
    assert np.isfinite(Model(few.chain, few.states, few.forms).encode(ROWS)).all()


def test_it_learns_from_no_more_rows_than_it_says() -> None:
    some = fitted(most_rows=50).states[0]
    assert np.abs(some.mean - ROWS.mean(0)).max() > 0.05  # another sample than all


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ShapeError, match="as many components as columns"):
        fit_chain(Chain(WidePca(dims=601)), ROWS)
    for bad in ({"whiten": 1.5}, {"dims": 0}, {"epsilon": 0.0}):
        with pytest.raises(SettingsError):
            WidePca(**bad)  # type: ignore[arg-type]
