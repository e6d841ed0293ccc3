"""A coding of your own in one file: settings, and what becomes of a row. Its codebook does the learning.

Run it:  python examples/13_your_own_coding.py
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import mmfeat
from mmfeat.classify.linear_svm import LinearSvm
from mmfeat.descriptors.patches import Patches
from mmfeat.evaluate.classification import measure
from mmfeat.learners import KMeans
from mmfeat.learners.codewords import OfCodebook


@dataclass(frozen=True)
class Alike(OfCodebook):
    """How alike a row is to each codeword: max(0, cos(x, c_k) - floor)."""

    codebook: KMeans = KMeans(64)  # noqa: RUF009 - it is frozen
    floor: float = 0.5

    def encode(self, state, x):
        """Rows (n, d) to (n, K)."""
        words = state.means / jnp.linalg.norm(state.means, axis=1, keepdims=True)
        x = x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-6)
        return jnp.maximum(x @ words.T - self.floor, 0.0)


if __name__ == "__main__":
    digits = load_digits()
    images = np.round(digits.images * 15.9).astype(np.uint8)
    pool = mmfeat.Pool(((1, 1), (2, 2)), "max")
    chain = mmfeat.Chain(Patches(4, stride=1), Alike(), pool, mmfeat.Normalise(), LinearSvm(c=10.0))
    model = mmfeat.fit(chain, images[:1000], labels=digits.target[:1000])
    right = measure(model.encode(images[1000:]), digits.target[1000:], model.classes).accuracy
    print(f"{right:.3f} of the digits are told right")
