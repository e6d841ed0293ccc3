"""Rows that are gathered part by part, and put in order at the end: in memory, or in a file where they are many.

A sample of Fisher vectors is gigabytes. Of a file only what is read is resident, and the system takes that back when it needs it.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

__all__ = ["GatheredRows"]

_IN_MEMORY = 2**28  # bytes that stay in memory
_BLOCK = 2**26  # bytes that are put in order at once


class GatheredRows:
    """Rows (n, ...) float32 gathered part by part: in memory, or beyond 256 MB in a file without a name."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.file: Any = None
        self.count = 0

    def add(self, rows: np.ndarray) -> None:
        """Append rows, all of one width."""
        self.parts.append(np.ascontiguousarray(rows, np.float32))
        self.count += len(rows)
        if self.file is None and self.count * self.parts[0][:1].nbytes > _IN_MEMORY:
            self.file = tempfile.TemporaryFile(prefix="mmfeat-")  # noqa: SIM115 - `take` closes it
        if self.file is not None:
            self.width = self.parts[-1].shape[1:]
            for part in self.parts:
                self.file.write(part.data)
            self.parts = []

    def take(self, order: np.ndarray) -> np.ndarray:
        """The rows in this order; what was gathered in a file stays in one."""
        if self.file is None:
            return np.concatenate(self.parts)[order]
        with self.file:
            self.file.flush()
            if np.array_equal(order, np.arange(self.count)):
                return self._mapped(self.file, self.count)
            with tempfile.TemporaryFile(prefix="mmfeat-") as ordered:
                step = max(1, _BLOCK // (4 * int(np.prod(self.width))))
                for first in range(0, len(order), step):  # mapped anew each time: what was read does not stay resident
                    ordered.write(self._mapped(self.file, self.count)[order[first : first + step]].data)
                ordered.flush()
                return self._mapped(ordered, len(order))

    def _mapped(self, file: Any, count: int) -> np.ndarray:
        """The rows of a file; a map outlives its file."""
        return np.memmap(file, np.float32, "r", shape=(count, *self.width))
