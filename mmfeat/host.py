"""Linear algebra on the host without threads that wait for each other.

OpenBLAS's threads spin while they wait: on a busy machine an eigenproblem that takes 1.4 s took 35 s. One BLAS thread costs
little where there are few cores, never waits, and gives the same bits whatever the machine's number of cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["one_blas_thread"]


@cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401 - its LAPACK is what JAX calls on the CPU: it must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS and LAPACK (NumPy's, SciPy's and with it JAX's on the CPU) run on one thread inside the block.

    Threads of one's own inside the block each get a BLAS of one thread.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield
