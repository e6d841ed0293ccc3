"""k-means beside FAISS's, and VLAD beside NumPy: measured and stated, nothing is aimed at yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, side_by_side, stated

_ROWS, _COLUMNS, _CLUSTERS, _PASSES = 100_000, 64, 256, 5


def run(work: Path) -> Iterator[Row]:
    """One row each."""
    x = _clusters()
    yield _kmeans(x)
    yield _vlad(x)


def _clusters() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2 * _CLUSTERS, _COLUMNS))
    return (centres[rng.integers(0, len(centres), _ROWS)] + rng.normal(size=(_ROWS, _COLUMNS))).astype(np.float32)


def _faiss(x: np.ndarray) -> Any:
    import faiss

    found = faiss.Kmeans(_COLUMNS, _CLUSTERS, niter=_PASSES, seed=1, max_points_per_centroid=len(x))
    found.train(x)
    return found


def _kmeans(x: np.ndarray) -> Row:
    import faiss

    import mmfeat
    from mmfeat.learners import KMeans

    chain = mmfeat.Chain(KMeans(_CLUSTERS, passes=_PASSES), fit_rows=len(x))
    centres = np.asarray(mmfeat.fit(chain, x).states[0].means)
    errors = [float(np.mean(faiss.knn(x, c, 1)[0])) for c in (centres, _faiss(x).centroids)]
    timing = side_by_side(lambda: mmfeat.fit(chain, x), lambda: _faiss(x), 5)
    note = f"{_PASSES} passes, {_CLUSTERS} clusters, {_COLUMNS} columns; error {errors[0]:.3f} (FAISS {errors[1]:.3f})"
    return stated("k-means", timing, _ROWS * _PASSES, "rows/s", note)


def _vlad(x: np.ndarray) -> Row:
    import faiss

    from mmfeat.arrays import Locals
    from mmfeat.encoder import Encoder
    from mmfeat.learner import default_batches, finished, start, train
    from mmfeat.learners import KMeans, Vlad

    items, count = 200, len(x) // 200
    values = x.reshape(items, count, _COLUMNS)
    where = np.zeros((items, count, 2), np.float32)
    data = Locals(values, where, np.ones((items, count), np.float32))
    learner = Vlad(KMeans(_CLUSTERS, passes=1))
    state = finished(learner, train(learner, start(learner, x), default_batches(learner, x)))
    encoder = Encoder((learner,), (state,))
    centres = np.asarray(state.means)

    def rival() -> np.ndarray:
        out = np.zeros((items, _CLUSTERS, _COLUMNS), np.float32)
        nearest = faiss.knn(x, centres, 1)[1][:, 0]
        np.add.at(out, (np.repeat(np.arange(items), count), nearest), x - centres[nearest])
        out = (np.sign(out) * np.sqrt(np.abs(out))).reshape(items, -1)
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    differ = np.abs(np.asarray(encoder(data)) - rival()).max()
    timing = side_by_side(lambda: np.asarray(encoder(data)), rival, 5)
    note = (
        f"{_CLUSTERS} codewords of {_COLUMNS} columns, {count} locals an item; rival: FAISS's search and numpy.add.at"
    )
    note += f"; largest difference {differ:.0e}"
    return stated("VLAD", timing, len(x), "locals/s", note)
