"""Learned maps: one algorithm, one file, in one order: paper, settings, state, functions.

`from mmfeat.learners import KMeans, Lsh, ...`: every class is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "AnchorGraph": "anchor_graph",
    "Autoencoder": "autoencoder",
    "Contrastive": "contrastive",
    "ExtendedLcc": "extended_lcc",
    "Dictionary": "dictionary",
    "Fisher": "fisher",
    "GaussianRbm": "gaussian_rbm",
    "ItqRotation": "itq",
    "KMeans": "kmeans",
    "Lcc": "lcc",
    "Llc": "llc",
    "Lsh": "lsh",
    "Mixture": "mixture",
    "Pca": "whitening",
    "PcaHash": "pca_hash",
    "PredictiveSparse": "predictive_sparse",
    "Rbm": "rbm",
    "Scale": "scale",
    "SemanticHash": "semantic_hash",
    "SoftThreshold": "soft_threshold",
    "SpectralHash": "spectral",
    "SuperVector": "super_vector",
    "Triangle": "triangle",
    "Vlad": "vlad",
    "Vq": "vq",
    "WidePca": "wide_pca",
    "Zca": "whitening",
    "dbn": "belief_net",
    "itq_hash": "itq",
    "spectral_hash": "spectral",
}
__all__ = [
    "AnchorGraph",
    "Autoencoder",
    "Contrastive",
    "ExtendedLcc",
    "Fisher",
    "GaussianRbm",
    "ItqRotation",
    "KMeans",
    "Lcc",
    "Llc",
    "Lsh",
    "Mixture",
    "Pca",
    "PcaHash",
    "PredictiveSparse",
    "Rbm",
    "Scale",
    "SemanticHash",
    "SoftThreshold",
    "SpectralHash",
    "SuperVector",
    "Triangle",
    "Vlad",
    "Vq",
    "WidePca",
    "Zca",
    "dbn",
    "itq_hash",
    "spectral_hash",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mmfeat.learners' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"mmfeat.learners.{_HOME[name]}"), name)
