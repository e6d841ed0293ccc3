"""The super-vector against a loop in float64, and where it is VLAD or a histogram; the regions of VLAD too."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from mmfeat.arrays import Locals
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learners import aggregation
from mmfeat.learners.kmeans import KMeans, KMeansState
from mmfeat.learners.super_vector import SuperVector
from mmfeat.learners.vlad import Vlad
from mmfeat.pool import cells
from mmfeat.settings import from_json, to_json

K, COLUMNS = 5, 6


def some(items: int = 4, count: int = 50) -> Locals:
    """Locals about 3; the second item has none of weight, the third two of weight 2."""
    draw = np.random.default_rng(0)
    values = (draw.normal(size=(items, count, COLUMNS)) + 3).astype(np.float32)
    weight = (draw.random((items, count)) < 0.8).astype(np.float32)
    weight[1], weight[2, :2] = 0, 2
    return Locals(values, draw.random((items, count, 2)).astype(np.float32), weight)


def book(x: Locals) -> KMeansState:
    """Codewords among the locals; the last one lies where no local comes."""
    state = KMeans(K).init(jax.random.key(0), x.values.reshape(-1, COLUMNS))
    return state._replace(means=state.means.at[K - 1].set(100.0))


def loop(means: np.ndarray, x: Locals, s: float, shares: bool) -> np.ndarray:
    """The definition, local by local, in float64."""
    out = np.zeros((len(x.values), K, COLUMNS + 1))
    for item, (values, weights) in enumerate(zip(x.values.astype(np.float64), x.weight, strict=True)):
        words = [((value - means) ** 2).sum(1).argmin() for value in values]
        total = weights.sum()
        for value, weight, k in zip(values, weights, words, strict=True):
            if weight:
                share = weights[np.array(words) == k].sum() / total if shares else 1.0
                phi = np.concatenate([[s], value - means[k]])
                out[item, k] += weight / total / np.sqrt(share) * phi
    return out.reshape(len(out), -1)


@pytest.mark.parametrize(("s", "shares"), [(0.5, True), (0.5, False), (0.0, True)])
def test_it_is_the_loop(s: float, shares: bool) -> None:
    x = some()
    state, learner = book(x), SuperVector(KMeans(K), s=s, shares=shares, norm="none")
    found = np.asarray(jax.jit(learner.encode)(state, x))
    wanted = loop(np.asarray(state.means, np.float64), x, s, shares)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    unit = wanted / np.maximum(np.linalg.norm(wanted, axis=1, keepdims=True), 1e-30)
    scaled = SuperVector(KMeans(K), s=s, shares=shares, power=0.5).encode(state, x)
    roots = np.sign(unit) * np.sqrt(np.abs(unit))
    np.testing.assert_allclose(
        scaled, roots / np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-30), atol=1e-3
    )


def test_without_s_and_shares_it_is_vlad() -> None:
    x = some()
    state = book(x)
    z = np.asarray(SuperVector(KMeans(K), s=0.0, shares=False, norm="none").encode(state, x)).reshape(4, K, COLUMNS + 1)
    vlad = np.asarray(Vlad(KMeans(K), power=1.0, norm="none").encode(state, x)).reshape(4, K, COLUMNS)
    np.testing.assert_array_equal(z[..., 0], 0)
    np.testing.assert_allclose(z[..., 1:] * x.weight.sum(1)[:, None, None], vlad, atol=1e-5)


def test_shares_are_the_roots_of_a_histogram() -> None:
    """s √p_v: the squares of its parts sum to s², whatever was quantised."""
    x = some()
    z = np.asarray(SuperVector(KMeans(K), s=2.0, norm="none").encode(book(x), x)).reshape(4, K, COLUMNS + 1)
    np.testing.assert_allclose((z[..., 0] ** 2).sum(1), [4, 0, 4, 4], atol=1e-5)
    np.testing.assert_array_equal(z[:, K - 1], 0)


@pytest.mark.parametrize("regions", [((1, 1), (2, 2)), ((3, 1), (1, 1)), ((2, 2), (1, 3))])
@pytest.mark.parametrize("cls", [SuperVector, Vlad])
def test_regions_are_the_vectors_of_cropped_locals(cls: Any, regions: Any) -> None:
    x = some()
    state, plain = book(x), cls(KMeans(K), power=1.0, norm="none")
    wanted = []
    for rows, columns in regions:
        for number in range(rows * columns):
            weight = np.where(cells(x, rows, columns) == number, x.weight, 0).astype(np.float32)
            wanted.append(np.asarray(plain.encode(state, x._replace(weight=weight))))
    joined = np.concatenate(wanted, axis=1)
    np.testing.assert_allclose(
        cls(KMeans(K), regions=regions, power=1.0, norm="none").encode(state, x), joined, atol=1e-5
    )
    each = np.concatenate([part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-30) for part in wanted], 1)
    each /= np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-30)
    found = cls(KMeans(K), regions=regions, power=1.0, norm="regions").encode(state, x)
    np.testing.assert_allclose(found, each, atol=1e-5)


def test_padding_and_company_change_nothing() -> None:
    x, learner = some(), SuperVector(KMeans(K), regions=((1, 1), (2, 2)))
    state = book(x)
    found = np.asarray(learner.encode(state, x))
    values = np.where(x.weight[..., None] > 0, x.values, np.nan).astype(np.float32)
    values = np.concatenate([values, np.full((4, 7, COLUMNS), 1e6, np.float32)], axis=1)
    where, weight = np.pad(x.where, ((0, 0), (0, 7), (0, 0))), np.pad(x.weight, ((0, 0), (0, 7)))
    np.testing.assert_allclose(learner.encode(state, Locals(values, where, weight)), found, atol=1e-6)
    np.testing.assert_array_equal(found, np.asarray(learner.encode(state, Locals(*(leaf[::-1] for leaf in x))))[::-1])


def test_the_sums_of_accelerators_are_those_of_the_cpu() -> None:
    draw = np.random.default_rng(3)
    groups, weight = draw.integers(0, 7, (3, 40)).astype(np.int32), draw.random((3, 40)).astype(np.float32)
    values = draw.normal(size=(3, 40, 4)).astype(np.float32)
    for one, other in zip(
        aggregation._scattered(groups, values, weight, 7),
        aggregation._multiplied(groups, values, weight, 7),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_its_codebook_is_in_its_json() -> None:
    learner = SuperVector(KMeans(7), s=0.2, regions=((1, 1), (3, 1)))
    assert from_json(to_json(learner)) == learner
    assert (learner.passes, learner.batch, learner.init_rows) == (10, 4096, 16_384)


def test_mistakes_are_told() -> None:
    for wrong in ({"s": -1.0}, {"power": 2.0}, {"norm": "l1"}, {"regions": ((0, 1),)}):
        with pytest.raises(SettingsError, match=str(next(iter(wrong)))):
            SuperVector(**wrong)
    learner: Any = SuperVector(KMeans(2))
    with pytest.raises(ShapeError, match="SuperVector encodes whole Locals"):
        learner.encode(KMeans(2).init(jax.random.key(0), np.eye(2, dtype=np.float32)), np.eye(2, dtype=np.float32))
