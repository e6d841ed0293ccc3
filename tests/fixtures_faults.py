"""A disk that fails: the n-th change of the file layer dies, and what was not durable by then may be lost.

What counts as a change: a write that reaches the disk (one a file, when it is flushed), an fsync, a rename, a removal, a new
folder. From the n-th on every one fails, so nothing is tidied up either. Three ways to end:

    "killed"   the process ends; the disk keeps all that was done, and half of the last write
    "power"    the machine ends; of what was not made durable by an fsync nothing is left: contents by an fsync of the file,
               names (new, moved, removed) by an fsync of their folder
    "torn"     the machine ends; of every folder a seeded part of the changes that were not durable is left, the first so many
    "full"     the disk is full: writes and new folders fail with ENOSPC, the process goes on
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pytest

CALLS = ("replace", "rename", "fsync", "unlink", "remove", "mkdir", "rmdir")


class Died(BaseException):
    """The process ended here."""


class _Undo(NamedTuple):
    """A change of the names in a folder, and how to take it back."""

    folder: str
    back: Callable[[], None]


class Faults:
    """Counts changes; `left` < 0 when the end came. Use as `with faults(n, how) as disk`."""

    def __init__(self, at: int, how: str, seed: int = 0) -> None:
        self.left, self.how, self.seed = at, how, seed
        self.real = {name: getattr(os, name) for name in CALLS}
        self.undone: list[_Undo] = []
        self.unsynced: dict[int, str] = {}  # inode: last known path
        self.attic = tempfile.mkdtemp(prefix="mmfeat-attic-")

    @property
    def dead(self) -> bool:
        return self.left < 0

    def change(self, writes: bool = False) -> None:
        """One change is about to happen."""
        self.left -= 1
        if self.left >= 0:
            return
        if self.how != "full":
            raise Died
        if writes:
            raise OSError(errno.ENOSPC, "No space left on device")

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            monkeypatch.setattr(os, name, getattr(self, f"_{name}"))
        real = os.fdopen

        def fdopen(handle: int, mode: str = "r", *a: Any, **k: Any) -> Any:
            return _File(self, real(handle, mode)) if mode == "wb" else real(handle, mode, *a, **k)

        monkeypatch.setattr(os, "fdopen", fdopen)

    def _fsync(self, handle: int) -> None:
        self.change(writes=True)
        path = os.readlink(f"/proc/self/fd/{handle}")
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            self.undone = [one for one in self.undone if one.folder != path]
        self.unsynced.pop(os.fstat(handle).st_ino, None)

    def _replace(self, source: Any, target: Any, *a: Any, **k: Any) -> None:
        self.change()
        source, target = os.path.abspath(source), os.path.abspath(target)
        kept = self._keep(target) if os.path.exists(target) else None
        self.real["replace"](source, target)
        for inode, path in self.unsynced.items():
            if path == source or path.startswith(source + "/"):
                self.unsynced[inode] = target + path[len(source) :]

        def back() -> None:
            self.real["replace"](target, source)
            if kept:
                self.real["replace"](kept, target)

        self.undone.append(_Undo(os.path.dirname(target), back))

    _rename = _replace

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self.change()
        full = _full(path, dir_fd)
        kept = self._keep(full) if os.path.exists(full) else None
        self.real["unlink"](path, dir_fd=dir_fd)
        if kept:
            self.undone.append(_Undo(os.path.dirname(full), lambda: self.real["replace"](kept, full)))

    _remove = _unlink

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self.change(writes=True)
        self.real["mkdir"](path, mode, dir_fd=dir_fd)
        full = _full(path, dir_fd)
        self.undone.append(_Undo(os.path.dirname(full), lambda: shutil.rmtree(full)))

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self.change()
        full = _full(path, dir_fd)
        self.real["rmdir"](path, dir_fd=dir_fd)
        self.undone.append(_Undo(os.path.dirname(full), lambda: self.real["mkdir"](full)))

    def _keep(self, path: str) -> str:
        """A second name of a file that is about to lose its own (a copy of a folder)."""
        kept = os.path.join(self.attic, str(len(os.listdir(self.attic))))
        if os.path.isdir(path):
            shutil.copytree(path, kept)
        else:
            os.link(path, kept)
        return kept

    def cut_power(self) -> None:
        """Take back what was not durable; call it when nothing is patched any more."""
        rng = np.random.default_rng(self.seed)
        for inode, path in self.unsynced.items():
            if os.path.exists(path) and os.stat(path).st_ino == inode:
                size = os.path.getsize(path)
                os.truncate(path, 0 if self.how == "power" else int(rng.integers(0, size + 1)))
        folders = sorted({one.folder for one in self.undone})
        left = {folder: 0 for folder in folders}
        if self.how == "torn":
            left = {
                folder: int(rng.integers(0, 1 + sum(one.folder == folder for one in self.undone))) for folder in folders
            }
        lost = []
        for one in self.undone:
            left[one.folder] -= 1
            if left[one.folder] < 0:
                lost.append(one)
        for one in reversed(lost):
            if os.path.isdir(one.folder):  # else it went with the folder
                with suppress(FileNotFoundError):
                    one.back()


def _full(path: Any, dir_fd: int | None) -> str:
    base = os.getcwd() if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
    return os.path.join(base, os.fspath(path))


class _File:
    """A file whose contents reach the disk when it is flushed."""

    def __init__(self, faults: Faults, file: IO[bytes]) -> None:
        self.faults, self.file, self.data = faults, file, bytearray()
        self.path = os.readlink(f"/proc/self/fd/{file.fileno()}")
        faults.undone.append(_Undo(os.path.dirname(self.path), lambda: os.unlink(self.path)))
        self.closed = False

    def write(self, data: Any) -> int:
        self.data += data
        return len(memoryview(data).cast("B")) if not isinstance(data, bytes) else len(data)

    def flush(self) -> None:
        if not self.data:
            return
        self.faults.unsynced[os.fstat(self.file.fileno()).st_ino] = self.path
        try:
            self.faults.change(writes=True)
        except BaseException:
            self.file.write(self.data[: len(self.data) // 2])
            self.file.flush()
            raise
        self.file.write(self.data)
        self.file.flush()
        self.data.clear()

    def fileno(self) -> int:
        return self.file.fileno()

    def tell(self) -> int:
        return self.file.tell() + len(self.data)

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True
        self.file.close()

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *a: object) -> None:
        if a[0] is None and not self.faults.dead:
            self.flush()
        self.close()


@contextmanager
def faults(at: int, how: str, seed: int = 0) -> Iterator[Faults]:
    """The block dies at its change number `at` (from 0); `Died` does not leave it. Power goes at its end at the latest."""
    disk = Faults(at, how, seed)
    try:
        with pytest.MonkeyPatch.context() as patch:
            disk.patch(patch)
            with suppress(Died):
                yield disk
        if how in ("power", "torn"):
            disk.cut_power()
    finally:
        shutil.rmtree(disk.attic, ignore_errors=True)


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder but locks, and every folder, by relative path."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.name not in ("lock", ".lock"):
            found[path.relative_to(root).as_posix()] = path.read_bytes() if path.is_file() else b"folder"
    return found
