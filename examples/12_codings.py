"""Codings of local descriptors, pooled over a pyramid: what a codebook's words are worth depends on how they are used.

Run it:  python examples/12_codings.py
"""

import numpy as np
from sklearn.datasets import load_digits

import mmfeat
from mmfeat.classify.linear_svm import LinearSvm
from mmfeat.descriptors.patches import Patches
from mmfeat.evaluate.classification import measure
from mmfeat.learners import Dictionary, Fisher, KMeans, Llc, Mixture, Vq

PYRAMID = ((1, 1), (2, 2))

if __name__ == "__main__":
    digits = load_digits()
    images = np.round(digits.images * 15.9).astype(np.uint8)
    pooled = mmfeat.Pool(PYRAMID, "max"), mmfeat.Normalise(power=0.5)
    codings = {
        "VQ": (Vq(KMeans(64)), mmfeat.Pool(PYRAMID, "mean"), mmfeat.Normalise(power=0.5)),
        "LLC": (Llc(KMeans(64)), *pooled),
        "sparse": (Dictionary(64), *pooled),
        "Fisher": (Fisher(Mixture(16), regions=PYRAMID),),
    }
    for name, stages in codings.items():
        chain = mmfeat.Chain(Patches(4, stride=1), *stages, LinearSvm(c=10.0))
        model = mmfeat.fit(chain, images[:1000], labels=digits.target[:1000])
        right = measure(model.encode(images[1000:]), digits.target[1000:], model.classes).accuracy
        print(f"{name:<7} {right:.3f} of the digits are told right")
