"""A small convolutional net that is quick on a CPU: few channels where pictures are large, and a stride of 2 in every layer.

S. Ioffe, C. Szegedy, "Batch normalization", ICML 2015, with rows that weigh differently:

    layer:      x ← max(0, γ (W x - μ) / √(σ² + ε) + β)        μ, σ²: weighted mean and variance of W x over rows and places

The first layer (5 x 5, of 1 or 3 channels) is a plain product of gathered patches: XLA's convolution of so few channels
reaches a third of its rate on the CPU. The others are 3 x 3 convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["Statistics", "convnet", "forward", "merge", "statistics", "strip"]

Array = Any
Statistics = Mapping[str, tuple[Array, Array]]  # name of a layer -> mean and variance (channels,)
_STEM, _FLOOR = 5, 1e-4  # pixels a side of the first layer's patches; added to every variance


def convnet(shape: tuple[int, int, int], widths: tuple[int, ...], hidden: int, code: int, rngs: Any) -> Any:
    """A random net for pictures of `shape` (H, W, C), as nested `nnx.Dict`s: conv0, conv1, ..., embed, project.

    widths: channels of the convolutions. hidden: width of the layer after them. code: width of the last, linear one.
    Every layer has a kernel; all but the last have scale and bias of their normalisation too.
    """
    from flax import nnx  # takes longer to import than a search may last

    start = jax.nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")

    def normalised(layer: Any, width: int) -> Any:
        ones, zeros = jnp.ones(width, jnp.float32), jnp.zeros(width, jnp.float32)
        return nnx.Dict({"map": layer, "scale": nnx.Param(ones), "bias": nnx.Param(zeros)})

    def dense(inputs: int, outputs: int) -> Any:
        return nnx.Linear(inputs, outputs, use_bias=False, kernel_init=start, rngs=rngs)

    height, width, inputs = shape
    layers = {}
    for i, outputs in enumerate(widths):
        layer = dense(_STEM * _STEM * inputs, outputs) if i == 0 else _convolution(inputs, outputs, start, rngs)
        layers[f"conv{i}"] = normalised(layer, outputs)
        height, width, inputs = -(-height // 2), -(-width // 2), outputs
    layers["embed"] = normalised(dense(height * width * inputs, hidden), hidden)
    layers["project"] = nnx.Dict({"map": dense(hidden, code)})
    return nnx.Dict(layers)


def _convolution(inputs: int, outputs: int, start: Any, rngs: Any) -> Any:
    from flax import nnx

    return nnx.Conv(inputs, outputs, (3, 3), strides=2, use_bias=False, kernel_init=start, rngs=rngs)


def strip(net: Any) -> Any:
    """The numbers of a net as a plain nested dict of arrays."""
    from flax import nnx

    return nnx.to_pure_dict(nnx.split(net)[1])


def merge(graph: Any, params: Any) -> Any:
    """A net of its form and its numbers."""
    from flax import nnx

    return nnx.merge(graph, params)


def statistics(net_params: Any) -> dict[str, tuple[Array, Array]]:
    """Means 0 and variances 1 for every normalisation of a net: every layer, of its own width."""
    found = {}
    for name, layer in net_params.items():
        width = layer["map"]["kernel"].shape[-1]
        found[name] = (jnp.zeros(width, jnp.float32), jnp.ones(width, jnp.float32))
    return found


def forward(
    net: Any, images: Array, weight: Array | None = None, known: Statistics | None = None
) -> tuple[Array, Array, dict[str, tuple[Array, Array]]]:
    """Pictures (B, H, W, C) to embeddings (B, hidden) and projections (B, code), normalised but not scaled to length 1.

    weight (B,): normalise by the batch's own statistics, in which rows count as they weigh; they are the third result.
    known: normalise by these instead, so that a row does not depend on its company.
    """
    used: dict[str, tuple[Array, Array]] = {}

    def normalise(name: str, x: Array) -> Array:
        mean, variance = known[name] if known is not None else _moments(x, weight)
        used[name] = (mean, variance)
        shape = (1,) * (x.ndim - 1) + (-1,)
        x = (x - mean.reshape(shape)) * jax.lax.rsqrt(variance + _FLOOR).reshape(shape)
        if "scale" not in net[name]:
            return x
        return jax.nn.relu(x * net[name]["scale"][...].reshape(shape) + net[name]["bias"][...].reshape(shape))

    x, i = images, 0
    while f"conv{i}" in net:
        x = normalise(f"conv{i}", net[f"conv{i}"]["map"](_patches(x) if i == 0 else x))
        i += 1
    embedding = normalise("embed", net["embed"]["map"](x.reshape(x.shape[0], -1)))
    return embedding, normalise("project", net["project"]["map"](embedding)), used


def _moments(x: Array, weight: Array) -> tuple[Array, Array]:
    """Weighted mean and variance (channels,) of x (B, ..., channels) over rows and places."""
    places = x.reshape(x.shape[0], -1, x.shape[-1])
    total = jnp.maximum(weight.sum() * places.shape[1], 1e-12)
    mean = jnp.einsum("b,bpc->c", weight, places) / total
    return mean, jnp.einsum("b,bpc->c", weight, jnp.square(places - mean[None, None, :])) / total


def _patches(x: Array) -> Array:
    """Patches (B, ⌈H/2⌉, ⌈W/2⌉, 25 C) around every second pixel of pictures (B, H, W, C); zeros beyond the border."""
    rows, columns = -(-x.shape[1] // 2), -(-x.shape[2] // 2)
    x = jnp.pad(x, ((0, 0), (_STEM // 2, _STEM // 2), (_STEM // 2, _STEM // 2), (0, 0)))
    parts = [x[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] for i in range(_STEM) for j in range(_STEM)]
    return jnp.concatenate(parts, axis=-1)
