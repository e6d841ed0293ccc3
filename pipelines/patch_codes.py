"""Binary codes of few, small or odd pictures, and the quickest for photographs: patches, a learned codebook, VLAD, ITQ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["PatchCodes"]


@dataclass(frozen=True)
class PatchCodes:
    """Binary codes for pictures of any size and number, learned from these pictures themselves.

    Contrast-normalised colour patches are whitened (PCA), assigned to a learned codebook, and their residuals summed (VLAD); the
    sums become bits by PCA and a learned rotation (ITQ).

    Cost: seconds to learn from a few thousand photographs on two cores, then hundreds of photographs a second
    (docs/BENCHMARKS.md), fifteen times as many as `image-retrieval` takes, whose codes of photographs are far better.
    Command: mmfeat index build pictures/ -o pictures.index --recipe patch-codes
    """

    bits: int = 128
    max_side: int = 128
    patch: int = 12
    stride: int = 4
    components: int = 48
    codewords: int = 64
    fit_rows: int = 131_072

    def decode(self, items: Any) -> Any:
        """Colour, at most `max_side` px on a side, proportions kept."""
        from mmfeat.media.decode import Decode

        return Decode(max_side=self.max_side)

    def chain(self, items: Any) -> Any:
        """Patches → PCA-whitening → VLAD → PCA → ITQ rotation."""
        from mmfeat.chain import Chain
        from mmfeat.descriptors.patches import Patches
        from mmfeat.learners.itq import itq_hash
        from mmfeat.learners.kmeans import KMeans
        from mmfeat.learners.vlad import Vlad
        from mmfeat.learners.whitening import Pca

        return Chain(
            Patches(self.patch, stride=self.stride),
            Pca(self.components, whiten=True),
            Vlad(KMeans(self.codewords)),
            itq_hash(self.bits),
            fit_rows=self.fit_rows,
        )
