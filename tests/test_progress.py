"""Progress: what is said while work goes on, and that saying it never ends the work."""

from __future__ import annotations

import io
import threading

from mmfeat.progress import Progress, duration


class Heard(io.StringIO):
    """A file that says when a line with some words has come."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words, self.came = words, threading.Event()

    def flush(self) -> None:
        if self.words in self.getvalue():
            self.came.set()


def test_work_that_reports_nothing_is_shown_all_the_same() -> None:
    """Compiling and eigenproblems take their time between two reports."""
    heard = Heard("learning Pca: 1 of 1, ")
    with Progress(file=heard, every=0.01) as shown:
        shown("learning Pca", 1, 1)
        assert heard.came.wait(30)
    assert "so far" in heard.getvalue()


def test_before_the_first_report() -> None:
    heard = Heard("starting, ")
    with Progress(file=heard, every=0.01):
        assert heard.came.wait(30)


def test_rate_and_time_left() -> None:
    shown = Progress(file=io.StringIO())
    shown._what, shown._began, shown._first, shown._done, shown._total = "encoding", 100.0, 10, 30, 130
    assert shown._line(102.0) == "encoding: 30 of 130, 10/s, 0:10 left"
    assert shown._line(100.1) == "encoding: 30 of 130, 0:00 so far"
    shown._done = 130
    assert shown._line(112.0) == "encoding: 130 of 130, 0:12 so far"
    assert duration(112) == "1:52"


def test_work_goes_on_when_nobody_listens_any_more() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with Progress(file=Gone(), every=0.0) as shown:
        shown.say("hello")
        shown("reading", 1, 2)
    assert shown.quiet


def test_quiet_says_nothing() -> None:
    file = io.StringIO()
    with Progress(quiet=True, file=file, every=0.0) as shown:
        shown.say("hello")
        shown("reading", 1, 2)
    assert file.getvalue() == ""
