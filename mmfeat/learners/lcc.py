"""Local coordinate coding: a row as a combination of anchors, each of which costs more the farther away it is.

K. Yu, T. Zhang, Y. Gong, "Nonlinear learning using local coordinate coding", NIPS 2009.

    min over γ:   E(x, γ, V) = ½ ‖x - Σ_v γ_v v‖² + μ Σ_v |γ_v| ‖v - x‖^(1+p)          (and Σ γ = 1 where `sums_to_one`)

A linear function of γ then approximates any smooth function of x. The sum runs over the k anchors nearest to x (or over all),
the other codes are 0. The anchors V are k-means', or go on from there to lower the mean of E, by turns with the codes: t^((1+p)/2)
lies below its tangents, so with H_xv = μ (1 + p) |γ_v| ‖v - x‖^(p-1) of the old anchors (exact for p = 1)

    (Σ_x γ γᵀ + diag Σ_x H_x) V = Σ_x (γ + H_x) xᵀ                                                          (`finish`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.errors import SettingsError
from mmfeat.learner import Metrics, rows_of
from mmfeat.learners.codewords import check_neighbours, code_nearest, in_blocks
from mmfeat.learners.codewords_host import Csr, as_csr, code_nearest_on_host
from mmfeat.learners.composed import Composed
from mmfeat.learners.kmeans import KMeans, KMeansState
from mmfeat.learners.local_solvers import fista, settle

__all__ = ["Lcc", "LccState"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


class LccState(NamedTuple):
    """The anchors are codebook.means (K, d).

    gram (K, K), pull (K, d), hold (K,), objective (), count (): sums over this pass of w γ γᵀ, of minus the slope of E by V, of
    H, of E, and of w. passes (): the passes done.
    """

    codebook: KMeansState
    gram: Array
    pull: Array
    hold: Array
    objective: Array
    count: Array
    passes: Array


@dataclass(frozen=True)
class Lcc(Composed):
    """Local coordinate coding.

    codebook: the k-means of K clusters that the anchors are, or begin as.
    penalty: μ. p: the exponent is 1 + p; 0 <= p <= 2, or 1 with `refine`. They are for rows whose length is near 1.
    neighbours: k, the anchors a row may use; None is all of them, which is slow.
    sums_to_one: codes do; they do not depend on the origin.
    refine: passes after the codebook's that lower E.
    Metrics: distortion, of the codebook's passes; objective, the mean of E in those after it, with the anchors it began with.

    >>> import jax, numpy as np
    >>> learner = Lcc(KMeans(3), neighbours=2)
    >>> state = learner.init(jax.random.key(0), np.eye(3, dtype=np.float32))
    >>> learner.encode(state, np.eye(3, dtype=np.float32)).shape
    (3, 3)
    """

    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = (
        *(f"codebook.{name}" for name in KMeans.scratch),
        *("gram", "pull", "hold", "objective", "count", "passes"),
    )
    small: ClassVar[Mapping[str, Any]] = {"neighbours": 4, "refine": 1}  # for quick tests
    codebook: KMeans = KMeans(1024)  # noqa: RUF009 - it is frozen
    penalty: float = 0.1
    p: float = 1.0
    neighbours: int | None = 32
    sums_to_one: bool = False
    refine: int = 0

    def __post_init__(self) -> None:
        check_neighbours(self.neighbours, self.codebook.clusters)
        if not (0 < self.penalty < float("inf") and 0 <= self.p <= (1 if self.refine else 2) and self.refine >= 0):
            raise SettingsError(
                "the penalty is above 0, p between 0 and 2 (1 where anchors are refined), and refine not below 0",
                f"penalty={self.penalty}, p={self.p}, refine={self.refine}",
                "0.1, 1 and 0 are usual",
            )

    @property
    def passes(self) -> int:  # type: ignore[override]
        """Passes over the data: the codebook's and those that refine its means."""
        return self.codebook.passes + self.refine

    def init(self, key: Array, x: Array) -> LccState:
        """The first anchors, from rows (n, d)."""
        book = self.codebook.init(key, x)
        (clusters, _), zero = book.means.shape, jnp.float32(0)
        gram = jnp.zeros((clusters, clusters) if self.refine else (0, 0), jnp.float32)
        hold = jnp.zeros(clusters, jnp.float32)
        return LccState(book, gram, jnp.zeros_like(book.means), hold, zero, zero, jnp.int32(0))

    def step(self, key: Array, state: LccState, x: Array, weight: Array) -> tuple[LccState, Metrics]:
        """A batch (n, d): for the codebook, or after its passes for the sums that move the anchors."""
        x = jnp.where(weight[:, None] > 0, rows_of(x), jnp.float32(0))

        def learn(state: LccState) -> LccState:
            return state._replace(codebook=self.codebook.step(key, state.codebook, x, weight)[0])

        def gather(state: LccState) -> LccState:
            return self._gather(state, x, weight)

        learning = state.passes < self.codebook.passes
        state = jax.lax.cond(learning, learn, gather, state) if self.refine else learn(state)
        book = state.codebook
        return state, {
            "distortion": book.cost / jnp.maximum(book.counts.sum(), 1.0),
            "objective": state.objective / jnp.maximum(state.count, 1.0),
        }

    def _gather(self, state: LccState, x: Array, weight: Array) -> LccState:
        """The sums of a batch, with the codes of the anchors as they are."""
        means, w = state.codebook.means, weight[:, None]
        codes = self.encode(state, x)
        squares = _squares(means, x)
        rest = w * (x - jnp.matmul(codes, means, precision=_EXACT))
        cost = self.penalty * (jnp.abs(codes) * squares ** (0.5 * (1 + self.p))).sum(axis=1)
        spread = jnp.square(means - means.mean(axis=0)[None, :]).sum(axis=1).mean()
        floor = jnp.maximum(
            1e-6 * spread, jnp.finfo(jnp.float32).tiny
        )  # an anchor that is x itself would pull without end
        pull = self.penalty * (1 + self.p) * w * jnp.abs(codes) * jnp.maximum(squares, floor) ** (0.5 * (self.p - 1))
        hold, origin = pull.sum(axis=0), means.mean(axis=0)[None, :]
        towards = jnp.matmul(pull.T, x - origin, precision=_EXACT) - hold[:, None] * (means - origin)
        return state._replace(
            gram=state.gram + jnp.matmul(codes.T, w * codes, precision=_EXACT),
            pull=state.pull + jnp.matmul(codes.T, rest, precision=_EXACT) + towards,
            hold=state.hold + hold,
            objective=state.objective
            + 0.5 * (rest * (x - jnp.matmul(codes, means, precision=_EXACT))).sum()
            + weight @ cost,
            count=state.count + weight.sum(),
        )

    def finish(self, key: Array, state: LccState) -> LccState:
        """The codebook's end of a pass, or the anchors' move; one that no row used stays."""

        def learned(state: LccState) -> LccState:
            return state._replace(codebook=self.codebook.finish(key, state.codebook))

        def moved(state: LccState) -> LccState:
            used = state.hold > 0
            ridge = jnp.where(used, state.hold + 1e-6 * jnp.diag(state.gram), 1.0)
            shift = jax.scipy.linalg.solve(state.gram + jnp.diag(ridge), state.pull, assume_a="pos")
            means = state.codebook.means + jnp.where(used[:, None], shift, 0.0)
            return state._replace(codebook=state.codebook._replace(means=means))

        if not self.refine:
            return learned(state)._replace(passes=state.passes + 1)
        state = jax.lax.cond(state.passes < self.codebook.passes, learned, moved, state)
        zeros: Any = {
            name: jnp.zeros_like(getattr(state, name)) for name in ("gram", "pull", "hold", "objective", "count")
        }
        return state._replace(**zeros, passes=state.passes + 1)

    def prototypes(self, state: LccState) -> Array:
        """The anchors (K, d)."""
        return state.codebook.means

    def encode(self, state: LccState, x: Array) -> Array:
        """Rows (n, d) to codes (n, K) float32."""
        means = state.codebook.means
        if self.neighbours is None:
            return self._over_all(means, rows_of(x))
        return code_nearest(means, x, self.neighbours, self._codes)

    def _codes(self, x: Array, words: Array) -> Array:
        """The codes (b, k) of the rows x (b, d) over words (b, k, d)."""
        gaps = words - x[:, None, :]
        w = self.penalty * (gaps * gaps).sum(axis=2) ** (0.5 * (1 + self.p))
        words = gaps if self.sums_to_one else words  # from x as their origin: x itself is 0 there
        C = jnp.einsum("nid,njd->nij", words, words, precision=_EXACT)
        b = jnp.zeros_like(w) if self.sums_to_one else jnp.einsum("nid,nd->ni", words, x, precision=_EXACT)

        def times(y: Array) -> Array:
            return jnp.einsum("nij,nj->ni", C, y, precision=_EXACT)

        codes = fista(times, b, w, jnp.abs(C).sum(axis=2).max(axis=1, keepdims=True), self.sums_to_one)
        return settle(C, b, w, codes, self.sums_to_one)

    def _over_all(self, means: Array, x: Array) -> Array:
        """Codes (n, K) over all anchors; one C for all rows."""
        means, x = (
            (means - means.mean(axis=0)[None, :], x - means.mean(axis=0)[None, :]) if self.sums_to_one else (means, x)
        )
        C = jnp.matmul(means, means.T, precision=_EXACT)
        largest = jnp.abs(C).sum(axis=1).max()

        def codes(part: Array) -> Array:
            w = self.penalty * _squares(means, part) ** (0.5 * (1 + self.p))
            b = jnp.matmul(part, means.T, precision=_EXACT)
            bound = jnp.broadcast_to(largest, (part.shape[0], 1))
            return fista(lambda y: jnp.matmul(y, C, precision=_EXACT), b, w, bound, self.sums_to_one)

        return in_blocks(codes, x, 4 * len(means))

    def host_sparse(self, state: LccState, x: np.ndarray) -> Csr:
        """The non-zeros of `encode` (CSR), on the host; over all anchors they are those of the JAX path."""
        means = state.codebook.means
        if self.neighbours is None:
            codes = np.asarray(self.encode(state, x))
            return as_csr(np.broadcast_to(np.arange(codes.shape[1], dtype=np.int32), codes.shape), codes)
        from mmfeat.learners._local_kernels import code_rows  # imports numba

        settings = float(self.penalty), float(1 + self.p), self.sums_to_one
        return as_csr(*code_nearest_on_host(means, x, self.neighbours, lambda *block: code_rows(*block, *settings)))


def _squares(means: Array, x: Array) -> Array:
    """The squared distances (n, K) of rows (n, d) to means (K, d)."""
    origin = means.mean(axis=0)[None, :]  # differences do not care, and float32 keeps more of their digits
    means, x = means - origin, x - origin
    products = 2 * jnp.matmul(x, means.T, precision=_EXACT)
    return jnp.maximum((means * means).sum(axis=1)[None, :] - products + (x * x).sum(axis=1)[:, None], 0.0)
