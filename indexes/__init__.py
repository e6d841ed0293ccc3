"""Search indexes: exact codes in immutable segments under stable ids, searched by FAISS.

An index is a folder; `store` says how it is laid out. Nothing heavy (NumPy, Arrow, FAISS) is imported before it is used.

>>> import mmfeat.indexes
>>> sorted(mmfeat.indexes.__all__)
['Balls', 'Effort', 'Hits', 'Index', 'TwoStage', 'create', 'export', 'newest_whole', 'open_index', 'rollback', 'verify_index']
"""

from __future__ import annotations

from typing import Any

__all__ = ["Balls", "Effort", "Hits", "Index", "TwoStage", "create", "export", "newest_whole", "open_index", "rollback"]
__all__ += ["verify_index"]

_WHERE = {
    "Balls": "mmfeat.indexes.ranges",
    "Effort": "mmfeat.indexes.structures",
    "Hits": "mmfeat.indexes.search",
    "Index": "mmfeat.indexes.store",
    "TwoStage": "mmfeat.indexes.two_stage",
    "create": "mmfeat.indexes.creation",
    "export": "mmfeat.indexes.exporting",
    "newest_whole": "mmfeat.indexes.going_back",
    "open_index": "mmfeat.indexes.store",
    "rollback": "mmfeat.indexes.going_back",
    "verify_index": "mmfeat.indexes.verify",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
