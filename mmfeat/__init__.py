"""mmfeat: features learned from your own images, video and sound, without labels; search indexes and classifiers from them.

    model = mmfeat.fit(recipe_or_chain, "photos/")       # learn
    codes = model.encode("photos/")                      # vectors or bits
    mmfeat.open("photos.index").search("query.jpg")      # search

Importing mmfeat is cheap: JAX, FAISS, librosa and the rest are imported by what needs them, when it is first used.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Chain": "mmfeat.chain",
    "Images": "mmfeat.arrays",
    "Join": "mmfeat.chain",
    "Locals": "mmfeat.arrays",
    "MmfeatError": "mmfeat.errors",
    "Model": "mmfeat.model",
    "Normalise": "mmfeat.pool",
    "Places": "mmfeat.pool",
    "Pool": "mmfeat.pool",
    "Thin": "mmfeat.pool",
    "fit": "mmfeat.pipelines.fitting",
    "load": "mmfeat.model",
    "open": "mmfeat.pipelines.searching",
}
__all__ = [
    "Chain",
    "Images",
    "Join",
    "Locals",
    "MmfeatError",
    "Model",
    "Normalise",
    "Places",
    "Pool",
    "Thin",
    "__version__",
    "fit",
    "load",
    "open",
]

if TYPE_CHECKING:
    from mmfeat.arrays import Images, Locals
    from mmfeat.chain import Chain, Join
    from mmfeat.errors import MmfeatError
    from mmfeat.model import Model, load
    from mmfeat.pipelines.fitting import fit
    from mmfeat.pipelines.searching import open
    from mmfeat.pool import Normalise, Places, Pool, Thin


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mmfeat' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *globals()])


class _CheckoutFinder:
    """Finds `mmfeat.indexes`, `mmfeat.pipelines` and `mmfeat.cli` beside this folder in a checkout that is not installed."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        folder = Path(__file__).resolve().parent.parent / name.removeprefix("mmfeat.")
        if name not in ("mmfeat.indexes", "mmfeat.pipelines", "mmfeat.cli") or not (folder / "__init__.py").is_file():
            return None
        return importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


if not any(type(finder).__name__ == "_CheckoutFinder" for finder in sys.meta_path):
    sys.meta_path.append(_CheckoutFinder())
