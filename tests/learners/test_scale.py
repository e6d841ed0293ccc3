"""One number that makes branches comparable."""

from __future__ import annotations

import numpy as np
import pytest

from mmfeat.chain import Chain
from mmfeat.learners.scale import Scale
from mmfeat.model import Model
from mmfeat.stages import fit_chain

ROWS = (np.random.default_rng(0).normal(size=(5000, 6)) * [1, 2, 3, 4, 5, 6] + 7).astype(np.float32)


@pytest.mark.parametrize("centre", [False, True])
def test_the_mean_squared_length_is_one(centre: bool) -> None:
    fitted = fit_chain(Chain(Scale(centre)), ROWS)
    out = Model(fitted.chain, fitted.states, fitted.forms).encode(ROWS)
    wanted = ROWS.astype(np.float64) - (ROWS.mean(0, dtype=np.float64) if centre else 0)
    wanted /= np.sqrt((wanted**2).sum(1).mean())
    np.testing.assert_allclose(out, wanted, atol=2e-6)
    assert (out**2).sum(1).mean() == pytest.approx(1, abs=1e-5)


def test_rows_that_are_all_the_same_stay_finite() -> None:
    for centre in (False, True):
        fitted = fit_chain(Chain(Scale(centre)), np.zeros((50, 3), np.float32) + centre)
        out = Model(fitted.chain, fitted.states, fitted.forms).encode(np.zeros((2, 3), np.float32))
        assert np.isfinite(out).all()
