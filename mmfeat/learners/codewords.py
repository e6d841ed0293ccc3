"""What coders have in common: they train as their codebook does, and most of them code a row by its nearest codewords.

    N(x) = the k codewords nearest to x;   code_j(x) = a function of x and the words of N(x) for j in N(x), else 0

`OfCodebook` is the training of such a learner: all of it is the codebook's. `code_nearest` is the search and the dense code in JAX;
the same on the host, without the dense code: `mmfeat/learners/codewords_host.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mmfeat.errors import SettingsError
from mmfeat.learner import Metrics, rows_of
from mmfeat.learners.composed import Composed
from mmfeat.learners.kmeans import KMeans, KMeansState

__all__ = ["OfCodebook", "check_neighbours", "code_nearest", "in_blocks", "nearest_words", "scatter"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_BLOCK_CPU, _BLOCK = (
    2**20,
    2**28,
)  # numbers a block of rows makes on the way: 4 MB stay in a CPU's cache, 1 GB fits a device


class OfCodebook(Composed):
    """A learner of rows or Locals that learns nothing but its field `codebook`, a `KMeans`: its state is that of the codebook."""

    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = KMeans.scratch
    small: ClassVar[Mapping[str, Any]] = {}
    codebook: KMeans

    def init(self, key: Array, x: Array) -> KMeansState:
        """The first codebook, from rows (n, d)."""
        return self.codebook.init(key, x)

    def step(self, key: Array, state: KMeansState, x: Array, weight: Array) -> tuple[KMeansState, Metrics]:
        """A batch of rows (n, d) for the codebook."""
        return self.codebook.step(key, state, x, weight)

    def finish(self, key: Array, state: KMeansState) -> KMeansState:
        """The codebook's end of a pass."""
        return self.codebook.finish(key, state)


def check_neighbours(neighbours: int | None, clusters: int) -> None:
    """SettingsError unless there are so many codewords; None stands for all of them."""
    if neighbours is not None and not 1 <= neighbours <= clusters:
        raise SettingsError(
            "a row is coded by one codeword at least and by those there are at most",
            f"neighbours={neighbours} of {clusters}",
            "5 are usual",
        )


def in_blocks(function: Callable[[Array], Array], x: Array, width: int) -> Array:
    """What a function (b, d) -> (b, k) makes of the rows x (n, d), block after block; it needs `width` numbers a row.

    Block j holds the rows j, j + m, j + 2m, ..., so that a batch laid over several devices stays where it is.
    """
    rows, blocks = x.shape[0], 1
    limit = _BLOCK_CPU if jax.default_backend() == "cpu" else _BLOCK
    while rows % (2 * blocks) == 0 and rows // blocks * width > limit:
        blocks *= 2
    if blocks == 1:
        return function(x)
    parts = x.reshape(rows // blocks, blocks, x.shape[1])

    def block(j: Array) -> Array:
        return function(jax.lax.dynamic_index_in_dim(parts, j, axis=1, keepdims=False))

    out = jax.lax.map(block, jnp.arange(blocks, dtype=jnp.int32))
    return jnp.swapaxes(out, 0, 1).reshape(rows, out.shape[2])


def nearest_words(means: Array, x: Array, k: int) -> Array:
    """The numbers (n, k) int32 of the means (K, d) nearest to the rows x (n, d), from near to far; the first one of equals."""
    origin = means.mean(axis=0)[None, :]  # differences do not care, and float32 keeps more of their digits
    means, x = means - origin, x - origin
    scores = jnp.matmul(x, means.T, precision=_EXACT) - 0.5 * (means * means).sum(axis=1)[None, :]
    return jax.lax.top_k(scores, k)[1]


def scatter(index: Array, value: Array, clusters: int) -> Array:
    """Dense codes (n, K) of the values (n, k) at the places index (n, k), no place twice in a row."""
    rows = jnp.arange(index.shape[0], dtype=jnp.int32)[:, None]
    zeros = jnp.zeros((index.shape[0], clusters), jnp.float32)
    return zeros.at[rows, index].set(value, unique_indices=True)


def code_nearest(means: Array, x: Array, k: int, solve: Callable[[Array, Array], Array]) -> Array:
    """Codes (n, K) float32 of the rows x (n, d): solve(rows (b, d), words (b, k, d)) -> (b, k) at the k nearest means, else 0."""
    clusters, columns = means.shape

    def block(part: Array) -> Array:
        index = nearest_words(means, part, k)
        return scatter(index, solve(part, means[index]), clusters)

    return in_blocks(block, rows_of(x), clusters + k * columns)
