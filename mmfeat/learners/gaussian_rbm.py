"""The Gaussian restricted Boltzmann machine: binary hidden causes of real-valued rows, with a learned deviation for every column.

A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009 (energy, gradients of the deviations).
K. Cho, A. Ilin, T. Raiko, "Improved learning of Gaussian-Bernoulli restricted Boltzmann machines", ICANN 2011 (their logarithm).

    E(v, h) = Σ_i (v_i - b_i)² / 2σ_i² - Σ_j a_j h_j - Σ_ij (v_i / σ_i) W_ij h_j
    v_i given h is N(b_i + σ_i Σ_j W_ij h_j, σ_i²),    P(h_j = 1 | v) = σ(a_j + Σ_i W_ij v_i / σ_i)

so that P(v) = Σ_h P(h) Π_i N(v_i; b_i + σ_i (W h)_i, σ_i²): a mixture of 2^hidden Gaussians that share their deviations. Learned as
`Rbm` is; with s_i = log σ_i the slope has one part more, and what the deviations learn is scaled like everything else:

    -∂E/∂s_i = (v_i - b_i)² / σ_i² - (v_i / σ_i) (W h)_i
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

__all__ = ["GaussianRbm", "GaussianRbmState"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST


class GaussianRbmState(NamedTuple):
    """weights W (d, hidden), visible b (d,), hidden a (hidden,), deviation s = log σ (d,); the rest is training's, as of `Rbm`."""

    weights: Array
    visible: Array
    hidden: Array
    deviation: Array
    velocity: dict[str, Array]
    chains: Array
    passes: Array


@dataclass(frozen=True)
class GaussianRbm(Learner):
    """A restricted Boltzmann machine of real-valued rows, best centred and of variance about 1 (`Pca(whiten=True)`, `Zca`).

    hidden: hidden units. learn_deviation: whether σ is learned; otherwise every σ_i is 1. deviation_rate: its learning rate as a
        share of learning_rate. All else is as in `Rbm`, but rates have to be smaller by ten to a hundred times, and visible
        units are drawn, not only their means: the deviations would otherwise take the missing noise for their own.
    Metrics: as of `Rbm`, and deviation, the mean of σ.

    >>> import jax, numpy as np
    >>> machine = GaussianRbm(hidden=3)
    >>> state = machine.init(jax.random.key(0), np.eye(4, 6, dtype=np.float32))
    >>> machine.encode(state, np.ones((4, 6), np.float32)).shape
    (4, 3)
    """

    binary_visible: ClassVar[bool] = False
    binary_hidden: ClassVar[bool] = True
    together: ClassVar[int] = 16
    scratch: ClassVar[tuple[str, ...]] = ("velocity*", "chains", "passes")
    split: ClassVar[Mapping[str, int]] = {"*weights": 1, "*hidden": 0, "chains": 1}
    hidden: int = 500
    learn_deviation: bool = True
    deviation_rate: float = 0.1
    negative: str = "cd"
    steps: int = 1
    chains: int = 100
    sample_visible: bool = True
    learning_rate: float = 0.005
    schedule: str = "constant"
    weight_cost: float = 2e-4
    momentum: tuple[float, float] = (0.5, 0.9)
    switch: int = 5
    sparsity: float = 0.0
    sparsity_cost: float = 1.0
    spread: float = 0.01
    passes: int = 20
    batch: int = 100

    def __post_init__(self) -> None:
        check_machine(self)
        if self.deviation_rate < 0:
            raise SettingsError("deviation_rate is not negative", f"{self.deviation_rate}", "give 0.1, or 0 for none")

    def init(self, key: Array, x: Array) -> GaussianRbmState:
        """Small random weights; b and σ are the mean and the deviation of the sample x (n, d), σ 1 if it is not learned."""
        x = rows_of(x)
        deviation = (
            jnp.log(jnp.maximum(x.std(axis=0), 1e-3)) if self.learn_deviation else jnp.zeros(x.shape[1], jnp.float32)
        )
        parameters = {
            "weights": self.spread * jax.random.normal(key, (x.shape[1], self.hidden), jnp.float32),
            "visible": x.mean(axis=0),
            "hidden": jnp.zeros(self.hidden, jnp.float32),
            "deviation": deviation,
        }
        count = self.chains if self.negative == "pcd" else 1
        chains = draw_bits(jax.random.fold_in(key, 1), jnp.full((count, self.hidden), 0.5, jnp.float32))
        still = jax.tree.map(jnp.zeros_like, parameters)
        return GaussianRbmState(**parameters, velocity=still, chains=chains, passes=jnp.zeros((), jnp.int32))

    def step(self, key: Array, state: GaussianRbmState, x: Array, weight: Array) -> tuple[GaussianRbmState, Metrics]:
        """One step up the estimated slope for a batch (n, d). A batch without weight changes nothing."""
        v = self.rows(x, weight)
        share = weight / jnp.maximum(weight.sum(), 1e-12)
        h = self.hidden_mean(state, v)
        negative, chains = negative_phase(self, key, state, h, share)
        data, model = self._slope(state, v, h, share), self._slope(state, *negative)
        some = weight.sum() > 0
        new = ascend(self, state, {name: data[name] - model[name] for name in data}, share @ h, some)
        metrics = {
            "activity": (share @ h).mean(),
            "deviation": jnp.exp(state.deviation).mean(),
            **watched(self, state, v, share, negative),
        }
        return new._replace(chains=jnp.where(some, chains, state.chains)), metrics

    def _slope(self, state: GaussianRbmState, v: Array, h: Array, share: Array) -> dict[str, Array]:
        """The mean of -∂E over rows v (n, d) with hidden means h (n, hidden) and shares (n,)."""
        sigma = jnp.exp(state.deviation)
        scaled, centred = v / sigma[None, :], (v - state.visible[None, :]) / sigma[None, :]
        weights = scaled.T @ (share[:, None] * h)
        deviation = share @ jnp.square(centred) - (weights * state.weights).sum(axis=1)
        if not self.learn_deviation:
            deviation = jnp.zeros_like(deviation)
        return {
            "weights": weights,
            "visible": share @ centred / sigma,
            "hidden": share @ h,
            "deviation": self.deviation_rate * deviation,
        }

    def finish(self, key: Array, state: GaussianRbmState) -> GaussianRbmState:
        """Count the pass, for momentum and schedule."""
        return state._replace(passes=state.passes + 1)

    def encode(self, state: GaussianRbmState, x: Array) -> Array:
        """Rows (n, d) to P(h = 1 | v) (n, hidden) float32."""
        return self.hidden_mean(state, self.rows(x), _EXACT)

    def rows(self, x: Array, weight: Array | None = None) -> Array:
        """Rows as the machine sees them: (n, d) float32, and 0 where they weigh nothing."""
        v = rows_of(x)
        return v if weight is None else jnp.where(weight[:, None] > 0, v, jnp.float32(0))

    def hidden_mean(self, state: GaussianRbmState, v: Array, precision: Any = None) -> Array:
        """P(h = 1 | v) (n, hidden)."""
        return jax.nn.sigmoid(self._hidden_input(state, v, precision))

    def visible_mean(self, state: GaussianRbmState, h: Array, precision: Any = None) -> Array:
        """E[v | h] (n, d) for hidden units (n, hidden)."""
        return state.visible[None, :] + jnp.exp(state.deviation)[None, :] * jnp.matmul(
            h, state.weights.T, precision=precision
        )

    def draw_hidden(self, key: Array, state: GaussianRbmState, mean: Array) -> Array:
        """Hidden units (n, hidden) with these means."""
        return draw_bits(key, mean)

    def draw_visible(self, key: Array, state: GaussianRbmState, mean: Array) -> Array:
        """Visible units (n, d) with these means and the machine's deviations."""
        return mean + jnp.exp(state.deviation)[None, :] * jax.random.normal(key, mean.shape, jnp.float32)

    def energy(self, state: GaussianRbmState, v: Array, h: Array) -> Array:
        """E(v, h) (n,) of pairs of visible (n, d) and hidden (n, hidden) units."""
        pairs = (jnp.matmul(v / jnp.exp(state.deviation)[None, :], state.weights, precision=_EXACT) * h).sum(axis=1)
        return self._distance(state, v) - h @ state.hidden - pairs

    def free_energy(self, state: GaussianRbmState, v: Array, precision: Any = _EXACT) -> Array:
        """F(v) (n,): log P(v) = -F(v) - log Z, a density."""
        return self._distance(state, v) - jax.nn.softplus(self._hidden_input(state, v, precision)).sum(axis=1)

    def hidden_free_energy(self, state: GaussianRbmState, h: Array) -> Array:
        """-log ∫ exp(-E(v, h)) dv (n,) of hidden units (n, hidden)."""
        z = jnp.matmul(h, state.weights.T, precision=_EXACT)
        shift = (state.visible / jnp.exp(state.deviation))[None, :]
        volume = 0.5 * state.deviation.shape[0] * jnp.log(2 * jnp.pi) + state.deviation.sum()
        return -h @ state.hidden - (0.5 * z * z + shift * z).sum(axis=1) - volume

    def reconstruct(self, state: GaussianRbmState, x: Array) -> Array:
        """Rows (n, d) through the hidden means and back."""
        return self.visible_mean(state, self.encode(state, x), _EXACT)

    def generate(
        self, key: Array, state: GaussianRbmState, count: int = 16, steps: int = 1000, start: Array | None = None
    ) -> Array:
        """Samples of the model: (count, d) means after `steps` of Gibbs sampling from noise, or from rows `start`."""
        return generate(self, key, state, count, steps, None if start is None else self.rows(start))

    def _hidden_input(self, state: GaussianRbmState, v: Array, precision: Any) -> Array:
        scaled = v / jnp.exp(state.deviation)[None, :]
        return jnp.matmul(scaled, state.weights, precision=precision) + state.hidden[None, :]

    def _distance(self, state: GaussianRbmState, v: Array) -> Array:
        return 0.5 * jnp.square((v - state.visible[None, :]) / jnp.exp(state.deviation)[None, :]).sum(axis=1)
