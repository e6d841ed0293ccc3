"""Super-vector coding: the share of a codeword and the mean residual to it, as a picture's vector.

X. Zhou, K. Yu, T. Zhang, T. S. Huang, "Image classification using super-vector coding of local image descriptors", ECCV 2010.

    φ(x) = [s γ_v(x), γ_v(x) (x - v)ᵀ] over all codewords v,    γ_v(x) = 1 for the nearest codeword, else 0
    z = 1/N Σ over locals x of 1/√p_v(x) φ(x),    p_v = the share of the N locals that codeword v got

A function that is smooth is nearly linear on each cell: φ are the coordinates in which a linear classifier is that function. With
s = 0 and without 1/√p it is VLAD over N. The codebook is k-means on the locals, and is all that is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from mmfeat.arrays import Locals
from mmfeat.errors import SettingsError
from mmfeat.learners.aggregation import Sums, check_scaling, compiled_vectors, locals_of, residual_sums, scaled
from mmfeat.learners.aggregation_host import host_locals
from mmfeat.learners.codewords import OfCodebook
from mmfeat.learners.kmeans import KMeans, KMeansState
from mmfeat.learners.residuals_host import residual_sums_on_host
from mmfeat.pool import Regions

__all__ = ["SuperVector"]

Array = Any


@dataclass(frozen=True)
class SuperVector(OfCodebook):
    """Super-vector of the locals of an item; its state is that of its codebook.

    codebook: the k-means of K clusters; its passes and batch are those of the training.
    s: what a codeword's share counts beside the residual; in units of the locals, chosen by validation.
    regions: a spatial pyramid; the vectors of its R regions stand one after another, each over its own N.
    shares: divide by √p_v; otherwise every codeword counts by the number of its locals.
    power, norm: the signed power law (1 is off), and what is scaled to length 1: "whole", "regions" or "none".

    >>> import jax, numpy as np
    >>> learner = SuperVector(KMeans(2))
    >>> state = learner.init(jax.random.key(0), np.eye(3, dtype=np.float32))
    >>> x = Locals(np.ones((4, 5, 3), np.float32), np.zeros((4, 5, 2), np.float32), np.ones((4, 5), np.float32))
    >>> learner.encode(state, x).shape
    (4, 8)
    """

    locals: ClassVar[bool] = True
    codebook: KMeans = KMeans(512)  # noqa: RUF009 - it is frozen
    s: float = 0.1
    regions: Regions = ((1, 1),)
    shares: bool = True
    power: float = 1.0
    norm: str = "whole"

    def __post_init__(self) -> None:
        check_scaling(self.power, self.norm, self.regions)
        if self.s < 0:
            raise SettingsError("s is 0 or more", f"s={self.s}", "try 0.1 of the length of a local")

    def encode(self, state: KMeansState, x: Locals) -> Array:
        """Locals (B, L, d) to rows (B, R * K (d + 1)) float32: per codeword the share, then the residual; without locals 0."""
        return self.vectors(state, residual_sums(state.means, locals_of(x, "SuperVector"), self.regions))

    def host_encode(self, state: KMeansState, x: Locals) -> Array:
        """The same of NumPy arrays: only locals that weigh, and each of them once (`mmfeat.learners.residuals_host`)."""
        found = residual_sums_on_host(state.means, host_locals(x, "SuperVector"), self.regions)
        return np.asarray(compiled_vectors(self, state, found))

    def vectors(self, state: KMeansState, sums: Sums) -> Array:
        """The rows (B, R * K (d + 1)) of the sums over the regions."""
        counts, total = sums.counts, sums.total[..., None]
        by = 1 / jnp.where(total > 0, total, jnp.float32(1))
        if self.shares:  # an empty codeword has nothing to be divided
            by = by / jnp.sqrt(jnp.where(counts > 0, counts * by, jnp.float32(1)))
        z = (
            jnp.concatenate([self.s * counts[..., None], sums.sums], axis=3)
            * jnp.broadcast_to(by, counts.shape)[..., None]
        )
        return scaled(z.reshape(*z.shape[:2], -1), self.power, self.norm)
