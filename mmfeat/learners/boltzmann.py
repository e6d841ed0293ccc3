"""What restricted Boltzmann machines have in common: drawing bits, Gibbs sampling, the negative phase, and the step up the slope.

A machine is a learner with the settings of `Rbm` and the functions `hidden_mean`, `visible_mean`, `draw_hidden` and
`draw_visible`; its state has parameters under their names, their `velocity`, `chains` and `passes`. Why things are done so:
G. Hinton, "A practical guide to training restricted Boltzmann machines", 2010.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.errors import SettingsError
from mmfeat.learner import Metrics

__all__ = ["Negative", "ascend", "check_machine", "draw_bits", "generate", "gibbs", "negative_phase", "watched"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


def draw_bits(key: Array, mean: Array) -> Array:
    """0 or 1 (n, k) float32 with the means given, each from 16 random bits: P(1) is the mean rounded to a multiple of 2^-16.

    Two units share a random word: drawing 32 bits for each would take a tenth of a step. A row's bits do not depend on how
    many rows follow.
    """
    count, width = mean.shape
    words = jax.random.bits(key, (count, -(-width // 2)), jnp.uint32)
    halves = jnp.concatenate([words >> 16, words & 0xFFFF], axis=1)[:, :width].astype(jnp.int32)
    return (halves < (mean * 65536 + 0.5).astype(jnp.int32)).astype(jnp.float32)


class Negative(NamedTuple):
    """The negative phase: visible rows v (m, d), hidden means h (m, hidden), and their shares (m,), which sum to 1."""

    v: Array
    h: Array
    share: Array


def check_machine(learner: Any) -> None:
    """SettingsError for what no Boltzmann machine can be set to."""
    for name, choices in {"negative": ("cd", "pcd"), "schedule": ("constant", "linear")}.items():
        if getattr(learner, name) not in choices:
            raise SettingsError(f"{name} is one of {', '.join(choices)}", repr(getattr(learner, name)), "choose one")
    if min(learner.hidden, learner.steps, learner.chains, learner.batch) < 1 or learner.passes < 0:
        raise SettingsError(
            "hidden, steps, chains and batch are at least 1, passes at least 0", repr(learner), "mend these"
        )
    low, high = (learner.learning_rate, learner.weight_cost, learner.spread, *learner.momentum), max(learner.momentum)
    if min(low) < 0 or high >= 1 or len(learner.momentum) != 2 or not 0 <= learner.sparsity < 1:
        raise SettingsError(
            "rates and costs are not negative, momentum is two numbers from 0 to below 1, sparsity from 0 to below 1",
            repr(learner),
            "mend these",
        )


def gibbs(learner: Any, key: Array, state: Any, h: Array, steps: int) -> Array:
    """Hidden units (n, hidden) after `steps` of drawing the visible and then the hidden layer."""

    def once(t: Array, h: Array) -> Array:
        down, up = jax.random.split(jax.random.fold_in(key, t))
        v = learner.draw_visible(down, state, learner.visible_mean(state, h))
        return learner.draw_hidden(up, state, learner.hidden_mean(state, v))

    return jax.lax.fori_loop(0, steps, once, h) if steps > 0 else h


def negative_phase(learner: Any, key: Array, state: Any, h: Array, share: Array) -> tuple[Negative, Array]:
    """The negative phase of a batch with hidden means h (n, hidden) and shares (n,), and the chains after it."""
    first, walk, down, up = jax.random.split(key, 4)
    persistent = learner.negative == "pcd"
    drawn = state.chains if persistent else learner.draw_hidden(first, state, h)
    v = learner.visible_mean(state, gibbs(learner, walk, state, drawn, learner.steps - 1))
    if persistent or learner.sample_visible:
        v = learner.draw_visible(down, state, v)
    mean = learner.hidden_mean(state, v)
    if not persistent:
        return Negative(v, mean, share), state.chains
    count = state.chains.shape[0]
    return Negative(v, mean, jnp.full(count, 1 / count, jnp.float32)), learner.draw_hidden(up, state, mean)


def ascend(learner: Any, state: Any, slope: Mapping[str, Array], activity: Array, some: Array) -> Any:
    """The state after a step along `slope` (arrays under the names of the state's parameters), with momentum, cost and sparsity.

    activity: the batch's mean of the hidden units (hidden,). some: whether there was a row at all; otherwise nothing moves.
    """
    first, after = learner.momentum
    momentum = jnp.where(state.passes < learner.switch, jnp.float32(first), jnp.float32(after))
    rate = jnp.float32(learner.learning_rate)
    if learner.schedule == "linear":
        passes = max(learner.passes, 1)
        rate = rate * jnp.maximum(1.0 - state.passes.astype(jnp.float32) / passes, 1.0 / passes)
    slope = {**slope, "weights": slope["weights"] - learner.weight_cost * state.weights}
    if learner.sparsity:
        slope["hidden"] = slope["hidden"] + learner.sparsity_cost * (learner.sparsity - activity)
    moved = some.astype(jnp.float32)  # three numbers, where a choice between two states would read both
    momentum, rate = jnp.where(some, momentum, 1.0), rate * moved
    velocity = {name: momentum * state.velocity[name] + rate * each for name, each in slope.items()}
    new = {name: getattr(state, name) + moved * each for name, each in velocity.items()}
    return state._replace(**new, velocity=velocity)


def watched(learner: Any, state: Any, v: Array, share: Array, negative: Negative) -> Metrics:
    """What can be said of the fit at no great cost, for rows v (n, d) with shares (n,)."""
    if learner.negative == "cd":
        return {"reconstruction_error": share @ jnp.square(v - negative.v).sum(axis=1)}
    data, chains = (
        learner.free_energy(state, rows, None) for rows in (v, negative.v)
    )  # products the step has made already
    return {"free_energy_gap": share @ data - negative.share @ chains}


def generate(learner: Any, key: Array, state: Any, count: int, steps: int, start: Array | None) -> Array:
    """The means of the visible layer (count, d) after `steps` of Gibbs sampling, from noise or from rows `start`."""
    first, walk = jax.random.split(key)
    mean = jnp.full((count, learner.hidden), 0.5, jnp.float32) if start is None else learner.hidden_mean(state, start)
    h = gibbs(learner, walk, state, learner.draw_hidden(first, state, mean), steps)
    return learner.visible_mean(state, h, _EXACT)
