"""The process as it suits this work: linear algebra without threads that wait for each other, memory and programs that are kept.

OpenBLAS's threads spin while they wait: on a busy machine an eigenproblem that takes 1.4 s took 35 s. One BLAS thread costs
little where there are few cores, never waits, and gives the same bits whatever the machine's number of cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["keep_memory", "one_blas_thread", "program_cache"]

_MAP_FROM, _KEEP = 2**26, 2**29  # bytes


@cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401 - its LAPACK is what JAX calls on the CPU: it must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


_inside, _turn = [0], threading.Lock()
_limits: list[Any] = []


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS and LAPACK (NumPy's, SciPy's and with it JAX's on the CPU) run on one thread inside the block.

    Threads of one's own inside the block each get a BLAS of one thread. Blocks of several threads may overlap: the last one out
    gives the threads back.
    """
    with _turn:
        if not _inside[0]:
            _limits.append(_controller().limit(limits=1, user_api="blas"))
        _inside[0] += 1
    try:
        yield
    finally:
        with _turn:
            _inside[0] -= 1
            if not _inside[0]:
                _limits.pop().restore_original_limits()


def program_cache() -> dict[str, str | float | int]:
    """Settings of JAX that keep compiled programs between processes, in the user's cache folder.

    Empty where the user has chosen a place (JAX_COMPILATION_CACHE_DIR), or none (MMFEAT_COMPILE_CACHE=0).
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or os.environ.get("MMFEAT_COMPILE_CACHE") == "0":
        return {}
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return {
        "jax_compilation_cache_dir": str(base / "mmfeat" / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.02,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }


def keep_memory() -> None:
    """Let the C library keep freed memory for the next batch (up to 512 MB) instead of giving it back page by page.

    Batches of descriptors take tens of megabytes, again and again; having them mapped anew took a tenth of the time of a build.
    Only glibc listens, and only for the whole process: for programs, not for a library to call unasked.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or none that can be asked
        return
    mallopt(-3, _MAP_FROM)  # M_MMAP_THRESHOLD
    mallopt(-1, _KEEP)  # M_TRIM_THRESHOLD
