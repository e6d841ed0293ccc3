"""The deep autoencoder: a net that says its input again through a narrow code; denoising, contractive, sparse, tied or binary.

G. Hinton and R. Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 313, 2006 (`unrolled`).
P. Vincent et al., "Extracting and composing robust features with denoising autoencoders", ICML 2008 (`corruption`).
S. Rifai et al., "Contractive auto-encoders", ICML 2011 (`contraction`). A. Ng, "Sparse autoencoder", 2011 (`sparse="kl"`).
A. Krizhevsky and G. Hinton, "Using very deep autoencoders for content-based image retrieval", ESANN 2011 (`kind="binary"`).

    minimise  1/n Σ_i [ loss(x_i, g(h_i)) + contraction · ‖∂h_i/∂x‖²_F ] + sparsity · P(h),   h_i = f(x_i + corruption)

f has layers d → hidden → code, g the same backwards. P is 1/n Σ_i ‖h_i‖₁, or Σ_j KL(target ‖ 1/n Σ_i h_ij). Rows are used as
they come: whiten or scale them before. The losses stand in `mmfeat.objectives`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import Learner, Metrics, rows_of
from mmfeat.objectives import LOSSES, contraction, divergence
from mmfeat.optimise import OPTIMISERS, SCHEDULES, advance, check_choices, check_numbers, descend, direction, rate

__all__ = ["Autoencoder", "AutoencoderState", "unrolled"]

Array = Any

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": jax.nn.gelu,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
}


_CHOICES = {
    "activation": tuple(_ACTIVATIONS),
    "corrupt": ("gaussian", "zero"),
    "kind": ("binary", "linear", "sigmoid"),
    "loss": tuple(LOSSES),
    "optimiser": OPTIMISERS,
    "schedule": SCHEDULES,
    "sparse": ("kl", "l1"),
}
_LEAST = {"hidden": 1, "code": 1, "batch": 1, "passes": 0} | dict.fromkeys(
    ("sparsity", "corruption", "contraction", "code_noise", "weight_decay", "momentum", "decay"), 0
)
_FLOOR = 1e-6  # of a logit's variance


class AutoencoderState(NamedTuple):
    """What training has come to.

    params: {"encoder", "decoder"} -> {"layer0", ...} -> kernel (in, out) and bias (out,); a tied decoder has biases alone,
        a binary code's layer no bias (standardisation would take it away again).
    optimiser: optax's state. count, passes (): steps and passes done.
    mean, variance (code,): running statistics of the code's logits; a binary code's are standardised by them.
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
    loss: one of `mmfeat.objectives.LOSSES`. sparsity: the weight of P; sparse: "l1", or "kl" to `target` (no linear code).
    corruption: in training, the share of values set to 0 (corrupt="zero") or the deviation of added noise ("gaussian").
    contraction: the weight of the encoder's Jacobian: exact without hidden layers, else estimated without bias by one random
        direction a row and step (`objectives.contraction`). A binary code counts before it is cut, the statistics as constants.
    code_noise: deviation of the noise on the code's logits in training; it drives sigmoid codes to 0 and 1 (semantic hashing).
        fixed_noise: every row meets the same noise whenever it comes, as in Salakhutdinov & Hinton; otherwise it is drawn anew.
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
    sparse: str = "l1"
    target: float = 0.05
    corruption: float = 0.0
    corrupt: str = "zero"
    contraction: float = 0.0
    code_noise: float = 0.0
    fixed_noise: bool = False
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
        if self.sparse == "kl" and not (self.kind != "linear" and 0 < self.target < 1):
            raise SettingsError(
                'sparse="kl" takes a code within 0 and 1 and a target between',
                f"kind={self.kind!r}, target={self.target}",
                'use kind="sigmoid" and a target such as 0.05',
            )

    @property
    def hash(self) -> bool:  # type: ignore[override]
        """Whether the code is bits."""
        return self.kind == "binary"

    def init(self, key: Array, x: Array) -> AutoencoderState:
        """A random net for rows (n, d); their values do not matter."""
        from flax import nnx  # takes longer to import than a search may last

        params = nnx.to_pure_dict(nnx.split(_network(self, rows_of(x).shape[1], nnx.Rngs(params=key)))[1])
        return _state(self, params)

    def step(self, key: Array, state: AutoencoderState, x: Array, weight: Array) -> tuple[AutoencoderState, Metrics]:
        """One step down the gradient for a batch (n, d). A batch without weight changes nothing."""
        gradient = jax.value_and_grad(self.objective, has_aux=True)
        (value, (mean, variance, metrics)), slope = gradient(state.params, key, rows_of(x), weight)
        update, optimiser = advance(self._direction(), slope, state.optimiser, state.params)
        pace = rate(self.schedule, self.learning_rate, state.count, state.passes, self.passes, self.decay, self.power)
        fresh = jnp.maximum(1.0 / (state.count.astype(jnp.float32) + 1.0), 0.01)
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
        return (
            self.standardised(state, x)
            if self.hash
            else self._squash(self._logits(self._merge(state.params), rows_of(x)))
        )

    def standardised(self, state: AutoencoderState, x: Array) -> Array:
        """Rows (n, d) to the code's logits (n, code), mean 0 and deviation 1 over what it was trained on, whatever the kind."""
        return self._standardise(self._logits(self._merge(state.params), rows_of(x)), state.mean, state.variance)

    def decode(self, state: AutoencoderState, codes: Array) -> Array:
        """Codes (n, code) to rows (n, d). Of a binary autoencoder anything goes whose bits are value > 0."""
        h = jnp.asarray(codes).astype(jnp.float32)
        h = (h > 0).astype(jnp.float32) if self.hash else h
        return LOSSES[self.loss].link(self._output(self._merge(state.params), h))

    def reconstruct(self, state: AutoencoderState, x: Array) -> Array:
        """Rows (n, d) through the code and back: `decode(encode(x))`."""
        return self.decode(state, self.encode(state, x))

    def objective(self, params: Any, key: Array, x: Array, weight: Array) -> tuple[Array, tuple[Array, Array, Metrics]]:
        """The objective for rows (n, d) and weights (n,); beside it the clean logits' mean and variance (code,), and its parts."""
        net, total = self._merge(params), jnp.maximum(weight.sum(), 1e-12)
        spoilt = self._spoil(jax.random.fold_in(key, 0), x)
        z = self._logits(net, spoilt)
        mean = weight @ z / total
        variance = weight @ jnp.square(z - mean[None, :]) / total
        logits = self._standardise(z, mean, variance) if self.hash else z
        if self.code_noise:
            logits = logits + self.code_noise * self._noise(jax.random.fold_in(key, 1), x)
        h = self._squash(logits)
        if self.hash:
            h = h + jax.lax.stop_gradient((logits > 0).astype(jnp.float32) - h)
        loss = weight @ LOSSES[self.loss].values(x, self._output(net, h)).sum(axis=1) / total
        activity = weight @ jnp.abs(h).sum(axis=1) / total
        penalty = divergence(self.target, weight @ h / total) if self.sparse == "kl" else activity
        value, parts = loss + self.sparsity * penalty, {"loss": loss, "activity": activity}
        if self.contraction:
            steepness = self._steepness(
                net, jax.random.fold_in(key, 2), spoilt, z, *jax.lax.stop_gradient((mean, variance))
            )
            parts["steepness"] = weight @ steepness / total
            value = value + self.contraction * parts["steepness"]
        if self.corruption and (
            self.hash or self.code_noise
        ):  # what is encoded later is not spoilt: its statistics count
            clean = self._logits(net, x)
            mean = weight @ clean / total
            variance = weight @ jnp.square(clean - mean[None, :]) / total
        return value, (mean, variance, parts)

    def _steepness(self, net: Any, key: Array, x: Array, z: Array, mean: Array, variance: Array) -> Array:
        """‖∂h/∂x‖²_F (n,) of rows x (n, d) with logits z (n, code), or an estimate of it without bias."""

        def last(z: Array) -> Array:
            return self._squash(self._standardise(z, mean, variance) if self.hash else z)

        if self.hidden:
            return contraction(lambda rows: last(self._logits(net, rows)), x, key)
        _, slope = jax.jvp(last, (z,), (jnp.ones_like(z),))  # J = diag(slope) Wᵀ
        return jnp.square(slope) @ jnp.square(net["encoder"]["layer0"].kernel[...]).sum(axis=0)

    def _noise(self, key: Array, x: Array) -> Array:
        """Standard noise (n, code): from the step's key, or each row's from its own values."""
        if not self.fixed_noise:
            return jax.random.normal(key, (x.shape[0], self.code), jnp.float32)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), _fingerprint(x))
        return jax.vmap(lambda each: jax.random.normal(each, (self.code,), jnp.float32))(keys)

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


def unrolled(settings: Autoencoder, layers: Sequence[tuple[Array, Array, Array]]) -> AutoencoderState:
    """The state whose encoder is a stack of pretrained layers and whose decoder is the same stack backwards (Science 2006).

    layers: (kernel (in, out), encoder bias (out,), decoder bias (in,)) of every layer, the lowest first: a DBN's. They have the
        widths d → hidden → code; ShapeError otherwise. A binary code's logits have no bias.
    Train it by `train(settings, start(settings, x, state=unrolled(settings, layers)), ...)`; for layers of RBMs take
    activation="sigmoid".
    """
    layers = jax.tree.map(lambda part: jnp.asarray(part, jnp.float32), [tuple(layer) for layer in layers])
    widths = (*settings.hidden, settings.code)
    came = [tuple(part.shape for part in layer) for layer in layers]
    inputs = [came[0][0][0], *widths[:-1]] if came else []
    if came != [((wide, out), (out,), (wide,)) for wide, out in zip(inputs, widths, strict=False)] or not came:
        raise ShapeError(
            f"layers to unroll have the widths d -> {' -> '.join(map(str, widths))}: kernel (in, out), biases (out,) and (in,)",
            str(came),
            "set hidden and code as the layers were trained",
        )
    encoder: dict[str, Any] = {}
    decoder: dict[str, Any] = {}
    for i, (kernel, bias, back) in enumerate(layers):
        bare = settings.hash and i == len(layers) - 1
        encoder[f"layer{i}"] = {"kernel": kernel} if bare else {"bias": bias, "kernel": kernel}
        decoder[f"layer{len(layers) - 1 - i}"] = {"bias": back} if settings.tied else {"bias": back, "kernel": kernel.T}
    return _state(settings, {"decoder": decoder, "encoder": encoder})


def _state(settings: Autoencoder, params: Any) -> AutoencoderState:
    """The state of a net that has not been trained yet."""
    zero, mean = jnp.zeros((), jnp.int32), jnp.zeros(settings.code, jnp.float32)
    optimiser = direction(settings.optimiser, settings.momentum).init(params)
    return AutoencoderState(params, optimiser, zero, zero, mean, jnp.ones_like(mean))


def _fingerprint(x: Array) -> Array:
    """A number (n,) uint32 of each row's bits (n, d)."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    odd = jnp.arange(1, 2 * x.shape[1], 2, dtype=jnp.uint32) * jnp.uint32(0x9E3779B1)
    mixed = (bits ^ (bits >> jnp.uint32(15))) * odd[None, :]
    return (mixed ^ (mixed >> jnp.uint32(13))).sum(axis=1, dtype=jnp.uint32)


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
