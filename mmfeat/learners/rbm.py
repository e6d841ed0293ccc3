"""The restricted Boltzmann machine: a layer of hidden units that explains rows in [0, 1], learned by contrastive divergence.

P. Smolensky, "Information processing in dynamical systems: foundations of harmony theory", 1986 (the model).
G. Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14, 2002 (`negative="cd"`).
T. Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", ICML 2008 ("pcd").
H. Lee, C. Ekanadham, A. Ng, "Sparse deep belief net model for visual area V2", NIPS 2008 (`sparsity`).
G. Hinton, R. Salakhutdinov, Science 313, 2006: the defaults, and linear hidden units for the top of a deep autoencoder.

    E(v, h) = - Σ_ij v_i W_ij h_j - Σ_i b_i v_i - Σ_j a_j h_j,      P(v, h) = exp(-E(v, h)) / Z
    P(h_j = 1 | v) = σ(a_j + Σ_i W_ij v_i),    P(v_i = 1 | h) = σ(b_i + Σ_j W_ij h_j)
    F(v) = -log Σ_h exp(-E(v, h)) = - Σ_i b_i v_i - Σ_j log(1 + exp(a_j + Σ_i W_ij v_i))

    maximise  1/n Σ log P(v) - ½ λ ‖W‖²:    ∂/∂W_ij = E_data[v_i h_j] - E_model[v_i h_j] - λ W_ij        (λ: weight_cost)

The second expectation cannot be had: "cd" takes it after `steps` of Gibbs sampling from the data, "pcd" from chains that go
on from batch to batch. Linear hidden units add Σ_j h_j² / 2 to E instead of being 0 or 1: h given v is N(a + Wᵀ v, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmfeat.errors import SettingsError
from mmfeat.learner import Learner, Metrics, rows_of
from mmfeat.learners.boltzmann import ascend, check_machine, draw_bits, generate, negative_phase, watched

__all__ = ["Rbm", "RbmState"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


class RbmState(NamedTuple):
    """weights W (d, hidden), visible b (d,), hidden a (hidden,); the rest is training's.

    velocity: the momentum of the three, under their names. chains (chains, hidden): hidden units of the persistent chains, one
    unused row for "cd". passes (): passes done.
    """

    weights: Array
    visible: Array
    hidden: Array
    velocity: dict[str, Array]
    chains: Array
    passes: Array


@dataclass(frozen=True)
class Rbm(Learner):
    """A restricted Boltzmann machine of rows in [0, 1], probabilities or bits; values outside are clipped. Codes are E[h | v].

    hidden: hidden units. linear: they are Gaussian around their input instead of bits (learning_rate about 0.001).
    negative: "cd" or "pcd". steps: Gibbs steps a batch. chains: number of persistent chains ("pcd").
    sample_visible: "cd" draws its last visible layer too, instead of taking its probabilities: noisier, but only so does it go
        to the exact slope as `steps` grow. The layers before the last are always drawn.
    learning_rate, weight_cost (of W alone): an update is rate · (slope - weight_cost · W) + momentum · the update before.
    schedule: of the rate, "constant", or "linear": down to learning_rate / passes in the last pass.
    momentum: in the first `switch` passes, and after. Persistent chains need a slow machine: (0.5, 0.5).
    sparsity: the mean activity that hidden units should have (0: whatever they like). sparsity_cost scales the pull on their
        biases, sparsity - mean activity: the slope of a cross-entropy.
    spread: standard deviation of the first weights. passes, batch: as in every learner.

    Metrics: activity, the mean of the hidden units; of "cd" reconstruction_error a row, Σ (v - v')²; of "pcd"
    free_energy_gap, the data's above the chains'.

    >>> import jax, numpy as np
    >>> rbm = Rbm(hidden=3)
    >>> state = rbm.init(jax.random.key(0), np.ones((4, 6), np.float32))
    >>> rbm.encode(state, np.ones((4, 6), np.float32)).shape, rbm.free_energy(state, np.ones((4, 6), np.float32)).shape
    ((4, 3), (4,))
    """

    together: ClassVar[int] = 16
    unit: ClassVar[bool] = True
    binary_visible: ClassVar[bool] = True
    scratch: ClassVar[tuple[str, ...]] = ("velocity*", "chains", "passes")
    split: ClassVar[Mapping[str, int]] = {"*weights": 1, "*hidden": 0, "chains": 1}
    hidden: int = 500
    linear: bool = False
    negative: str = "cd"
    steps: int = 1
    chains: int = 100
    sample_visible: bool = False
    learning_rate: float = 0.1
    schedule: str = "constant"
    weight_cost: float = 2e-4
    momentum: tuple[float, float] = (0.5, 0.9)
    switch: int = 5
    sparsity: float = 0.0
    sparsity_cost: float = 1.0
    spread: float = 0.1
    passes: int = 10
    batch: int = 100

    def __post_init__(self) -> None:
        check_machine(self)
        if self.linear and self.sparsity:
            raise SettingsError("a sparsity target is for binary hidden units", "linear=True", "leave sparsity at 0")

    @property
    def binary_hidden(self) -> bool:
        """Whether hidden units are bits."""
        return not self.linear

    def init(self, key: Array, x: Array) -> RbmState:
        """Small random weights; b the log-odds of the means of the sample x (n, d), a 0.

        Were b 0, hidden units would first learn the means, and persistent chains may leave them dead for ever.
        """
        v = self.rows(x)
        count, width = v.shape
        mean = (v.sum(axis=0) + 0.5) / (count + 1)
        parameters = {
            "weights": self.spread * jax.random.normal(key, (width, self.hidden), jnp.float32),
            "visible": jnp.log(mean) - jnp.log1p(-mean),
            "hidden": jnp.zeros(self.hidden, jnp.float32),
        }
        count = self.chains if self.negative == "pcd" else 1
        chains = draw_bits(jax.random.fold_in(key, 1), jnp.full((count, self.hidden), 0.5, jnp.float32))
        return RbmState(
            **parameters,
            velocity=jax.tree.map(jnp.zeros_like, parameters),
            chains=chains,
            passes=jnp.zeros((), jnp.int32),
        )

    def step(self, key: Array, state: RbmState, x: Array, weight: Array) -> tuple[RbmState, Metrics]:
        """One step up the estimated slope for a batch (n, d). A batch without weight changes nothing."""
        v = self.rows(x, weight)
        share = weight / jnp.maximum(weight.sum(), 1e-12)
        h = self.hidden_mean(state, v)
        negative, chains = negative_phase(self, key, state, h, share)
        slope = {
            "weights": v.T @ (share[:, None] * h) - negative.v.T @ (negative.share[:, None] * negative.h),
            "visible": share @ v - negative.share @ negative.v,
            "hidden": share @ h - negative.share @ negative.h,
        }
        some = weight.sum() > 0
        new = ascend(self, state, slope, share @ h, some)
        metrics = {"activity": (share @ h).mean(), **watched(self, state, v, share, negative)}
        return new._replace(chains=jnp.where(some, chains, state.chains)), metrics

    def finish(self, key: Array, state: RbmState) -> RbmState:
        """Count the pass, for momentum and schedule."""
        return state._replace(passes=state.passes + 1)

    def encode(self, state: RbmState, x: Array) -> Array:
        """Rows (n, d) to hidden means (n, hidden) float32."""
        return self.hidden_mean(state, self.rows(x), _EXACT)

    def rows(self, x: Array, weight: Array | None = None) -> Array:
        """Rows as the machine sees them: (n, d) float32 in [0, 1], and 0 where they weigh nothing."""
        v = jnp.clip(rows_of(x), 0.0, 1.0)
        return v if weight is None else jnp.where(weight[:, None] > 0, v, jnp.float32(0))

    def hidden_mean(self, state: RbmState, v: Array, precision: Any = None) -> Array:
        """E[h | v] (n, hidden): probabilities, or the means of linear units."""
        z = jnp.matmul(v, state.weights, precision=precision) + state.hidden[None, :]
        return z if self.linear else jax.nn.sigmoid(z)

    def visible_mean(self, state: RbmState, h: Array, precision: Any = None) -> Array:
        """P(v = 1 | h) (n, d) for hidden units (n, hidden)."""
        return jax.nn.sigmoid(jnp.matmul(h, state.weights.T, precision=precision) + state.visible[None, :])

    def draw_hidden(self, key: Array, state: RbmState, mean: Array) -> Array:
        """Hidden units (n, hidden) with these means."""
        return mean + jax.random.normal(key, mean.shape, jnp.float32) if self.linear else draw_bits(key, mean)

    def draw_visible(self, key: Array, state: RbmState, mean: Array) -> Array:
        """Visible units (n, d) with these means."""
        return draw_bits(key, mean)

    def energy(self, state: RbmState, v: Array, h: Array) -> Array:
        """E(v, h) (n,) of pairs of visible (n, d) and hidden (n, hidden) units."""
        linear = 0.5 * (h * h).sum(axis=1) if self.linear else 0.0
        pairs = (jnp.matmul(v, state.weights, precision=_EXACT) * h).sum(axis=1)
        return linear - pairs - v @ state.visible - h @ state.hidden

    def free_energy(self, state: RbmState, v: Array, precision: Any = _EXACT) -> Array:
        """F(v) (n,): log P(v) = -F(v) - log Z, where Z sums (or integrates) over both layers."""
        z = jnp.matmul(v, state.weights, precision=precision) + state.hidden[None, :]
        each = 0.5 * (z * z + jnp.log(2 * jnp.pi)) if self.linear else jax.nn.softplus(z)
        return -jnp.matmul(v, state.visible, precision=precision) - each.sum(axis=1)

    def hidden_free_energy(self, state: RbmState, h: Array) -> Array:
        """-log Σ_v exp(-E(v, h)) (n,) of hidden units (n, hidden)."""
        z = jnp.matmul(h, state.weights.T, precision=_EXACT) + state.visible[None, :]
        linear = 0.5 * (h * h).sum(axis=1) if self.linear else 0.0
        return linear - jnp.matmul(h, state.hidden, precision=_EXACT) - jax.nn.softplus(z).sum(axis=1)

    def reconstruct(self, state: RbmState, x: Array) -> Array:
        """Rows (n, d) through the hidden means and back, (n, d) in [0, 1]."""
        return self.visible_mean(state, self.encode(state, x), _EXACT)

    def generate(
        self, key: Array, state: RbmState, count: int = 16, steps: int = 1000, start: Array | None = None
    ) -> Array:
        """Samples of the model: (count, d) probabilities after `steps` of Gibbs sampling from noise, or from rows `start`."""
        return generate(self, key, state, count, steps, None if start is None else self.rows(start))
