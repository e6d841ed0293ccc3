"""Long work shows what it does: a live line on a terminal, a plain line every few seconds otherwise. Rate and time left in both.

`Progress` is a context manager and a `stages.Report`: call it with (what, done, total, metrics).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import IO, Any

__all__ = ["Progress", "duration"]


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(3725), duration(65), duration(0.4)
    ('1:02:05', '1:05', '0:00')
    """
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Progress:
    """Shows work on `file` (standard error): the kind of thing counted is `unit`.

    A terminal gets one line that is renewed; anything else a plain line every `every` seconds, the first one after two.
    """

    def __init__(self, quiet: bool = False, file: IO[str] | None = None, every: float = 5.0) -> None:
        self.quiet, self.every = quiet, every
        self.file = file if file is not None else sys.stderr
        self.live = not quiet and self.file.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._what = ""
        self._began = self._shown = 0.0
        self._first = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, text: str) -> None:
        """A sentence that stays."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self.file, flush=True)

    def __call__(self, what: str, done: int, total: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Work of this kind has come so far. Cheap when nothing is to be shown."""
        if self.quiet:
            return
        now = time.monotonic()
        if what != self._what or done < self._first:
            self._what, self._began, self._first = what, now, done
            self._shown = now - self.every + 2.0  # the first line comes after two seconds, if it is still at work then
            self._open(what, total)
        if self.live:
            self._bar.update(self._task, completed=done, total=total, rate=self._rate(done, now))
        elif now - self._shown >= self.every:
            self._shown = now
            print(self._line(done, total, now), file=self.file, flush=True)

    def _rate(self, done: int, now: float) -> str:
        elapsed = now - self._began
        return f"{(done - self._first) / elapsed:,.0f}/s" if elapsed > 0.2 else ""

    def _line(self, done: int, total: int, now: float) -> str:
        elapsed, moved = now - self._began, done - self._first
        left = f", {duration((total - done) * elapsed / moved)} left" if moved else ""
        rate = self._rate(done, now)
        return f"{self._what}: {done:,} of {total:,}" + (f", {rate}" if rate else "") + left

    def _open(self, what: str, total: int) -> None:
        if not self.live:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        if self._bar is None:
            columns = [
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
            ]
            self._bar = Bar(*columns, TimeRemainingColumn(), console=Console(file=self.file), transient=True)
            self._bar.start()
        if self._task is not None and self._task in self._bar.task_ids:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(what, total=total, rate="")
