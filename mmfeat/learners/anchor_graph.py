"""Anchor graphs: rows go where a random walk over the data takes them, so that groups contract and drift apart.

W. Liu, J. Wang, S. Kumar, S.-F. Chang, "Hashing with graphs", ICML 2011 (anchors: eq. 5, 6).
R. Coifman, S. Lafon, "Diffusion maps", Applied and Computational Harmonic Analysis 21, 2006 (walks of t steps).

    Z_ik ∝ exp(-‖x_i - c_k‖² / 2 s²)  for the `neighbours` nearest of the anchors c_k, else 0;   Σ_k Z_ik = 1
    T = Λ⁻¹ Zᵀ Z,   Λ = diag(Σ_k' (ZᵀZ)_kk')     a walk from an anchor over the data to an anchor
    x  →  z(x) T^t C                              where the walk is expected after t steps, from x's anchors on

C (K, d) holds the anchors, the means of k-means; s² is the mean squared distance of a row to its nearest anchor, or what
`width` makes of it. A walk seldom leaves a group that is dense and far from others, whatever the group's shape; after t steps
all rows of a group are near each other. How many groups there are is not asked. Rows never seen go through their nearest
anchors alike: the map is K d numbers, whatever the number of rows was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.errors import SettingsError
from mmfeat.learner import Metrics, rows_of
from mmfeat.learners.composed import Composed
from mmfeat.learners.kmeans import KMeans, KMeansState

__all__ = ["AnchorGraph", "AnchorGraphState"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


class AnchorGraphState(NamedTuple):
    """The anchors and where a walk takes them.

    codebook: k-means' state. spread (): s², from the codebook's last pass.
    walks (K, K): ZᵀZ of this pass so far. places (K, d): T^t C.
    passes (): passes done.
    """

    codebook: KMeansState
    spread: Array
    walks: Array
    places: Array
    passes: Array


@dataclass(frozen=True)
class AnchorGraph(Composed):
    """Rows (n, d) to rows (n, d), smoothed over the graph of the data; put it before a hash or a PCA.

    codebook: the k-means that finds the anchors; one more pass over the data counts the walks.
    neighbours: anchors of a row. width: s² is multiplied by its square. steps: t; 0 leaves rows where their anchors are.
    keep: how much of the row itself stays: where it is above 0, encode is keep x / ‖x‖ + w / ‖w‖ with w = z(x) T^t C. Photographs
        fall into no clear groups; a short walk with keep=1 draws like to like and still tells two of a kind apart.

    >>> import jax, numpy as np
    >>> learner = AnchorGraph(KMeans(3), neighbours=2)
    >>> x = np.eye(4, 5, dtype=np.float32)
    >>> learner.encode(learner.init(jax.random.key(0), x), x).shape
    (4, 5)
    """

    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = (*(f"codebook.{name}" for name in KMeans.scratch), "walks", "passes")
    small: ClassVar[Mapping[str, Any]] = {"neighbours": 2}  # for quick tests
    codebook: KMeans = KMeans(1000)  # noqa: RUF009 - it is frozen
    neighbours: int = 5
    width: float = 1.0
    steps: int = 8
    keep: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.neighbours <= self.codebook.clusters or min(self.steps, self.keep) < 0 or self.width <= 0:
            raise SettingsError(
                "a row has between 1 neighbour and all anchors; steps and keep are not negative; width is above 0",
                f"{self.neighbours} of {self.codebook.clusters} anchors, {self.steps} steps, width={self.width}, keep={self.keep}",
                "5 neighbours and 8 steps are usual",
            )

    @property
    def passes(self) -> int:  # type: ignore[override]
        """Passes over the data: the codebook's, and one more."""
        return self.codebook.passes + 1

    def init(self, key: Array, x: Array) -> AnchorGraphState:
        """The first anchors, from rows (n, d)."""
        codebook = self.codebook.init(key, x)
        anchors = codebook.means.shape[0]
        zeros = jnp.zeros((anchors, anchors), jnp.float32)
        return AnchorGraphState(codebook, jnp.float32(1), zeros, codebook.means, jnp.zeros((), jnp.int32))

    def step(self, key: Array, state: AnchorGraphState, x: Array, weight: Array) -> tuple[AnchorGraphState, Metrics]:
        """A batch (n, d): for the codebook, or in the last pass for the walks."""
        x = jnp.where(weight[:, None] > 0, rows_of(x), jnp.float32(0))

        def learn(state: AnchorGraphState) -> AnchorGraphState:
            return state._replace(codebook=self.codebook.step(key, state.codebook, x, weight)[0])

        def count(state: AnchorGraphState) -> AnchorGraphState:
            z = self._shares(state, x)
            return state._replace(walks=state.walks + jnp.matmul(z.T, weight[:, None] * z, precision=_EXACT))

        learning = state.passes < self.codebook.passes
        state = jax.lax.cond(learning, learn, count, state)
        rows = state.codebook.counts.sum()
        return state, {"distortion": state.codebook.cost / jnp.maximum(rows, 1.0)}

    def finish(self, key: Array, state: AnchorGraphState) -> AnchorGraphState:
        """The codebook's end of a pass; after the last, the walk."""

        def learned(state: AnchorGraphState) -> AnchorGraphState:
            book = state.codebook
            spread = jnp.where(book.counts.sum() > 0, book.cost / jnp.maximum(book.counts.sum(), 1.0), state.spread)
            book = self.codebook.finish(key, book)
            return state._replace(codebook=book, spread=jnp.maximum(spread, 1e-12), places=book.means)

        def counted(state: AnchorGraphState) -> AnchorGraphState:
            return state._replace(places=self._walk(state), walks=jnp.zeros_like(state.walks))

        state = jax.lax.cond(state.passes < self.codebook.passes, learned, counted, state)
        return state._replace(passes=state.passes + 1)

    def encode(self, state: AnchorGraphState, x: Array) -> Array:
        """Rows (n, d) to (n, d) float32: z(x) T^t C, and the rows themselves where something is kept of them."""
        x = rows_of(x)
        walked = jnp.matmul(self._shares(state, x), state.places, precision=_EXACT)
        return self.keep * _unit(x) + _unit(walked) if self.keep else walked

    def _walk(self, state: AnchorGraphState) -> Array:
        """T^t C, by squaring. An anchor that no row is near stays where it is."""
        degree = state.walks.sum(axis=1)
        lone = jnp.diag((degree <= 0).astype(jnp.float32))
        power = state.walks / jnp.where(degree > 0, degree, jnp.float32(1))[:, None] + lone
        places, left = state.codebook.means, self.steps
        while left:
            if left % 2:
                places = jnp.matmul(power, places, precision=_EXACT)
            left //= 2
            power = jnp.matmul(power, power, precision=_EXACT) if left else power
        return places

    def _shares(self, state: AnchorGraphState, x: Array) -> Array:
        """Z (n, K): how much of every row belongs to each anchor; all but its nearest get nothing."""
        means = state.codebook.means
        origin = means.mean(axis=0)[None, :]  # differences do not care, and float32 keeps more of their digits
        means, x = means - origin, x - origin
        scores = jnp.matmul(x, means.T, precision=_EXACT) - 0.5 * (means * means).sum(axis=1)[None, :]
        best = scores.max(axis=1, keepdims=True)
        limit = best
        for _ in range(self.neighbours - 1):  # a few maxima are quicker than sorting, on the CPU
            limit = jnp.where(scores < limit, scores, -jnp.inf).max(axis=1, keepdims=True)
        shares = jnp.where(scores >= limit, jnp.exp((scores - best) / (self.width**2 * state.spread)), jnp.float32(0))
        return shares / shares.sum(axis=1, keepdims=True)


def _unit(x: Array) -> Array:
    """Rows of length 1; zeros stay zeros."""
    length = jnp.sqrt(jnp.square(x).sum(axis=1, keepdims=True))
    return x / jnp.where(length > 0, length, jnp.float32(1))
