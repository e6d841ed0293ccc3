"""Learn from a folder of pictures, index it, search it, and write a page. The folder here is cut from scikit-learn's photographs.

Run it:  python examples/01_search_pictures.py
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import mmfeat
from mmfeat.pipelines.building import build_index
from mmfeat.pipelines.self_check import describe

if __name__ == "__main__":
    work = Path(tempfile.mkdtemp())
    random = np.random.default_rng(0)
    for name, photograph in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (work / "pictures" / name).mkdir(parents=True)
        for number in range(40):
            y, x = (int(random.integers(0, size - 96)) for size in photograph.shape[:2])
            Image.fromarray(photograph[y : y + 96, x : x + 96]).save(work / "pictures" / name / f"{number:02}.jpg")

    settings = {"bits": 32, "codewords": 16, "components": 24, "fit_rows": 8_192}
    build = build_index(work / "pictures", work / "pictures.index", recipe="patch-codes", settings=settings)
    print(f"{build.done} pictures indexed")
    for line in describe(build.check):  # the answer to «is this any good on my data?», without labels
        print(" ", line)

    hits = mmfeat.open(work / "pictures.index").search(work / "pictures" / "flower" / "00.jpg", k=4)
    for neighbour in hits[0].neighbours:
        print(f"{neighbour.distance:3} bits  {neighbour.id}")
    print(hits.save(work / "hits.html"))
