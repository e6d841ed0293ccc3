"""Semantic hashing: a deep autoencoder whose code is bits, so that like items get addresses near to one another.

R. Salakhutdinov and G. Hinton, "Semantic hashing", SIGIR workshop 2007, Int. J. Approximate Reasoning 50, 2009 ("noise").
A. Krizhevsky and G. Hinton, "Using very deep autoencoders for content-based image retrieval", ESANN 2011 ("straight_through").

    bit_j = [z_j(x) > m_j]          z: the encoder's last layer before its link, m: its mean over the training rows

A net is trained to say x again from h, and h is brought to 0 and 1 in one of two ways:

    "noise"             h = σ(z + e), e ~ N(0, σ²): only inputs far from 0 get through the noise, and units saturate. The decoder's
                        rows weigh saturated units; bits are cut after training.
    "straight_through"  h = [z' + e > 0] forwards, σ'(z' + e) backwards, z' = (z - mean) / deviation of the batch: every bit is cut
                        through the middle of the rows. Without standardisation such nets collapse to a handful of codes.

Without noise a code says its rows best; with it, it ranks them best: what the decoder may rely on is what several bits say, and
rows that look alike share these. (`mmfeat reproduce hashing-mnist` has the figures.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp

from mmfeat.learner import Metrics
from mmfeat.learners.autoencoder import Autoencoder, AutoencoderState
from mmfeat.learners.composed import Composed
from mmfeat.optimise import check_choices, check_numbers

__all__ = ["SemanticHash"]

Array = Any


@dataclass(frozen=True)
class SemanticHash(Composed):
    """A deep autoencoder's bits.

    bits: code length. rounding: "straight_through" or "noise". noise: σ; for "noise" 4 is the paper's, for "straight_through" 0 is.
    net: the autoencoder; its code, kind and code_noise follow from these, everything else is as there: passes and batch,
        fixed_noise=True for noise fixed per row as in the paper, corruption for a denoising one.
    The state is the autoencoder's: `start(learner, x, state=unrolled(learner.autoencoder, layers))` starts from pretrained layers.

    >>> import jax, numpy as np
    >>> learner = SemanticHash(bits=4, net=Autoencoder(hidden=(8,)))
    >>> x = np.ones((5, 6), np.float32)
    >>> learner.encode(learner.init(jax.random.key(0), x), x).shape, learner.hash
    ((5, 4), True)
    """

    made_of: ClassVar[str] = "net"
    hash: ClassVar[bool] = True
    scratch: ClassVar[tuple[str, ...]] = Autoencoder.scratch
    split: ClassVar[Mapping[str, int]] = Autoencoder.split
    bits: int = 64
    rounding: str = "straight_through"
    noise: float = 1.0
    net: Autoencoder = Autoencoder(activation="gelu")  # noqa: RUF009 - it is frozen

    def __post_init__(self) -> None:
        check_choices(self, {"rounding": ("noise", "straight_through")})
        check_numbers(self, {"bits": 1, "noise": 0}, {"noise": 0} if self.rounding == "noise" else {})

    @property
    def autoencoder(self) -> Autoencoder:
        """The net that is trained: `net` with a code of `bits` units."""
        kind = "sigmoid" if self.rounding == "noise" else "binary"
        return replace(self.net, code=self.bits, kind=kind, code_noise=self.noise)

    def init(self, key: Array, x: Array) -> AutoencoderState:
        """A random net for rows (n, d); their values do not matter."""
        return self.autoencoder.init(key, x)

    def step(self, key: Array, state: AutoencoderState, x: Array, weight: Array) -> tuple[AutoencoderState, Metrics]:
        """One step down the gradient for a batch (n, d). A batch without weight changes nothing."""
        return self.autoencoder.step(key, state, x, weight)

    def finish(self, key: Array, state: AutoencoderState) -> AutoencoderState:
        """Count the pass, for the cosine schedule."""
        return self.autoencoder.finish(key, state)

    def encode(self, state: AutoencoderState, x: Array) -> Array:
        """Rows (n, d) to standardised logits (n, bits) float32; bit = value > 0."""
        return self.autoencoder.standardised(state, x)

    def decode(self, state: AutoencoderState, codes: Array) -> Array:
        """Codes (n, bits) to rows (n, d); only whether a value is above 0 counts."""
        return self.autoencoder.decode(state, (jnp.asarray(codes).astype(jnp.float32) > 0).astype(jnp.float32))

    def reconstruct(self, state: AutoencoderState, x: Array) -> Array:
        """Rows (n, d) through their bits and back: `decode(encode(x))`."""
        return self.decode(state, self.encode(state, x))
