"""Fisher vectors beside VLFeat's and scikit-image's; super-vectors and VLAD beside FAISS's search and numpy.add.at."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, missing, side_by_side, speed, stated

_ITEMS, _LOCALS, _WORDS = 16, 2000, 256


def run(work: Path) -> Iterator[Row]:
    """One row for each rival."""
    yield from _fisher(64)
    yield from _residuals(128)


def _data(columns: int) -> tuple[Any, np.ndarray]:
    """Locals of clusters, and the middles of half of these."""
    from mmfeat.arrays import Locals

    rng = np.random.default_rng(0)
    middles = rng.normal(size=(2 * _WORDS, columns)).astype(np.float32)
    shape = (_ITEMS, _LOCALS)
    values = middles[rng.integers(0, len(middles), shape)] + rng.normal(size=(*shape, columns)).astype(np.float32)
    return Locals(values, rng.random((*shape, 2), np.float32), np.ones(shape, np.float32)), middles[:_WORDS]


def _ours(learner: Any, state: Any, x: Any) -> Callable[[], np.ndarray]:
    from mmfeat.encoder import Encoder

    encoder = Encoder((learner,), (state,))
    return lambda: np.asarray(encoder(x))


def _fisher(columns: int) -> Iterator[Row]:
    from mmfeat.learners import Fisher, Mixture

    x, means = _data(columns)
    mixture = Mixture(_WORDS)
    weights, variances = np.full(_WORDS, 1 / _WORDS, np.float32), np.ones_like(means)
    state = mixture.given(weights, means, variances)
    work = _ITEMS * _LOCALS
    about = f"{_WORDS} components, {columns} columns, {_LOCALS} locals an item"
    ours = _ours(Fisher(mixture), state, x)
    try:
        theirs = _vlfeat(x.values, weights, means, variances)
    except OSError as error:
        yield missing("Fisher vector, VLFeat", f"libvl is not here: {error}")
    else:
        note = f"{about}; largest difference {np.abs(ours() - theirs()).max():.0e}"
        yield speed("Fisher vector, VLFeat", side_by_side(ours, theirs, 5), work, 12, "locals/s", note)
    full = _ours(Fisher(mixture, weights=True), state, x)
    theirs = _scikit_image(x.values, weights, means, variances)
    other = theirs()
    other[:, _WORDS + means.size :] *= -1  # its gradient of the deviations has the other sign
    note = f"{about}; largest difference {np.abs(full() - other).max():.0e}"
    yield speed("Fisher vector, scikit-image", side_by_side(full, theirs, 5), work, 1, "locals/s", note)
    plain = _ours(Fisher(mixture, ((1, 1), (2, 2))), state, x)
    note = f"{about}; beside it the whole item alone"
    yield stated("Fisher vector of 1 and 2 x 2 regions", side_by_side(plain, ours, 5), work, "locals/s", note)


def _vlfeat(values: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> Callable[[], Any]:
    """vl_fisher_encode of fisher.h, improved (flags 1 + 2), of float32 (type 1)."""
    library = ctypes.CDLL(ctypes.util.find_library("vl") or "libvl.so.1")
    encode = library.vl_fisher_encode
    size, pointer = ctypes.c_uint64, ctypes.c_void_p
    encode.argtypes = [pointer, ctypes.c_uint32, pointer, size, size, pointer, pointer, pointer, size, ctypes.c_int]
    encode.restype = size

    def theirs() -> np.ndarray:
        out = np.zeros((len(values), 2 * means.size), np.float32)
        for row, item in zip(out, values, strict=True):
            mixture = (means.ctypes.data, means.shape[1], means.shape[0], variances.ctypes.data, weights.ctypes.data)
            encode(row.ctypes.data, 1, *mixture, item.ctypes.data, len(item), 3)
        return out

    return theirs


def _scikit_image(
    values: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray
) -> Callable[[], Any]:
    from skimage.feature import fisher_vector
    from sklearn.mixture import GaussianMixture

    gmm = GaussianMixture(len(means), covariance_type="diag")
    gmm.weights_, gmm.means_, gmm.covariances_ = weights, means, variances
    gmm.precisions_cholesky_ = 1 / np.sqrt(variances)
    return lambda: np.stack([fisher_vector(item, gmm, improved=True) for item in values])


def _residuals(columns: int) -> Iterator[Row]:
    import faiss
    import jax

    from mmfeat.learners import KMeans, SuperVector, Vlad

    x, means = _data(columns)
    state = KMeans(_WORDS).init(jax.random.key(0), x.values.reshape(-1, columns))._replace(means=means)
    rows = np.repeat(np.arange(_ITEMS), _LOCALS)

    def sums() -> np.ndarray:
        flat = x.values.reshape(-1, columns)
        nearest = faiss.knn(flat, means, 1)[1][:, 0]
        out = np.zeros((_ITEMS, _WORDS, columns), np.float32)
        np.add.at(out, (rows, nearest), flat - means[nearest])
        return out.reshape(_ITEMS, -1)

    about = f"{_WORDS} codewords, {columns} columns, {_LOCALS} locals an item; rival: FAISS's search and numpy.add.at"
    ours = _ours(Vlad(KMeans(_WORDS), power=1.0, norm="none"), state, x)
    note = f"{about}; largest difference {np.abs(ours() - sums()).max():.0e}"
    yield stated("VLAD, its sums", side_by_side(ours, sums, 5), len(rows), "locals/s", note)
    ours = _ours(SuperVector(KMeans(_WORDS), norm="none"), state, x)
    yield stated("super-vector", side_by_side(ours, sums, 5), len(rows), "locals/s", f"{about}, without the shares")
