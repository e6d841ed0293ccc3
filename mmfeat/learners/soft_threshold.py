"""Soft threshold coding: what of a row's correlation with each atom is above a threshold, in one product.

A. Coates, A. Y. Ng, "The importance of encoding versus training with sparse coding and vector quantization", ICML 2011.

    f_k(x) = max(0, φ_k xᵀ - θ),    f_{K+k}(x) = max(0, -φ_k xᵀ - θ)                       (section 4.2; θ is their α)

The first step of iterative thresholding for a LASSO code, taken alone. It needs good atoms less than pooling and labels do: on
whitened patches it comes near sparse codes, at the cost of one product. θ is for rows of one scale: patches that are whitened
after their contrast is normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mmfeat.learner import Metrics, rows_of
from mmfeat.learners.composed import Composed
from mmfeat.learners.dictionary import Dictionary, DictionaryState
from mmfeat.optimise import check_numbers

__all__ = ["SoftThreshold"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


@dataclass(frozen=True)
class SoftThreshold(Composed):
    """The thresholded correlations with the atoms of a dictionary; its state is that of the dictionary.

    dictionary: the atoms, and how they are learned. threshold: θ, 0 or more; the atoms have length 1 at the most.
    halves: codes as 2 K columns, both signs; else the positive ones alone.

    >>> import jax, numpy as np
    >>> learner = SoftThreshold(Dictionary(3), threshold=0.5)
    >>> state = learner.init(jax.random.key(0), np.eye(3, dtype=np.float32))
    >>> np.asarray(learner.encode(state, -2 * np.asarray(state.phi[:1]))).round(3).tolist()
    [[0.0, 0.0, 0.0, 1.5, 0.0, 0.0]]
    """

    made_of: ClassVar[str] = "dictionary"
    scratch: ClassVar[tuple[str, ...]] = Dictionary.scratch
    small: ClassVar[Mapping[str, Any]] = {"dictionary": Dictionary(5, passes=2, batch=32)}
    dictionary: Dictionary = Dictionary(256)  # noqa: RUF009 - it is frozen
    threshold: float = 0.5
    halves: bool = True

    def __post_init__(self) -> None:
        check_numbers(self, {"threshold": 0})

    def init(self, key: Array, x: Array) -> DictionaryState:
        """The first atoms, from rows (n, d)."""
        return self.dictionary.init(key, x)

    def step(self, key: Array, state: DictionaryState, x: Array, weight: Array) -> tuple[DictionaryState, Metrics]:
        """A batch of rows (n, d) for the dictionary."""
        return self.dictionary.step(key, state, x, weight)

    def host_step(self, key: Array, state: DictionaryState, x: Array, weight: Array) -> tuple[DictionaryState, Metrics]:
        """The same on NumPy arrays."""
        return self.dictionary.host_step(key, state, x, weight)

    def encode(self, state: DictionaryState, x: Array) -> Array:
        """Rows (n, d) to codes (n, 2 K) float32, or (n, K) of the positive ones; none below 0."""
        z = jnp.matmul(rows_of(x), state.phi.T, precision=_EXACT)
        codes = jnp.maximum(z - self.threshold, 0)
        return jnp.concatenate([codes, jnp.maximum(-z - self.threshold, 0)], axis=1) if self.halves else codes

    def atoms(self, state: DictionaryState) -> Array:
        """The atoms (K, d)."""
        return state.phi
