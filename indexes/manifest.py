"""The manifest of one generation, and `current.json`, which names the generation that holds.

    current.json                    {format, generation, manifest, sha256, check}; `check` is the sha256 of the rest
    generations/gen-000007.json     all that generation 7 consists of: pieces with the size and sha256 of every file

A `Piece` is a file or folder that never changes once its generation holds. Its name carries the number of the generation
that wrote it, so what carries a number above the current one is the leftover of a writer that was killed.
A manifest names its parent with the parent's sha256: the chain can be walked back, checked, and returned to.
It also holds the sha256 of its own rest (`check`), so that each can be judged alone when the one after it is damaged.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmfeat.errors import DamagedError, UsageError
from mmfeat.files import canonical_json, sha256_bytes, sha256_file, write_bytes

__all__ = ["FORMAT", "Current", "FileRecord", "Manifest", "Piece", "differs", "generation_path", "number_of"]
__all__ += ["parse_manifest", "read_current", "read_manifest", "record_files", "switch_to"]

FORMAT = 2


class FileRecord(NamedTuple):
    """What a file must be: its size in bytes and the sha256 of its contents."""

    bytes: int
    sha256: str


class Current(NamedTuple):
    """The contents of `current.json`: the generation that holds, and the sha256 of its manifest."""

    generation: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Piece:
    """An immutable file or folder of the index: a segment, a list of tombstones, or an extra.

    path: relative to the index, posix form. rows: vectors of a segment, dead rows of a tombstone list, 0 of an extra.
    files: every file of it, by path relative to the index.
    """

    path: str
    rows: int
    files: dict[str, FileRecord]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        files = {name: {"bytes": record.bytes, "sha256": record.sha256} for name, record in self.files.items()}
        return {"path": self.path, "rows": self.rows, "files": files}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Piece:
        """The inverse of `to_json`."""
        files = {name: FileRecord(int(v["bytes"]), str(v["sha256"])) for name, v in value["files"].items()}
        return Piece(str(value["path"]), int(value["rows"]), files)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All that one generation consists of.

    parent: the generation before and the sha256 of its manifest, or None. kind, metric: see `kinds`. dim: bits or floats.
    model: the sha256 of the model that made the vectors, or None. info: anything JSON that the maker wants kept.
    segments: in row order. tombstones: lists of dead rows, each written by one generation. extras: by name.
    restores: the generation that this one equals, after a rollback. oldest: the first generation that is kept; what only
    earlier ones refer to may go.
    """

    generation: int
    parent: Current | None
    kind: str
    metric: str
    dim: int
    model: str | None
    info: dict[str, Any]
    segments: tuple[Piece, ...] = ()
    tombstones: tuple[Piece, ...] = ()
    extras: dict[str, Piece] = dataclasses.field(default_factory=dict)
    restores: int | None = None
    oldest: int = 1

    @property
    def rows(self) -> int:
        """Rows of all segments, dead ones included."""
        return sum(piece.rows for piece in self.segments)

    @property
    def dead(self) -> int:
        """Rows under a tombstone."""
        return sum(piece.rows for piece in self.tombstones)

    def pieces(self) -> Iterator[Piece]:
        """Segments, tombstones and extras."""
        yield from self.segments
        yield from self.tombstones
        yield from self.extras.values()

    def to_bytes(self) -> bytes:
        """Canonical JSON: the same generation gives the same bytes."""
        value = {
            "format": FORMAT,
            "generation": self.generation,
            "parent": self.parent and {"generation": self.parent.generation, "sha256": self.parent.sha256},
            "kind": self.kind,
            "metric": self.metric,
            "dim": self.dim,
            "model": self.model,
            "info": self.info,
            "segments": [piece.to_json() for piece in self.segments],
            "tombstones": [piece.to_json() for piece in self.tombstones],
            "extras": {name: piece.to_json() for name, piece in self.extras.items()},
            "restores": self.restores,
            "oldest": self.oldest,
        }
        return _sealed(value)


def _sealed(value: dict[str, Any]) -> bytes:
    """Canonical JSON with the sha256 of the rest as `check`."""
    return canonical_json({**value, "check": sha256_bytes(canonical_json(value))})


def _unsealed(path: Path, data: bytes) -> dict[str, Any]:
    """What `_sealed` wrote; DamagedError when a single byte differs, UsageError for a later format."""
    value = json.loads(data)
    check = value.pop("check", None) if isinstance(value, dict) else None
    old = check is None and isinstance(value, dict) and value.get("format") == 1  # manifests of 0.1 had no check
    if (path.name == "current.json" or not old) and (check is None or data != _sealed(value)):
        raise _damaged(path, "other contents")
    _known_format(path, value)
    return dict(value)


def differs(manifest: Manifest, changes: dict[str, Any]) -> bool:
    """Whether these fields would be others."""
    return any(getattr(manifest, name) != value for name, value in changes.items())


def generation_path(root: Path, generation: int) -> Path:
    """Where the manifest of a generation lies."""
    return root / "generations" / f"gen-{generation:06d}.json"


def number_of(name: str) -> int | None:
    """The generation that wrote a piece, read from its name (`seg-000007`, `gen-000007.json`, `000007-1f…-page.html`).

    >>> number_of("seg-000007"), number_of("000012-0123456789ab-model"), number_of("lock")
    (7, 12, None)
    """
    match = re.match(r"(?:gen-|seg-|dead-)?(\d{6,})(?=[-.]|$)", name)
    return int(match[1]) if match else None


def record_files(root: Path, paths: list[Path]) -> dict[str, FileRecord]:
    """Size and sha256 of files under the index, by relative posix path."""
    return {
        path.relative_to(root).as_posix(): FileRecord(path.stat().st_size, sha256_file(path)) for path in sorted(paths)
    }


def switch_to(root: Path, manifest: Manifest) -> Current:
    """Write a manifest and then, last and atomically, name it in `current.json`."""
    sha = write_bytes(generation_path(root, manifest.generation), manifest.to_bytes())
    value: dict[str, Any] = {"format": FORMAT, "generation": manifest.generation, "sha256": sha}
    value["manifest"] = generation_path(root, manifest.generation).relative_to(root).as_posix()
    write_bytes(root / "current.json", _sealed(value))
    return Current(manifest.generation, sha)


def _damaged(path: Path, came: str) -> DamagedError:
    do = "restore it from a copy, go back with `mmfeat index rollback`, or build the index again"
    return DamagedError(f"{path} must be as it was written", came, do)


def _known_format(path: Path, value: Any) -> None:
    if not isinstance(value, dict) or not isinstance(value.get("format"), int):
        raise _damaged(path, "JSON without a format version")
    if value["format"] > FORMAT:
        raise UsageError(
            f"this version reads index formats up to {FORMAT}", f"format {value['format']} in {path}", "update mmfeat"
        )


def read_current(root: Path) -> Current:
    """What `current.json` says. A folder without it is not an index: UsageError. Damage of one byte: DamagedError."""
    path = root / "current.json"
    if not path.is_file():
        if generation_path(root, 2).exists():  # an index that was used, not the beginning of one
            raise _damaged(path, "no file")
        raise UsageError("an index is a folder with a current.json", str(root), "check the path, or build the index")
    try:
        value = _unsealed(path, path.read_bytes())
        return Current(int(value["generation"]), str(value["sha256"]))
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, "no JSON") from error


def parse_manifest(path: Path, data: bytes) -> Manifest:
    """A manifest from its bytes; DamagedError when they are not what was written."""
    try:
        value = _unsealed(path, data)
        parent = value["parent"]
        return Manifest(
            generation=int(value["generation"]),
            parent=None if parent is None else Current(int(parent["generation"]), str(parent["sha256"])),
            kind=value["kind"],
            metric=value["metric"],
            dim=int(value["dim"]),
            model=value["model"],
            info=value["info"],
            segments=tuple(Piece.from_json(piece) for piece in value["segments"]),
            tombstones=tuple(Piece.from_json(piece) for piece in value["tombstones"]),
            extras={name: Piece.from_json(piece) for name, piece in value["extras"].items()},
            restores=value.get("restores"),
            oldest=int(value.get("oldest", 1)),
        )
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def read_manifest(root: Path, current: Current) -> Manifest:
    """The manifest of a generation, its sha256 checked."""
    path = generation_path(root, current.generation)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise _damaged(path, "no file") from error
    if sha256_bytes(data) != current.sha256:
        raise _damaged(path, "other contents")
    return parse_manifest(path, data)
