"""Two stages: short codes find candidates, long codes or floats put them in order.

    C(q) = {x : d_short(q, x) <= r}, or the m nearest by d_short
    answer = the k of C(q) nearest by d_long

Krizhevsky & Hinton, «Using very deep autoencoders for content-based image retrieval», ESANN 2011: a Hamming ball of 28-bit
codes gives a short list, 256-bit codes rank it. Both indexes hold the same items under the same ids; an item that the
second lacks is no candidate. A ball that holds fewer than k candidates is filled up with the nearest by short codes, so
answers have min(k, n) items always.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from mmfeat.errors import UsageError
from mmfeat.indexes.kinds import as_codes, as_count, to_unit
from mmfeat.indexes.search import Hits

if TYPE_CHECKING:
    from mmfeat.indexes.store import Index
    from mmfeat.indexes.structures import Effort

__all__ = ["TwoStage"]


class TwoStage:
    """Two open indexes of the same items. What they held when they were opened is what is searched."""

    def __init__(self, short: Index, long: Index) -> None:
        self.short, self.long = short, long
        self._from, self._to = short.snapshot, long.snapshot

    @cached_property
    def partner(self) -> np.ndarray:
        """The living row of the long index for each row of the short one (rows,) int64, -1 where there is none."""
        ids = self._to.ids
        place = pc.fill_null(pc.index_in(self._from.all_ids, value_set=ids), -1).to_numpy().astype(np.int64)
        living = np.flatnonzero(self._to.living)
        row = np.where(place >= 0, living[place] if len(living) else -1, -1)
        return np.where(self._from.living, row, -1)

    def search(
        self,
        short: Any,
        long: Any,
        k: int = 10,
        *,
        candidates: int = 1000,
        radius: float | None = None,
        where: str | None = None,
        effort: Effort | None = None,
    ) -> Hits:
        """The k nearest by long codes (q, …) among the candidates that short codes (q, …) of the same queries find.

        radius: candidates are all rows of the short index in this ball; otherwise its `candidates` nearest. where: a
        condition on the columns of the short index. effort: how hard the first stage tries.
        Returns distances and rows of the long index.
        """
        k = as_count(k, "k is a whole number of at least 1", "ask for one neighbour or more")
        count = max(k, as_count(candidates, "candidates are a whole number of at least 1", "ask for some hundred"))
        asked = as_codes(self._to.kind, self._to.manifest.dim, long)
        if self._to.metric == "cosine":
            asked = to_unit(asked)
        if len(asked) != len(short):
            raise UsageError(
                "every query has a short and a long code", f"{len(short)} and {len(asked)}", "encode both alike"
            )
        allow = self.partner >= 0
        if len(self.short) and not allow.any():
            raise UsageError(
                "two stages search two indexes of the same items",
                "no id that both hold",
                "name an index of the same files",
            )
        nearest = self.short.search(short, k if radius is not None else count, allow=allow, where=where, effort=effort)
        ball = None if radius is None else self.short.within(short, radius, allow=allow, where=where)
        found = []
        for i, query in enumerate(asked):
            inside = ball.of(i)[1] if ball is not None else np.empty(0, np.int64)
            rows = inside if len(inside) >= nearest.row.shape[1] and ball is not None else nearest.row[i]
            found.append(self._ordered(query, self.partner[rows], k))
        width = nearest.row.shape[1] if radius is not None else min(k, nearest.row.shape[1])
        near = np.array([distance for distance, _ in found], self._to.kind.distance).reshape(len(asked), width)
        return Hits(near, np.array([row for _, row in found], np.int64).reshape(len(asked), width))

    def _ordered(self, query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k of these rows of the long index nearest to a query, by (distance, row)."""
        rows = np.sort(rows)
        distance = self._to.ways.measure(query, self._to.codes_at(rows))
        order = np.argsort(distance, kind="stable")[:k]
        return distance[order], rows[order]
