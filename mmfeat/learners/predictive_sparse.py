"""Predictive sparse decomposition: an encoder that gives sparse codes in one pass, learned together with the dictionary.

K. Kavukcuoglu, M. Ranzato, Y. LeCun, "Fast inference in sparse coding algorithms with applications to object recognition", 2008.
K. Gregor, Y. LeCun, "Learning fast approximations of sparse coding", ICML 2010 (the encoder "shrink").

    z*  = argmin_z ½ ‖x - z φ‖² + λ ‖z‖₁ + α/2 ‖z - F(x)‖²           (PSD, eq. 4: a LASSO with the Gram matrix φ φᵀ + α I)
    F   ← F down the gradient of α/2 ‖z* - F(x)‖²;   φ ← a round over the atoms for the codes z*
    "tanh":    F(x) = g · tanh(x W + b)
    "shrink":  z_0 = S(x W, θ),  z_k = S(x W + z_{k-1} M, θ), k = 1 ... layers - 1,  F = z_{layers - 1};  S as in `mmfeat.lasso`

That gradient is the slope at F(x) of the least value over z, the Moreau envelope of the LASSO's objective: the encoder itself goes
down the objective. "shrink" begins as so many steps of ISTA: W = φᵀ/L, M = I - G/L, θ = λ/L. Its codes are 0 where they are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.lasso import fista, largest_eigenvalue, objective, shrink
from mmfeat.learner import Metrics, rows_of
from mmfeat.learners.composed import Composed
from mmfeat.learners.dictionary import Dictionary, DictionaryState
from mmfeat.optimise import OPTIMISERS, SCHEDULES, advance, check_choices, check_numbers, descend, direction, rate

__all__ = ["PredictiveSparse", "PredictiveSparseState"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


class PredictiveSparseState(NamedTuple):
    """The dictionary's state, the encoder's arrays by name, optax's state, and the passes done ()."""

    dictionary: DictionaryState
    encoder: Mapping[str, Array]
    optimiser: Any
    passes: Array


@dataclass(frozen=True)
class PredictiveSparse(Composed):
    """An encoder of sparse codes; encode is the encoder alone, no minimisation.

    dictionary: the dictionary that is learned beside it: its size, λ, passes and batch are those of the whole.
    encoder: "shrink" or "tanh". layers: products in a row of "shrink". alpha: α; the larger, the nearer codes keep to the encoder.
    optimiser, learning_rate, schedule: of the encoder, as in `Autoencoder`.
    Metrics: objective, that of the encoder's codes; target, that of z*; both with the atoms before the step.

    >>> import jax, numpy as np
    >>> learner = PredictiveSparse(Dictionary(size=4))
    >>> x = np.ones((5, 3), np.float32)
    >>> learner.encode(learner.init(jax.random.key(0), x), x).shape
    (5, 4)
    """

    made_of: ClassVar[str] = "dictionary"
    scratch: ClassVar[tuple[str, ...]] = ("dictionary.A", "dictionary.B", "dictionary.count", "optimiser*", "passes")
    dictionary: Dictionary = Dictionary(256)  # noqa: RUF009 - it is frozen
    encoder: str = "shrink"
    layers: int = 5
    alpha: float = 1.0
    optimiser: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "cosine"

    def __post_init__(self) -> None:
        check_choices(self, {"encoder": ("shrink", "tanh"), "optimiser": OPTIMISERS, "schedule": SCHEDULES})
        check_numbers(self, {"layers": 1}, {"alpha": 0, "learning_rate": 0})

    def init(self, key: Array, x: Array) -> PredictiveSparseState:
        """Atoms among the rows (n, d), and the encoder that does a few steps of ISTA with them."""
        dictionary = self.dictionary.init(key, x)
        phi, lam = dictionary.phi, self.dictionary.lam
        gram = jnp.matmul(phi, phi.T, precision=_EXACT)
        step = 1 / largest_eigenvalue(gram)
        if self.encoder == "tanh":
            ones = jnp.ones(phi.shape[0], jnp.float32)
            encoder = {"kernel": step * phi.T, "bias": 0 * ones, "gain": ones}
        else:
            encoder = {"kernel": step * phi.T, "threshold": jnp.full(phi.shape[0], lam * step)}
            if self.layers > 1:
                encoder["mutual"] = jnp.eye(phi.shape[0], dtype=jnp.float32) - step * gram
        return PredictiveSparseState(dictionary, encoder, direction(self.optimiser).init(encoder), jnp.int32(0))

    def step(
        self, key: Array, state: PredictiveSparseState, x: Array, weight: Array
    ) -> tuple[PredictiveSparseState, Metrics]:
        """Codes near the encoder's for a batch (n, d); then a step of the encoder towards them, and of the atoms."""
        x = jnp.where(weight[:, None] > 0, rows_of(x), jnp.float32(0))
        count, phi = jnp.maximum(weight.sum(), 1.0), state.dictionary.phi
        first = self._predict(state.encoder, x)
        codes = self._targets(phi, x, first)

        def distance(encoder: Any) -> Array:
            gap = codes - self._predict(encoder, x)
            return 0.5 * self.alpha * jnp.vdot(weight, (gap * gap).sum(axis=1)) / count

        update, optimiser = advance(
            direction(self.optimiser), jax.grad(distance)(state.encoder), state.optimiser, state.encoder
        )
        pace = rate(self.schedule, self.learning_rate, state.dictionary.count, state.passes, self.passes)
        dictionary, _ = self.dictionary.learn(key, state.dictionary, x, codes, weight)
        new = PredictiveSparseState(dictionary, descend(state.encoder, update, pace), optimiser, state.passes)
        values = (jnp.vdot(weight, objective(x, phi, each, self.dictionary.lam)) / count for each in (first, codes))
        state = jax.tree.map(lambda a, b: jnp.where(weight.sum() > 0, a, b), new, state)
        return state, dict(zip(("objective", "target"), values, strict=True))

    def finish(self, key: Array, state: PredictiveSparseState) -> PredictiveSparseState:
        """Count the pass, for the schedule."""
        return state._replace(passes=state.passes + 1)

    def _targets(self, phi: Array, x: Array, near: Array) -> Array:
        """z* (n, K) of rows x, near the encoder's codes."""
        gram = jnp.matmul(phi, phi.T, precision=_EXACT) + self.alpha * jnp.eye(phi.shape[0], dtype=jnp.float32)
        pulled = jnp.matmul(x, phi.T, precision=_EXACT) + self.alpha * near
        book = self.dictionary
        return fista(gram, pulled, book.lam, book.positive, book.tolerance, book.iterations)

    def _predict(self, encoder: Mapping[str, Array], x: Array) -> Array:
        """F(x) (n, K)."""
        drive = jnp.matmul(x, encoder["kernel"], precision=_EXACT)
        if self.encoder == "tanh":
            codes = encoder["gain"][None, :] * jnp.tanh(drive + encoder["bias"][None, :])
            return jnp.maximum(codes, 0) if self.dictionary.positive else codes
        limit = jnp.maximum(encoder["threshold"], 0)[None, :]
        codes = shrink(drive, limit, self.dictionary.positive)
        for _ in range(self.layers - 1):
            pushed = drive + jnp.matmul(codes, encoder["mutual"], precision=_EXACT)
            codes = shrink(pushed, limit, self.dictionary.positive)
        return codes

    def encode(self, state: PredictiveSparseState, x: Array) -> Array:
        """Rows (n, d) to codes (n, K) float32, or (n, 2 K) where the dictionary's are in halves."""
        return self.dictionary.arranged(self._predict(state.encoder, rows_of(x)))

    def decode(self, state: PredictiveSparseState, codes: Array) -> Array:
        """Codes to the rows (n, d) they stand for."""
        return self.dictionary.decode(state.dictionary, codes)

    def reconstruct(self, state: PredictiveSparseState, x: Array) -> Array:
        """Rows (n, d) as the sums of atoms that stand for them."""
        return self.decode(state, self.encode(state, x))

    def atoms(self, state: PredictiveSparseState) -> Array:
        """The atoms (K, d)."""
        return state.dictionary.phi
