"""What nets are trained for: losses of saying a row again, and penalties on its code.

P. Vincent et al., ICML 2008 and P. Vincent, Neural Computation 23, 2011 (with noise on the input, the gradient of `squared` is
score matching's); S. Rifai et al., "Contractive auto-encoders", ICML 2011 (`contraction`); A. Ng, "Sparse autoencoder",
CS294A, 2011 (`divergence`). The losses (z is a net's last layer before its link; sums run over the d values of a row x):

    squared        Σ (x - z)²                            link z            any rows
    absolute       Σ |x - z|                             link z            any rows
    huber          Σ (x - z)²/2, linear beyond 1         link z            any rows
    cross_entropy  Σ -x log σ(z) - (1 - x) log(1 - σ(z)) link σ(z)         rows in [0, 1]; others are clipped
    logistic       Σ log(1 + exp(-x z))                  link tanh(z / 2)  rows in {-1, 1}
    softmax        -Σ (x / Σx) log softmax(z)            link softmax(z)   counts (documents, histograms); below 0 counts as 0
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

__all__ = ["LOSSES", "Loss", "contraction", "divergence"]

Array = Any


class Loss(NamedTuple):
    """values: (x (n, d), z (n, d)) -> (n, d), a row's loss is their sum. link: z (n, d) to what is said of x."""

    values: Callable[[Array, Array], Array]
    link: Callable[[Array], Array]


def _cross_entropy(x: Array, z: Array) -> Array:
    return optax.sigmoid_binary_cross_entropy(z, jnp.clip(x, 0.0, 1.0))


def _softmax(x: Array, z: Array) -> Array:
    x = jnp.maximum(x, 0.0)
    shares = x / jnp.maximum(x.sum(axis=-1, keepdims=True), 1e-12)
    return -shares * jax.nn.log_softmax(z, axis=-1)


LOSSES: dict[str, Loss] = {
    "absolute": Loss(lambda x, z: jnp.abs(x - z), lambda z: z),
    "cross_entropy": Loss(_cross_entropy, jax.nn.sigmoid),
    "huber": Loss(lambda x, z: optax.huber_loss(z, x), lambda z: z),
    "logistic": Loss(lambda x, z: jax.nn.softplus(-x * z), lambda z: jnp.tanh(0.5 * z)),
    "softmax": Loss(_softmax, lambda z: jax.nn.softmax(z, axis=-1)),
    "squared": Loss(lambda x, z: jnp.square(x - z), lambda z: z),
}


def contraction(function: Callable[[Array], Array], x: Array, key: Array) -> Array:
    """An unbiased estimate (n,) of ‖∂f/∂x‖²_F for every row of x (n, d), f = `function` from rows to rows (n, k).

    ‖J u‖² with one u in {-1, 1}^d a row: its expectation is tr(J E[u uᵀ] Jᵀ) = ‖J‖²_F (M. Hutchinson, 1990). It costs one
    product forwards (J u), whatever d and k are.
    """
    _, pushed = jax.jvp(function, (x,), (jax.random.rademacher(key, x.shape, x.dtype),))
    return jnp.square(pushed).sum(axis=1)


def divergence(target: float, activity: Array) -> Array:
    """Σ_j KL(target ‖ activity_j) for mean activities (k,) in (0, 1): 0 where every unit is active as often as `target` says."""
    activity = jnp.clip(activity, 1e-6, 1.0 - 1e-6)
    entropy = target * jnp.log(target) + (1.0 - target) * jnp.log1p(-target)
    return (entropy - target * jnp.log(activity) - (1.0 - target) * jnp.log1p(-activity)).sum()
