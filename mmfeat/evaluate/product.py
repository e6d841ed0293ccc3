"""Product quantisation as the rival of binary codes: the same bytes a vector, distances to what they decode to.

H. Jégou, M. Douze, C. Schmid, "Product quantization for nearest neighbor search", IEEE TPAMI 33, 2011; T. Ge, K. He, Q. Ke, J. Sun,
"Optimized product quantization", IEEE TPAMI 36, 2014. By FAISS. A query stays a float vector (the asymmetric distance).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mmfeat.errors import UsageError

__all__ = ["opq_decoded"]


def opq_decoded(train: np.ndarray, database: np.ndarray, bits: int) -> np.ndarray:
    """The database (n, d) float32 after optimised product quantisation to `bits` bits, a multiple of 8: what the codes decode to.

    train: (m, d), what rotation and codebooks learn from, at least 256 rows; d is best 4 a byte, by PCA. Dimensions that do not
    divide by the bytes are dropped by the rotation. Deterministic for a given number of threads.
    """
    import faiss

    if bits < 8 or bits % 8:
        raise UsageError("a product code is a whole number of bytes", f"bits={bits}", "give a multiple of 8")
    count = bits // 8
    if len(train) < 256:
        raise UsageError("a byte's codebook has 256 words", f"{len(train)} rows to learn from", "give more rows")
    width = train.shape[1] // count * count
    if width < count:
        raise UsageError("every byte codes a dimension or more", f"{train.shape[1]} dimensions", "use fewer bits")
    index = faiss.IndexPreTransform(_rotation(train.shape[1], count, width), faiss.IndexPQ(width, count, 8))
    quantiser: Any = faiss.downcast_index(index.index)
    quantiser.pq.cp.min_points_per_centroid = 1
    index.train(np.ascontiguousarray(train, np.float32))
    index.add(np.ascontiguousarray(database, np.float32))
    return index.reconstruct_n(0, len(database))


def _rotation(inputs: int, count: int, width: int) -> Any:
    """FAISS's OPQ matrix, quiet about small samples."""
    import faiss

    matrix: Any = faiss.OPQMatrix(inputs, count, width)
    quantiser = faiss.ProductQuantizer(width, count, 8)
    quantiser.cp.min_points_per_centroid = 1
    matrix.pq = quantiser
    matrix.kept = quantiser  # FAISS holds a pointer to it
    return matrix
