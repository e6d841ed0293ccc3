"""The Fisher vector: the gradient of the log-likelihood, scikit-image's vector, and its identities."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from skimage.feature import fisher_vector
from sklearn.mixture import GaussianMixture

from mmfeat.arrays import Locals
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import default_batches, start, train
from mmfeat.learners.fisher import Fisher
from mmfeat.learners.mixture import Mixture, MixtureState
from mmfeat.pool import cells
from mmfeat.settings import from_json, to_json

K, COLUMNS = 4, 5


def some(items: int = 4, count: int = 60) -> Locals:
    """Locals about 3; the second item has none of weight, the third two of weight 2."""
    draw = np.random.default_rng(0)
    values = (draw.normal(size=(items, count, COLUMNS)) * np.geomspace(1, 0.2, COLUMNS) + 3).astype(np.float32)
    weight = (draw.random((items, count)) < 0.8).astype(np.float32)
    weight[1], weight[2, :2] = 0, 2
    return Locals(values, draw.random((items, count, 2)).astype(np.float32), weight)


def known() -> GaussianMixture:
    """scikit-learn's mixture of locals like these."""
    rows = some(8).values.reshape(-1, COLUMNS).astype(np.float64)
    return GaussianMixture(K, covariance_type="diag", random_state=0).fit(rows)


def state_of(gmm: GaussianMixture, origin: Any = 3.0, scale: Any = 1.0) -> MixtureState:
    """The same mixture as a state."""
    return Mixture(K).given(gmm.weights_, gmm.means_, gmm.covariances_, origin, scale)


def repeated(x: Locals, item: int) -> np.ndarray:
    """The locals (N, d) of an item in float64, one of weight 2 twice."""
    return np.repeat(x.values[item].astype(np.float64), x.weight[item].astype(int), axis=0)


@pytest.mark.parametrize("improved", [False, True])
def test_it_is_scikit_images_but_for_the_sign_of_the_deviations(improved: bool) -> None:
    x, gmm = some(), known()
    found = np.asarray(Fisher(Mixture(K), improved=improved, weights=True).encode(state_of(gmm), x), np.float64)
    for item in (0, 2, 3):
        wanted = fisher_vector(repeated(x, item), gmm, improved=improved)
        wanted[K + K * COLUMNS :] *= -1
        np.testing.assert_allclose(found[item], wanted, atol=2e-5 if not improved else 2e-4)
    np.testing.assert_array_equal(found[1], 0)


def test_it_is_the_gradient_of_the_likelihood() -> None:
    """Central differences of the mean of log p, in float64, times the inverse root of the Fisher information's closed form.

    The information of μ is π / σ², that of σ is 2 π / σ². With weights π = softmax(α), d/dα_k is the sum of q_k - π_k.
    """
    x, gmm = some(), known()
    rows, weights, variances = repeated(x, 0), gmm.weights_, gmm.covariances_

    def likelihood(alpha: np.ndarray, means: np.ndarray, deviations: np.ndarray) -> float:
        share = np.exp(alpha) / np.exp(alpha).sum()
        gaps = (rows[:, None] - means) ** 2 / deviations**2
        joint = share * np.exp(-0.5 * gaps.sum(2)) / np.prod(np.sqrt(2 * np.pi) * deviations, axis=1)
        return float(np.log(joint.sum(1)).mean())

    at = [np.log(weights), gmm.means_.copy(), np.sqrt(variances)]
    slopes = [differences(likelihood, at, part) for part in range(3)]
    root = np.sqrt(weights)
    wanted = [slopes[0] / root, slopes[1] / root[:, None] * at[2], slopes[2] / root[:, None] * at[2] / np.sqrt(2)]
    learner = Fisher(Mixture(K), improved=False, weights=True)
    found = np.asarray(learner.encode(state_of(gmm), x))[0]
    np.testing.assert_allclose(found, np.concatenate([each.ravel() for each in wanted]), atol=2e-5)


def differences(function: Any, at: list[np.ndarray], part: int, width: float = 1e-6) -> np.ndarray:
    """The gradient with respect to at[part], by central differences."""
    out = np.zeros_like(at[part])
    for place in np.ndindex(out.shape):
        ends = []
        for sign in (1, -1):
            moved = [each.copy() for each in at]
            moved[part][place] += sign * width
            ends.append(function(*moved))
        out[place] = (ends[0] - ends[1]) / (2 * width)
    return out


def test_where_training_ended_the_gradient_of_all_rows_is_nothing() -> None:
    rows = some(20).values.reshape(1, -1, COLUMNS)
    rows = rows + np.float32(3) * (np.arange(rows.shape[1], dtype=np.float32) % 3)[None, :, None]  # three heaps
    learner = Fisher(Mixture(3, passes=50, batch=2000), improved=False, weights=True)
    batches = default_batches(learner, rows[0])
    state = train(learner, start(learner, rows[0]), batches).state
    whole = Locals(rows, np.zeros((*rows.shape[:2], 2), np.float32), np.ones(rows.shape[:2], np.float32))
    assert np.abs(np.asarray(learner.encode(state, whole))).max() < 1e-4
    part = whole._replace(weight=(np.arange(rows.shape[1]) < 60).astype(np.float32)[None])
    assert np.abs(np.asarray(learner.encode(state, part))).max() > 0.05


@pytest.mark.parametrize("regions", [((1, 1), (2, 2)), ((3, 1), (1, 1)), ((2, 2), (1, 3)), ((1, 1),), ((1, 1), (1, 1))])
def test_regions_are_the_vectors_of_cropped_locals(regions: Any) -> None:
    x, state = some(), state_of(known())
    for norm in ("regions", "none"):
        plain = Fisher(Mixture(K), norm=norm)
        wanted = []
        for rows, columns in regions:
            for number in range(rows * columns):
                inside = np.where(cells(x, rows, columns) == number, x.weight, 0).astype(np.float32)
                wanted.append(np.asarray(plain.encode(state, x._replace(weight=inside))))
        joined = np.concatenate(wanted, axis=1)
        if norm == "regions":
            joined /= np.maximum(np.linalg.norm(joined, axis=1, keepdims=True), 1e-30)
        found = Fisher(Mixture(K), regions, norm=norm).encode(state, x)
        np.testing.assert_allclose(found, joined, atol=2e-3)  # under a root: 4e-6 before it
        raw = Fisher(Mixture(K), regions, improved=False).encode(state, x)
        assert raw.shape == joined.shape


def test_its_origin_and_scale_are_only_for_the_digits() -> None:
    x, gmm = some(), known()
    learner = Fisher(Mixture(K), improved=False)
    one = learner.encode(state_of(gmm), x)
    other = learner.encode(state_of(gmm, gmm.means_.mean(0), np.geomspace(1, 0.2, COLUMNS)), x)
    np.testing.assert_allclose(one, other, atol=2e-5)


def test_padding_and_company_change_nothing() -> None:
    x, learner = some(), Fisher(Mixture(K), ((1, 1), (2, 2)))
    state = state_of(known())
    found = np.asarray(learner.encode(state, x))
    values = np.where(x.weight[..., None] > 0, x.values, np.nan).astype(np.float32)
    values = np.concatenate([values, np.full((4, 7, COLUMNS), 1e6, np.float32)], axis=1)
    where, weight = np.pad(x.where, ((0, 0), (0, 7), (0, 0))), np.pad(x.weight, ((0, 0), (0, 7)))
    padded = np.asarray(learner.encode(state, Locals(values, where, weight)))
    np.testing.assert_allclose(padded, found, atol=2e-3)
    np.testing.assert_array_equal(found, np.asarray(learner.encode(state, Locals(*(leaf[::-1] for leaf in x))))[::-1])


def test_many_locals_go_through_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmfeat.learners import aggregation

    x, learner, state = some(6), Fisher(Mixture(K), ((2, 1), (1, 1)), improved=False), state_of(known())
    whole = np.asarray(learner.encode(state, x))
    for block in (2 * 60 * K, 3 * 60 * K, 1):
        monkeypatch.setattr(aggregation, "_BLOCK", block)
        np.testing.assert_allclose(np.asarray(jax.jit(learner.encode)(state, x)), whole, atol=1e-5)
        jax.clear_caches()


def test_its_mixture_is_in_its_json() -> None:
    learner = Fisher(Mixture(7, online=0.7), regions=((1, 1), (3, 1)), weights=True)
    assert from_json(to_json(learner)) == learner
    assert (learner.passes, learner.batch, learner.shuffle) == (20, 4096, True)


def test_mistakes_are_told() -> None:
    with pytest.raises(SettingsError, match="'each'"):
        Fisher(norm="each")
    with pytest.raises(SettingsError, match="pyramid"):
        Fisher(regions=())
    learner: Any = Fisher(Mixture(K))
    with pytest.raises(ShapeError, match="whole Locals"):
        learner.encode(state_of(known()), np.eye(COLUMNS, dtype=np.float32))
