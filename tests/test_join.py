"""Branches side by side: fitted as if each stood alone, joined, saved; and sparse codes pooled without their zeros."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmfeat.arrays import Images, Locals
from mmfeat.chain import Chain, Join, needs_of, takes_images
from mmfeat.classify.softmax import Softmax
from mmfeat.descriptors.patches import Patches
from mmfeat.descriptors.pixels import Pixels
from mmfeat.encoder import Encoder
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import Learner
from mmfeat.learners import KMeans, Llc, Lsh, Pca, Vlad
from mmfeat.model import Model, load
from mmfeat.plan import plan_chain
from mmfeat.pool import Normalise, Places, Pool, Thin, cells, count_regions
from mmfeat.settings import from_json, to_json
from mmfeat.stages import Fitted, fit_chain
from mmfeat.visualise.model_page import chain_section, spaces, stage_sections

DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(300, 10)).astype(np.float32) * np.arange(1, 11, dtype=np.float32)
PICTURES = Images(DRAW.integers(0, 255, (40, 16, 16, 3)).astype(np.uint8), np.full((40, 2), 16, np.int32))


def encoded(fitted: Fitted, x: Any) -> np.ndarray:
    return Model(fitted.chain, fitted.states, fitted.forms).encode(x)


def test_a_join_gives_what_its_branches_give_alone() -> None:
    join = Join(Chain(Pca(3), Normalise()), Lsh(4), weights=(2.0, 1.0))
    both = encoded(fit_chain(Chain(Pca(6), join), ROWS), ROWS)
    left = encoded(fit_chain(Chain(Pca(6), Pca(3), Normalise()), ROWS), ROWS)
    right = encoded(fit_chain(Chain(Pca(6), Lsh(4)), ROWS), ROWS)
    np.testing.assert_allclose(both, np.concatenate([2 * left, right], axis=1), rtol=1e-4, atol=1e-4)


def test_a_learner_after_a_join_sees_the_joined_rows() -> None:
    fitted = fit_chain(Chain(Join(Pca(3), Pca(2, whiten=True)), Lsh(8)), ROWS)
    joined = encoded(Fitted(Chain(*fitted.chain.stages[:1]), fitted.states[:1], fitted.forms[:1]), ROWS)
    assert joined.shape == (300, 5)
    np.testing.assert_allclose(fitted.states[1].mean, joined.mean(0), atol=1e-4)


def test_pictures_go_to_branches_of_their_own() -> None:
    local = Chain(Patches(6, stride=3), Pca(8, whiten=True), Vlad(KMeans(4, passes=2)))
    chain = Chain(Join(local, Chain(Pixels(side=4), Pca(5))), Lsh(16))
    fitted = fit_chain(chain, PICTURES)
    model = Model(fitted.chain, fitted.states, fitted.forms)
    assert model.encode(PICTURES).shape == (40, 16)
    assert fitted.chain.hash
    assert takes_images(chain.stages[0])
    assert not takes_images(Join(Pca(2), Lsh(2)))
    alone = encoded(fit_chain(local, PICTURES), PICTURES)
    joined = encoded(Fitted(Chain(*fitted.chain.stages[:1]), fitted.states[:1], fitted.forms[:1]), PICTURES)
    np.testing.assert_allclose(joined[:, : alone.shape[1]], alone, atol=1e-5)
    np.testing.assert_array_equal(model.encode(PICTURES)[:3], model.encode(Images(*(part[:3] for part in PICTURES))))


def test_a_join_is_saved_planned_and_shown(tmp_path: Path) -> None:
    chain = Chain(
        Join(Chain(Pixels(side=4), Join(Pca(5), Lsh(4))), Chain(Patches(6, stride=3), Vlad(KMeans(4)))), Pca(3)
    )
    fitted = fit_chain(chain, PICTURES)
    model = Model(fitted.chain, fitted.states, fitted.forms)
    back = load(model.save(tmp_path / "m"))
    assert back.chain == fitted.chain
    np.testing.assert_array_equal(back.encode(PICTURES), model.encode(PICTURES))
    assert {name.rpartition(".")[0] for name in model.tensors} == {"0.0.1.0.0", "0.0.1.1.0", "0.1.1", "1"}
    assert [plan.name for plan in plan_chain(chain, PICTURES)] == ["Pca", "Lsh", "Vlad", "Pca"]
    assert [row[1] for row in chain_section(model).rows] == ["Join", "Pca"]
    list(stage_sections(model, spaces(model, None)))


def test_labels_reach_a_classifier_behind_a_join() -> None:
    labels = (ROWS[:, 9] > 0).astype(np.int32)
    chain = Chain(Join(Pca(10), Lsh(4)), Softmax())
    assert needs_of(chain) == {"x", "y"}
    fitted = fit_chain(chain, ROWS, labels=labels, classes=2)
    assert (encoded(fitted, ROWS).argmax(1) == labels).mean() > 0.97


def test_locals_of_one_grid_are_joined_place_by_place() -> None:
    some = Locals(
        DRAW.normal(size=(2, 3, 4)).astype(np.float32), np.zeros((2, 3, 2), np.float32), np.ones((2, 3), np.float32)
    )

    @dataclass(frozen=True)
    class Drop:
        def __call__(self, x: Locals) -> Locals:
            return x._replace(weight=x.weight * np.array([[1, 0, 1]], np.float32))

    out = Join(Normalise(), Drop()).encode((((),), ((),)), some)
    assert out.values.shape == (2, 3, 8)
    assert np.asarray(out.weight).tolist() == [[1, 0, 1]] * 2
    with pytest.raises(ShapeError, match="all Locals of one grid"):
        Join(Normalise(), Pool()).encode((((),), ((),)), some)


def test_a_join_is_a_value() -> None:
    join = Join(Chain(Lsh(4), fit_rows=9), Pca(2), weights=(1.0, 0.5))
    data = json.loads(json.dumps(to_json(Chain(join, Lsh(2)))))
    assert from_json(data) == Chain(join, Lsh(2))
    assert hash(from_json(data)) == hash(Chain(join, Lsh(2)))
    assert not Join(Lsh(4), Pca(2)).hash
    assert Join(Lsh(4), Lsh(2)).hash
    with pytest.raises(SettingsError, match="two branches or more"):
        Join(Lsh(4))
    with pytest.raises(SettingsError, match="one weight for each"):
        Join(Lsh(4), Lsh(2), weights=(1.0,))


def test_normalise_by_parts() -> None:
    x = np.array([[3, 4, 0, 0, -9, 16]], np.float32)
    np.testing.assert_allclose(Normalise(groups=3)(x), [[0.6, 0.8, 0, 0, -9 / 337**0.5, 16 / 337**0.5]], rtol=1e-6)
    np.testing.assert_allclose(Normalise(power=0.5, norm="none")(x), [[3**0.5, 2, 0, 0, -3, 4]], rtol=1e-6)
    np.testing.assert_allclose(Normalise(norm="l1")(x), x / 32, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(Normalise()(np.full((1, 4), 1e-30, np.float32))), 1, rtol=1e-5)
    with pytest.raises(ShapeError, match="4 equal parts divide"):
        Normalise(groups=4)(x)
    for bad in ({"power": 0.0}, {"norm": "l3"}, {"groups": 0}):
        with pytest.raises(SettingsError):
            Normalise(**bad)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Signs(Learner):
    """Codes with zeros and signs: the values that are farther from 0 than 1."""

    def init(self, key: Any, x: Any) -> Any:
        return ()

    def step(self, key: Any, state: Any, x: Any, weight: Any) -> Any:
        return state, {}

    def encode(self, state: Any, x: Any) -> Any:
        return jnp.where(jnp.abs(x) > 1, x, jnp.float32(0))

    def host_sparse(self, state: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        keep = np.abs(x) > 1
        return np.concatenate([[0], np.cumsum(keep.sum(1))]), np.nonzero(keep)[1].astype(np.int32), x[keep]


@pytest.mark.parametrize("kind", ["max", "mean", "sum"])
def test_sparse_codes_are_pooled_as_the_dense_ones(kind: str, one_device_mesh: Any) -> None:
    where = DRAW.uniform(size=(8, 50, 2)).astype(np.float32)
    weight = (DRAW.uniform(size=(8, 50)) > 0.3).astype(np.float32) * (np.arange(8) > 0)[
        :, None
    ]  # one item without locals
    x = Locals((2 * DRAW.normal(size=(8, 50, 12))).astype(np.float32), where, weight.astype(np.float32))
    x.values[3] = -np.abs(x.values[3]) - 1  # nowhere 0: maxima below it
    stages = (Signs(), Pool(((1, 1), (2, 3)), kind))
    one = Encoder(stages, ((), ()), one_device_mesh)
    assert one.host == ("Signs",)
    dense = np.asarray(stages[1](x._replace(values=x.values * (np.abs(x.values) > 1))))
    np.testing.assert_allclose(np.asarray(one(x)), dense, rtol=1e-5, atol=1e-5)
    if kind == "max":
        assert (dense[3, :12] < 0).all()
    empty = x._replace(weight=np.zeros_like(x.weight))
    assert np.asarray(one(empty)).shape == dense.shape
    assert not np.asarray(one(empty)).any()


def test_cells_are_counted_row_by_row() -> None:
    where = np.array([[[0.0, 0.0], [0.6, 0.2], [0.2, 0.9], [1.0, 1.0]]], np.float32)
    x = Locals(np.zeros((1, 4, 1), np.float32), where, np.ones((1, 4), np.float32))
    assert cells(x, 2, 2).tolist() == [[0, 1, 2, 3]]
    assert np.asarray(cells(Locals(*map(np.asarray, x)), 1, 2)).tolist() == [[0, 1, 0, 1]]
    assert count_regions(((1, 1), (2, 2), (3, 1))) == 8
    with pytest.raises(SettingsError, match="levels of a pyramid"):
        Pool(((0, 1),))


def test_places_are_learned_with_the_values() -> None:
    """A stage that needs whole Locals between two learners of rows: the second sees the places too."""
    where = DRAW.uniform(size=(50, 6, 2)).astype(np.float32)
    x = Locals(DRAW.normal(size=(50, 6, 4)).astype(np.float32), where, np.ones((50, 6), np.float32))
    fitted = fit_chain(Chain(Pca(3), Places(2.0), Lsh(4), Pool()), x)
    assert fitted.states[2].mean.shape == (5,)
    np.testing.assert_allclose(fitted.states[2].mean[3:], 2 * (where.mean((0, 1)) - 0.5), atol=1e-5)
    out = Places(2.0)(x)
    np.testing.assert_allclose(out.values[..., 4:], 2 * (where - 0.5), atol=1e-6)
    with pytest.raises(ShapeError, match="Places takes Locals"):
        Places()(np.zeros((2, 3)))  # type: ignore[arg-type]


def test_thinning_keeps_every_nth_local() -> None:
    x = Locals(
        np.arange(14, dtype=np.float32).reshape(1, 7, 2), np.zeros((1, 7, 2), np.float32), np.ones((1, 7), np.float32)
    )
    out = Thin(3)(x)
    assert out.values[0, :, 0].tolist() == [0, 6, 12]
    assert out.weight.shape == (1, 3)
    with pytest.raises(SettingsError, match="at least 1"):
        Thin(0)


def test_items_without_locals_are_coded_as_nothing(one_device_mesh: Any) -> None:
    coder = Llc(KMeans(4), neighbours=2)
    state = coder.init(jax.random.key(0), DRAW.normal(size=(20, 3)).astype(np.float32))
    x = Locals(*(np.zeros((2, 5, width), np.float32) for width in (3, 2)), np.zeros((2, 5), np.float32))
    assert not np.asarray(Encoder((coder, Pool()), (state, ()), one_device_mesh)(x)).any()
    starts, index, value = coder.host_sparse(state, np.zeros((0, 3), np.float32))
    assert (starts.tolist(), len(index), len(value)) == ([0], 0, 0)
