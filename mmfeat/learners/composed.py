"""Learners with a learner inside: they see the data as often, and in batches as large, as the one they are made of."""

from __future__ import annotations

from typing import Any, ClassVar

from mmfeat.learner import Learner

__all__ = ["Composed"]


class Composed(Learner):
    """A learner one of whose fields is a learner: `passes`, `batch` and `init_rows` are those of the field.

    made_of: the field's name. A learner that needs passes of its own besides overrides `passes`.
    """

    made_of: ClassVar[str] = "codebook"

    @property
    def _inside(self) -> Any:
        return getattr(self, self.made_of)

    @property
    def passes(self) -> int:  # type: ignore[override]
        """Passes over the data: those of the learner inside."""
        return self._inside.passes

    @property
    def batch(self) -> int:  # type: ignore[override]
        """Rows per step: those of the learner inside."""
        return self._inside.batch

    @property
    def init_rows(self) -> int:  # type: ignore[override]
        """Rows that `init` sees at the most: those of the learner inside."""
        return self._inside.init_rows
