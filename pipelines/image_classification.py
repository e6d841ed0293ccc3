"""The default recipe for telling photographs apart: learned local features, pooled, and a linear classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["ImageClassification"]


@dataclass(frozen=True)
class ImageClassification:
    """Features of photographs for a linear classifier, learned from the photographs themselves, without labels.

    Contrast-normalised colour patches are whitened (PCA), assigned to a learned codebook, and their residuals summed (VLAD). The
    chain is that of the features alone: `mmfeat classify fit` puts the classifier behind it, which the labels choose.

    Cost: hundreds of photographs a second on two cores; what it is worth on yours is what `mmfeat classify score` says.
    Command: mmfeat classify fit photos/train -o photos.model
    """

    max_side: int = 128
    patch: int = 12
    stride: int = 4
    components: int = 48
    codewords: int = 64
    classifier: str = "linear-svm"
    fit_rows: int = 131_072

    def decode(self, items: Any) -> Any:
        """Colour, at most `max_side` px on a side, proportions kept."""
        from mmfeat.media.decode import Decode

        return Decode(max_side=self.max_side)

    def chain(self, items: Any) -> Any:
        """Patches → PCA-whitening → VLAD."""
        from mmfeat.chain import Chain
        from mmfeat.descriptors.patches import Patches
        from mmfeat.learners.kmeans import KMeans
        from mmfeat.learners.vlad import Vlad
        from mmfeat.learners.whitening import Pca

        return Chain(
            Patches(self.patch, stride=self.stride),
            Pca(self.components, whiten=True),
            Vlad(KMeans(self.codewords)),
            fit_rows=self.fit_rows,
        )
