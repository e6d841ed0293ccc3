"""Which bits does spectral hashing choose, and are longer codes better? On 1,797 digits; labels score, they never train.

Run it:  python examples/10_spectral_hash.py
"""

import numpy as np
from sklearn.datasets import load_digits

import mmfeat
from mmfeat.evaluate.distances import drop_diagonal, hamming_distances
from mmfeat.evaluate.retrieval import mean_average_precision
from mmfeat.learners import itq_hash, spectral_hash

if __name__ == "__main__":
    digits = load_digits()
    rows, labels = (digits.data / 16).astype(np.float32), digits.target
    same = drop_diagonal(labels[:, None] == labels[None, :])

    model = mmfeat.fit(spectral_hash(16), rows)
    axes = model.states[1].axis
    print("bits on each principal axis:", np.bincount(axes).tolist(), "- a long axis gets several")

    print("bits   spectral   PCA + ITQ      mAP over the whole ranking, ties at their expected value")
    for bits in (8, 16, 32):
        scores = []
        for chain in (spectral_hash(bits), itq_hash(bits)):
            codes = mmfeat.fit(chain, rows, seed=0).encode_bits(rows)
            scores.append(mean_average_precision(drop_diagonal(hamming_distances(codes, codes)), same))
        print(f"{bits:4}   {scores[0]:8.3f}   {scores[1]:9.3f}")
