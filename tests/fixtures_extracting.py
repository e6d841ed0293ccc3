"""A model without JAX for the tests of what extraction writes: bits of a picture's own grey values. And a process that dies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":  # the checkout, or where the wheel is installed
    sys.path.insert(0, sys.argv[6])

from mmfeat.media.decode import Decode


class PlainModel:
    """What `extract` asks of a model; the features are 8 x 8 grey values around their middle."""

    hash, sha256 = True, "plain"
    decode = Decode(size=(8, 8), color="grey")

    def stream(self, source: Any) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Batches of (rows, features, read), a few rows each."""
        for first in range(0, len(source), 3):
            rows = np.arange(first, min(first + 3, len(source)))
            images, weight = source.read(rows)
            yield rows, images.pixels.reshape(len(rows), -1).astype(np.float32) - 127.5, weight > 0


def contents(place: Path) -> dict[str, bytes]:
    """Every file of a features folder that is not a lock."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


def main(folder: str, out: str, k: int, n: int, dies_at: int) -> None:
    """One shard in a process of its own, killed at the `dies_at`-th rename of a file of a part."""
    from mmfeat.media.walk import walk
    from mmfeat.pipelines.extracting import extract

    replace, count = os.replace, [0]

    def dying(*a: Any, **k: Any) -> None:
        count[0] += Path(a[1]).name.startswith("part-")
        if 0 < dies_at == count[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*a, **k)

    os.replace = dying  # type: ignore[assignment]
    extract(PlainModel(), walk(folder), Path(out), part=2, shard=(k, n))  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))
