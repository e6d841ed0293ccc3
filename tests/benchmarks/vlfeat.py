"""VLFeat's dense SIFT through ctypes, for comparison alone: the C library libvl (Debian's libvlfeat), where there is one."""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any

import numpy as np

__all__ = ["DenseSift"]


class _Filter(ctypes.Structure):
    """The beginning of VlDsiftFilter in dsift.h."""

    _fields_ = [
        *[(name, ctypes.c_int) for name in ("width", "height", "step_x", "step_y")],
        *[(name, ctypes.c_int) for name in ("min_x", "min_y", "max_x", "max_y")],
        *[(name, ctypes.c_int) for name in ("bins_t", "bins_x", "bins_y", "size_x", "size_y")],
        ("flat", ctypes.c_int),
        ("window", ctypes.c_double),
        ("frames", ctypes.c_int),
        ("length", ctypes.c_int),
        ("places", ctypes.c_void_p),
        ("values", ctypes.POINTER(ctypes.c_float)),
    ]


class DenseSift:
    """Descriptors of one picture and one size of cell, smoothed as in PHOW before that."""

    def __init__(self, side: int, step: int, flat: bool) -> None:
        name = ctypes.util.find_library("vl") or "libvl.so.1"
        self._library = ctypes.CDLL(name)
        self._library.vl_dsift_new_basic.restype = ctypes.POINTER(_Filter)
        self._side, self._step, self._flat = side, step, flat
        self._made: dict[tuple[int, int], Any] = {}

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Grey float32 (h, w) in [0, 1] to rows (n, 128), the first patch as near to the corner as its centres of cells allow."""
        height, width = picture.shape
        if (made := self._made.get((height, width))) is None:
            made = self._library.vl_dsift_new_basic(width, height, self._step, self._side)
            made.contents.flat = int(self._flat)
            # the centres of the outer cells: half a cell inside the patch, which lies wholly inside the picture
            margin = (self._side - 1) // 2
            made.contents.min_x = made.contents.min_y = margin
            made.contents.max_x, made.contents.max_y = width - self._side + margin, height - self._side + margin
            self._library._vl_dsift_update_buffers(made)
            self._made[height, width] = made
        smooth = np.empty_like(picture)
        pointer = ctypes.POINTER(ctypes.c_float)
        sigma = ctypes.c_double(max((self._side / 6) ** 2 - 0.25, 0) ** 0.5)
        self._library.vl_imsmooth_f(
            smooth.ctypes.data_as(pointer),
            ctypes.c_size_t(width),
            picture.ctypes.data_as(pointer),
            ctypes.c_size_t(width),
            ctypes.c_size_t(height),
            ctypes.c_size_t(width),
            sigma,
            sigma,
        )
        self._library.vl_dsift_process(made, smooth.ctypes.data_as(pointer))
        filled = made.contents
        return np.ctypeslib.as_array(filled.values, (filled.frames, filled.length))
