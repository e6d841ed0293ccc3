"""Optimisers and schedules against their formulas in float64 NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmfeat.errors import SettingsError
from mmfeat.optimise import (
    OPTIMISERS,
    SCHEDULES,
    advance,
    check_choices,
    check_numbers,
    descend,
    direction,
    rate,
)


def adam(g: list[np.ndarray]) -> np.ndarray:
    first, second = np.zeros_like(g[0]), np.zeros_like(g[0])
    for one in g:
        first, second = 0.9 * first + 0.1 * one, 0.999 * second + 0.001 * one**2
    return first / (1 - 0.9 ** len(g)) / (np.sqrt(second / (1 - 0.999 ** len(g))) + 1e-8)


def velocity(g: list[np.ndarray]) -> np.ndarray:
    return np.sum([0.7 ** (len(g) - 1 - i) * one for i, one in enumerate(g)], axis=0)


DIRECTIONS: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {
    "adagrad": lambda g: g[-1] / np.sqrt(0.1 + sum(one**2 for one in g)),
    "adam": adam,
    "momentum": velocity,
    "nesterov": lambda g: g[-1] + 0.7 * velocity(g),
    "sgd": lambda g: g[-1],
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_directions_are_their_formulas(name: str) -> None:
    draw = np.random.default_rng(0)
    params = {"kernel": draw.normal(size=(3, 2)).astype(np.float32), "bias": np.ones(2, np.float32)}
    seen: list[np.ndarray] = []
    optimiser = direction(name, momentum=0.7)
    state = optimiser.init(params)
    for _ in range(4):
        slope = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype(np.float32), params)
        seen.append(slope["kernel"].astype(np.float64))
        update, state = jax.jit(lambda *these: advance(optimiser, *these))(slope, state, params)
        np.testing.assert_allclose(update["kernel"], DIRECTIONS[name](seen), rtol=2e-5, atol=1e-6)


FORMULAS: dict[str, Callable[[int, int], float]] = {
    "constant": lambda t, p: 0.01,
    "cosine": lambda t, p: 0.01 * (1 + np.cos(np.pi * min(p, 4) / 4)) / 2,
    "exponential": lambda t, p: 0.01 * np.exp(-0.002 * t),
    "power": lambda t, p: 0.01 * 500**0.75 / (500 + t) ** 0.75,
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_in_closed_form(schedule: str) -> None:
    for count, done in ((0, 0), (1, 1), (1000, 3), (2000, 9)):
        value = rate(schedule, 0.01, jnp.int32(count), jnp.int32(done), 4, decay=0.002, power=0.75)
        assert float(value) == pytest.approx(FORMULAS[schedule](count, done), rel=1e-5, abs=1e-9)


class Pair(NamedTuple):
    kernel: Any
    bias: Any


def test_only_kernels_decay_whatever_holds_them() -> None:
    one, two = jnp.ones((2, 2)), 2 * jnp.ones(2)
    for params, update in (
        ({"kernel": one, "bias": two}, {"kernel": one, "bias": two}),
        (Pair(one, two), Pair(one, two)),
    ):
        after = jax.tree.leaves(descend(params, update, jnp.float32(0.5), weight_decay=0.1))
        values = {leaf.ndim: leaf for leaf in after}
        np.testing.assert_allclose(values[2], 0.9 - 0.5)
        np.testing.assert_allclose(values[1], 2 - 0.5 * 2)
    named = descend({"atoms": one}, {"atoms": 0 * one}, jnp.float32(1), 0.25, decayed=("atoms",))
    np.testing.assert_allclose(named["atoms"], 0.75)


@dataclass(frozen=True)
class Some:
    optimiser: str = "adam"
    hidden: tuple[int, ...] = (3, 4)
    learning_rate: float = 0.1


def test_settings_are_checked_in_words() -> None:
    check_choices(Some(), {"optimiser": OPTIMISERS})
    check_numbers(Some(), {"hidden": 1}, {"learning_rate": 0})
    check_numbers(Some(hidden=()), {"hidden": 1})
    with pytest.raises(SettingsError, match=r"Some.optimiser is one of adagrad, .*; got 'adma'"):
        check_choices(Some("adma"), {"optimiser": OPTIMISERS})
    with pytest.raises(SettingsError, match=r"Some.hidden is at least 1; got \(3, 0\)"):
        check_numbers(Some(hidden=(3, 0)), {"hidden": 1})
    for wrong in (0.0, float("nan")):
        with pytest.raises(SettingsError, match=r"Some\.learning_rate is above 0"):
            check_numbers(Some(learning_rate=wrong), {}, {"learning_rate": 0})
    for call in (lambda: direction("adma"), lambda: rate("cos", 0.1, jnp.int32(0), jnp.int32(0), 1)):
        with pytest.raises(SettingsError, match="is one of"):
            call()
