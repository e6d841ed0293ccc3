"""Extras: files and folders kept with an index (its model, the items table, the self-check, a page), and the sweep.

An extra lies at `extras/<generation>-<first 12 of its sha256>-<name>`. One whose contents are already there is not
written again: later generations refer to the same piece.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from mmfeat.errors import UsageError
from mmfeat.files import canonical_json, sha256_bytes, sync_folder, writing
from mmfeat.indexes.manifest import FileRecord, Piece, number_of, record_files

__all__ = ["FOLDERS", "put_extras", "remove", "sweep"]

FOLDERS = ("segments", "tombstones", "extras", "generations")


def put_extras(
    root: Path, generation: int, old: Mapping[str, Piece], extras: Mapping[str, Path | str | bytes]
) -> dict[str, Piece]:
    """Copy extras (name → bytes, or the path of a file or folder) into the index; returns old and new ones together."""
    for name, source in extras.items():
        if not re.fullmatch(r"\w[\w .+-]{0,99}", name):
            raise UsageError("the name of an extra is a plain file name", repr(name), "use letters, digits, - _ .")
        if not isinstance(source, bytes) and not Path(source).exists():
            raise UsageError(f"the extra {name} must exist", str(source), "check the path")
    new = {name: _put(root, generation, name, source, old.get(name)) for name, source in extras.items()}
    return {**old, **new}


def _put(root: Path, generation: int, name: str, source: Path | str | bytes, old: Piece | None) -> Piece:
    folder = root / "extras"
    folder.mkdir(exist_ok=True)
    aside = folder / f".{generation:06d}-{name}.tmp"
    remove(aside)
    if isinstance(source, bytes) or Path(source).is_file():
        _write(aside, source)
        files = record_files(root, [aside])
    else:
        files = record_files(root, _copy_folder(Path(source), aside))
    inner = {path.removeprefix(aside.relative_to(root).as_posix()): record for path, record in files.items()}
    if old is not None and inner == _inner(old):
        remove(aside)
        return old
    sha = sha256_bytes(canonical_json({path: record.sha256 for path, record in inner.items()}))
    target = folder / f"{generation:06d}-{sha[:12]}-{name}"
    os.replace(aside, target)
    sync_folder(folder)
    base = target.relative_to(root).as_posix()
    return Piece(base, 0, {base + path: record for path, record in inner.items()})


def _inner(piece: Piece) -> dict[str, FileRecord]:
    return {path.removeprefix(piece.path): record for path, record in piece.files.items()}


def _write(target: Path, source: Path | str | bytes) -> None:
    with writing(target) as file:
        if isinstance(source, bytes):
            file.write(source)
        else:
            with open(source, "rb") as original:
                shutil.copyfileobj(original, file, 1 << 20)


def _copy_folder(source: Path, target: Path) -> list[Path]:
    """Copy every regular file below a folder, durably; returns the copies."""
    copies = []
    for base, folders, names in os.walk(source):
        folders.sort()
        inside = target / Path(base).relative_to(source)
        inside.mkdir()
        for name in sorted(names):
            if (Path(base) / name).is_file():
                _write(inside / name, Path(base) / name)
                copies.append(inside / name)
    for base, _, _ in os.walk(target):
        sync_folder(Path(base))
    return copies


def remove(path: Path) -> None:
    """Remove a file or a folder with all in it; nothing there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(root: Path, generation: int) -> None:
    """Remove what a killed writer left: unfinished files, and pieces numbered above the generation that holds.

    Only under the lock: the numbers above belong to nobody else then.
    """
    for folder in (root, *(root / name for name in FOLDERS)):
        for path in folder.iterdir() if folder.is_dir() else ():
            unfinished = path.name.startswith(".") and path.name.endswith(".tmp")
            if unfinished or (folder != root and (number_of(path.name) or 0) > generation):
                remove(path)
