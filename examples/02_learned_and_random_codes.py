"""How much better are learned bits than random ones? mAP of 1,797 digits by code length; labels score, they never train.

Run it:  python examples/02_learned_and_random_codes.py
"""

import numpy as np
from sklearn.datasets import load_digits

import mmfeat
from mmfeat.evaluate.retrieval import drop_diagonal, hamming_distances, mean_average_precision
from mmfeat.learners import Lsh, itq_hash

if __name__ == "__main__":
    digits = load_digits()
    rows, labels = (digits.data / 16).astype(np.float32), digits.target
    relevant = drop_diagonal(labels[:, None] == labels[None, :])
    print("bits   learned (PCA + ITQ)   random (LSH)      mAP over the whole ranking, ties at their expected value")
    for bits in (8, 16, 32):
        scores = []
        for learner in (itq_hash(bits), Lsh(bits=bits)):
            codes = mmfeat.fit(learner, rows, seed=0).encode_bits(rows)
            scores.append(mean_average_precision(drop_diagonal(hamming_distances(codes, codes)), relevant))
        print(f"{bits:4}   {scores[0]:19.3f}   {scores[1]:12.3f}")
