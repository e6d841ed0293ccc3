"""Descriptors of photographs beside VLFeat, OpenCV and scikit-image: pictures per second of processor time.

Every group of rows is one generator in `_GROUPS`, called with the photographs: grey float32 arrays (h, w) in [0, 1] or colour
uint8 arrays (h, w, 3), all decoded by mmfeat at a longer side of 300 pixels. Decoding is not timed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # one core for ours, as the rivals have

import numpy as np
from measuring import Row, missing
from pictures import real_or_made

_PICTURES, _SIDE = 64, 300


def run(work: Path) -> Iterator[Row]:
    """The rows of every group; a group whose rival is not installed says so."""
    pictures = photographs(work / "pictures")
    for name, group in _GROUPS.items():
        try:
            yield from group(pictures)
        except (ImportError, OSError) as error:
            yield missing(name, f"cannot run here: {error}")


def photographs(folder: Path, count: int = _PICTURES) -> list[np.ndarray]:
    """Colour photographs (h, w, 3) uint8, longer side 300 pixels at most, spread over the set."""
    from mmfeat.media.decode import Decode, decode

    files = sorted(real_or_made(folder, 20 * count).iterdir())[::20]
    return [decode(file, Decode(max_side=_SIDE)) for file in files]


_GROUPS: dict[str, Callable[[list[np.ndarray]], Iterator[Row]]] = {}
