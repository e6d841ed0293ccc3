"""A deep belief net: three machines one on top of another. It encodes, it dreams up digits, and it unrolls to an autoencoder.

Run it:  python examples/07_deep_belief_net.py
"""

import jax
import numpy as np
from scipy.special import expit
from sklearn.datasets import load_digits

import mmfeat
from mmfeat.learners.belief_net import count_parameters, dbn, generate, unroll


def picture(row):
    """An 8 x 8 picture as text."""
    return ["".join(" .:*#"[min(int(value * 5), 4)] * 2 for value in line) for line in row.reshape(8, 8)]


if __name__ == "__main__":
    rows = (load_digits().data / 16).astype(np.float32)
    model = mmfeat.fit(dbn((64, 48, 32), passes=12, batch=50), rows, seed=0)
    stages, states = model.chain.stages, model.states
    print(count_parameters((64, 64, 48, 32)))
    print(f"codes: {model.encode(rows).shape}")

    layers, h = unroll(stages, states), rows
    for layer in layers:
        h = expit(h @ layer.kernel + layer.encoder_bias)
    for layer in reversed(layers):
        h = expit(h @ layer.kernel.T + layer.decoder_bias)
    error, spread = np.square(h - rows).sum(1).mean(), np.square(rows - rows.mean(0)).sum(1).mean()
    print(f"rebuilt from 32 values, before any fine-tuning: squared error {error:.2f} of {spread:.2f}")

    made = np.asarray(generate(stages, states, jax.random.key(1), count=5, steps=200))
    print("\n".join("  ".join(lines) for lines in zip(*map(picture, made), strict=True)))
