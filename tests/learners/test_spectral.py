"""Spectral hashing against enumeration, the eigenvectors of a graph, and its known fall with longer codes on MNIST."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmfeat
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.evaluate.retrieval import hamming_distances, mean_average_precision
from mmfeat.learner import default_batches, start, train, transform
from mmfeat.learners.spectral import SpectralHash, spectral_hash
from mmfeat.learners.whitening import Pca


def fitted(learner: SpectralHash, x: np.ndarray) -> Any:
    """The finished run."""
    return train(learner, start(learner, x), default_batches(learner, x))


def box(*sides: float, count: int = 400) -> np.ndarray:
    """Rows (count, c) that fill a box evenly; its corners are among them, so its sides are exact."""
    x = np.random.default_rng(0).uniform(size=(count, len(sides)))
    x[0], x[1] = 0, 1
    return (x * sides + 3).astype(np.float32)


@pytest.mark.parametrize("sides", [(4.0, 1.9, 1.0), (1.0, 1.05, 0.1, 0.93), (2.0,)])
def test_the_functions_are_those_of_smallest_eigenvalue_by_enumeration(sides: tuple[float, ...]) -> None:
    """All pairs (axis, k) of the paper's λ in float64, sorted; then Φ itself, written with its sine."""
    x, bits = box(*sides), 12
    pairs = [
        (1 - np.exp(-0.5 * 0.05**2 * (k * np.pi / side) ** 2), j, k)
        for j, side in enumerate(sides)
        for k in range(1, 40)
    ]
    smallest = sorted(pairs)[:bits]
    run = fitted(SpectralHash(bits, batch=64), x)
    assert np.asarray(run.state.axis).tolist() == [j for _, j, _ in smallest]
    expected = [np.sin(np.pi / 2 + k * np.pi / sides[j] * (x[:, j].astype(np.float64) - 3)) for _, j, k in smallest]
    np.testing.assert_allclose(transform(SpectralHash(bits), run, x), np.stack(expected, axis=1), atol=1e-4)


def test_the_bits_are_the_signs_of_the_eigenvectors_of_a_graph() -> None:
    """An even grid with neighbours joined: the Laplacian's eigenvectors beyond the constant, computed, not looked up."""
    count, bits = 200, 5
    path = 2 * np.eye(count) - np.eye(count, k=1) - np.eye(count, k=-1)
    path[0, 0] = path[-1, -1] = 1
    vectors = np.linalg.eigh(path)[1][:, 1 : bits + 1]
    x = np.arange(count, dtype=np.float32)[:, None]
    codes = transform(SpectralHash(bits), fitted(SpectralHash(bits), x), x)
    same = ((codes > 0) == (vectors * np.sign(vectors[0]) > 0)).mean(axis=0)
    assert (same >= 1 - bits / count).all()  # a sign may change half a step beside


def test_on_an_even_box_bits_are_fair_and_the_longest_axis_has_most() -> None:
    x = box(4.0, 1.0, count=20_000)
    run = fitted(SpectralHash(6), x)
    bits = transform(SpectralHash(6), run, x) > 0
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.02
    together = np.corrcoef(bits.T) - np.eye(6)
    assert np.abs(together).max() < 0.35  # signs of uncorrelated cosines are nearly so: 1/3 for k and 3 k
    assert np.bincount(run.state.axis).tolist() == [5, 1]  # k / 4 = 1/4, 2/4, 3/4, 4/4 (and 1/1), 5/4


def test_the_range_is_of_all_batches_and_of_no_padding() -> None:
    x = box(2.0, 1.0, count=50)
    x[37, 1] = 40  # far out, in one of the batches; its partner in the last, padded one
    x[49, 0] = -7
    state = fitted(SpectralHash(3, batch=16), x).state
    assert np.asarray(state.axis).tolist() == [1, 1, 1]
    np.testing.assert_allclose(state.omega, np.arange(1, 4) * np.pi / 37, rtol=1e-5)
    again = fitted(SpectralHash(3, batch=16), x[:30]).state
    assert float(again.start.min()) == 3


def test_constant_columns_give_constant_bits() -> None:
    x = np.full((20, 2), 5, np.float32)
    codes = transform(SpectralHash(3), fitted(SpectralHash(3), x), x + np.arange(20, dtype=np.float32)[:, None])
    np.testing.assert_array_equal(codes, 1)


def test_the_whole_method_and_its_mistakes() -> None:
    x = np.random.default_rng(0).normal(size=(300, 5)) @ np.random.default_rng(1).normal(size=(5, 5))
    assert mmfeat.fit(spectral_hash(5), x).encode_bits(x).shape == (300, 1)
    assert mmfeat.fit(spectral_hash(24, dims=5), x).encode_bits(x).shape == (300, 3)
    with pytest.raises(ShapeError, match="24 components of rows of 5 columns"):
        mmfeat.fit(spectral_hash(24), x)
    with pytest.raises(SettingsError, match="bits=0"):
        SpectralHash(bits=0)


def test_longer_codes_are_worse_on_mnist(data_folder: Path) -> None:
    """Measured elsewhere: mAP over the whole ranking 0.273 at 16 bits, 0.249 at 64 (1,000 test queries, 60,000 images)."""
    folder = data_folder / "mnist"
    images, queries = (_idx(folder / f"{name}-images-idx3-ubyte.gz", 16, 784) for name in ("train", "t10k"))
    labels, asked = (_idx(folder / f"{name}-labels-idx1-ubyte.gz", 8, 1)[:, 0] for name in ("train", "t10k"))
    chosen = np.random.default_rng(0).permutation(len(queries))[:200]
    relevant = asked[chosen, None] == labels[None, :]
    pca = mmfeat.fit(Pca(64), images / np.float32(255))
    rows, probes = (pca.encode(part / np.float32(255)) for part in (images, queries[chosen]))
    found = {}
    for bits in (16, 64):
        model = mmfeat.fit(SpectralHash(bits), rows[:, :bits])
        codes = (model.encode_bits(part[:, :bits]) for part in (probes, rows))
        found[bits] = mean_average_precision(hamming_distances(*codes).astype(np.uint8), relevant)
    assert found[16] == pytest.approx(0.273, abs=0.015)
    assert found[64] == pytest.approx(0.249, abs=0.015)
    assert found[16] > found[64] + 0.01


def _idx(file: Path, header: int, width: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=header).reshape(-1, width)


def test_the_function_is_not_hidden_by_a_module() -> None:
    """`mmfeat.learners.spectral_hash` would become a module of that name the moment it is imported."""
    import mmfeat.learners.spectral  # noqa: F401
    from mmfeat.learners import spectral_hash as found

    assert callable(found)
