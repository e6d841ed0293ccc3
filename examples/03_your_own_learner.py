"""A learner of your own in one file: random Fourier features with a learned width. It trains, saves, and obeys the same loop.

A. Rahimi, B. Recht, "Random features for large-scale kernel machines", NIPS 2007:
    z(x) = sqrt(2 / D) cos(Wᵀ x + b),   W ~ N(0, 1/σ²),  b ~ U[0, 2π):   z(x)ᵀ z(y) ≈ exp(-‖x - y‖² / 2σ²)

Here σ² is learned: the mean squared distance of a row to the mean of the data.

Run it:  python examples/03_your_own_learner.py
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from mmfeat.learner import Learner, default_batches, rows_of, start, train, transform


class FourierState(NamedTuple):
    """directions (d, D), phases (D,), variance (), and the sums of this pass: total (d,), squares (), count ()."""

    directions: jax.Array
    phases: jax.Array
    variance: jax.Array
    total: jax.Array
    squares: jax.Array
    count: jax.Array


@dataclass(frozen=True)
class Fourier(Learner):
    """Random Fourier features of a Gaussian kernel whose width is learned."""

    features: int = 256

    def init(self, key, x):
        """Random directions and phases for rows (n, d)."""
        x = rows_of(x)
        first, second = jax.random.split(key)
        zero = jnp.float32(0)
        return FourierState(
            jax.random.normal(first, (x.shape[1], self.features), jnp.float32),
            jax.random.uniform(second, (self.features,), jnp.float32, 0, 2 * np.pi),
            jnp.float32(1),
            jnp.zeros(x.shape[1], jnp.float32),
            zero,
            zero,
        )

    def step(self, key, state, x, weight):
        """Add a batch (n, d) to the sums; rows of padding weigh 0."""
        x = rows_of(x)
        squares = state.squares + weight @ (x * x).sum(axis=1)
        return state._replace(total=state.total + weight @ x, squares=squares, count=state.count + weight.sum()), {}

    def finish(self, key, state):
        """σ² = E‖x‖² - ‖E x‖²."""
        mean = state.total / state.count
        zero = jnp.float32(0)
        variance = state.squares / state.count - mean @ mean
        return state._replace(variance=variance, total=jnp.zeros_like(mean), squares=zero, count=zero)

    def encode(self, state, x):
        """Rows (n, d) to features (n, D)."""
        angle = rows_of(x) @ state.directions / jnp.sqrt(state.variance) + state.phases[None, :]
        return jnp.sqrt(2 / self.features).astype(jnp.float32) * jnp.cos(angle)


if __name__ == "__main__":
    rows = (load_digits().data / 16).astype(np.float32)
    learner = Fourier(features=4096)
    run = train(learner, start(learner, rows, seed=0), default_batches(learner, rows))
    z = transform(learner, run, rows[:200])
    sigma2 = float(run.state.variance)
    exact = np.exp(-((rows[:200, None] - rows[None, :200]) ** 2).sum(-1) / (2 * sigma2))
    print(f"learned σ² = {sigma2:.2f}")
    print(f"mean |z(x)·z(y) - exact kernel| = {np.abs(z @ z.T - exact).mean():.4f}")
