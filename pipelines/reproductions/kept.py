"""Local descriptors kept in a temporary file, so that one experiment can put many codings behind them without making them again."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.arrays import Locals
from mmfeat.encoder import Encoder
from mmfeat.stages import encode_source
from mmfeat.stream import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmfeat.stages import Report

__all__ = ["KeptLocals"]


class KeptLocals:
    """A source of the Locals that fixed stages make of pictures. Values are kept in half precision, 2 bytes each.

    descriptors: fixed stages that end in Locals. source: pictures. The file has no name and goes with this object.
    """

    def __init__(self, descriptors: Sequence[Any], source: Source, report: Report) -> None:
        self.groups = np.zeros(len(source), np.int32)
        self.shapes: list[tuple[int, int]] = []
        self._place = np.zeros(len(source), np.int64)  # of a row within its group
        self._parts: list[dict[str, np.ndarray]] = []
        encoder = Encoder(tuple(descriptors), ((),) * len(descriptors))
        counts, done = np.bincount(np.asarray(source.groups)), 0
        for rows, out, _ in encode_source(encoder, source):
            group = int(np.asarray(source.groups)[rows[0]])
            number = self._group(group, counts[group], out)
            place = np.arange(len(rows)) + self._parts[number]["used"]
            self.groups[rows], self._place[rows] = number, place
            for name, leaf in zip(Locals._fields, out, strict=True):
                self._parts[number][name][place] = leaf
            self._parts[number]["used"] += len(rows)
            done += len(rows)
            report("describing", done, len(source), {})

    def _group(self, group: int, count: int, out: Locals) -> int:
        """The number of the part for a group of the source; a new one the first time."""
        for number, part in enumerate(self._parts):
            if part["group"] == group:
                return number
        with tempfile.TemporaryFile(prefix="mmfeat-") as file:  # the map outlives its file
            values = np.memmap(file, np.float16, "w+", shape=(int(count), *out.values.shape[1:]))
        where = np.zeros((int(count), *out.where.shape[1:]), np.float32)
        weight = np.zeros((int(count), *out.weight.shape[1:]), np.float32)
        part = {"group": np.array(group), "used": np.array(0), "values": values, "where": where, "weight": weight}
        self._parts.append(part)
        self.shapes.append((int(out.values.shape[1]), int(out.values.shape[2])))
        return len(self._parts) - 1

    def __len__(self) -> int:
        return len(self.groups)

    def read(self, rows: np.ndarray) -> tuple[Locals, np.ndarray]:
        """Locals of these rows, all of one group."""
        part, place = self._parts[int(self.groups[rows[0]])], self._place[rows]
        values = part["values"][place].astype(np.float32)
        return Locals(values, part["where"][place], part["weight"][place]), np.ones(len(rows), np.float32)
