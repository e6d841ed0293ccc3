"""Learn what stays the same when a digit is slanted, shifted and bent; then let groups contract. Labels score, they never train.

Run it:  python examples/08_contrastive.py
"""

import numpy as np
from sklearn.datasets import load_digits

import mmfeat
from mmfeat.evaluate.retrieval import drop_diagonal, hamming_distances, mean_average_precision
from mmfeat.learners import AnchorGraph, Contrastive, KMeans, itq_hash

if __name__ == "__main__":
    digits = load_digits()
    rows, labels = (digits.data / 16).astype(np.float32), digits.target
    relevant = drop_diagonal(labels[:, None] == labels[None, :])
    net = Contrastive(side=8, channels=1, augment="digits", widths=(16, 32), hidden=64, code=32, batch=256, passes=30)
    chains = {
        "pixels, ITQ": itq_hash(32),
        "contrastive net, ITQ": mmfeat.Chain(net, itq_hash(32)),
        "contrastive net, walks over its graph, ITQ": mmfeat.Chain(net, AnchorGraph(KMeans(200)), itq_hash(32)),
    }
    print("mAP of 32-bit codes over the whole ranking, ties at their expected value")
    for name, chain in chains.items():
        codes = mmfeat.fit(chain, rows, seed=0).encode_bits(rows)
        score = mean_average_precision(drop_diagonal(hamming_distances(codes, codes)), relevant)
        print(f"{score:.3f}  {name}")
