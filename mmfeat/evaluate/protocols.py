"""Protocols: which queries are asked of which database, what counts as right, and what is reported.

The same codes score 0.43 or 0.75 by mAP of one protocol or another, so every result says its protocol's name and sentence.
"""

from __future__ import annotations

import dataclasses

__all__ = ["PROTOCOLS", "Protocol"]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A named way of measuring retrieval.

    queries, database: how many and which. relevance: what counts as right. measures: the names of what is reported.
    train: what the codes may learn from.
    """

    name: str
    queries: str
    database: str
    relevance: str
    measures: tuple[str, ...]
    train: str = "the database, without labels"

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        return (
            f"{self.queries} as queries, {self.database} as database; relevant: {self.relevance}; "
            f"learned from {self.train}; ties in random order, exactly averaged; a query without a hit scores 0."
        )


PROTOCOLS: dict[str, Protocol] = {}
