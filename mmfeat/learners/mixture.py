"""A mixture of Gaussians with diagonal covariances, by expectation-maximisation over a stream.

A. Dempster, N. Laird, D. Rubin, "Maximum likelihood from incomplete data via the EM algorithm", J. R. Stat. Soc. B 39, 1977.
O. Cappé, E. Moulines, "On-line expectation-maximization algorithm for latent data models", J. R. Stat. Soc. B 71, 2009.

    p(x) = Σ_k π_k N(x; μ_k, diag σ²_k)
    q_k(x) = π_k N(x; μ_k, σ²_k) / p(x)                                             (E: every step)
    S⁰_k = Σ q_k,  S¹_k = Σ q_k x,  S²_k = Σ q_k x²                                 (gathered over a pass)
    π_k = S⁰_k / n,  μ_k = S¹_k / S⁰_k,  σ²_k = S²_k / S⁰_k - μ_k²                  (M: `finish`)

Online, S ← (1 - γ_t) S + γ_t S(batch) / n(batch) with γ_t = (t + 2)^-κ, and M after every step. It starts from k-means.

All of it is done on u = (x - origin) / scale, where a difference of squares keeps its digits, and in two products:
log π_k N(x; ...) = [u, u²] · [μ / σ², -1 / 2σ²] + a constant, and [S¹, S²] = qᵀ [u, u²].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import Learner, Metrics, rows_of
from mmfeat.learners.kmeans import KMeans, nearest, sum_by

__all__ = ["Mixture", "MixtureState", "posteriors", "powers"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_LEAST = 1e-10  # the least share of a component: one that no row chooses keeps its place, and its logarithm


class MixtureState(NamedTuple):
    """The mixture, and what has been gathered.

    means, variances (K, d); weights (K,), their sum 1. origin, scale (d,): u = (x - origin) / scale.
    counts (K,): sum of q. sums (K, 2 d): of q [u, u²]. cost (): of log p(x). Online they are averages, not sums.
    steps () int32: batches with rows so far.
    """

    means: Array
    variances: Array
    weights: Array
    origin: Array
    scale: Array
    counts: Array
    sums: Array
    cost: Array
    steps: Array


def powers(state: MixtureState, x: Array) -> Array:
    """[u, u²] (n, 2 d) of rows x (n, d), u = (x - origin) / scale."""
    u = (x - state.origin[None, :]) / state.scale[None, :]
    return jnp.concatenate([u, u * u], axis=1)


def posteriors(state: MixtureState, u: Array) -> tuple[Array, Array]:
    """Of `powers` u (n, 2 d): q (n, K), the probability of each component given the row, and log p(x) (n,)."""
    means = (state.means - state.origin[None, :]) / state.scale[None, :]
    precisions = state.scale[None, :] ** 2 / state.variances
    matrix = jnp.concatenate([means * precisions, -0.5 * precisions], axis=1)
    inner = jnp.log(state.weights) - 0.5 * (jnp.log(2 * np.pi * state.variances) + means**2 * precisions).sum(axis=1)
    scores = jnp.matmul(u, matrix.T, precision=_EXACT) + inner[None, :]
    best = scores.max(axis=1)
    shares = jnp.exp(scores - best[:, None])
    total = shares.sum(axis=1)
    return shares / total[:, None], best + jnp.log(total)


@dataclass(frozen=True)
class Mixture(Learner):
    """Mixture of Gaussians with diagonal covariances; encode gives the probabilities of its components.

    components: K. floor: the least variance, as a share of the column's variance over all rows.
    online: the exponent κ of stepwise EM, 0.6 to 1 (one or two passes are enough); None: one M step for each pass.
    start: moves of the k-means before, on the rows that `init` sees. passes: over the data. batch: rows per step.
    Metrics: log_likelihood, the mean of log p(x): of this pass so far, online of the batch.

    >>> import jax, numpy as np
    >>> learner, x = Mixture(components=2), np.eye(3, dtype=np.float32)
    >>> learner.encode(learner.init(jax.random.key(0), x), x).shape
    (3, 2)
    """

    scratch: ClassVar[tuple[str, ...]] = ("counts", "sums", "cost", "steps")
    components: int = 256
    floor: float = 1e-3
    online: float | None = None
    start: int = 10
    passes: int = 20
    batch: int = 4096

    def __post_init__(self) -> None:
        if self.components < 1 or self.passes < 1 or self.start < 0:
            raise SettingsError(
                "a mixture has at least one component and one pass, and no fewer than 0 moves before",
                f"components={self.components}, passes={self.passes}, start={self.start}",
                "give positive numbers",
            )
        if not 0 < self.floor < 1:
            raise SettingsError("the floor of the variances is a share in (0, 1)", f"floor={self.floor}", "try 1e-3")
        if self.online is not None and not 0.5 < self.online <= 1:
            raise SettingsError(
                "stepwise EM converges with an exponent in (0.5, 1]", f"online={self.online}", "try 0.7, or None"
            )

    @property
    def shuffle(self) -> bool:  # type: ignore[override]
        """Only online does the order of the rows count."""
        return self.online is not None

    @property
    def init_rows(self) -> int:  # type: ignore[override]
        """Rows that k-means starts from: 64 for each component."""
        return max(16_384, 64 * self.components)

    def init(self, key: Array, x: Array) -> MixtureState:
        """The mixture of the clusters that k-means finds in the rows (n, d)."""
        x = rows_of(x)
        origin, deviation = x.mean(axis=0), x.std(axis=0)
        scale = jnp.where(deviation > 0, deviation, jnp.float32(1))
        state = self.given(jnp.ones(self.components), x[:1] * jnp.ones((self.components, 1)), scale**2, origin, scale)
        kmeans, ones = KMeans(self.components), jnp.ones(x.shape[0], jnp.float32)
        u = powers(state, x)
        rows = u[:, : x.shape[1]]

        def move(_: Array, book: Any) -> Any:
            return kmeans.finish(key, kmeans.step(key, book, rows, ones)[0])

        means = jax.lax.fori_loop(jnp.int32(0), jnp.int32(self.start), move, kmeans.init(key, rows)).means
        codes, distances = nearest(means, rows)
        counts = sum_by(codes, jnp.ones_like(rows[:, :1]), ones, self.components)[:, 0]
        # each cluster with one row more, at its mean and as wide as the others: a cluster of one row has a width too
        width = jnp.full_like(means, distances.mean() / x.shape[1]) + means**2
        sums = sum_by(codes, u, ones, self.components) + jnp.concatenate([means, width], axis=1)
        state = self._maximise(state._replace(counts=counts + 1, sums=sums))
        return self._emptied(state) if self.online is None else self._averaged(state)

    def given(
        self, weights: Array, means: Array, variances: Array, origin: Array = 0.0, scale: Array = 1.0
    ) -> MixtureState:
        """The state of a mixture that is known: weights (K,), means and variances (K, d).

        origin and scale (d,), or one number: anything near the data's mean and standard deviations keeps the most digits.
        """
        means, weights = jnp.asarray(means, jnp.float32), jnp.asarray(weights, jnp.float32)
        if means.ndim != 2 or means.shape[0] != self.components or weights.shape != means.shape[:1]:
            raise ShapeError(
                f"{self.components} components have as many weights and means",
                f"weights {weights.shape}, means {means.shape}",
                "give weights (K,), means (K, d), variances (K, d)",
            )
        columns = means.shape[1]
        return MixtureState(
            means=means,
            variances=jnp.broadcast_to(jnp.asarray(variances, jnp.float32), means.shape),
            weights=weights / weights.sum(),
            origin=jnp.broadcast_to(jnp.asarray(origin, jnp.float32), (columns,)),
            scale=jnp.broadcast_to(jnp.asarray(scale, jnp.float32), (columns,)),
            counts=jnp.zeros(self.components, jnp.float32),
            sums=jnp.zeros((self.components, 2 * columns), jnp.float32),
            cost=jnp.float32(0),
            steps=jnp.int32(0),
        )

    def step(self, key: Array, state: MixtureState, x: Array, weight: Array) -> tuple[MixtureState, Metrics]:
        """Add a batch (n, d) to the sums; online, move the mixture."""
        u = powers(state, jnp.where(weight[:, None] > 0, rows_of(x), jnp.float32(0)))
        q, likelihood = posteriors(state, u)
        q = q * weight[:, None]
        counts, sums = q.sum(axis=0), jnp.matmul(q.T, u, precision=_EXACT)
        cost, mass = jnp.vdot(weight, likelihood), weight.sum()
        steps = state.steps + (mass > 0).astype(jnp.int32)
        if self.online is None:
            counts, sums, cost = state.counts + counts, state.sums + sums, state.cost + cost
            state = state._replace(counts=counts, sums=sums, cost=cost, steps=steps)
            return state, {"log_likelihood": cost / jnp.maximum(counts.sum(), 1.0)}
        share = jnp.where(mass > 0, (state.steps.astype(jnp.float32) + 2) ** -self.online, jnp.float32(0))
        batch = share / jnp.maximum(mass, jnp.float32(1e-30))
        counts = (1 - share) * state.counts + batch * counts
        sums = (1 - share) * state.sums + batch * sums
        state = state._replace(counts=counts, sums=sums, cost=(1 - share) * state.cost + batch * cost, steps=steps)
        moved = self._maximise(state)
        state = jax.tree.map(lambda new, old: jnp.where(mass > 0, new, old), moved, state)
        return state, {"log_likelihood": cost / jnp.maximum(mass, 1.0)}

    def finish(self, key: Array, state: MixtureState) -> MixtureState:
        """The M step of a pass; online it has been made already."""
        return state if self.online is not None else self._emptied(self._maximise(state))

    def _maximise(self, state: MixtureState) -> MixtureState:
        """The mixture of the sums. A component without rows stays where it was."""
        total = state.counts.sum()
        known = state.counts > _LEAST * total
        first, second = jnp.split(state.sums / jnp.where(known, state.counts, jnp.float32(1))[:, None], 2, axis=1)
        variances = jnp.maximum(second - first**2, self.floor) * state.scale[None, :] ** 2
        shares = jnp.maximum(state.counts / jnp.where(total > 0, total, jnp.float32(1)), _LEAST)
        means = first * state.scale[None, :] + state.origin[None, :]
        return state._replace(
            means=jnp.where(known[:, None], means, state.means),
            variances=jnp.where(known[:, None], variances, state.variances),
            weights=jnp.where(total > 0, shares / shares.sum(), state.weights),
        )

    @staticmethod
    def _emptied(state: MixtureState) -> MixtureState:
        zeros = jax.tree.map(jnp.zeros_like, (state.counts, state.sums, state.cost))
        return state._replace(counts=zeros[0], sums=zeros[1], cost=zeros[2])

    @staticmethod
    def _averaged(state: MixtureState) -> MixtureState:
        total = state.counts.sum()
        return state._replace(counts=state.counts / total, sums=state.sums / total)

    def encode(self, state: MixtureState, x: Array) -> Array:
        """Rows (n, d) to the probabilities (n, K) float32 of the components."""
        return posteriors(state, powers(state, rows_of(x)))[0]
