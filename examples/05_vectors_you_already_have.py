"""Vectors from any network, indexed as they are or as compact bits.

Run it:  python examples/05_vectors_you_already_have.py
"""

import tempfile
from pathlib import Path

import numpy as np

import mmfeat
from mmfeat.pipelines.building_vectors import build_from_vectors

if __name__ == "__main__":
    work = Path(tempfile.mkdtemp())
    random = np.random.default_rng(0)
    centres = random.normal(size=(50, 256))
    vectors = (centres[np.arange(5000) % 50] + 0.7 * random.normal(size=(5000, 256))).astype(np.float32)
    np.save(work / "vectors.npy", vectors)

    build_from_vectors(work / "vectors.npy", work / "floats.index", metric="cosine")
    build_from_vectors(work / "vectors.npy", work / "bits.index", recipe="vector-codes", settings={"bits": 64})
    for name in ("floats", "bits"):
        searcher = mmfeat.open(work / f"{name}.index")
        found = [int(n.id.split("=")[1]) % 50 == 7 for n in searcher.search(vectors[7], k=20)[0].neighbours]
        size = searcher.index.codes_at([0]).nbytes
        print(f"{name:<7}{size:5} bytes a vector, {sum(found)} of 20 neighbours are of the query's own cluster")
