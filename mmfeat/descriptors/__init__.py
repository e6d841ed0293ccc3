"""Fixed maps from pictures to rows or local descriptors: nothing here is learned.

`from mmfeat.descriptors import Patches, Pixels`: every class is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "ColourHistogram": "colour",
    "DenseSift": "sift",
    "Deslant": "deslant",
    "Hog": "hog",
    "Lbp": "lbp",
    "LocalColour": "colour",
    "Patches": "patches",
    "Pixels": "pixels",
}
__all__ = ["ColourHistogram", "DenseSift", "Deslant", "Hog", "Lbp", "LocalColour", "Patches", "Pixels"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mmfeat.descriptors' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"mmfeat.descriptors.{_HOME[name]}"), name)
