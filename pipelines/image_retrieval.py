"""The default recipe for photographs: patches, a learned codebook, VLAD, and ITQ codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["ImageRetrieval"]


@dataclass(frozen=True)
class ImageRetrieval:
    """Binary codes for photographs, learned from the photographs themselves.

    Contrast-normalised colour patches are whitened (PCA), assigned to a learned codebook, and their residuals summed (VLAD); the
    sums become bits by PCA and a learned rotation (ITQ).

    Cost: seconds to learn from a few thousand photographs on two cores, then hundreds of photographs a second
    (docs/BENCHMARKS.md); a code of 16 bytes per photograph. What it is worth on yours is what the self-check says.
    Command: mmfeat index build photos/ -o photos.index
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
