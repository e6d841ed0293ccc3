"""Is everything on disk what the manifests say? Sizes on every open, contents once per file and always by `verify`.

What was found in order is remembered per user in a small file under the cache folder, by device, inode, modification
time and size: a changed file is hashed again. Losing that file costs time only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from mmfeat.errors import DamagedError, MmfeatError
from mmfeat.files import read_json, sha256_bytes, sha256_file, write_json
from mmfeat.indexes.generations import walk_back
from mmfeat.indexes.manifest import FileRecord, Manifest, Piece, read_current

__all__ = ["check_contents", "check_pieces", "find_damage", "verify_index"]


def _cache_path(root: Path) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = sha256_bytes(os.fsencode(root.resolve()))[:24]
    return Path(base) / "mmfeat" / "verified" / f"{name}.json"


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size]


def _wrong_size(root: Path, name: str, record: FileRecord) -> str | None:
    try:
        size = (root / name).stat().st_size
    except OSError as error:
        return f"{name}: {error.strerror.lower() if error.strerror else 'cannot be read'}"
    return None if size == record.bytes else f"{name}: {size} bytes instead of {record.bytes}"


def _wrong_contents(root: Path, name: str, record: FileRecord) -> str | None:
    try:
        sha = sha256_file(root / name)
    except OSError as error:
        return f"{name}: {error.strerror.lower() if error.strerror else 'cannot be read'}"
    return None if sha == record.sha256 else f"{name}: contents changed (sha256 {sha[:12]}, not {record.sha256[:12]})"


def _files(pieces: Iterable[Piece]) -> dict[str, FileRecord]:
    return {name: record for piece in pieces for name, record in piece.files.items()}


def _raise(root: Path, problems: list[str]) -> None:
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise DamagedError(
            f"the files of {root} must be what its manifest says",
            "; ".join(problems[:3]) + more,
            "`mmfeat index verify` lists all damage; restore these files from a copy, or go back with `mmfeat index rollback`",
        )


def check_contents(root: Path, pieces: Iterable[Piece]) -> None:
    """Hash the files that this user has not seen in order before; DamagedError names those that differ."""
    cache, seen, problems = _cache_path(root), {}, []
    with contextlib.suppress(OSError, MmfeatError):
        seen = read_json(cache)
    seen = seen if isinstance(seen, dict) else {}
    new = False
    for name, record in _files(pieces).items():
        problem = _wrong_size(root, name, record)
        state = [] if problem else [*_state(root / name), record.sha256]
        if not problem and seen.get(name) == state:
            continue
        problem = problem or _wrong_contents(root, name, record)
        if problem:
            problems.append(problem)
        else:
            seen[name], new = state, True
    if new:
        with contextlib.suppress(OSError):
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_json(cache, {name: state for name, state in seen.items() if (root / name).exists()})
    _raise(root, problems)


def check_pieces(root: Path, manifest: Manifest) -> None:
    """What every open checks: all sizes, and the contents of new segments and tombstones (extras when they are used)."""
    sizes = [_wrong_size(root, name, record) for name, record in _files(manifest.pieces()).items()]
    _raise(root, [problem for problem in sizes if problem])
    check_contents(root, [*manifest.segments, *manifest.tombstones])


def find_damage(root: Path, pieces: Iterable[Piece]) -> list[str]:
    """Every file of these pieces that is not what it was, one sentence each; all bytes are read."""
    named = dict.fromkeys((name, record) for piece in pieces for name, record in piece.files.items())
    found = (_wrong_size(root, name, record) or _wrong_contents(root, name, record) for name, record in named)
    return [problem for problem in found if problem]


def verify_index(path: str | os.PathLike[str]) -> list[str]:
    """Every damaged file of an index, one sentence each, beginning with the path inside the index; [] when all is well.

    Reads every byte of every generation that is kept, and goes on after the first damage. UsageError: not an index.
    """
    root, problems = Path(path), list[str]()
    try:
        start = read_current(root)
    except DamagedError as error:
        problems.append(f"current.json: {error.came}")
        start = None
    links = list(walk_back(root, start))
    problems += [link.problem for link in links if link.problem]
    return problems + find_damage(root, [piece for link in links if link.manifest for piece in link.manifest.pieces()])
