"""What the program `mmfeat` begins with: Ctrl-C while the command line itself is imported ends it in order, too.

Nothing is under way in that part of a second, so the process simply ends. Libraries that are interrupted while they are imported
would print stack traces, or crash. From `main` on `mmfeat.cli.main` answers to signals.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["main"]


def main() -> None:
    """Run the command line; ends the process with the exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # who started us may want it ignored
        signal.signal(signal.SIGINT, _end)
    from mmfeat.cli.main import main as run

    run()


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"mmfeat: interrupted\n")
    os._exit(130)
