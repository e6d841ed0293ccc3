"""Fisher vectors: in which direction a picture's local descriptors would move a mixture of Gaussians.

F. Perronnin, J. Sánchez, T. Mensink, "Improving the Fisher kernel for large-scale image classification", ECCV 2010.
J. Sánchez, F. Perronnin, T. Mensink, J. Verbeek, "Image classification with the Fisher vector", IJCV 105, 2013 (the weights).

    G^μ_k = 1 / (N √π_k)  Σ over locals x of q_k(x) (x - μ_k) / σ_k
    G^σ_k = 1 / (N √(2 π_k))  Σ q_k(x) [(x - μ_k)² / σ_k² - 1]
    G^π_k = 1 / (N √π_k)  Σ (q_k(x) - π_k)                                        (`weights`)

Each is the gradient of the mean of log p(x) with respect to a parameter, times the inverse root of that parameter's Fisher
information (the closed form, in which every local belongs to one component). So G^σ is positive where locals spread wider than
the component, as in the paper and in VLFeat; scikit-image gives its negative. All come from the sums Σ q, Σ q x and Σ q x².
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.arrays import Locals
from mmfeat.learner import Metrics
from mmfeat.learners.aggregation import (
    Sums,
    by_items,
    check_scaling,
    compiled_vectors,
    inside,
    locals_of,
    parts,
    scaled,
    with_whole,
)
from mmfeat.learners.aggregation_host import host_locals
from mmfeat.learners.composed import Composed
from mmfeat.learners.fisher_host import posterior_sums
from mmfeat.learners.mixture import Mixture, MixtureState, posteriors, powers
from mmfeat.pool import Regions

__all__ = ["Fisher"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


@dataclass(frozen=True)
class Fisher(Composed):
    """Fisher vector of the locals of an item; its state is that of its mixture.

    mixture: the mixture of K Gaussians; its passes and batch are those of the training.
    regions: a spatial pyramid; the vectors of its R regions stand one after another.
    improved: the power law with exponent 0.5, then scaling to length 1; otherwise the gradients as they are.
    norm: what is scaled to length 1: "whole", "regions" (each by itself, then the whole), or "none".
    weights: the gradients to the mixture's weights as well, before the others.

    >>> import jax, numpy as np
    >>> learner = Fisher(Mixture(2))
    >>> state = learner.init(jax.random.key(0), np.eye(3, dtype=np.float32))
    >>> x = Locals(np.ones((4, 5, 3), np.float32), np.zeros((4, 5, 2), np.float32), np.ones((4, 5), np.float32))
    >>> learner.encode(state, x).shape
    (4, 12)
    """

    made_of: ClassVar[str] = "mixture"
    locals: ClassVar[bool] = True
    scratch: ClassVar[tuple[str, ...]] = Mixture.scratch
    mixture: Mixture = Mixture(256)  # noqa: RUF009 - it is frozen
    regions: Regions = ((1, 1),)
    improved: bool = True
    norm: str = "whole"
    weights: bool = False

    def __post_init__(self) -> None:
        check_scaling(1.0, self.norm, self.regions)

    @property
    def shuffle(self) -> bool:  # type: ignore[override]
        """Whether the order of the locals counts: as for the mixture."""
        return self.mixture.shuffle

    def init(self, key: Array, x: Array) -> MixtureState:
        """The first mixture, from locals as rows (n, d)."""
        return self.mixture.init(key, x)

    def step(self, key: Array, state: MixtureState, x: Array, weight: Array) -> tuple[MixtureState, Metrics]:
        """A batch of locals as rows (n, d) for the mixture."""
        return self.mixture.step(key, state, x, weight)

    def finish(self, key: Array, state: MixtureState) -> MixtureState:
        """The mixture's end of a pass."""
        return self.mixture.finish(key, state)

    def encode(self, state: MixtureState, x: Locals) -> Array:
        """Locals (B, L, d) to rows (B, R * 2 K d) float32, of each region all G^μ, then all G^σ; without locals 0.

        With `weights` R * K (2 d + 1): G^π first.
        """
        x = locals_of(x, "Fisher")
        weight = inside(x, parts(self.regions))
        responses = x.values.shape[1] * state.weights.shape[0]
        found = by_items(partial(_sums, state), responses, x.values, weight)
        return self.vectors(state, Sums(*(with_whole(each, self.regions) for each in (*found, weight.sum(axis=2)))))

    def host_encode(self, state: MixtureState, x: Locals) -> Array:
        """The same of NumPy arrays: only locals that weigh, and each of them once (`mmfeat.learners.fisher_host`)."""
        found = posterior_sums(state, host_locals(x, "Fisher"), self.regions)
        return np.asarray(compiled_vectors(self, state, found))

    def vectors(self, state: MixtureState, sums: Sums) -> Array:
        """The rows (B, R * 2 K d) of the sums of w q and w q [u, u²] over the regions."""
        z = self._gradients(state, *sums)
        return scaled(z, 0.5, self.norm) if self.improved else z.reshape(z.shape[0], -1)

    def _gradients(self, state: MixtureState, counts: Array, sums: Array, total: Array) -> Array:
        """The vectors (B, R, D) of sums (B, R, K), (B, R, K, 2 d) over `total` (B, R) locals; in units of u."""
        means = ((state.means - state.origin[None, :]) / state.scale[None, :])[None, None]
        variances = (state.variances / state.scale[None, :] ** 2)[None, None]
        first, second = jnp.split(sums, 2, axis=-1)
        zeroth, share = counts[..., None], state.weights[None, None]
        number = jnp.where(total > 0, total, jnp.float32(1))[..., None]
        by = 1 / (number * jnp.sqrt(share))
        middle = (first - means * zeroth) / jnp.sqrt(variances) * by[..., None]
        width = ((second - means * (2 * first - means * zeroth)) / variances - zeroth) * (by * 0.5**0.5)[..., None]
        found = [each.reshape(*each.shape[:2], -1) for each in (middle, width)]
        if self.weights:
            found.insert(0, (counts - total[..., None] * share) * by)
        return jnp.concatenate(found, axis=2)


def _sums(state: MixtureState, values: Array, weight: Array) -> tuple[Array, Array]:
    """Of one item (L, d) and the weights (P, L) of its cells: Σ w q (P, K), and Σ w q [u, u²] (P, K, 2 d)."""
    u = powers(state, values)
    q, _ = posteriors(state, u)
    counts, sums = [], []
    for number in range(weight.shape[0]):
        own = q * weight[number][:, None]
        counts.append(own.sum(axis=0))
        sums.append(jnp.matmul(own.T, u, precision=_EXACT))
    return jnp.stack(counts), jnp.stack(sums)
