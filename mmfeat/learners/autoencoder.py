"""The deep autoencoder: a net that says its input again through a narrow code; denoising, sparse, tied or binary as asked.

G. Hinton and R. Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 313, 2006.
P. Vincent et al., "Extracting and composing robust features with denoising autoencoders", ICML 2008 (`corruption`).
A. Krizhevsky and G. Hinton, "Using very deep autoencoders for content-based image retrieval", ESANN 2011 (`kind="binary"`).

    minimise  1/n Σ_i [ loss(x_i, g(h_i)) + sparsity · ‖h_i‖₁ ],   h_i = f(x_i + corruption)

f has layers d → hidden → code, g the same backwards. Rows are used as they come: whiten or scale them before. The losses
(z is g's last layer before its link; sums run over the d values of a row):

    squared        Σ (x - z)²                            link z            any rows
    absolute       Σ |x - z|                             link z            any rows
    huber          Σ (x - z)²/2, linear beyond 1         link z            any rows
    cross_entropy  Σ -x log σ(z) - (1 - x) log(1 - σ(z)) link σ(z)         rows in [0, 1]; others are clipped
    logistic       Σ log(1 + exp(-x z))                  link tanh(z / 2)  rows in {-1, 1}
    softmax        -Σ (x / Σx) log softmax(z)            link softmax(z)   counts (documents, histograms); below 0 counts as 0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mmfeat.errors import SettingsError
from mmfeat.learner import Learner, Metrics, rows_of
from mmfeat.optimise import OPTIMISERS, SCHEDULES, advance, check_choices, check_numbers, descend, direction, rate

__all__ = ["Autoencoder", "AutoencoderState"]

Array = Any

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": jax.nn.gelu,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
}


def _cross_entropy(x: Array, z: Array) -> Array:
    return optax.sigmoid_binary_cross_entropy(z, jnp.clip(x, 0.0, 1.0))


def _softmax(x: Array, z: Array) -> Array:
    x = jnp.maximum(x, 0.0)
    shares = x / jnp.maximum(x.sum(axis=-1, keepdims=True), 1e-12)
    return -shares * jax.nn.log_softmax(z, axis=-1)


# name -> (loss of every value, from the row x and the net's last layer z; the link from z to what is said of x)
_LOSSES: dict[str, tuple[Callable[[Array, Array], Array], Callable[[Array], Array]]] = {
    "absolute": (lambda x, z: jnp.abs(x - z), lambda z: z),
    "cross_entropy": (_cross_entropy, jax.nn.sigmoid),
    "huber": (lambda x, z: optax.huber_loss(z, x), lambda z: z),
    "logistic": (lambda x, z: jax.nn.softplus(-x * z), lambda z: jnp.tanh(0.5 * z)),
    "softmax": (_softmax, lambda z: jax.nn.softmax(z, axis=-1)),
    "squared": (lambda x, z: jnp.square(x - z), lambda z: z),
}
_CHOICES = {
    "activation": tuple(_ACTIVATIONS),
    "corrupt": ("gaussian", "zero"),
    "kind": ("binary", "linear", "sigmoid"),
    "loss": tuple(_LOSSES),
    "optimiser": OPTIMISERS,
    "schedule": SCHEDULES,
}
_LEAST = {"hidden": 1, "code": 1, "batch": 1, "passes": 0} | dict.fromkeys(
    ("sparsity", "corruption", "code_noise", "weight_decay", "momentum", "decay"), 0
)
_FLOOR = 1e-6  # of a logit's variance


class AutoencoderState(NamedTuple):
    """What training has come to.

    params: {"encoder", "decoder"} -> {"layer0", ...} -> kernel (in, out) and bias (out,); a tied decoder has biases alone,
        a binary code's layer no bias (standardisation would take it away again).
    optimiser: optax's state. count, passes (): steps and passes done.
    mean, variance (code,): running statistics of a binary code's logits, by which they are standardised.
    """

    params: Any
    optimiser: Any
    count: Array
    passes: Array
    mean: Array
    variance: Array


@dataclass(frozen=True)
class Autoencoder(Learner):
    """A deep autoencoder; h is its code.

    hidden: widths of the layers between the rows and the code; () is one layer each way.
    code: values of the code. kind: "linear" z, "sigmoid" σ(z), or "binary": z is standardised bit by bit over the batch and
        cut at 0; the cut is skipped backwards, σ' stands in (straight-through). A binary autoencoder is a hash.
    activation: of the hidden layers, "relu", "gelu", "tanh" or "sigmoid". tied: the decoder uses the encoder's kernels, transposed.
    loss: see above. sparsity: the weight of ‖h‖₁.
    corruption: in training, the share of values set to 0 (corrupt="zero") or the deviation of added noise ("gaussian").
    code_noise: deviation of the noise on the code's logits in training; it drives sigmoid codes to 0 and 1 (semantic hashing).
    weight_decay: λ of w ← (1 - λ) w - η g, for kernels, whatever η is.
    optimiser: "adam", "sgd", "momentum", "nesterov" (both by `momentum`) or "adagrad" (η / √(0.1 + Σ g²)).
    schedule of the rate η from learning_rate = α: "constant"; "cosine", α (1 + cos(π pass / passes)) / 2, constant within a pass;
        "power", α (1 + decay · t)^-power; "exponential", α exp(-decay · t); t counts steps. None needs to know how long a pass is.
    passes: times the data are seen. batch: rows a step.

    >>> import jax, numpy as np
    >>> net = Autoencoder(hidden=(8,), code=4, kind="binary")
    >>> x = np.ones((5, 6), np.float32)
    >>> net.encode(net.init(jax.random.key(0), x), x).shape, net.hash
    ((5, 4), True)
    """

    scratch: ClassVar[tuple[str, ...]] = ("optimiser*", "count", "passes")
    split: ClassVar[Mapping[str, int]] = {"*kernel": 1}
    hidden: tuple[int, ...] = (512, 256)
    code: int = 64
    kind: str = "linear"
    activation: str = "relu"
    tied: bool = False
    loss: str = "squared"
    sparsity: float = 0.0
    corruption: float = 0.0
    corrupt: str = "zero"
    code_noise: float = 0.0
    weight_decay: float = 0.0
    optimiser: str = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    schedule: str = "cosine"
    decay: float = 1e-4
    power: float = 0.5
    passes: int = 10
    batch: int = 256

    def __post_init__(self) -> None:
        check_choices(self, _CHOICES)
        check_numbers(self, _LEAST, {"learning_rate": 0})
        if self.corrupt == "zero" and self.corruption > 1:
            raise SettingsError("a share of values set to 0 is at most 1", f"corruption={self.corruption}", "mend it")

    @property
    def hash(self) -> bool:  # type: ignore[override]
        """Whether the code is bits."""
        return self.kind == "binary"

    def init(self, key: Array, x: Array) -> AutoencoderState:
        """A random net for rows (n, d); their values do not matter."""
        from flax import nnx  # takes longer to import than a search may last

        params = nnx.to_pure_dict(nnx.split(_network(self, rows_of(x).shape[1], nnx.Rngs(params=key)))[1])
        zero, mean = jnp.zeros((), jnp.int32), jnp.zeros(self.code, jnp.float32)
        return AutoencoderState(params, self._direction().init(params), zero, zero, mean, jnp.ones_like(mean))

    def step(self, key: Array, state: AutoencoderState, x: Array, weight: Array) -> tuple[AutoencoderState, Metrics]:
        """One step down the gradient for a batch (n, d). A batch without weight changes nothing."""
        gradient = jax.value_and_grad(self.objective, has_aux=True)
        (value, (mean, variance, metrics)), slope = gradient(state.params, key, rows_of(x), weight)
        update, optimiser = advance(self._direction(), slope, state.optimiser, state.params)
        pace = rate(self.schedule, self.learning_rate, state.count, state.passes, self.passes, self.decay, self.power)
        fresh = jnp.maximum(1.0 / (state.count.astype(jnp.float32) + 1.0), 0.01) if self.hash else jnp.float32(0)
        new = AutoencoderState(
            descend(state.params, update, pace, self.weight_decay),
            optimiser,
            state.count + 1,
            state.passes,
            state.mean + fresh * (mean - state.mean),
            state.variance + fresh * (variance - state.variance),
        )
        some = weight.sum() > 0
        return jax.tree.map(lambda a, b: jnp.where(some, a, b), new, state), {
            "objective": value,
            "rate": pace,
            **metrics,
        }

    def finish(self, key: Array, state: AutoencoderState) -> AutoencoderState:
        """Count the pass, for the cosine schedule."""
        return state._replace(passes=state.passes + 1)

    def encode(self, state: AutoencoderState, x: Array) -> Array:
        """Rows (n, d) to codes (n, code) float32; of a binary autoencoder the standardised logits, bit = value > 0."""
        z = self._logits(self._merge(state.params), rows_of(x))
        return self._standardise(z, state.mean, state.variance) if self.hash else self._squash(z)

    def decode(self, state: AutoencoderState, codes: Array) -> Array:
        """Codes (n, code) to rows (n, d). Of a binary autoencoder anything goes whose bits are value > 0."""
        h = jnp.asarray(codes).astype(jnp.float32)
        h = (h > 0).astype(jnp.float32) if self.hash else h
        return _LOSSES[self.loss][1](self._output(self._merge(state.params), h))

    def reconstruct(self, state: AutoencoderState, x: Array) -> Array:
        """Rows (n, d) through the code and back: `decode(encode(x))`."""
        return self.decode(state, self.encode(state, x))

    def objective(self, params: Any, key: Array, x: Array, weight: Array) -> tuple[Array, tuple[Array, Array, Metrics]]:
        """The objective for rows (n, d) and weights (n,); beside it the logits' mean and variance (code,), and its two parts."""
        net, total = self._merge(params), jnp.maximum(weight.sum(), 1e-12)
        z = self._logits(net, self._spoil(jax.random.fold_in(key, 0), x))
        mean = weight @ z / total
        variance = weight @ jnp.square(z - mean[None, :]) / total
        if self.hash:
            z = self._standardise(z, mean, variance)
        if self.code_noise:
            z = z + self.code_noise * jax.random.normal(jax.random.fold_in(key, 1), z.shape, jnp.float32)
        h = self._squash(z)
        if self.hash:
            h = h + jax.lax.stop_gradient((z > 0).astype(jnp.float32) - h)
        loss = weight @ _LOSSES[self.loss][0](x, self._output(net, h)).sum(axis=1) / total
        activity = weight @ jnp.abs(h).sum(axis=1) / total
        return loss + self.sparsity * activity, (mean, variance, {"loss": loss, "activity": activity})

    def _spoil(self, key: Array, x: Array) -> Array:
        if not self.corruption:
            return x
        if self.corrupt == "zero":
            return x * jax.random.bernoulli(key, 1.0 - self.corruption, x.shape).astype(jnp.float32)
        return x + self.corruption * jax.random.normal(key, x.shape, jnp.float32)

    def _logits(self, net: Any, x: Array) -> Array:
        for i in range(len(self.hidden)):
            x = _ACTIVATIONS[self.activation](net["encoder"][f"layer{i}"](x))
        return net["encoder"][f"layer{len(self.hidden)}"](x)

    def _standardise(self, z: Array, mean: Array, variance: Array) -> Array:
        return (z - mean[None, :]) * jax.lax.rsqrt(jnp.maximum(variance, _FLOOR))[None, :]

    def _squash(self, z: Array) -> Array:
        return z if self.kind == "linear" else jax.nn.sigmoid(z)

    def _output(self, net: Any, h: Array) -> Array:
        last = len(self.hidden)
        for i in range(last + 1):
            layer = net["decoder"][f"layer{i}"]
            kernel = net["encoder"][f"layer{last - i}"].kernel[...].T if self.tied else layer.kernel[...]
            h = h @ kernel + layer.bias[...][None, :]
            h = _ACTIVATIONS[self.activation](h) if i < last else h
        return h

    def _merge(self, params: Any) -> Any:
        from flax import nnx

        first = params["encoder"]["layer0"]["kernel"]
        return nnx.merge(_graph(self, first.shape[0]), params)

    def _direction(self) -> optax.GradientTransformation:
        return direction(self.optimiser, self.momentum)


def _network(settings: Autoencoder, inputs: int, rngs: Any) -> Any:
    """The net as nested `nnx.Dict`s, named as in `AutoencoderState.params`."""
    from flax import nnx

    sizes = (inputs, *settings.hidden, settings.code)
    rectified = 2.0 if settings.activation in ("relu", "gelu") else 1.0

    def layer(width: int, out: int, last: bool, bias: bool = True) -> Any:
        kernel = jax.nn.initializers.variance_scaling(1.0 if last else rectified, "fan_in", "truncated_normal")
        return nnx.Linear(width, out, use_bias=bias, kernel_init=kernel, rngs=rngs)

    pairs = list(pairwise(sizes))
    top = len(pairs) - 1
    encoder, decoder = {}, {}
    for i, (width, out) in enumerate(pairs):
        encoder[f"layer{i}"] = layer(width, out, i == top, i < top or not settings.hash)
    for i, (out, width) in enumerate(reversed(pairs)):
        bias = nnx.Param(jnp.zeros(out, jnp.float32))
        decoder[f"layer{i}"] = nnx.Dict({"bias": bias}) if settings.tied else layer(width, out, i == top)
    return nnx.Dict({"decoder": nnx.Dict(decoder), "encoder": nnx.Dict(encoder)})


@lru_cache(maxsize=64)
def _graph(settings: Autoencoder, inputs: int) -> Any:
    """The net's form without its numbers, which are the state's: made from shapes alone."""
    from flax import nnx

    return nnx.split(nnx.eval_shape(lambda: _network(settings, inputs, nnx.Rngs(0))))[0]
