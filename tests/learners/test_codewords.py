"""The nearest codewords, in JAX and on the host, against sorting; blocks; sparse codes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmfeat.arrays import Locals
from mmfeat.encoder import Encoder
from mmfeat.errors import SettingsError
from mmfeat.learners import codewords, codewords_host
from mmfeat.learners.codewords import check_neighbours, code_nearest, in_blocks, nearest_words
from mmfeat.learners.codewords_host import as_csr, code_nearest_on_host, kernel
from mmfeat.learners.kmeans import KMeans
from mmfeat.learners.lcc import Lcc
from mmfeat.learners.llc import Llc
from mmfeat.learners.vq import Vq
from mmfeat.mesh import make_mesh, put_batch
from mmfeat.pool import Pool


def write_nothing(*block: Any) -> None:
    """Leaves the codes at 0."""


@pytest.mark.parametrize(("clusters", "k"), [(5, 5), (64, 3), (70, 1), (300, 7), (200, 80)])
def test_both_find_the_nearest(clusters: int, k: int) -> None:
    draw = np.random.default_rng(clusters)
    means, x = draw.normal(size=(clusters, 7)) + 3, draw.normal(size=(1500, 7)) + 3
    means, x = means.astype(np.float32), x.astype(np.float32)
    exact = ((x[:, None, :].astype(np.float64) - means) ** 2).sum(2)
    order = np.argsort(exact, axis=1)[:, :k]
    for found in (nearest_words(jnp.asarray(means), x, k), code_nearest_on_host(means, x, k, write_nothing)[0]):
        at = np.take_along_axis(exact, np.asarray(found), axis=1)
        np.testing.assert_allclose(at, np.take_along_axis(exact, order, axis=1), rtol=1e-5, atol=1e-5)
        assert (np.sort(found, axis=1)[:, 1:] != np.sort(found, axis=1)[:, :-1]).all()


def test_the_first_of_equals_is_found() -> None:
    scores = np.random.default_rng(0).integers(0, 4, (200, 192)).astype(np.float32)
    found = np.zeros((200, 6), np.int32)
    kernel(codewords_host._highest)(scores, found)
    np.testing.assert_array_equal(found, np.argsort(-scores, axis=1, kind="stable")[:, :6])


def test_rows_of_nan_stay_within_the_codebook() -> None:
    x = np.full((3, 4), np.nan, np.float32)
    found, _ = code_nearest_on_host(np.eye(4, dtype=np.float32), x, 2, write_nothing)
    assert found.min() >= 0
    assert found.max() < 4


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    means, x = draw.normal(size=(9, 5)).astype(np.float32), draw.normal(size=(96, 5)).astype(np.float32)

    def solve(rows: Any, words: Any) -> Any:
        return ((words - rows[:, None, :]) ** 2).sum(axis=2)

    whole = np.asarray(code_nearest(jnp.asarray(means), x, 3, solve))
    monkeypatch.setattr(codewords, "_BLOCK_CPU", 64)
    np.testing.assert_allclose(np.asarray(code_nearest(jnp.asarray(means), x, 3, solve)), whole, rtol=1e-5)
    shapes: list[Any] = []

    def double(part: Any) -> Any:
        shapes.append(part.shape)
        return 2 * part

    doubled = in_blocks(double, jnp.asarray(x), 9)
    assert shapes[-1][0] < 96
    np.testing.assert_array_equal(np.asarray(doubled), 2 * x)


def test_sparse_codes_are_the_dense_ones() -> None:
    index = np.array([[2, 0], [1, 3], [3, 0]], np.int32)
    for value in (np.array([[1, 2], [3, 4], [5, 6]], np.float32), np.array([[1, 0], [0, 0], [5, 6]], np.float32)):
        starts, places, values = as_csr(index, value)
        assert (starts.dtype, places.dtype, values.dtype) == (np.int64, np.int32, np.float32)
        assert (values != 0).all()
        dense = np.zeros((3, 4), np.float32)
        dense[np.repeat(np.arange(3), np.diff(starts)), places] = values
        np.testing.assert_array_equal(dense, codewords.scatter(jnp.asarray(index), jnp.asarray(value), 4))


def test_no_more_neighbours_than_codewords() -> None:
    check_neighbours(None, 3)
    for wrong in (0, 4):
        with pytest.raises(SettingsError, match=f"neighbours={wrong} of 3"):
            check_neighbours(wrong, 3)


def test_a_batch_over_several_devices_is_coded_alike() -> None:
    draw = np.random.default_rng(2)
    means, x = draw.normal(size=(9, 5)).astype(np.float32), draw.normal(size=(64, 5)).astype(np.float32)

    @jax.jit
    def nearest(rows: Any) -> Any:
        return nearest_words(jnp.asarray(means), rows, 3)

    np.testing.assert_array_equal(nearest(put_batch(x, make_mesh(4))), nearest(x))


@pytest.mark.parametrize("name", ["vq", "llc", "lcc"])
def test_pooled_codes_are_the_same_without_the_dense_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    book, draw = KMeans(12, passes=1), np.random.default_rng(3)
    learner = {"vq": Vq(book, soft=2.0, neighbours=4), "llc": Llc(book, 4), "lcc": Lcc(book, 0.05, neighbours=6)}[name]
    values = draw.gamma(0.5, size=(4, 60, 10)).astype(np.float32)
    where, weight = draw.uniform(size=(4, 60, 2)).astype(np.float32), (draw.random((4, 60)) < 0.9).astype(np.float32)
    state = learner.init(jax.random.key(0), values.reshape(-1, 10))
    stages, states, out = (learner, Pool(((1, 1), (2, 2)), "max")), (state, ()), []
    for host in ("1", "0"):
        monkeypatch.setenv("MMFEAT_HOST", host)
        encoder = Encoder(stages, states, make_mesh(1, devices=jax.devices()[:1]))
        assert bool(encoder.host) == (host == "1")
        out.append(np.asarray(encoder(Locals(values, where, weight))))
    np.testing.assert_allclose(out[0], out[1], rtol=1e-5, atol=1e-5)
    assert out[0].shape == (4, 5 * 12)
