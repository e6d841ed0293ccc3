"""Sparse coding: rows as sums of few atoms of a learned dictionary.

B. Olshausen and D. Field, "Emergence of simple-cell receptive field properties by learning a sparse code", Nature 381, 1996.
J. Mairal, F. Bach, J. Ponce, G. Sapiro, "Online dictionary learning for sparse coding", ICML 2009; JMLR 11, 2010.

    min over φ, a:  1/n Σ_i ½ ‖x_i - a_i φ‖² + λ ‖a_i‖₁,   ‖φ_j‖ <= 1                                  (1)
    A ← β A + Σ_i a_iᵀ a_i,   B ← β B + Σ_i a_iᵀ x_i        over a batch;   β = (1 - 1/t)^ρ at step t     (JMLR, 3.4)
    φ_j ← Π(φ_j + (B_j - A_j φ) / A_jj)                     atom by atom; Π: into the unit ball           (2)

Where the square has no ½, λ is twice this one. An atom that no row uses takes the place of a row that is badly explained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.errors import SettingsError
from mmfeat.host import one_blas_thread
from mmfeat.lasso import fista
from mmfeat.lasso_host import dense_codes, sparse_codes, update_atoms
from mmfeat.learner import Learner, Metrics, rows_of
from mmfeat.optimise import check_numbers

__all__ = ["Dictionary", "DictionaryState", "learn_atoms"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_UNUSED = 1e-4  # of the mean A_jj: an atom below it is not used
_SPARE = 16  # atoms placed anew in one step


class DictionaryState(NamedTuple):
    """phi (K, d): the atoms. A (K, K), B (K, d): the sums of Mairal et al. count (): steps done."""

    phi: Array
    A: Array
    B: Array
    count: Array


@dataclass(frozen=True)
class Dictionary(Learner):
    """Online dictionary learning; encode is the LASSO over the atoms learned.

    size: K atoms. lam: λ, for rows of length about 1 something like 0.15 (SIFT), or 1.2 / √d (patches).
    positive: no code is below 0. halves: codes as 2 K columns, max(a, 0) and max(-a, 0), before pooling or a linear classifier.
    memory: ρ; a row seen at step s counts (s / t)^ρ at step t. 0 forgets nothing, a very large number all but the batch.
    tolerance: the largest violation of the conditions of a minimum in codes, as a share of λ. iterations: of FISTA at the most.
    passes: over the data. batch: rows per step.
    Metrics: objective, the mean of (1) over the batch with the atoms before the step; used, the codes per row that are not 0.

    >>> import jax, numpy as np
    >>> learner = Dictionary(size=3, lam=0.5)
    >>> state = learner.init(jax.random.key(0), np.eye(3, dtype=np.float32))
    >>> np.asarray(learner.encode(state, 2 * np.asarray(state.phi))).round(3) + 0
    array([[1.5, 0. , 0. ],
           [0. , 1.5, 0. ],
           [0. , 0. , 1.5]], dtype=float32)
    """

    scratch: ClassVar[tuple[str, ...]] = ("A", "B", "count")
    size: int = 256
    lam: float = 0.15
    positive: bool = False
    halves: bool = False
    memory: float = 10.0
    tolerance: float = 2e-6
    iterations: int = 2000
    passes: int = 4
    batch: int = 1024

    def __post_init__(self) -> None:
        least = {"size": 1, "memory": 0, "passes": 1, "batch": 1, "iterations": 1}
        check_numbers(self, least, {"lam": 0, "tolerance": 0})
        if self.positive and self.halves:
            raise SettingsError(
                "codes that are positive have one half", "positive=True, halves=True", "leave one of them off"
            )

    @property
    def init_rows(self) -> int:  # type: ignore[override]
        """Rows among which the first atoms are drawn: two for each of them at the least."""
        return max(4096, 2 * self.size)

    def init(self, key: Array, x: Array) -> DictionaryState:
        """Atoms drawn from the rows (n, d), of length 1; random ones where there are no rows, or nothing in them."""
        x = rows_of(x)
        order, noise = jax.random.split(key)
        rows = x[jax.random.permutation(order, x.shape[0])[: self.size]]
        random = jax.random.normal(noise, (self.size, x.shape[1]), jnp.float32)
        rows = jnp.concatenate([rows, jnp.zeros_like(random[rows.shape[0] :])])
        phi = jnp.where((_squares(rows) > 1e-6 * _squares(x).mean())[:, None], rows, random)
        phi = phi / jnp.sqrt(_squares(phi))[:, None]
        return DictionaryState(phi, jnp.zeros((self.size, self.size), jnp.float32), jnp.zeros_like(phi), jnp.int32(0))

    def step(self, key: Array, state: DictionaryState, x: Array, weight: Array) -> tuple[DictionaryState, Metrics]:
        """Codes of a batch (n, d), its share in the sums, and one round over the atoms."""
        x = jnp.where(weight[:, None] > 0, rows_of(x), jnp.float32(0))
        return self.learn(key, state, x, self.codes(state.phi, x), weight)

    def learn(
        self, key: Array, state: DictionaryState, x: Array, codes: Array, weight: Array
    ) -> tuple[DictionaryState, Metrics]:
        """What a step does once it has codes (n, K) of rows x (n, d), wherever they come from; x is 0 where the weight is."""
        A, B, errors, metrics = _sums(self, jnp, state, x, codes, weight)
        phi = _replace(jnp, learn_atoms(state.phi, A, B), A, x, _scores(key, weight * errors))
        new = DictionaryState(phi, A, B, state.count + 1)
        return jax.tree.map(lambda a, b: jnp.where(weight.sum() > 0, a, b), new, state), metrics

    def host_step(self, key: Array, state: DictionaryState, x: Array, weight: Array) -> tuple[DictionaryState, Metrics]:
        """The same on NumPy arrays, by coordinates: `mmfeat.lasso_host`."""
        rows = np.where(weight[:, None] > 0, np.asarray(x, np.float32).reshape(len(x), -1), np.float32(0))
        with one_blas_thread():
            codes = dense_codes(*self._asked(state, rows))
            A, B, errors, metrics = _sums(self, np, state, rows, codes, weight)
        if not weight.sum() > 0:
            return state, metrics
        score, places = _scores(key, weight * errors)
        phi = _replace(np, update_atoms(state.phi, A, B, _least(A)), A, rows, (np.asarray(score), np.asarray(places)))
        return DictionaryState(phi, A, B, np.int32(state.count + 1)), metrics

    def codes(self, phi: Array, x: Array) -> Array:
        """The codes (n, K) of rows x (n, d) over atoms phi (K, d), by FISTA."""
        gram, c = (jnp.matmul(y, phi.T, precision=_EXACT) for y in (phi, x))
        return fista(gram, c, self.lam, self.positive, self.tolerance, self.iterations)

    def encode(self, state: DictionaryState, x: Array) -> Array:
        """Rows (n, d) to codes (n, K) float32, or (n, 2 K) in halves."""
        return self.arranged(self.codes(state.phi, rows_of(x)))

    def arranged(self, codes: Array) -> Array:
        """Codes (n, K), or their halves (n, 2 K)."""
        return jnp.concatenate([jnp.maximum(codes, 0), jnp.maximum(-codes, 0)], axis=1) if self.halves else codes

    def host_encode(self, state: DictionaryState, x: Array) -> Array:
        """The same on NumPy arrays."""
        codes = dense_codes(*self._asked(state, np.asarray(x, np.float32).reshape(len(x), -1)))
        return np.concatenate([np.maximum(codes, 0), np.maximum(-codes, 0)], axis=1) if self.halves else codes

    def host_sparse(self, state: DictionaryState, x: Array) -> tuple[Array, Array, Array]:
        """What is not zero of `encode`, as CSR: starts (n + 1,) int64, index (m,) int32, value (m,) float32."""
        starts, index, value = sparse_codes(*self._asked(state, np.asarray(x, np.float32).reshape(len(x), -1)))
        if self.halves:
            index, value = index + np.int32(self.size) * (value < 0), np.abs(value)
            order = np.lexsort((index, np.repeat(np.arange(len(starts) - 1), np.diff(starts))))
            index, value = index[order].astype(np.int32), value[order]
        return starts, index, value

    def _asked(self, state: DictionaryState, x: Array) -> tuple[Any, ...]:
        """What `mmfeat.lasso_host` is asked: the Gram matrix, correlations block by block, and the settings."""
        phi = np.asarray(state.phi)
        return phi @ phi.T, lambda where: x[where] @ phi.T, len(x), self.lam, self.positive, self.tolerance

    def decode(self, state: DictionaryState, codes: Array) -> Array:
        """Codes (n, K), or in halves (n, 2 K), to the rows (n, d) they stand for."""
        codes = codes[:, : self.size] - codes[:, self.size :] if self.halves else codes
        return jnp.matmul(codes, state.phi, precision=_EXACT)

    def reconstruct(self, state: DictionaryState, x: Array) -> Array:
        """Rows (n, d) as the sums of atoms that stand for them."""
        return self.decode(state, self.encode(state, x))

    def atoms(self, state: DictionaryState) -> Array:
        """The atoms (K, d)."""
        return state.phi


def learn_atoms(phi: Array, A: Array, B: Array) -> Array:
    """One round of (2) over the atoms phi (K, d) for the sums A (K, K), B (K, d); atoms without use stay."""
    phi, A, B = (jnp.asarray(part) for part in (phi, A, B))
    least = _least(A)

    def one(j: Array, phi: Array) -> Array:
        row, use = A[j], jnp.maximum(A[j, j], least)
        moved = phi[j] + (B[j] - jnp.matmul(row, phi, precision=_EXACT)) / jnp.where(use > 0, use, jnp.float32(1))
        moved = moved / jnp.maximum(jnp.sqrt((moved * moved).sum()), 1)
        return phi.at[j].set(jnp.where(A[j, j] > least, moved, phi[j]))

    return jax.lax.fori_loop(0, phi.shape[0], one, phi)


def _least(A: Array) -> Array:
    """The use A_jj below which an atom is not used."""
    return np.float32(_UNUSED) * A.diagonal().mean()


def _squares(x: Array) -> Array:
    return (x * x).sum(axis=1)


def _sums(learner: Dictionary, xp: Any, state: DictionaryState, x: Array, codes: Array, weight: Array) -> Any:
    """A and B with the batch in them, ‖x - a φ‖² (n,) and the metrics; xp is jax.numpy or NumPy."""
    exact = {"precision": _EXACT} if xp is jnp else {}
    before = state.count / (state.count + xp.float32(1)) if xp is np else state.count.astype(jnp.float32)
    beta = (before if xp is np else before / (before + 1)) ** xp.float32(learner.memory)
    heavy = codes * weight[:, None]
    A = beta * state.A + xp.matmul(heavy.T, codes, **exact)
    B = beta * state.B + xp.matmul(heavy.T, x, **exact)
    errors = _squares(x - xp.matmul(codes, state.phi, **exact))
    total = xp.maximum(weight.sum(), xp.float32(1))
    cost = xp.vdot(weight, xp.float32(0.5) * errors + xp.float32(learner.lam) * xp.abs(codes).sum(axis=1)) / total
    used = xp.vdot(weight, (codes != 0).sum(axis=1).astype(xp.float32)) / total
    return A, B, errors, {"objective": cost, "used": used}


@jax.jit
def _scores(key: Array, errors: Array) -> tuple[Array, Array]:
    """Rows drawn without replacement, with probability ∝ their errors (n,), by the Gumbel trick: scores and places (s,)."""
    noise = jax.random.gumbel(key, errors.shape, jnp.float32)
    return jax.lax.top_k(jnp.log(errors) + noise, min(_SPARE, errors.shape[0]))


def _replace(xp: Any, phi: Array, A: Array, x: Array, scores: tuple[Array, Array]) -> Array:
    """Atoms without use take the place of the rows drawn, scaled to length 1."""
    score, places = scores
    unused = A.diagonal() <= _least(A)
    number = xp.cumsum(unused.astype(xp.int32)) - 1
    chosen = xp.clip(number, 0, score.shape[0] - 1)
    moved = unused & (number < score.shape[0]) & xp.isfinite(score[chosen])
    rows = x[places[chosen]]
    rows = rows / xp.sqrt(xp.maximum(_squares(rows), xp.float32(1e-30)))[:, None]
    return xp.where(moved[:, None], rows, phi)
