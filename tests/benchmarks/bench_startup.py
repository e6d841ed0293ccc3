"""How long the command line takes to say something."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from measuring import Row, limit, time_program

_ROUNDS = 11


def program() -> list[str]:
    """The installed command, or the same from a checkout."""
    installed = Path(sys.executable).with_name("mmfeat")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "mmfeat.cli.main"]


def run(work: Path) -> Iterator[Row]:
    """The help, and the bare interpreter beside it."""
    time_program([*program(), "--help"], 1)
    bare = statistics.median(time_program([sys.executable, "-c", "pass"], _ROUNDS))
    ours = statistics.median(time_program([*program(), "--help"], _ROUNDS))
    yield limit("mmfeat --help", ours, 0.1, note="rival: python -c pass, which does nothing", rival=bare)
