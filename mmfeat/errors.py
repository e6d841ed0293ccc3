"""What can go wrong, said in one sentence: the rule, what came, and what to do.

Every error a user can meet is an `MmfeatError`. It carries the exit code the command line ends with:
2 for a wrong call, 3 when nothing could be done. (1, some items newly failed, is not an error but a result.)
"""

from __future__ import annotations

__all__ = [
    "BusyError",
    "DamagedError",
    "DataError",
    "MediaError",
    "MismatchError",
    "MissingExtraError",
    "MmfeatError",
    "NotFittedError",
    "SettingsError",
    "ShapeError",
    "UsageError",
]


class MmfeatError(Exception):
    """An error with its rule, what came instead, and what to do about it.

    >>> str(UsageError("k must be at least 1", "k=0", "ask for one neighbour or more"))
    'k must be at least 1; got k=0. Ask for one neighbour or more.'
    """

    exit_code = 3

    def __init__(self, rule: str, came: str, do: str) -> None:
        super().__init__(rule, came, do)
        self.rule, self.came, self.do = rule, came, do

    def __str__(self) -> str:
        came = f"; got {self.came}" if self.came else ""
        do = f" {self.do[:1].upper()}{self.do[1:].rstrip('.')}." if self.do else ""
        return f"{self.rule}{came}.{do}"


class UsageError(MmfeatError):
    """A call that cannot be carried out as it stands: a wrong argument, a missing file."""

    exit_code = 2


class SettingsError(UsageError):
    """A learner, descriptor or recipe was given a setting it does not have or cannot use."""


class ShapeError(UsageError):
    """An array of the wrong shape or dtype."""


class DataError(MmfeatError):
    """The data cannot be used: empty, not finite, all files failed."""


class MediaError(MmfeatError):
    """One file cannot be decoded. The reason is kept in its row of the table; it never stops a run."""


class NotFittedError(UsageError):
    """Something was asked of a learner that has not finished a pass."""


class MismatchError(UsageError):
    """Two things that must come from the same model do not."""


class DamagedError(MmfeatError):
    """A file on disk is not what its manifest says: the file is named."""


class BusyError(MmfeatError):
    """Another process holds the lock."""


class MissingExtraError(UsageError):
    """An optional part is not installed; the message says how to get it."""
