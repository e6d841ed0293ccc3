"""A sound learner, and learners that each break a law, to prove that the laws can fail."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.arrays import Locals
from mmfeat.learner import Learner

Array = Any


class SoundState(NamedTuple):
    """planes (d, bits), mean (d,), and the sum (d,) and weight () of the rows so far."""

    planes: Array
    mean: Array
    total: Array
    count: Array


@dataclass(frozen=True)
class Sound(Learner):
    """Random hyperplanes through the mean, with every optional part a learner may have."""

    hash: ClassVar[bool] = True
    split: ClassVar[Mapping[str, int]] = {"planes": 1}
    passes: int = 2
    bits: int = 6

    def init(self, key: Array, x: Array) -> Any:
        zeros = jnp.zeros(x.shape[1], jnp.float32)
        return SoundState(jax.random.normal(key, (x.shape[1], self.bits)), zeros, zeros, jnp.float32(0))

    def step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        state = state._replace(total=state.total + weight @ x, count=state.count + weight.sum())
        return state, {"rows": weight.sum()}

    def finish(self, key: Array, state: Any) -> Any:
        mean = state.total / jnp.maximum(state.count, 1.0)
        return state._replace(mean=mean, total=jnp.zeros_like(mean), count=jnp.zeros_like(state.count))

    def encode(self, state: Any, x: Array) -> Any:
        return (x - state.mean[None]) @ state.planes

    def host_step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        state = state._replace(total=state.total + weight @ x, count=state.count + weight.sum())
        return state, {"rows": weight.sum()}

    def host_encode(self, state: Any, x: Array) -> Any:
        return (x - state.mean) @ state.planes

    def affine(self, state: Any) -> Any:
        return state.mean, state.planes


@dataclass(frozen=True)
class SoundLabels(Learner):
    """The means of the classes."""

    needs: ClassVar[tuple[str, ...]] = ("x", "y")

    def init(self, key: Array, x: Any) -> Any:
        return SoundState(jnp.zeros((3, x["x"].shape[1])), jnp.zeros(3), jnp.zeros(()), jnp.zeros(()))

    def step(self, key: Array, state: Any, x: Any, weight: Array) -> Any:
        member = jax.nn.one_hot(x["y"], 3) * weight[:, None]
        return state._replace(planes=state.planes + member.T @ x["x"], mean=state.mean + member.sum(0)), {}

    def encode(self, state: Any, x: Array) -> Any:
        return x @ (state.planes / jnp.maximum(state.mean, 1.0)[:, None]).T


@dataclass(frozen=True)
class SoundLocals(Sound):
    """The weighted mean of an item's locals, through the planes."""

    locals: ClassVar[bool] = True
    host_step = host_encode = affine = property(doc="not offered")

    def encode(self, state: Any, x: Locals) -> Any:
        total = jnp.einsum("bld,bl->bd", x.values, x.weight)
        return super().encode(state, total / jnp.maximum(x.weight.sum(1), 1.0)[:, None])


@dataclass(frozen=True)
class SoundPairs(Sound):
    """Looks at both parts of a pair."""

    needs: ClassVar[tuple[str, ...]] = ("x", "x2", "same")
    host_step = property(doc="not offered")

    def init(self, key: Array, x: Any) -> Any:
        return super().init(key, x["x"])

    def step(self, key: Array, state: Any, x: Any, weight: Array) -> Any:
        return super().step(key, state, x["x"] + x["x2"], weight * x["same"].astype(jnp.float32))


SOUND = (Sound, SoundLabels, SoundLocals, SoundPairs)
BROKEN: dict[str, tuple[str, str, type]] = {}
_counter = itertools.count()


def breaks(law: str, said: str) -> Any:
    """Note which law the class breaks, and what is then said."""

    def note(cls: type) -> type:
        BROKEN[f"{law}-{cls.__name__}"] = (law, said, cls)
        return cls

    return note


@breaks("settings_are_values", "NotFrozen is not frozen")
@dataclass(unsafe_hash=True)
class NotFrozen(Learner):
    """Its settings can be set."""

    bits: int = 6


@breaks("settings_are_values", "unhashable")
@dataclass(frozen=True)
class ListOfSettings(Sound):
    """A list cannot be hashed."""

    names: list[int] = field(default_factory=list)


@breaks("settings_are_values", "a copy is not equal")
@dataclass(frozen=True)
class ComesBackChanged(Sound):
    """What it keeps is not what it was given."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", self.bits + 1)


@breaks("settings_are_values", "missing 1 required")
@dataclass(frozen=True, kw_only=True)
class NoDefault(Sound):
    """Cannot be made without a choice."""

    choice: int


@breaks("the_state_keeps_its_form", "a step changes the form")
@dataclass(frozen=True)
class ChangesType(Sound):
    """The sums start as whole numbers and become floats."""

    def init(self, key: Array, x: Array) -> Any:
        return super().init(key, x)._replace(count=jnp.int32(0))

    def step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        return super().step(key, state._replace(count=state.count.astype(jnp.float32)), x, weight)


@breaks("the_state_keeps_its_form", "a finish changes the form")
@dataclass(frozen=True)
class Grows(Sound):
    """The mean of a finished pass has another shape than at first."""

    def finish(self, key: Array, state: Any) -> Any:
        state = super().finish(key, state)
        return state._replace(mean=state.mean[None])


@breaks("ten_steps_compile_once", "a later step compiled again")
class NeverTheSame(Sound):
    """Its hash changes, so nothing compiled is found again."""

    def __hash__(self) -> int:
        return next(_counter)

    def __eq__(self, other: object) -> bool:
        return False


@breaks("resumed_is_uninterrupted", "looking on changes nothing")
@dataclass(frozen=True)
class CountsOutside(Sound):
    """The step depends on how often it was called in this process."""

    def step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        number = jax.experimental.io_callback(lambda: np.float32(next(_counter)), jax.ShapeDtypeStruct((), np.float32))
        return super().step(key, state._replace(total=state.total + number), x, weight)


@breaks("the_number_of_devices_does_not_matter", "1 device and a mesh")
@dataclass(frozen=True)
class Chaotic(Sound):
    """The last bits of a sum decide."""

    def step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        return state._replace(total=jnp.sin(1e6 * (state.total + weight @ x))), {}


@breaks("padding_changes_nothing", "garbage of weight 0")
@dataclass(frozen=True)
class IgnoresWeight(Sound):
    """Counts padding as rows."""

    def step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        return super().step(key, state, x, jnp.ones_like(weight))


@breaks("padding_changes_nothing", "with and without padding")
@dataclass(frozen=True)
class CountsShape(Sound):
    """Divides by the length of the batch, not by its weight."""

    def step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        return super().step(key, state, x / x.shape[0], weight)


@breaks("padding_changes_nothing", "a batch of padding alone")
@dataclass(frozen=True)
class DividesByNothing(Sound):
    """The mean of a batch of padding is 0 / 0."""

    def step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        return super().step(key, state, x / weight.sum(), weight)


@breaks("padding_changes_nothing", "metrics with garbage")
@dataclass(frozen=True)
class LooksAtPadding(Sound):
    """Only what it reports depends on padding."""

    def step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        return super().step(key, state, x, weight)[0], {"largest": x.max()}


@breaks("codes_do_not_depend_on_company", "reversed")
@dataclass(frozen=True)
class CentresTheBatch(Sound):
    """Subtracts the mean of whatever is encoded together."""

    host_encode = affine = property(doc="not offered")

    def encode(self, state: Any, x: Array) -> Any:
        return (x - x.mean(0)[None]) @ state.planes


@breaks("codes_do_not_depend_on_company", "reversed")
@dataclass(frozen=True)
class HostCentresTheBatch(Sound):
    """The same on the NumPy path alone."""

    def host_encode(self, state: Any, x: Array) -> Any:
        return (x - x.mean(0)) @ state.planes


@breaks("codes_are_rows_of_float32", "codes are float16")
@dataclass(frozen=True)
class HalfCodes(Sound):
    """float16 is not what a code is."""

    def encode(self, state: Any, x: Array) -> Any:
        return super().encode(state, x).astype(jnp.float16)


@breaks("codes_are_rows_of_float32", "codes have shape")
@dataclass(frozen=True)
class OneNumber(Sound):
    """A vector instead of a matrix."""

    def encode(self, state: Any, x: Array) -> Any:
        return super().encode(state, x)[:, 0]


@breaks("codes_are_rows_of_float32", "every row has the same code")
@dataclass(frozen=True)
class AllAlike(Sound):
    """Says nothing about a row."""

    def encode(self, state: Any, x: Array) -> Any:
        return jnp.ones((x.shape[0], self.bits))


@breaks("checkpoints_keep_the_bits", "restored")
@dataclass(frozen=True)
class Twins(Sound):
    """Two leaves of one name."""

    def init(self, key: Array, x: Array) -> Any:
        return super().init(key, x)._replace(planes={"a": {"b": jnp.ones(3)}, "a.b": jnp.zeros(3)})

    def step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        return state, {}


@breaks("the_seed_decides", "init keeps something")
@dataclass(frozen=True)
class DrawsElsewhere(Sound):
    """Draws without its key."""

    def init(self, key: Array, x: Array) -> Any:
        state = super().init(key, x)
        return state._replace(planes=state.planes * float(next(_counter)))


@breaks("the_seed_decides", "the start but not the end")
@dataclass(frozen=True)
class ForgetsItsDraw(Sound):
    """Draws, and then overwrites what it drew."""

    def finish(self, key: Array, state: Any) -> Any:
        return super().finish(key, state)._replace(planes=jnp.ones_like(state.planes))


@breaks("unlabelled_rows_never_train", "garbage in rows without a label")
@dataclass(frozen=True)
class TrainsOnAll(SoundLabels):
    """Takes rows without a label for rows of the last class."""

    def step(self, key: Array, state: Any, x: Any, weight: Array) -> Any:
        return super().step(key, state, x | {"y": x["y"] % 3}, jnp.ones_like(weight))


@breaks("metrics_are_finite_numbers", "rows has shape")
@dataclass(frozen=True)
class VectorMetric(Sound):
    """A metric with a shape."""

    def step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        return super().step(key, state, x, weight)[0], {"rows": weight}


@breaks("metrics_are_finite_numbers", "loss is inf")
@dataclass(frozen=True)
class InfiniteMetric(Sound):
    """A metric that is no number."""

    def step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        return super().step(key, state, x, weight)[0], {"loss": -jnp.log(0 * weight.sum())}


@breaks("the_numpy_path_agrees", "features by two ways")
@dataclass(frozen=True)
class HostCodesDiffer(Sound):
    """A thousandth off on the NumPy path."""

    def host_encode(self, state: Any, x: Array) -> Any:
        return super().host_encode(state, x) * np.float32(1.001)


@breaks("the_numpy_path_agrees", "host_step")
@dataclass(frozen=True)
class HostStepDiffers(Sound):
    """The NumPy step forgets one row."""

    def host_step(self, key: Array, state: Any, x: Array, weight: Array) -> Any:
        return super().host_step(key, state, x[1:], weight[1:])


@breaks("affine_is_encode", "features by two ways")
@dataclass(frozen=True)
class ForgetsTheMean(Sound):
    """Says it is a product through the origin."""

    def affine(self, state: Any) -> Any:
        return jnp.zeros_like(state.mean), state.planes
