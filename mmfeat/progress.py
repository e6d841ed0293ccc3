"""Long work shows what it does: a live line on a terminal, a plain line every few seconds otherwise. Rate and time left in both.

`Progress` is a context manager and a `stages.Report`: call it with (what, done, total, metrics).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

__all__ = ["Progress", "duration", "tell"]


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(3725), duration(65), duration(0.4)
    ('1:02:05', '1:05', '0:00')
    """
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def tell(report: object, lines: Iterable[str]) -> None:
    """Sentences that stay, where `report` (a `Progress`) can say them; any other report only counts."""
    say = getattr(report, "say", None)
    if callable(say):
        for line in lines:
            say(line)


class Progress:
    """Shows work on `file` (standard error).

    A terminal gets one line that is renewed; anything else a plain line every `every` seconds, the first one after two,
    whether or not the work has anything new to say: compiling and eigenproblems take a while. Where nothing can be written
    any more (the reader of a pipe is gone, a disk is full) the work goes on in silence.
    stop: says whether somebody wants the work to end.
    """

    def __init__(
        self,
        quiet: bool = False,
        file: IO[str] | None = None,
        every: float = 5.0,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.quiet, self.every, self.stop = quiet, every, stop
        self.file = file if file is not None else sys.stderr
        self.live = not quiet and self.file.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._what = "starting"
        self._began = time.monotonic()
        self._shown = self._began - every + 2.0
        self._first = self._done = self._total = 0
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._beat: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if not self.quiet and not self.live:
            self._beat = threading.Thread(target=self._keep_showing, name="mmfeat-progress", daemon=True)
            self._beat.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        if self._beat is not None:
            self._beat.join()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, text: str) -> None:
        """A sentence that stays."""
        if self.quiet:
            return
        with self._lock:
            if self._bar is not None:
                self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                self._write(text)

    def __call__(self, what: str, done: int, total: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Work of this kind has come so far. Cheap when nothing is to be shown. KeyboardInterrupt: it is to stop."""
        if self.stop() and not isinstance(sys.exception(), KeyboardInterrupt):  # unless that is being seen to
            raise KeyboardInterrupt
        if self.quiet:
            return
        now = time.monotonic()
        with self._lock:
            if what != self._what or done < self._first:
                self._what, self._began, self._first = what, now, done
                self._open(what, total)
            self._done, self._total = done, total
            if self.live:
                self._bar.update(self._task, completed=done, total=total, rate=self._rate(now))
            else:
                self._show(now)

    def _keep_showing(self) -> None:
        while not self._left.wait(min(self.every, 1.0)):
            with self._lock:
                self._show(time.monotonic())

    def _show(self, now: float) -> None:
        """The plain line, if it is time."""
        if now - self._shown >= self.every:
            self._shown = now
            self._write(self._line(now))

    def _write(self, text: str) -> None:
        if self.quiet:
            return
        try:
            print(text, file=self.file, flush=True)
        except (OSError, ValueError):
            self.quiet = True

    def _rate(self, now: float) -> str:
        elapsed = now - self._began
        return f"{(self._done - self._first) / elapsed:,.0f}/s" if elapsed > 0.2 and self._done > self._first else ""

    def _line(self, now: float) -> str:
        elapsed, moved, left = now - self._began, self._done - self._first, self._total - self._done
        if not self._total:
            return f"{self._what}, {duration(elapsed)} so far"
        said, rate = f"{self._what}: {self._done:,} of {self._total:,}", self._rate(now)
        if not rate or left <= 0:
            return f"{said}, {duration(elapsed)} so far"
        return f"{said}, {rate}, {duration(left * elapsed / moved)} left"

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
