"""The default recipe for telling photographs apart: learned local features, pooled, and a linear classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmfeat.errors import SettingsError
from mmfeat.pipelines.photo_features import MAX_SIDE

__all__ = ["ImageClassification"]

_MOST = 4 * 10**9  # bytes of the features of small pictures, of which there may be very many
_VALUES = 1120  # of a Gaussian and a picture: means and deviations of 64 components and of 48 of colours, in 5 regions
_FEWEST = 8  # Gaussians, however many pictures there are


@dataclass(frozen=True)
class ImageClassification:
    """Features of pictures for a linear classifier, learned from the pictures themselves, without labels.

    Photographs: dense SIFT becomes a Fisher vector and a pyramid of LLC codes, colours of patches another Fisher vector
    (`features="photo"`). Few or tiny pictures: contrast-normalised patches, PCA, VLAD (`features="patches"`). The chain is that
    of the features alone: `mmfeat classify fit` puts the classifier behind it, which the labels choose.

    Cost: about 30 ms of one core a photograph, and a minute or two to learn; patches a fifteenth of that. Result:
    docs/REPRODUCTIONS.md, `mmfeat reproduce caltech`. What it is worth on yours is what `mmfeat classify score` says.
    Command: mmfeat classify fit photos/train -o photos.model

    features: "auto" takes photo features of 50 pictures or more of at least 24 px. max_side: px, at most 128 for patches.
    step: px between patches; None goes by the size of the pictures. components, gaussians, codewords, colour: of
    `photo_features`; fewer where there are few pictures, and fewer gaussians where there are very many small ones, so that
    their features stay within 4 GB.
    classifier: "linear-svm", "softmax" or "averaged-sgd".
    """

    features: str = "auto"
    max_side: int = MAX_SIDE
    step: int | None = None
    components: int = 64
    gaussians: int = 64
    codewords: int = 1024
    colour: float = 0.4
    classifier: str = "linear-svm"
    fit_rows: int = 131_072

    def __post_init__(self) -> None:
        if self.features not in ("auto", "photo", "patches"):
            raise SettingsError('features is "auto", "photo" or "patches"', repr(self.features), "use one of these")

    def _photo(self, items: Any) -> bool:
        from mmfeat.pipelines.photo_features import suits

        return self.features == "photo" or (self.features == "auto" and suits(items))

    def decode(self, items: Any) -> Any:
        """Colour, at most `max_side` px on a side, proportions kept."""
        from mmfeat.media.decode import Decode

        return Decode(max_side=self.max_side if self._photo(items) else min(self.max_side, 128))

    def chain(self, items: Any) -> Any:
        """Photo features, or patches → PCA-whitening → VLAD."""
        from mmfeat.chain import Chain
        from mmfeat.pipelines.patch_codes import PatchCodes
        from mmfeat.pipelines.photo_features import count_pictures, fitting_sizes, grid_of, photo_features

        if not self._photo(items):
            patches = PatchCodes(components=min(self.components, 48), codewords=min(self.codewords, 64)).chain(items)
            return Chain(*patches.stages[:3], fit_rows=self.fit_rows)
        grid = grid_of(items, self.max_side, self.step)
        gaussians, codewords = fitting_sizes(items, self.max_side, grid, self.gaussians, self.codewords)
        if not codewords:
            gaussians = min(gaussians, max(_FEWEST, _MOST // (4 * _VALUES * count_pictures(items))))
        features = photo_features(grid, self.components, gaussians, codewords, self.colour)
        return Chain(features, fit_rows=self.fit_rows)
