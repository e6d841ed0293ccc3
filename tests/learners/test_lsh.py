"""Random hyperplanes against the law of angles."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from mmfeat.errors import SettingsError
from mmfeat.learner import default_batches, start, train, transform
from mmfeat.learners.lsh import Lsh


def fit(learner: Lsh, x: np.ndarray, seed: int = 0) -> Any:
    """The finished run of a learner on x."""
    return train(learner, start(learner, x, seed=seed), default_batches(learner, x, seed))


@pytest.mark.parametrize("degrees", [10, 60, 90, 150])
def test_bits_differ_as_often_as_the_angle_says(degrees: int) -> None:
    """Charikar 2002: P(bits differ) = angle / π; 20,000 planes put its standard error below 0.0036."""
    angle, length = np.deg2rad(degrees), np.array([[1.0], [7.0]])
    x = (length * np.array([[1, 0, 0], [np.cos(angle), np.sin(angle), 0]])).astype(np.float32)
    learner = Lsh(bits=20_000, centre=False)
    one, two = transform(learner, fit(learner, x), x) > 0
    assert (one != two).mean() == pytest.approx(degrees / 180, abs=0.015)


def test_centring_takes_off_the_mean_of_all_rows() -> None:
    x = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32) + 1000
    learner = Lsh(bits=16)
    run = fit(learner, x)
    np.testing.assert_allclose(run.state.mean, x.astype(np.float64).mean(0), rtol=1e-6)
    exact = (x.astype(np.float64) - np.asarray(run.state.mean)) @ np.asarray(run.state.planes, np.float64)
    np.testing.assert_allclose(transform(learner, run, x), exact, atol=1e-5)
    mean, matrix = learner.affine(run.state)
    np.testing.assert_allclose((x - np.asarray(mean)) @ np.asarray(matrix), exact, atol=1e-5)
    raw = Lsh(bits=16, centre=False)
    assert not np.asarray(fit(raw, x).state.mean).any()


def test_rows_without_weight_do_not_move_the_mean() -> None:
    x = np.array([[1, 2], [3, 4], [np.nan, 9]], np.float32)
    learner, key = Lsh(bits=4), fit(Lsh(bits=4), x[:2]).key
    state = learner.step(key, learner.init(key, x[:2]), x, np.array([1, 1, 0], np.float32))[0]
    np.testing.assert_array_equal(learner.finish(key, state).mean, [2, 3])


def test_the_seed_draws_the_planes() -> None:
    x = np.ones((4, 3), np.float32)
    one, same, other = (np.asarray(fit(Lsh(bits=8), x, seed).state.planes) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()


def test_mistakes_are_told() -> None:
    with pytest.raises(SettingsError, match="bits=0"):
        Lsh(bits=0)


def test_no_product_is_rounded_on_accelerators() -> None:
    learner, x = Lsh(bits=4), np.ones((5, 3), np.float32)
    state = learner.init(jax.random.key(0), x)
    for function, arguments in (
        (learner.step, (jax.random.key(0), state, x, np.ones(5))),
        (learner.encode, (state, x)),
    ):
        program = str(jax.make_jaxpr(function)(*arguments))
        assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == 1


@pytest.mark.parametrize("bits", [3, 5, 12])
def test_orthogonal_planes_come_in_orthonormal_groups(bits: int) -> None:
    state = Lsh(bits=bits, orthogonal=True).init(jax.random.key(0), np.ones((4, 5), np.float32))
    planes = np.asarray(state.planes, np.float64)
    assert planes.shape == (5, bits)
    for first in range(0, bits, 5):
        group = planes[:, first : first + 5]
        np.testing.assert_allclose(group.T @ group, np.eye(group.shape[1]), atol=1e-5)
    assert len({tuple(column) for column in planes.T}) == bits
