"""Vectors that exist already, as compact binary codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["VectorCodes"]


@dataclass(frozen=True)
class VectorCodes:
    """Binary codes of given vectors (PCA and ITQ): for the output of any network, dropped in as an .npy file.

    Cost: seconds. ITQ keeps neighbours that share a label better than it keeps exact float neighbours.
    Command: mmfeat index build vectors.npy --ids ids.txt -o vectors.index --recipe vector-codes
    """

    bits: int = 128
    fit_rows: int = 131_072

    def decode(self, items: Any) -> None:
        """Vectors are not decoded."""
        return

    def chain(self, items: Any) -> Any:
        """PCA → ITQ rotation."""
        from mmfeat.chain import Chain
        from mmfeat.learners.itq import itq_hash

        return Chain(itq_hash(self.bits), fit_rows=self.fit_rows)
