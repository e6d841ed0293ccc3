"""VLAD: what is left of the local descriptors of a picture after quantisation, summed per codeword.

H. Jégou, M. Douze, C. Schmid, P. Pérez, "Aggregating local descriptors into a compact image representation", CVPR 2010.
Power law: H. Jégou, O. Chum, "Negative evidences and co-occurrences in image retrieval", ECCV 2012.
Intra-normalisation: R. Arandjelović, A. Zisserman, "All about VLAD", CVPR 2013.

    v_k = Σ over locals x with k(x) = k of (x - c_k),    k(x) = the nearest codeword
    v ← sign(v) |v|^α;   v_k ← v_k / ‖v_k‖ if `intra`;   v ← v / ‖v‖

The codebook is k-means on the locals, and is all that is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mmfeat.arrays import Locals
from mmfeat.learners.aggregation import (
    Sums,
    check_scaling,
    compiled_vectors,
    locals_of,
    powered,
    residual_sums,
    scaled,
    unit,
)
from mmfeat.learners.aggregation_host import host_locals
from mmfeat.learners.codewords import OfCodebook
from mmfeat.learners.kmeans import KMeans, KMeansState
from mmfeat.learners.residuals_host import residual_sums_on_host
from mmfeat.pool import Regions

__all__ = ["Vlad"]

Array = Any


@dataclass(frozen=True)
class Vlad(OfCodebook):
    """Vector of locally aggregated descriptors; its state is that of its codebook.

    codebook: the k-means of K clusters; its passes and batch are those of the training.
    power: the exponent α of the signed power law; 1 leaves the sums as they are, 0.5 tames descriptors that repeat.
    intra: scale the sum of every codeword to length 1 before the whole: no codeword outweighs the others.
    regions: a spatial pyramid; the vectors of its R regions stand one after another.
    norm: what is scaled to length 1: "whole", "regions" (each by itself, then the whole), or "none".

    >>> import jax, numpy as np
    >>> learner = Vlad(KMeans(2))
    >>> state = learner.init(jax.random.key(0), np.eye(3, dtype=np.float32))
    >>> x = Locals(np.ones((4, 5, 3), np.float32), np.zeros((4, 5, 2), np.float32), np.ones((4, 5), np.float32))
    >>> learner.encode(state, x).shape
    (4, 6)
    """

    locals: ClassVar[bool] = True
    codebook: KMeans = KMeans(64)  # noqa: RUF009 - it is frozen
    power: float = 0.5
    intra: bool = False
    regions: Regions = ((1, 1),)
    norm: str = "whole"

    def __post_init__(self) -> None:
        check_scaling(self.power, self.norm, self.regions)

    def encode(self, state: KMeansState, x: Locals) -> Array:
        """Locals (B, L, d) to rows (B, R * K * d) float32; an item without locals of weight gives zeros."""
        return self.vectors(state, residual_sums(state.means, locals_of(x, "Vlad"), self.regions))

    def host_encode(self, state: KMeansState, x: Locals) -> Array:
        """The same of NumPy arrays: only locals that weigh, and each of them once (`mmfeat.learners.residuals_host`)."""
        found = residual_sums_on_host(state.means, host_locals(x, "Vlad"), self.regions)
        return np.asarray(compiled_vectors(self, state, found))

    def vectors(self, state: KMeansState, sums: Sums) -> Array:
        """The rows (B, R * K * d) of the sums over the regions."""
        z = powered(sums.sums, self.power)
        if self.intra:
            z = unit(z)
        return scaled(z.reshape(*z.shape[:2], -1), 1.0, self.norm)
