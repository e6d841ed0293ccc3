"""A classifier is the last stage of a chain: features are learned without labels, then it, with them.

Run it:  python examples/11_classify.py
"""

import numpy as np
from sklearn.datasets import load_digits

import mmfeat
from mmfeat.classify.linear_svm import LinearSvm
from mmfeat.descriptors.patches import Patches
from mmfeat.evaluate.classification import measure
from mmfeat.learners import KMeans, Pca, Vlad

if __name__ == "__main__":
    digits = load_digits()
    images = np.round(digits.images * 15.9).astype(np.uint8)
    chain = mmfeat.Chain(Patches(4, stride=1), Pca(8, whiten=True), Vlad(KMeans(16)), LinearSvm(c=1.0))
    model = mmfeat.fit(chain, images[:1000], labels=digits.target[:1000])
    found = measure(model.encode(images[1000:]), digits.target[1000:], model.classes)
    low, high = found.interval
    print(f"{found.accuracy:.3f} of {found.items} digits are told right (95 %: {low:.3f} to {high:.3f})")
    worst = int(np.nanargmin(found.per_class))
    print(f"the hardest digit is {found.classes[worst]}: {found.per_class[worst]:.3f}")
