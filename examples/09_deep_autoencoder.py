"""What is left of a digit that went through 8 numbers, or through bits? Deep autoencoders beside principal components.

Then the same bits as addresses: noise on them in training costs detail and brings like digits together.

Run it:  python examples/09_deep_autoencoder.py
"""

from dataclasses import replace

import jax
import numpy as np
from sklearn.datasets import load_digits

from mmfeat.arrays import pack_bits
from mmfeat.evaluate.retrieval import hamming_distances, mean_average_precision
from mmfeat.learner import default_batches, start, train, transform
from mmfeat.learners import Autoencoder, SemanticHash

NET = Autoencoder(
    hidden=(128, 64), code=8, activation="gelu", loss="cross_entropy", learning_rate=3e-3, passes=30, batch=50
)


def learn(learner, rows):
    """The finished run of a learner."""
    return train(learner, start(learner, rows, seed=0), default_batches(learner, rows))


def left(learner, run, rows):
    """Squared error a digit after code and back."""
    return float(np.square(np.asarray(jax.jit(learner.reconstruct)(run.state, rows)) - rows).sum(axis=1).mean())


if __name__ == "__main__":
    digits = load_digits()
    rows = (digits.data / 16).astype(np.float32)
    seen, unseen, mean = rows[:1400], rows[1400:], rows[:1400].mean(axis=0)
    axes = np.linalg.svd(seen - mean, full_matrices=False)[2][:8]
    rest = unseen - mean
    print(
        f"8 principal components        {np.square(rest - rest @ axes.T @ axes).sum(axis=1).mean():6.2f} squared error a digit"
    )
    print(f"8 numbers, deep               {left(NET, learn(NET, seen), unseen):6.2f}")
    denoising = replace(NET, corruption=0.2)
    print(f"8 numbers, deep, denoising    {left(denoising, learn(denoising, seen), unseen):6.2f}")
    relevant = digits.target[1400:, None] == digits.target[None, :1400]
    for name, learner in (
        ("rounded", SemanticHash(32, noise=0.0, net=NET)),
        ("rounded under noise", SemanticHash(32, noise=1.0, net=NET)),
        ("saturated by noise", SemanticHash(32, "noise", noise=4.0, net=replace(NET, learning_rate=1e-2))),
    ):
        run = learn(learner, seen)
        near, far = (pack_bits(transform(learner, run, x)) for x in (unseen, seen))
        score = mean_average_precision(hamming_distances(near, far), relevant)
        print(f"32 bits, {name:20} {left(learner, run, unseen):6.2f}, mAP {score:.3f}")
