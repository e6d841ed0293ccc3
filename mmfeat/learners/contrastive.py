"""Contrastive learning: two changed versions of a picture are near each other, and far from all other pictures.

T. Chen, S. Kornblith, M. Norouzi, G. Hinton, "A simple framework for contrastive learning of visual representations", ICML
2020 (SimCLR). The loss is their NT-Xent (eq. 1): for the 2 n views of n pictures, with z scaled to length 1,

    minimise  1/2n Σ_i -log [ exp(z_i · z_p(i) / τ) / Σ_{j ≠ i} exp(z_i · z_j / τ) ]         p(i): the other view of i's picture

z is the last layer of a small convolutional net (`mmfeat.networks`). What pictures have in common after every change of
`augment` is what is learned: choose it by what may change in your pictures while they still show the same.
Codes of bits: `Chain(Pixels(), Contrastive(...), itq_hash(32))`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.augment import PRESETS, preset
from mmfeat.errors import SettingsError
from mmfeat.learner import Learner, Metrics, rows_of
from mmfeat.networks import convnet, forward, merge, statistics, strip
from mmfeat.optimise import OPTIMISERS, SCHEDULES, advance, check_choices, check_numbers, descend, direction, rate

__all__ = ["Contrastive", "ContrastiveState", "nt_xent"]

Array = Any
_MEMORY = 0.02  # share of the newest batch in the running statistics, once there were enough


class ContrastiveState(NamedTuple):
    """What training has come to.

    params: layer -> {"map": {"kernel"}, "scale", "bias"}, as `mmfeat.networks.convnet` names them.
    running: layer -> (mean, variance), of the latest batches; what `encode` normalises by.
    optimiser: optax's state. count, passes (): steps and passes done.
    """

    params: Any
    running: Any
    optimiser: Any
    count: Array
    passes: Array


@dataclass(frozen=True)
class Contrastive(Learner):
    """A convolutional encoder learned by NT-Xent from rows that are square pictures in [0, 1].

    side, channels: a row holds side x side x channels values, as `Pixels()` gives them.
    augment: how pictures may change: "photo", "tiles", "digits" (`mmfeat.augment.PRESETS`).
    widths: channels of the convolutions; each halves the side. hidden: width of the embedding; code: of the projection z.
    output: `encode` gives the "projection" z, scaled to length 1 (better codes), or the "embedding" before it (more detail).
    temperature: τ. optimiser, schedule and their numbers: `mmfeat.optimise`.
    passes: times the pictures are seen. batch: pictures a step; each is compared with all others of its batch.

    >>> import jax, numpy as np
    >>> learner = Contrastive(side=8, channels=1, widths=(4, 4), hidden=8, code=6)
    >>> x = np.ones((5, 64), np.float32)
    >>> learner.encode(learner.init(jax.random.key(0), x), x).shape
    (5, 6)
    """

    scratch: ClassVar[tuple[str, ...]] = ("optimiser*", "count", "passes")
    small: ClassVar[Mapping[str, Any]] = {"side": 4, "channels": 1, "widths": (4, 4)}  # for quick tests
    side: int = 32
    channels: int = 3
    augment: str = "photo"
    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 256
    code: int = 128
    output: str = "projection"
    temperature: float = 0.3
    optimiser: str = "adam"
    learning_rate: float = 2e-3
    momentum: float = 0.9
    schedule: str = "cosine"
    decay: float = 1e-4
    power: float = 0.5
    weight_decay: float = 0.0
    passes: int = 20
    batch: int = 512

    def __post_init__(self) -> None:
        check_choices(
            self,
            {
                "augment": tuple(PRESETS),
                "optimiser": OPTIMISERS,
                "output": ("embedding", "projection"),
                "schedule": SCHEDULES,
            },
        )
        whole = {"side": 1, "channels": 1, "widths": 1, "hidden": 1, "code": 1, "batch": 1, "passes": 0}
        check_numbers(
            self, whole | {"momentum": 0, "decay": 0, "weight_decay": 0}, {"temperature": 0, "learning_rate": 0}
        )
        if not self.widths:
            raise SettingsError("the net has at least one convolution", "widths=()", "try (32, 64, 128)")

    def init(self, key: Array, x: Array) -> ContrastiveState:
        """A random net; of the rows (n, side * side * channels) only the width matters."""
        from flax import nnx

        self._pictures(x)
        params = strip(_network(self, nnx.Rngs(params=key)))
        zero = jnp.zeros((), jnp.int32)
        return ContrastiveState(params, statistics(params), self._direction().init(params), zero, zero)

    def step(self, key: Array, state: ContrastiveState, x: Array, weight: Array) -> tuple[ContrastiveState, Metrics]:
        """One step down the gradient for a batch of rows. A batch without weight changes nothing."""
        gradient = jax.value_and_grad(self.objective, has_aux=True)
        (value, (seen, nearest)), slope = gradient(state.params, key, x, weight)
        update, optimiser = advance(self._direction(), slope, state.optimiser, state.params)
        eta = rate(self.schedule, self.learning_rate, state.count, state.passes, self.passes, self.decay, self.power)
        fresh = jnp.maximum(1.0 / (state.count.astype(jnp.float32) + 1.0), _MEMORY)
        new = ContrastiveState(
            descend(state.params, update, eta, self.weight_decay),
            jax.tree.map(lambda old, now: old + fresh * (now - old), state.running, seen),
            optimiser,
            state.count + 1,
            state.passes,
        )
        some = weight.sum() > 0
        kept = jax.tree.map(lambda a, b: jnp.where(some, a, b), new, state)
        return kept, {"objective": value, "nearest": nearest, "rate": eta}

    def finish(self, key: Array, state: ContrastiveState) -> ContrastiveState:
        """Count the pass, for the cosine schedule."""
        return state._replace(passes=state.passes + 1)

    def encode(self, state: ContrastiveState, x: Array) -> Array:
        """Rows (n, side * side * channels) to (n, code) of length 1, or (n, hidden), float32."""
        embedding, projection, _ = forward(self._merge(state.params), self._pictures(x), known=state.running)
        return _unit(projection) if self.output == "projection" else embedding

    def objective(self, params: Any, key: Array, x: Array, weight: Array) -> tuple[Array, tuple[Any, Array]]:
        """NT-Xent of a batch; beside it the net's statistics, and how often the other view is the nearest of all."""
        images, change = self._pictures(x), preset(self.augment)
        views = [change(jax.random.fold_in(key, view), images) for view in range(2)]
        twice = jnp.concatenate([weight, weight])
        _, projection, seen = forward(self._merge(params), jnp.concatenate(views), twice)
        value, nearest = nt_xent(_unit(projection), twice, self.temperature)
        return value, (seen, nearest)

    def _pictures(self, x: Array) -> Array:
        rows, wanted = rows_of(x), self.side * self.side * self.channels
        if rows.shape[1] != wanted:
            raise SettingsError(
                f"rows are pictures of {self.side} x {self.side} px with {self.channels} channels: {wanted} values",
                f"rows of {rows.shape[1]}",
                "set side and channels to what the rows hold, or decode the pictures to one square size",
            )
        return rows.reshape(-1, self.side, self.side, self.channels)

    def _direction(self) -> Any:
        return direction(self.optimiser, self.momentum)

    def _merge(self, params: Any) -> Any:
        return merge(_graph(self), params)


def nt_xent(z: Array, weight: Array, temperature: float) -> tuple[Array, Array]:
    """NT-Xent of unit rows z (2 n, c), and the share of rows whose pair is their nearest; row i and row n + i are a pair.

    weight (2 n,): rows of weight 0 count neither as rows nor as negatives.
    """
    rows = z.shape[0]
    numbers = jnp.arange(rows, dtype=jnp.int32)
    scores = (z @ z.T) / temperature
    apart = (numbers[:, None] != numbers[None, :]) & (weight > 0)[None, :]
    scores = jnp.where(apart, scores, -1e9)
    pair = (z * jnp.roll(z, rows // 2, axis=0)).sum(axis=1) / temperature
    total = jnp.maximum(weight.sum(), 1e-12)
    loss = jax.nn.logsumexp(scores, axis=1) - pair
    nearest = weight @ (pair >= scores.max(axis=1) - 1e-5).astype(jnp.float32)
    return weight @ jnp.where(weight > 0, loss, 0.0) / total, jax.lax.stop_gradient(nearest / total)


def _unit(z: Array) -> Array:
    """Rows of length 1."""
    return z * jax.lax.rsqrt(jnp.maximum(jnp.square(z).sum(axis=1, keepdims=True), 1e-12))


def _network(settings: Contrastive, rngs: Any) -> Any:
    shape = (settings.side, settings.side, settings.channels)
    return convnet(shape, settings.widths, settings.hidden, settings.code, rngs)


@lru_cache(maxsize=64)
def _graph(settings: Contrastive) -> Any:
    """The net's form without its numbers, which are the state's: made from shapes alone."""
    from flax import nnx

    return nnx.split(nnx.eval_shape(lambda: _network(settings, nnx.Rngs(0))))[0]
