"""The way back to pixels keeps what it says it keeps; what learners show of themselves is found by its name."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

import mmfeat
from mmfeat.learners import Autoencoder, KMeans, Lsh, Pca, Zca
from mmfeat.learners.rbm import Rbm
from mmfeat.visualise.looking import PixelSpace, atoms_of, filters_of, has_way_back, prototypes_of, undo

ROWS = np.random.default_rng(0).uniform(size=(40, 12)).astype(np.float32)


def test_filters_atoms_and_rows_go_back_through_affine_stages() -> None:
    """By their definitions: the same products, the same codes."""
    x = np.random.default_rng(0).normal(size=(500, 12)).astype(np.float32) @ np.diag(np.geomspace(3, 0.3, 12))
    model = mmfeat.fit(mmfeat.Chain(Zca(), Pca(7, whiten=True), KMeans(4)), x.astype(np.float32) + 2)
    space = PixelSpace((3, 4, 1), True)
    for stage, state in zip(model.chain.stages[:2], model.states[:2], strict=True):
        after = space.after(stage, state)
        assert after is not None
        space = after
    before = mmfeat.Model(mmfeat.Chain(*model.chain.stages[:2]), model.states[:2], model.forms[:2])
    y, filters = before.encode(x + 2), np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    products = (x + 2) @ space.of_filters(filters).reshape(5, 12).T
    expected = y @ filters.T
    np.testing.assert_allclose(products - products.mean(axis=0), expected - expected.mean(axis=0), atol=2e-3)
    back = space.of_rows(y).reshape(-1, 12)
    np.testing.assert_allclose(before.encode(back), y, atol=2e-3)
    zero = space.of_rows(np.zeros((1, 7), np.float32)).reshape(1, 12)
    np.testing.assert_allclose(space.of_atoms(y).reshape(-1, 12), back - zero, atol=2e-3)
    full = mmfeat.fit(Zca(), x.astype(np.float32))
    whole = PixelSpace((3, 4, 1), True).after(full.chain.stages[0], full.states[0])
    assert whole is not None
    np.testing.assert_allclose(whole.of_rows(full.encode(x)).reshape(-1, 12), x, atol=5e-3)


def test_networks_show_their_first_layer() -> None:
    rbm, net = Rbm(hidden=5), Autoencoder(hidden=(7,), code=3)
    state = rbm.init(jax.random.key(0), ROWS)
    h = 1 / (1 + np.exp(-ROWS @ filters_of(rbm, state).T))  # biases are 0 before training
    np.testing.assert_allclose(rbm.encode(state, ROWS), h, atol=1e-5)
    np.testing.assert_allclose(undo(rbm, state, h), rbm.reconstruct(state, ROWS), atol=1e-5)
    assert filters_of(net, net.init(jax.random.key(0), ROWS)).shape == (7, 12)
    space = PixelSpace((3, 4, 1), True).after(rbm, state)
    assert space is not None
    assert not space.linear


def test_convolutions_are_pictures_already() -> None:
    class State(NamedTuple):
        params: Any

    kernel = np.arange(2 * 3 * 3 * 4.0).reshape(2, 3, 3, 4)
    found = filters_of(object(), State({"layer0": {"map": {"kernel": kernel}, "scale": np.ones(4)}}))
    assert found is not None
    assert found.shape == (4, 2, 3, 3)
    np.testing.assert_array_equal(found[1], kernel[..., 1])


def test_what_is_not_there_is_none() -> None:
    lsh, means = Lsh(4), KMeans(3)
    assert filters_of(means, means.init(jax.random.key(0), ROWS)) is None
    assert prototypes_of(means, means.init(jax.random.key(0), ROWS)).shape == (3, 12)
    assert prototypes_of(lsh, lsh.init(jax.random.key(0), ROWS)) is None
    assert atoms_of(lsh, lsh.init(jax.random.key(0), ROWS)) is None
    assert not has_way_back(means)
    assert PixelSpace((3, 4, 1), True).after(means, means.init(jax.random.key(0), ROWS)) is None
