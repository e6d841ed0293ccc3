"""The deep belief net: restricted Boltzmann machines one on top of another, each learned from the hidden layer of the one below.

G. Hinton, S. Osindero, Y.-W. Teh, "A fast learning algorithm for deep belief nets", Neural Computation 18, 2006.
G. Hinton, R. Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 313, 2006.

    log P(v) ≥ Σ_h Q(h | v) log P(v | h; W1) + H(Q(· | v)) + Σ_h Q(h | v) log P(h; W2)

With W2 = W1ᵀ both sides are equal, Q being the first machine's posterior; learning the second machine from h raises the last
term, and with it the bound. The net generates from the top: Gibbs sampling in the last machine, then down layer by layer.

A net is a `Chain` of machines and has no class of its own. The functions here take its stages and their states.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.chain import Chain
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learners.gaussian_rbm import GaussianRbm
from mmfeat.learners.rbm import Rbm, RbmState

__all__ = ["Layer", "Parameters", "count_parameters", "dbn", "generate", "transpose", "unroll"]

Array = Any


class Layer(NamedTuple):
    """One layer of an unrolled net: kernel (in, out), the bias up (out,) and the bias back down (in,)."""

    kernel: Array
    encoder_bias: Array
    decoder_bias: Array


class Parameters(NamedTuple):
    """How many numbers a net has: weights, biases of the layers above the input, biases of the input."""

    weights: int
    biases: int
    input_biases: int


def dbn(
    widths: tuple[int, ...] = (500, 500),
    gaussian: bool = False,
    code: int | None = None,
    passes: int = 10,
    batch: int = 100,
    fit_rows: int | None = 131_072,
    **settings: Any,
) -> Chain:
    """A chain of machines with so many hidden units, by default the first layers of Science 2006's digit classifier.

    gaussian: the first machine is a `GaussianRbm`, for rows that are not in [0, 1]; code: a last machine with so many linear units
    (at a hundredth of the rate), the code of a deep autoencoder; settings: of every `Rbm`, as learning_rate or negative.

    >>> [(type(stage).__name__, stage.hidden) for stage in dbn((500, 250), code=30).stages]
    [('Rbm', 500), ('Rbm', 250), ('Rbm', 30)]
    """
    if not widths:
        raise SettingsError("a deep belief net has one layer or more", "none", "give the widths of its hidden layers")
    stages: list[Any] = [Rbm(hidden=width, passes=passes, batch=batch, **settings) for width in widths]
    if gaussian:
        stages[0] = GaussianRbm(hidden=widths[0], passes=2 * passes, batch=batch)
    if code is not None:
        rate = 0.01 * Rbm(**settings).learning_rate
        stages.append(Rbm(hidden=code, linear=True, passes=passes, batch=batch, **{**settings, "learning_rate": rate}))
    return Chain(*stages, fit_rows=fit_rows)


def count_parameters(sizes: Sequence[int]) -> Parameters:
    """The parameters of a net with layers of these sizes, the input's first.

    >>> count_parameters((784, 500, 500, 2000, 10))
    Parameters(weights=1662000, biases=3010, input_biases=784)
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise SettingsError("a net has an input and one layer or more", f"{tuple(sizes)}", "give at least two sizes")
    return Parameters(sum(below * above for below, above in pairwise(sizes)), sum(sizes[1:]), sizes[0])


def transpose(state: RbmState, learner: Rbm, key: Array) -> RbmState:
    """The state in which the machine `learner` on top of a machine with this state begins with W2 = W1ᵀ and its biases.

    The bound of the net of both is then the log-likelihood of the first alone. learner.hidden is the width of the first's input.
    """
    visible, hidden = state.weights.shape
    if learner.hidden != visible:
        raise ShapeError(
            "W2 = W1ᵀ has as many hidden units as the first input", f"{learner.hidden}", f"set hidden={visible}"
        )
    first = learner.init(key, np.zeros((1, hidden), np.float32))
    return first._replace(weights=jnp.asarray(state.weights).T, visible=state.hidden, hidden=state.visible)


def generate(stages: Sequence[Any], states: Sequence[Any], key: Array, count: int = 16, steps: int = 1000) -> Array:
    """Samples of the net: (count, d) means of the input after `steps` of Gibbs sampling in the last machine.

    Layers on the way down are drawn; only the input is a mean.
    """
    machines = _machines(stages, states)
    top, state = machines[-1]
    mean = top.generate(jax.random.fold_in(key, 0), state, count, steps)
    for number, (machine, state) in enumerate(reversed(machines[:-1])):
        above, above_state = machines[len(machines) - 1 - number]
        h = above.draw_visible(jax.random.fold_in(key, number + 1), above_state, mean)
        mean = machine.visible_mean(state, h)
    return mean


def unroll(stages: Sequence[Any], states: Sequence[Any]) -> list[Layer]:
    """The layers of the autoencoder that the net unrolls to, from the input up; its decoder has the kernels transposed.

    Of a `GaussianRbm` the deviations go into the kernel, and the kernel back down is not exactly its transpose: rows of
    deviation 1 (whitened ones) lose nothing.
    """
    layers = []
    for machine, state in _machines(stages, states):
        weights = np.asarray(state.weights)
        if isinstance(machine, GaussianRbm):
            weights = weights / np.exp(np.asarray(state.deviation))[:, None]
        layers.append(Layer(weights, np.asarray(state.hidden), np.asarray(state.visible)))
    return layers


def _machines(stages: Sequence[Any], states: Sequence[Any]) -> list[tuple[Any, Any]]:
    """The machines among the stages, with their states; they follow one another. Fixed stages may stand before and codes after."""
    places = [place for place, stage in enumerate(stages) if hasattr(stage, "visible_mean")]
    if not places or places[-1] - places[0] != len(places) - 1:
        names = ", ".join(type(stage).__name__ for stage in stages)
        raise SettingsError("a deep belief net is machines one after another", names, "give the stages of dbn(...)")
    return [(stages[place], states[place]) for place in places]
