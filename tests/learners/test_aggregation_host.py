"""Sums over regions on the host: the JAX path, the definition in float64, and that neither blocks nor company change anything."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from mmfeat.arrays import Locals
from mmfeat.encoder import Encoder
from mmfeat.errors import ShapeError
from mmfeat.learners import aggregation_host
from mmfeat.learners.aggregation_host import _groups
from mmfeat.learners.fisher import Fisher
from mmfeat.learners.fisher_host import posterior_sums
from mmfeat.learners.kmeans import KMeans
from mmfeat.learners.mixture import Mixture
from mmfeat.learners.residuals_host import residual_sums_on_host
from mmfeat.learners.super_vector import SuperVector
from mmfeat.learners.vlad import Vlad
from mmfeat.mesh import on_host
from mmfeat.pool import cells

COLUMNS = 5
PYRAMIDS = [((1, 1),), ((1, 1), (2, 2)), ((1, 1), (3, 1)), ((2, 2), (1, 3)), ((1, 1), (2, 2), (4, 4)), ((2, 1), (2, 1))]


def some(items: int = 4, count: int = 150, places: int = 2) -> Locals:
    """Locals about 3; the second item has none of weight, the third two of weight 2."""
    draw = np.random.default_rng(0)
    values = (draw.normal(size=(items, count, COLUMNS)) * np.geomspace(1, 0.3, COLUMNS) + 3).astype(np.float32)
    weight = (draw.random((items, count)) < 0.7).astype(np.float32)
    weight[1], weight[2, :2] = 0, 2
    return Locals(values, draw.random((items, count, places)).astype(np.float32), weight)


def known(components: int) -> GaussianMixture:
    """A mixture of locals like these."""
    draw = np.random.default_rng(1)
    gmm = GaussianMixture(components, covariance_type="diag")
    gmm.weights_ = draw.dirichlet(np.full(components, 5.0))
    gmm.means_ = some().values.reshape(-1, COLUMNS)[:components].astype(np.float64)
    gmm.covariances_ = draw.uniform(0.2, 1, gmm.means_.shape)
    gmm.precisions_cholesky_ = 1 / np.sqrt(gmm.covariances_)
    return gmm


def mixture_of(gmm: GaussianMixture) -> Any:
    """The same as a state."""
    return Mixture(len(gmm.means_)).given(gmm.weights_, gmm.means_, gmm.covariances_, 3.0, 0.7)


def coders(clusters: int, regions: Any) -> list[tuple[Any, Any]]:
    """The three learners, with the states of a mixture or codebook."""
    state = KMeans(clusters).init(jax.random.key(0), some().values.reshape(-1, COLUMNS))
    book = KMeans(clusters)
    return [
        (Fisher(Mixture(clusters), regions, improved=False, weights=True), mixture_of(known(clusters))),
        (Vlad(book, power=1.0, regions=regions), state),
        (SuperVector(book, regions=regions, norm="regions"), state),
    ]


@pytest.mark.parametrize("regions", PYRAMIDS[1:4])
def test_it_is_the_jax_path(regions: Any) -> None:
    for learner, state in coders(7, regions):
        found = learner.host_encode(on_host(state), some())
        assert (type(found), found.dtype) == (np.ndarray, np.float32)
        np.testing.assert_allclose(found, jax.jit(learner.encode)(state, some()), atol=1e-5)


@pytest.mark.parametrize("places", [1, 3])
def test_frames_and_cuboids_lie_in_their_regions(places: int) -> None:
    x = some(places=places)
    x = x._replace(where=x.where * np.float32(9))
    for learner, state in coders(3, ((1, 1), (2, 2))):
        wanted = jax.jit(learner.encode)(state, x)
        np.testing.assert_allclose(learner.host_encode(on_host(state), x), wanted, atol=1e-5)


@pytest.mark.parametrize("components", [1, 6, 64, 70])
def test_posterior_sums_are_scikit_learns(components: int) -> None:
    x, gmm, regions = some(), known(components), ((2, 2), (1, 3))
    counts, sums, total = posterior_sums(on_host(mixture_of(gmm)), x, regions)
    for item, values in enumerate(x.values.astype(np.float64)):
        q, u = gmm.predict_proba(values), (values - 3) / 0.7
        for region in range(7):
            cell = cells(x, 2, 2)[item] == region if region < 4 else cells(x, 1, 3)[item] == region - 4
            weight = np.where(cell, x.weight[item], 0)[:, None]
            np.testing.assert_allclose(counts[item, region], (q * weight).sum(0), atol=2e-4)
            wanted = (q * weight).T @ np.concatenate([u, u**2], axis=1)
            np.testing.assert_allclose(sums[item, region], wanted, atol=2e-4)
            assert total[item, region] == weight.sum()


@pytest.mark.parametrize("clusters", [1, 5, 70])
def test_residual_sums_are_the_loop(clusters: int) -> None:
    x = some()
    means = x.values.reshape(-1, COLUMNS)[:clusters] + np.float32(0.1)
    counts, sums, total = residual_sums_on_host(means, x, ((2, 2),))
    wanted, numbers = np.zeros(sums.shape), np.zeros(counts.shape)
    cell, exact = cells(x, 2, 2), means.astype(np.float64)
    for item, place in zip(*np.nonzero(x.weight), strict=True):
        gaps = x.values[item, place] - exact
        at, weight = (item, cell[item, place], (gaps**2).sum(1).argmin()), x.weight[item, place]
        wanted[at] += weight * gaps[at[2]]
        numbers[at] += weight
    np.testing.assert_allclose(sums, wanted, atol=2e-5)
    np.testing.assert_array_equal(counts, numbers)
    np.testing.assert_array_equal(total, numbers.sum(2))


def test_the_first_of_equal_codewords_is_the_nearest() -> None:
    means = np.zeros((70, COLUMNS), np.float32)
    means[:3] = 5
    counts = residual_sums_on_host(means, some(), ((1, 1),)).counts
    np.testing.assert_array_equal(np.nonzero(counts.sum((0, 1)))[0], [0, 3])


@pytest.mark.parametrize("regions", [*PYRAMIDS, ((2, 2), (300, 300))])
def test_a_group_has_one_cell_of_every_level(regions: Any) -> None:
    x = some()
    order, ends, members = _groups(x, regions, 0)
    np.testing.assert_array_equal(np.sort(order), np.flatnonzero(x.weight[0]))
    assert len(set(members)) == len(members) == len(ends)
    first, start = np.cumsum([0, *(rows * columns for rows, columns in regions)]), 0
    for end, numbers in zip(ends, members, strict=True):
        for level, number, before in zip(regions, numbers, first, strict=False):
            np.testing.assert_array_equal(cells(x, *level)[0, order[start:end]] + before, number)
        start = end
    assert start == len(order)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for learner, state in coders(7, ((1, 1), (2, 2))):
        whole = learner.host_encode(on_host(state), some())
        for rows in (1, 7, 64):
            monkeypatch.setattr(aggregation_host, "_MOST", rows)
            monkeypatch.setattr(aggregation_host, "_LEAST", rows)
            np.testing.assert_allclose(learner.host_encode(on_host(state), some()), whole, atol=1e-5)
        monkeypatch.undo()


def test_padding_and_company_change_no_bit() -> None:
    x = some()
    more = ((0, 0), (0, 9))
    values = np.where(x.weight[..., None] > 0, x.values, np.nan)
    padded = Locals(
        np.pad(values, (*more, (0, 0)), constant_values=1e6),
        np.pad(x.where, (*more, (0, 0)), constant_values=7),
        np.pad(x.weight, more),
    )
    for learner, state in coders(7, ((1, 1), (2, 2))):
        found = learner.host_encode(on_host(state), x)
        np.testing.assert_array_equal(learner.host_encode(on_host(state), padded), found)
        back = Locals(*(leaf[::-1] for leaf in x))
        np.testing.assert_array_equal(learner.host_encode(on_host(state), back), found[::-1])


def test_an_item_with_a_local_that_is_not_a_number_spoils_itself_alone() -> None:
    x = some()
    bad = x._replace(values=x.values.copy())
    bad.values[2, 0] = np.nan
    for learner, state in coders(7, ((1, 1),)):
        found, clean = (learner.host_encode(on_host(state), each) for each in (bad, x))
        assert not np.isfinite(found[2]).all()
        np.testing.assert_array_equal(found[[0, 1, 3]], clean[[0, 1, 3]])


def test_an_encoder_uses_it_on_one_device(one_device_mesh: Any) -> None:
    for learner, state in coders(7, ((1, 1), (2, 2))):
        encoder = Encoder((learner,), (state,), one_device_mesh)
        assert encoder.host == (type(learner).__name__,)
        np.testing.assert_array_equal(encoder(some()), learner.host_encode(on_host(state), some()))
        with pytest.raises(ShapeError, match="whole Locals"):
            learner.host_encode(on_host(state), np.eye(COLUMNS, dtype=np.float32))
