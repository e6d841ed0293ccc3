"""The small problems of local coding against their conditions of optimality and NumPy."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from mmfeat.learners.local_solvers import fista, settle, shrink_to_sum, solve


def problems(count: int = 40, k: int = 6) -> tuple[Any, ...]:
    """C (n, k, k), b and w (n, k) float32."""
    draw = np.random.default_rng(0)
    words = draw.normal(size=(count, k, 9))
    C = words @ words.transpose(0, 2, 1)
    b, w = draw.normal(size=(count, k)) * 4, draw.uniform(0.2, 2, (count, k))
    return tuple(np.asarray(part, np.float32) for part in (C, b, w))


def violation(slope: np.ndarray, codes: np.ndarray, w: np.ndarray) -> float:
    """How far b - C γ (less ν) is from w times a subgradient of |γ|."""
    inside = np.abs(slope - w * np.sign(codes))[codes != 0]
    outside = np.maximum(np.abs(slope) - w, 0)[codes == 0]
    return float(max(inside.max(initial=0), outside.max(initial=0)))


@pytest.mark.parametrize("affine", [False, True])
def test_codes_meet_the_conditions_of_a_minimum(affine: bool) -> None:
    C, b, w = problems()
    largest = np.abs(C).sum(axis=2).max(axis=1, keepdims=True)
    rough = fista(lambda y: jnp.einsum("nij,nj->ni", C, y), b, w, largest, affine)
    codes = np.asarray(settle(C, b, w, rough, affine), np.float64)
    slope = b - np.einsum("nij,nj->ni", C.astype(np.float64), codes)
    if affine:
        np.testing.assert_allclose(codes.sum(axis=1), 1, atol=1e-5)
        sums = np.where(codes != 0, slope - w * np.sign(codes), 0).sum(axis=1) / (codes != 0).sum(axis=1)
        slope = slope - sums[:, None]
    assert violation(slope, codes, w) < 2e-5
    assert 0.2 < (codes != 0).mean() < 0.95
    np.testing.assert_allclose(rough, codes, rtol=1e-3, atol=1e-3)


def test_a_support_that_is_wrong_is_left_alone() -> None:
    C, b, w = problems()
    codes = np.random.default_rng(1).normal(size=b.shape).astype(np.float32)
    found = np.asarray(settle(C, b, w, codes, False))
    kept = (found == codes).all(axis=1)
    assert kept.sum() > 30
    assert (np.sign(found) == np.sign(codes)).all()


def test_shrinking_to_a_sum() -> None:
    z, w = (part[:, :5] * scale for part, scale in zip(problems()[1:], (3, 2), strict=True))
    codes = np.asarray(shrink_to_sum(jnp.asarray(z), jnp.asarray(w)), np.float64)
    np.testing.assert_allclose(codes.sum(axis=1), 1, atol=1e-5)
    middle = np.where(codes != 0, z - codes - w * np.sign(codes), 0).sum(axis=1) / (codes != 0).sum(axis=1)
    assert violation(z - codes - middle[:, None], codes, w) < 1e-5


def test_many_small_systems_at_once() -> None:
    C, b, w = problems()
    right = np.stack([b, w], axis=2)
    np.testing.assert_allclose(solve(C, right), np.linalg.solve(C.astype(np.float64), right), rtol=2e-3, atol=2e-4)
