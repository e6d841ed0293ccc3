"""Any learner on the pixels of small pictures: the way to try one from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmfeat.errors import SettingsError

__all__ = ["PixelFeatures"]


@dataclass(frozen=True)
class PixelFeatures:
    """One learner on pixels, or on small patches if it takes local descriptors.

    The command line makes it of a learner's name: `mmfeat fit kmeans digits/ -o model --set learner.clusters=64`.

    Cost: the learner's own.
    Command: mmfeat fit pixel-features digits/ -o model --set side=28 --set color=grey --set learner=lsh

    learner: one with its settings, or the name of one; PCA to 64 numbers unless told.
    """

    learner: Any = None
    side: int = 32
    color: str = "rgb"
    fit_rows: int = 131_072

    def __post_init__(self) -> None:
        """A name becomes the learner of this name. SettingsError: it is none."""
        if isinstance(self.learner, str):
            object.__setattr__(self, "learner", _named(self.learner))
        if self.learner is not None and not _is_learner(self.learner):
            raise SettingsError("learner is a learner with its settings, or its name", repr(self.learner), "name one")

    def decode(self, items: Any) -> Any:
        """Exactly `side` x `side` px, proportions given up."""
        from mmfeat.media.decode import Decode

        return Decode(color=self.color, size=(self.side, self.side), max_side=None)

    def chain(self, items: Any) -> Any:
        """Pixels → the learner; patches → the learner if it takes local descriptors. Default: PCA to 64 numbers."""
        from mmfeat.chain import Chain
        from mmfeat.descriptors import Patches, Pixels
        from mmfeat.learners import Pca

        learner = self.learner if self.learner is not None else Pca(64)
        return Chain(Patches() if learner.locals else Pixels(), learner, fit_rows=self.fit_rows)


def _is_learner(value: Any) -> bool:
    return not isinstance(value, type) and all(
        callable(getattr(value, name, None)) for name in ("init", "step", "encode")
    )


def _named(name: str) -> Any:
    """The learner of a name, with the settings it has unless told."""
    from mmfeat import registry

    cls = registry.learners().get(name.replace("-", "_"))
    if cls is None:
        known = ", ".join(map(registry.hyphens, registry.learners()))
        raise SettingsError(f"learner is one of {known}", repr(name), "choose one of these")
    return cls()
