"""Going down a gradient: optimisers, schedules and weight decay as names and numbers, one way for all learners.

    w ← (1 - λ) w - η_t u_t(g_t)        u: `direction`, optax's state with it;  η: `rate`;  λ: `weight_decay`, of kernels alone

J. Duchi, E. Hazan and Y. Singer, JMLR 12, 2011 (adagrad); D. Kingma and J. Ba, ICLR 2015 (adam); Y. Nesterov, 1983 (nesterov).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmfeat.errors import SettingsError

__all__ = ["OPTIMISERS", "SCHEDULES", "advance", "check_choices", "check_numbers", "descend", "direction", "rate"]

Array = Any

OPTIMISERS = ("adagrad", "adam", "momentum", "nesterov", "sgd")
SCHEDULES = ("constant", "cosine", "exponential", "power")


def direction(name: str, momentum: float = 0.9) -> optax.GradientTransformation:
    """The direction u of an optimiser; the rate and the decay are applied by `descend`.

    name: "sgd", g; "momentum" v ← momentum · v + g; "nesterov" g + momentum · v; "adagrad" g / √(0.1 + Σ g²);
        "adam" m̂ / (√v̂ + 1e-8), by 0.9 and 0.999.
    """
    table = {
        "adagrad": lambda: optax.scale_by_rss(initial_accumulator_value=0.1),
        "adam": optax.scale_by_adam,
        "momentum": lambda: optax.trace(momentum),
        "nesterov": lambda: optax.trace(momentum, nesterov=True),
        "sgd": optax.identity,
    }
    if name not in table:
        raise SettingsError(f"an optimiser is one of {', '.join(OPTIMISERS)}", repr(name), "choose one")
    return table[name]()


def advance(optimiser: optax.GradientTransformation, slope: Any, state: Any, params: Any) -> tuple[Any, Any]:
    """(u, new state) of an optimiser at the gradient `slope`."""
    with jax.numpy_dtype_promotion("standard"):  # Adam in optax raises a float to an int32 count
        return optimiser.update(slope, state, params)


def rate(
    schedule: str,
    learning_rate: float,
    count: Array,
    passes_done: Array,
    passes: int,
    decay: float = 1e-4,
    power: float = 0.5,
) -> Array:
    """The rate η () float32 from α = learning_rate; none needs to know how long a pass is.

    schedule: "constant"; "cosine", α (1 + cos(π pass / passes)) / 2, constant within a pass; "power", α (1 + decay · t)^-power;
        "exponential", α exp(-decay · t).
    count (): t, steps done. passes_done (): passes done, of `passes`.
    """
    t, alpha = count.astype(jnp.float32), jnp.float32(learning_rate)
    if schedule == "cosine":
        done = jnp.minimum(passes_done.astype(jnp.float32) / max(passes, 1), 1.0)
        return alpha * 0.5 * (1.0 + jnp.cos(jnp.pi * done))
    if schedule == "power":
        return alpha * (1.0 + decay * t) ** -power
    if schedule == "exponential":
        return alpha * jnp.exp(-decay * t)
    if schedule == "constant":
        return alpha
    raise SettingsError(f"a schedule is one of {', '.join(SCHEDULES)}", repr(schedule), "choose one")


def descend(
    params: Any, update: Any, rate: Array, weight_decay: float = 0.0, decayed: tuple[str, ...] = ("kernel",)
) -> Any:
    """Every leaf of `params` after w ← (1 - λ) w - η u; λ = weight_decay where its last name is in `decayed`, else 0."""

    def one(path: Any, w: Array, u: Array) -> Array:
        shrinks = weight_decay and jax.tree_util.keystr(path[-1:], simple=True) in decayed
        return (1.0 - weight_decay if shrinks else 1.0) * w - rate * u

    return jax.tree_util.tree_map_with_path(one, params, update)


def check_choices(settings: Any, choices: Mapping[str, tuple[str, ...]]) -> None:
    """SettingsError where a field of `settings` named in `choices` is none of its choices."""
    for name, allowed in choices.items():
        if getattr(settings, name) not in allowed:
            raise SettingsError(
                f"{type(settings).__name__}.{name} is one of {', '.join(allowed)}",
                repr(getattr(settings, name)),
                "choose one",
            )


def check_numbers(settings: Any, least: Mapping[str, float], above: Mapping[str, float] | None = None) -> None:
    """SettingsError where a field (or a part of a tuple) is below its number in `least`, not above that in `above`, or NaN."""
    for name, limit in least.items():
        if not all(each >= limit for each in _numbers(settings, name)):
            raise _outside(settings, name, f"at least {limit:g}")
    for name, limit in (above or {}).items():
        if not all(each > limit for each in _numbers(settings, name)):
            raise _outside(settings, name, f"above {limit:g}")


def _numbers(settings: Any, name: str) -> tuple[float, ...]:
    value = getattr(settings, name)
    return value if isinstance(value, tuple) else (value,)


def _outside(settings: Any, name: str, rule: str) -> SettingsError:
    return SettingsError(f"{type(settings).__name__}.{name} is {rule}", repr(getattr(settings, name)), "mend it")
