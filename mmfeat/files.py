"""Writing so that a kill at any instant leaves the old file or the new one, and reading so that damage is named.

Everything mmfeat puts on disk goes through `write_bytes` (aside, fsync, rename, fsync of the folder) or `new_folder`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mmfeat.errors import BusyError, DamagedError, UsageError

__all__ = [
    "canonical_json",
    "check_writable",
    "hold_lock",
    "new_folder",
    "read_json",
    "sha256_bytes",
    "sha256_file",
    "sync_folder",
    "write_bytes",
]
__all__ += ["write_json", "writing"]


def sha256_bytes(data: bytes | memoryview) -> str:
    """The hexadecimal sha256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The hexadecimal sha256 of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (a no-op where the system cannot)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes its name only when it is complete and durable.

    Leaves nothing behind when the block raises; the old file, if any, stays until the rename.
    """
    path = Path(path)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_bytes(path: str | os.PathLike[str], data: bytes | memoryview) -> str:
    """Write a whole file atomically; returns the sha256 of what was written."""
    with writing(path) as file:
        file.write(data)
    return sha256_bytes(data)


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and a final newline: the same value gives the same bytes. NaN is refused."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: str | os.PathLike[str], value: Any) -> str:
    """Write canonical JSON atomically; returns its sha256."""
    return write_bytes(path, canonical_json(value))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON, or say which file is damaged."""
    try:
        return json.loads(Path(path).read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedError(f"{path} must hold JSON", str(error), "restore it from a copy or build it again") from error


def check_writable(path: str | os.PathLike[str]) -> None:
    """UsageError where a folder cannot be made or filled at `path`: said before hours of work, not after. Leaves nothing."""
    path = Path(os.path.abspath(path))
    place = next(each for each in (path, *path.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UsageError(
            "results go into a folder that may be written", f"{place}: {error.strerror}", "choose another place"
        ) from error


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """A folder that appears under its name only when the block ends well.

    With `overwrite` an existing folder is replaced at the very end (moved aside, then deleted); otherwise it is refused at once,
    and so is one that appeared meanwhile, at the end.
    """
    path = Path(path)
    if os.path.lexists(path) and not overwrite:
        raise _taken(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name[:80]}.", suffix=".tmp", dir=path.parent))
    try:
        os.chmod(aside, 0o777 & ~_umask())
        yield aside
        sync_folder(aside)
        if overwrite and os.path.lexists(path):
            old = aside.with_suffix(".old")
            os.rename(path, old)
            os.rename(aside, path)
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        else:
            _rename_new(aside, path)
        sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _rename_new(aside: Path, path: Path) -> None:
    """Give a folder its name where nothing has it. Between the look and the rename only an empty folder is replaced (POSIX)."""
    if os.path.lexists(path):
        raise _taken(path)
    try:
        os.rename(aside, path)
    except OSError as error:
        if os.path.lexists(path):
            raise _taken(path) from error
        raise


def _taken(path: Path) -> UsageError:
    return UsageError("what exists is never overwritten unasked", str(path), "choose another name or pass --overwrite")


@contextlib.contextmanager
def hold_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold an exclusive lock on a file for the block; the system frees it when the process dies, however it dies."""
    with open(path, "a+b") as file:
        _lock(file, Path(path))
        yield


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            raise _busy(path) from error
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise _busy(path) from error


def _busy(path: Path) -> BusyError:
    return BusyError(
        "one process writes at a time", f"a lock held on {path}", "wait for the other process to end, then try again"
    )
