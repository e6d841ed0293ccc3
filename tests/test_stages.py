"""A chain fitted stage by stage gives what its learners give one after another."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmfeat import gathering
from mmfeat.arrays import Images, Locals
from mmfeat.chain import Chain
from mmfeat.encoder import Encoder
from mmfeat.errors import DataError, SettingsError
from mmfeat.learner import default_batches, start, train, transform
from mmfeat.learners import Autoencoder, Lsh, Pca
from mmfeat.mesh import make_mesh
from mmfeat.model import Model
from mmfeat.pool import Pool
from mmfeat.stages import _some_locals, encode_sizes, encode_source, fit_chain
from mmfeat.stream import ArraySource

ROWS = np.random.default_rng(0).normal(size=(700, 12)).astype(np.float32) * np.arange(1, 13, dtype=np.float32) + 5


def test_a_chain_of_two_is_the_second_fitted_on_the_first() -> None:
    fitted = fit_chain(Chain(Pca(6), Lsh(bits=8)), ROWS, seed=3)
    pca = train(Pca(6), start(Pca(6), ROWS), default_batches(Pca(6), ROWS, seed=3))
    middle = transform(Pca(6), pca, ROWS)
    np.testing.assert_allclose(np.abs(fitted.states[0].mean), np.abs(ROWS.mean(0)), rtol=1e-5)
    np.testing.assert_allclose(fitted.states[1].mean, middle.mean(0), atol=1e-4)


def test_at_most_fit_rows_are_seen_and_they_depend_on_the_seed() -> None:
    counts = np.arange(1000, dtype=np.float32)[:, None]
    means = {
        seed: float(fit_chain(Chain(Lsh(bits=2), fit_rows=10), counts, seed=seed).states[0].mean[0]) for seed in (0, 1)
    }
    assert means[0] != means[1]
    for seed, mean in means.items():
        from mmfeat.stream import permutation

        assert mean == pytest.approx(counts[permutation(1000, seed, 2**61)[:10]].mean(), rel=1e-5)


def test_streaming_everything_equals_a_sample_of_everything() -> None:
    sampled = fit_chain(Chain(Pca(6), Lsh(bits=8)), ROWS, seed=1)
    streamed = fit_chain(Chain(Pca(6), Lsh(bits=8), fit_rows=None), ROWS, seed=1)
    for a, b in zip(sampled.states[0], streamed.states[0], strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(sampled.states[1].mean, streamed.states[1].mean, atol=1e-3)


def test_affine_neighbours_fold_into_one_product() -> None:
    fitted = fit_chain(Chain(Pca(6, whiten=True), Lsh(bits=8), Lsh(bits=4)), ROWS)
    folded = Encoder(fitted.chain.stages, fitted.states)
    assert [len(stages) for _, stages, _ in folded.parts] == [1]
    x = ROWS[:256]
    for stage, state in zip(fitted.chain.stages, fitted.states, strict=True):
        x = np.asarray(stage.encode(state, x))
    np.testing.assert_allclose(np.asarray(folded(ROWS[:256])), x, rtol=1e-3, atol=1e-3)


def test_when_nothing_can_be_read_that_is_said() -> None:
    class Nothing(ArraySource):
        def read(self, rows: np.ndarray) -> Any:
            return super().read(rows)[0], np.zeros(len(rows), np.float32)

    for chain in (Chain(Lsh(4)), Chain(Double(), Lsh(4))):
        with pytest.raises(DataError, match="can be read; got none of 700"):
            fit_chain(chain, Nothing(ROWS))


def test_very_wide_rows_are_encoded_64_mb_at_a_time() -> None:
    mesh = make_mesh(1, devices=jax.devices()[:1])
    rows = {width: encode_sizes(ArraySource(np.zeros((2, width), np.float32)), mesh) for width in (64, 4096, 93_184)}
    assert rows == {64: 4096, 4096: 4096, 93_184: 128}  # 128 rows of 93,184 numbers: 48 MB, 256 would be 95


def test_pictures_with_labels_are_encoded_a_few_at_a_time() -> None:
    images = Images(np.zeros((3, 256, 256, 3), np.uint8), np.full((3, 2), 256, np.int32))
    mesh = make_mesh(1, devices=jax.devices()[:1])
    assert encode_sizes(ArraySource(images), mesh) == encode_sizes(ArraySource({"x": images}), mesh) == {0: 16}


def test_locals_are_chosen_by_seed_and_item_alone_and_never_from_padding() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(5, 30, 3)).astype(np.float32)
    weight = (random.uniform(size=(5, 30)) < 0.5).astype(np.float32)
    values[weight == 0] = np.nan
    out = Locals(values, np.zeros((5, 30, 2), np.float32), weight)
    items = np.array([10, 11, 12, 13, 14])
    everything, owners = _some_locals(out, items, np.ones(5, bool), 4, seed=7)
    assert np.isfinite(everything).all()
    assert (np.bincount(owners - 10) <= 4).all()
    alone, _ = _some_locals(Locals(*(part[2:3] for part in out)), items[2:3], np.ones(1, bool), 4, seed=7)
    np.testing.assert_array_equal(alone, everything[owners == 12])


def test_a_learner_that_ends_in_nan_is_named() -> None:
    bad = ROWS.copy()
    bad[3, 4] = np.nan
    with pytest.raises(DataError, match="Pca must end in finite numbers"):
        fit_chain(Chain(Pca(3)), bad)


def test_streaming_local_descriptors_is_refused() -> None:
    class Fixed:
        def __call__(self, x: np.ndarray) -> Locals:
            return Locals(x[:, None, :], x[:, None, :2], x[:, :1] * 0 + 1)

    with pytest.raises(SettingsError, match="streams vectors"):
        fit_chain(Chain(Fixed(), Lsh(bits=4), Pool(), fit_rows=None), ROWS)


def test_dict_sources_carry_what_learners_need() -> None:
    class Needy(Lsh):
        needs = ("x", "y")

        def init(self, key, x):  # type: ignore[no-untyped-def]
            return super().init(key, x["x"])

        def step(self, key, state, x, weight):  # type: ignore[no-untyped-def]
            return super().step(key, state, x["x"], weight)

    labels = np.where(np.arange(700) % 2, 1, -1).astype(np.int32)
    fitted = fit_chain(Chain(Needy(bits=4)), ArraySource(ROWS), labels=labels, classes=2)
    np.testing.assert_allclose(fitted.states[0].mean, ROWS[labels >= 0].mean(0), rtol=1e-4)  # unlabelled rows weigh 0


@dataclass(frozen=True)
class Sides(Lsh):
    """Learns the mean of the second halves of pairs that are alike."""

    needs: ClassVar[tuple[str, ...]] = ("x", "x2", "same")

    def init(self, key: Any, x: Any) -> Any:
        return super().init(key, x["x"])

    def step(self, key: Any, state: Any, x: Any, weight: Any) -> Any:
        return super().step(key, state, x["x2"], weight * x["same"].astype(jnp.float32))


@dataclass(frozen=True)
class Double:
    """A fixed map of rows."""

    def __call__(self, x: Any) -> Any:
        return 2 * x


@pytest.mark.parametrize(
    "chain", [Chain(Pca(6), Sides(4)), Chain(Double(), Pca(6), Sides(4)), Chain(Double(), Sides(4))]
)
def test_both_halves_of_a_pair_go_through_the_stages_before(chain: Chain) -> None:
    data = {"x": ROWS, "x2": ROWS[::-1] + 1, "same": (np.arange(700) % 3 == 0).astype(np.int32)}
    fitted = fit_chain(chain, data)
    before = Encoder(fitted.chain.stages[:-1], fitted.states[:-1])
    wanted = np.concatenate([out for _, out, _ in encode_source(before, ArraySource(data["x2"]))])[::3].mean(0)
    np.testing.assert_allclose(fitted.states[-1].mean, wanted, rtol=1e-4, atol=1e-4)


def test_locals_in_memory_are_learned_from_row_by_row() -> None:
    values = np.random.default_rng(1).normal(size=(50, 6, 4)).astype(np.float32) + 3
    weight = (np.arange(300).reshape(50, 6) % 4 > 0).astype(np.float32)
    data = Locals(values, np.zeros((50, 6, 2), np.float32), weight)
    fitted = fit_chain(Chain(Lsh(8), Pool(), Pca(2)), data)
    np.testing.assert_allclose(fitted.states[0].mean, values[weight > 0].mean(0), rtol=1e-5)
    model = Model(fitted.chain, fitted.states, fitted.forms)
    assert model.encode(data).shape == (50, 2)
    np.testing.assert_array_equal(model.encode(data)[:5], model.encode(Locals(*(part[:5] for part in data))))


def test_rows_that_become_locals_in_the_middle_of_a_chain_are_sampled() -> None:
    class Cut:
        def __call__(self, x: Any) -> Locals:
            parts = x.reshape(x.shape[0], 3, -1)
            return Locals(parts, parts[..., :2], parts[..., 0] * 0 + 1)

    fitted = fit_chain(Chain(Pca(12), Cut(), Lsh(4)), ROWS)
    middle = np.asarray(Pca(12).encode(fitted.states[0], ROWS)).reshape(-1, 4)
    np.testing.assert_allclose(fitted.states[2].mean, middle.mean(0), atol=1e-3)


def test_a_large_sample_goes_through_files_that_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain(Double(), Pca(6), Lsh(8), fit_rows=600)
    wanted = fit_chain(chain, ROWS, seed=2)
    monkeypatch.setattr(gathering, "_IN_MEMORY", 5_000)
    monkeypatch.setattr(gathering, "_BLOCK", 2_000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened = []
    real = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **named: opened.append(real(**named)) or opened[-1])
    found = fit_chain(chain, ROWS, seed=2)
    for a, b in zip(jax.tree.leaves(wanted.states), jax.tree.leaves(found.states), strict=True):
        np.testing.assert_array_equal(a, b)
    assert opened
    assert all(file.closed for file in opened)
    assert not list(tmp_path.iterdir())


def test_streaming_small_steps_encodes_no_thousands_of_rows() -> None:
    seen = []

    class Watch:
        def __call__(self, x: Any) -> Any:
            seen.append(x.shape[0])
            return x

    fit_chain(Chain(Watch(), Autoencoder(hidden=(), code=2, batch=64, passes=1), fit_rows=None), ROWS)
    assert set(seen) == {64, 1024}  # a step, and the 700 rows of the sample `init` sees


def test_settings_of_a_chain_survive_fitting() -> None:
    chain = Chain(Pca(6), Lsh(bits=8), fit_rows=50)
    assert fit_chain(chain, ROWS).chain == chain
    assert replace(Pca(6), dims=5) != Pca(6)
