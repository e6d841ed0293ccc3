"""How probable a Boltzmann machine finds rows: exactly where one of its layers is small, by annealed importance sampling elsewhere.

    log P(v) = -F(v) - log Z,    Z = Σ_h Σ_v exp(-E(v, h)): the inner sum has a closed form, the outer is enumerated, 2^k terms

R. Salakhutdinov, I. Murray, "On the quantitative analysis of deep belief networks", ICML 2008 (annealed importance sampling).
J. Besag, "Statistical analysis of non-lattice data", The Statistician 24, 1975 (pseudo-likelihood).

Everything is in nats. `machine` is an `Rbm` or a `GaussianRbm`, `state` its state.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.errors import SettingsError
from mmfeat.learner import rows_of
from mmfeat.learners.boltzmann import draw_bits

__all__ = ["Annealed", "all_bits", "annealed", "log_likelihood", "log_partition", "pseudo_log_likelihood"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_BLOCK = 13  # 2^13 states at a time: with 784 units beside them 25 MB
_MOST = 26  # bits that can be enumerated within minutes


def log_partition(machine: Any, state: Any) -> float:
    """Log Z, exactly, by enumerating the smaller of the layers that hold bits.

    SettingsError: it has more than 26 units; take `annealed`.
    """
    layers = []
    if machine.binary_visible:
        layers.append((state.visible.shape[0], "free_energy"))
    if machine.binary_hidden:
        layers.append((state.hidden.shape[0], "hidden_free_energy"))
    units, function = min(layers)
    if units > _MOST:
        raise SettingsError(
            f"Z is enumerated over a layer of at most {_MOST} bits", f"{units} in the smaller layer", "use annealed()"
        )
    logs = np.asarray(_sum_blocks(machine, function, units, state), np.float64)
    return float(logs.max() + np.log(np.exp(logs - logs.max()).sum()))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _sum_blocks(machine: Any, function: str, units: int, state: Any) -> Array:
    """Log Σ exp(-F) of each block of states, the lowest bits counting first."""
    block, free_energy = min(units, _BLOCK), getattr(machine, function)

    def once(number: Array) -> Array:
        first = number << block
        return jax.scipy.special.logsumexp(-free_energy(state, _bits(first, 2**block, units)))

    return jax.lax.map(once, jnp.arange(2 ** (units - block), dtype=jnp.int32))


def _bits(first: Array, count: int, units: int) -> Array:
    number = first + jnp.arange(count, dtype=jnp.int32)
    return ((number[:, None] >> jnp.arange(units, dtype=jnp.int32)[None, :]) & 1).astype(jnp.float32)


def all_bits(units: int) -> Array:
    """Every state of so many bits, (2^units, units) float32.

    >>> all_bits(2).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    return _bits(jnp.int32(0), 2**units, units)


def log_likelihood(machine: Any, state: Any, x: Any, log_z: float) -> np.ndarray:
    """Log P(v) (n,) float64 of rows x (n, d), given log Z: of `Rbm` probabilities, of `GaussianRbm` densities."""
    energies = [np.asarray(_free_energy(machine, state, part), np.float64) for part in _parts(x)]
    return -np.concatenate(energies)[: len(x)] - log_z


@partial(jax.jit, static_argnums=0)
def _free_energy(machine: Any, state: Any, x: Array) -> Array:
    return machine.free_energy(state, machine.rows(x))


def _parts(x: Any, rows: int = 4096) -> list[np.ndarray]:
    """Rows cut into parts of one shape (the last row fills the last part), so that one program does for all."""
    x = np.asarray(x, np.float32).reshape(len(x), -1)
    rows = min(rows, len(x))
    wanted = np.minimum(np.arange(-(-len(x) // rows) * rows), len(x) - 1)
    return list(x[wanted].reshape(-1, rows, x.shape[1]))


@partial(jax.jit, static_argnums=0)
def pseudo_log_likelihood(machine: Any, state: Any, x: Array) -> Array:
    """Σ_i log P(v_i | all other v) (n,) of bits x (n, d): needs no Z, and costs d times a free energy. Of an `Rbm`."""
    v = machine.rows(rows_of(x))
    here = machine.free_energy(state, v)

    def flipped(total: Array, i: Array) -> tuple[Array, None]:
        there = machine.free_energy(state, v.at[:, i].set(1 - v[:, i]))
        return total - jax.nn.softplus(here - there), None

    return jax.lax.scan(flipped, jnp.zeros_like(here), jnp.arange(v.shape[1], dtype=jnp.int32))[0]


class Annealed(NamedTuple):
    """An estimate of log Z, and the bounds at three standard errors of Z (low is -inf where the error is larger than Z)."""

    log_z: float
    low: float
    high: float


def annealed(
    machine: Any, state: Any, seed: int = 0, temperatures: int = 1000, chains: int = 100, rows: Any = None
) -> Annealed:
    """Log Z of an `Rbm` of bits by annealed importance sampling.

    Chains go from a machine without weights, whose Z is known, to this one; β_k = k / temperatures:

        log p_β(v) = (1 - β) c·v + β b·v + Σ_j log(1 + exp(β (a_j + Σ_i W_ij v_i))),    Z = Z_0 · E[Π_k p_β(k)(v_k) / p_β(k-1)(v_k)]

    rows (n, d): data whose log-odds are c, which makes the way shorter; without them c = 0.
    """
    if not (machine.binary_visible and machine.binary_hidden):
        raise SettingsError("annealing is for machines of bits on both sides", repr(machine), "use log_partition()")
    start = jnp.zeros_like(state.visible)
    if rows is not None:
        mean = np.asarray(machine.rows(rows), np.float64).mean(axis=0)
        mean = (mean * len(rows) + 0.5) / (len(rows) + 1)
        start = jnp.asarray(np.log(mean) - np.log1p(-mean), jnp.float32)
    logs = np.asarray(_anneal(temperatures, chains, state, start, jax.random.key(seed)), np.float64)
    base = np.logaddexp(0, np.asarray(start, np.float64)).sum() + state.hidden.shape[0] * np.log(2)
    weight = np.exp(logs - logs.max())
    error = 3 * weight.std(ddof=1) / np.sqrt(chains)
    with np.errstate(divide="ignore"):
        means = np.log(np.maximum([weight.mean(), weight.mean() - error, weight.mean() + error], 0.0))
    return Annealed(*(float(each) for each in base + logs.max() + means))


@partial(jax.jit, static_argnums=(0, 1))
def _anneal(temperatures: int, chains: int, state: Any, start: Array, key: Array) -> Array:
    """Log of the importance weights (chains,)."""

    def weighed(beta: Array, v: Array, z: Array) -> Array:
        return v @ ((1 - beta) * start + beta * state.visible) + jax.nn.softplus(beta * z).sum(axis=1)

    def once(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
        v, log = carry
        before, beta = (number.astype(jnp.float32) / temperatures for number in (k - 1, k))
        z = jnp.matmul(v, state.weights, precision=_EXACT) + state.hidden[None, :]
        log = log + weighed(beta, v, z) - weighed(before, v, z)
        up, down = jax.random.split(jax.random.fold_in(key, k))
        h = draw_bits(up, jax.nn.sigmoid(beta * z))
        down_z = beta * jnp.matmul(h, state.weights.T, precision=_EXACT)
        bias = (1 - beta) * start + beta * state.visible
        return (draw_bits(down, jax.nn.sigmoid(down_z + bias[None, :])), log), None

    first = draw_bits(jax.random.fold_in(key, 0), jnp.tile(jax.nn.sigmoid(start), (chains, 1)))
    numbers = jnp.arange(1, temperatures + 1, dtype=jnp.int32)
    return jax.lax.scan(once, (first, jnp.zeros(chains, jnp.float32)), numbers)[0][1]
