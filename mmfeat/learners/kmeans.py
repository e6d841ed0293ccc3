"""K-means: Lloyd's algorithm, one pass over the data for each move of the means.

S. Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28, 1982.
D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007 (the start).

    minimise  D = 1/n Σ_i min_k ‖x_i - c_k‖²
    k(i) = argmin_k ‖x_i - c_k‖² = argmax_k x_iᵀ c_k - ‖c_k‖² / 2          (every step)
    c_k  = mean of the rows with k(i) = k                                   (`finish`)

A mean that got no row takes the place of one of the rows that lie farthest from theirs, as in scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import Learner, Metrics, rows_of

__all__ = ["KMeans", "KMeansState", "nearest", "sum_by"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_BLOCK = 2**20  # scores of one product on the CPU: 4 MB stay in the cache until their maximum is found
_SPARE = 16  # empty means that can be placed anew after one pass


class KMeansState(NamedTuple):
    """The means, and what this pass has gathered.

    means (K, d). sums (K, d), counts (K,): of w (x - c) and of w per mean; differences keep the digits that rows far from the
    origin would lose. cost (): sum of w ‖x - c‖².
    far (16, d), distance (16,): the rows farthest from their means, and how far (squared); -1 where there is none yet.
    """

    means: Array
    sums: Array
    counts: Array
    cost: Array
    far: Array
    distance: Array


def _nearest(means: Array, x: Array) -> tuple[Array, Array]:
    """The nearest mean of every row and its squared distance. A maximum and a comparison: XLA's argmax is slow on the CPU."""
    scores = jnp.matmul(x, means.T, precision=_EXACT) - 0.5 * (means * means).sum(axis=1)[None, :]
    best = scores.max(axis=1)
    numbers = jnp.arange(means.shape[0], dtype=jnp.int32)[None, :]
    codes = jnp.where(scores >= best[:, None], numbers, jnp.int32(means.shape[0] - 1)).min(axis=1)
    return codes, jnp.maximum((x * x).sum(axis=1) - 2 * best, 0.0)


def nearest(means: Array, x: Array) -> tuple[Array, Array]:
    """The nearest of the means (K, d) to every row of x (n, d), the first one of equals: codes (n,) int32, squared distances (n,).

    On the CPU the rows go through in blocks; block j holds the rows j, j + b, j + 2b, ..., so that a batch laid over several
    devices stays where it is.
    """
    origin = means.mean(axis=0)[None, :]  # differences do not care, and float32 keeps more of their digits
    means, rows, blocks = means - origin, x.shape[0], 1
    if jax.default_backend() == "cpu":
        while rows % (2 * blocks) == 0 and rows // blocks * means.shape[0] > _BLOCK:
            blocks *= 2
    if blocks == 1:
        return _nearest(means, x - origin)
    parts = x.reshape(rows // blocks, blocks, x.shape[1])

    def block(j: Array) -> tuple[Array, Array]:
        return _nearest(means, jax.lax.dynamic_index_in_dim(parts, j, axis=1, keepdims=False) - origin)

    codes, distances = jax.lax.map(block, jnp.arange(blocks, dtype=jnp.int32))
    return codes.T.reshape(rows), distances.T.reshape(rows)


def _scatter(codes: Array, x: Array, weight: Array, clusters: int) -> Array:
    return jax.ops.segment_sum(x * weight[:, None], codes, clusters)


def _product(codes: Array, x: Array, weight: Array, clusters: int) -> Array:
    members = jnp.where(
        codes[:, None] == jnp.arange(clusters, dtype=jnp.int32)[None, :], weight[:, None], jnp.float32(0)
    )
    return jnp.matmul(members.T, x, precision=_EXACT)


def sum_by(codes: Array, x: Array, weight: Array, clusters: int) -> Array:
    """Weighted sums (clusters, d) of the rows x (n, d) that share a code. A scatter on the CPU, a product elsewhere.

    Accelerators scatter in no fixed order: the product gives the same bits every time.
    """
    cpu, default = partial(_scatter, clusters=clusters), partial(_product, clusters=clusters)
    return jax.lax.platform_dependent(codes, x, weight, cpu=cpu, default=default)


def _plus_plus(key: Array, x: Array, clusters: int) -> Array:
    """Means (clusters, d) among the rows x (n, d), each drawn with probability ∝ its squared distance to those drawn before.

    Up to 127 means are drawn one by one, more of them clusters // 64 at a time (without replacement, by the Gumbel trick).
    """
    x, origin = x - x.mean(axis=0)[None, :], x.mean(axis=0)
    together = max(1, clusters // 64)
    rounds = -(-clusters // together)
    squares = (x * x).sum(axis=1)

    def draw(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        means, distance = carry
        noise = jax.random.gumbel(jax.random.fold_in(key, i), distance.shape, jnp.float32)
        new = x[jax.lax.top_k(jnp.log(distance) + noise, together)[1]]
        gaps = (new * new).sum(axis=1)[None, :] - 2 * jnp.matmul(x, new.T, precision=_EXACT)
        distance = jnp.minimum(distance, jnp.maximum(squares + gaps.min(axis=1), 0.0))
        return jax.lax.dynamic_update_slice(means, new, (i * together, jnp.int32(0))), distance

    empty = jnp.zeros((rounds * together, x.shape[1]), jnp.float32)
    everywhere = jnp.full(x.shape[0], jnp.finfo(jnp.float32).max)  # the first one is drawn evenly
    means, _ = jax.lax.fori_loop(jnp.int32(0), jnp.int32(rounds), draw, (empty, everywhere))
    return means[:clusters] + origin[None, :]


@dataclass(frozen=True)
class KMeans(Learner):
    """K-means clustering; encode is hard vector quantisation, one of K.

    clusters: K. passes: moves of the means. batch: rows per step.
    Metrics: distortion, the mean squared distance of this pass so far to the means it began with.

    >>> import jax, numpy as np
    >>> state = KMeans(clusters=2).init(jax.random.key(0), np.eye(3, dtype=np.float32))
    >>> KMeans(clusters=2).encode(state, np.eye(3, dtype=np.float32)).shape
    (3, 2)
    """

    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = ("sums", "counts", "cost", "far", "distance")
    clusters: int = 256
    passes: int = 10
    batch: int = 4096

    def __post_init__(self) -> None:
        if self.clusters < 1 or self.passes < 1:
            raise SettingsError(
                "k-means has at least one cluster and one pass",
                f"clusters={self.clusters}, passes={self.passes}",
                "give positive numbers",
            )

    @property
    def init_rows(self) -> int:  # type: ignore[override]
        """Rows among which the first means are drawn: two for each of them at the least."""
        return max(16_384, 2 * self.clusters)

    def init(self, key: Array, x: Array) -> KMeansState:
        """Means drawn from the rows (n, d) by k-means++."""
        x = rows_of(x)
        if x.shape[0] < self.clusters:
            raise ShapeError(
                "k-means starts from at least as many rows as clusters",
                f"{x.shape[0]} rows for {self.clusters} clusters",
                "set fewer clusters or give more data",
            )
        means = _plus_plus(key, x, self.clusters)
        spare = (min(_SPARE, self.clusters), x.shape[1])
        return KMeansState(
            means=means,
            sums=jnp.zeros_like(means),
            counts=jnp.zeros(self.clusters, jnp.float32),
            cost=jnp.float32(0),
            far=jnp.zeros(spare, jnp.float32),
            distance=jnp.full(spare[0], -1, jnp.float32),
        )

    def step(self, key: Array, state: KMeansState, x: Array, weight: Array) -> tuple[KMeansState, Metrics]:
        """Add a batch (n, d) to the sums of the nearest means."""
        x = jnp.where(weight[:, None] > 0, rows_of(x), jnp.float32(0))
        codes, distances = nearest(state.means, x)
        sums = state.sums + sum_by(codes, x - state.means[codes], weight, self.clusters)
        counts = state.counts + sum_by(codes, jnp.ones_like(x[:, :1]), weight, self.clusters)[:, 0]
        cost = state.cost + jnp.vdot(weight, distances)
        known = jnp.concatenate([state.distance, jnp.where(weight > 0, distances, jnp.float32(-1))])
        distance, places = jax.lax.top_k(known, state.distance.shape[0])
        spare = state.distance.shape[0]
        old, new = state.far[jnp.minimum(places, spare - 1)], x[jnp.maximum(places - spare, 0)]
        far = jnp.where((places < spare)[:, None], old, new)
        metrics = {"distortion": cost / jnp.maximum(counts.sum(), 1.0)}
        return KMeansState(state.means, sums, counts, cost, far, distance), metrics

    def finish(self, key: Array, state: KMeansState) -> KMeansState:
        """Move every mean to the middle of its rows; a mean without rows to the next of the farthest rows."""
        empty = state.counts == 0
        spare = state.distance.shape[0]
        number = jnp.cumsum(empty.astype(jnp.int32)) - 1
        place = jnp.clip(number, 0, spare - 1)
        moved = empty & (number < spare) & (state.distance[place] > 0)
        means = state.means + state.sums / jnp.where(empty, jnp.float32(1), state.counts)[:, None]
        means = jnp.where(moved[:, None], state.far[place], means)
        return KMeansState(
            means=means,
            sums=jnp.zeros_like(state.sums),
            counts=jnp.zeros_like(state.counts),
            cost=jnp.zeros_like(state.cost),
            far=jnp.zeros_like(state.far),
            distance=jnp.full_like(state.distance, -1),
        )

    def assign(self, state: KMeansState, x: Array) -> Array:
        """The number (n,) int32 of the nearest mean of every row (n, d)."""
        return nearest(state.means, rows_of(x))[0]

    def encode(self, state: KMeansState, x: Array) -> Array:
        """Rows (n, d) to (n, K) float32: 1 at the nearest mean, 0 elsewhere."""
        return jax.nn.one_hot(self.assign(state, x), self.clusters, dtype=jnp.float32)
