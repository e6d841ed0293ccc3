"""The generations that are kept: walking back through them, and removing the oldest.

A generation is kept from the `oldest` of the manifest that holds on; `compact` moves that mark. What lies before it goes
once the new manifest holds: first the pieces that no kept generation refers to, then the manifests. A removal that was
cut short is finished by the next writer. A reader that opened an older generation keeps what it opened: its files are
mapped or read, and live on without a name until it lets go of them (on Windows they cannot be removed meanwhile, and go
with a later removal). An extra of an older generation is found by its name, so it may be gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mmfeat.errors import MmfeatError
from mmfeat.files import sha256_bytes, sync_folder
from mmfeat.indexes.extras import FOLDERS, remove
from mmfeat.indexes.manifest import Current, Manifest, generation_path, number_of, parse_manifest

__all__ = ["Link", "numbers", "prune", "unpruned", "walk_back"]


class Link(NamedTuple):
    """One generation on the way back: its manifest, or None and what is wrong with it."""

    generation: int
    manifest: Manifest | None
    problem: str | None


def numbers(root: Path) -> list[int]:
    """The generations that have a file, ascending; damaged or unfinished ones too."""
    found = (number_of(path.name) for path in (root / "generations").glob("gen-*.json"))
    return sorted(number for number in found if number)


def walk_back(root: Path, start: Current | None) -> Iterator[Link]:
    """The kept generations from `start` (None: the newest file there is) to the oldest, through their parents.

    A damaged manifest names no parent: the file before it is next, judged by its own check.
    """
    there = numbers(root)
    expected, oldest = start, 1
    number = start.generation if start else max(there, default=0)
    while number >= oldest:
        manifest, problem = _read(root, number, expected)
        yield Link(number, manifest, problem)
        if manifest is None:
            expected = None
            number = max((one for one in there if one < number), default=0)
        else:
            oldest, expected = max(oldest, manifest.oldest), manifest.parent
            number = expected.generation if expected else 0


def _read(root: Path, number: int, expected: Current | None) -> tuple[Manifest | None, str | None]:
    """The manifest of a generation, or None and why not."""
    path = generation_path(root, number)
    name = path.relative_to(root).as_posix()
    try:
        data = path.read_bytes()
    except OSError as error:
        return None, f"{name}: {error.strerror.lower() if error.strerror else 'cannot be read'}"
    if expected and sha256_bytes(data) != expected.sha256:
        return None, f"{name}: contents changed (sha256 {sha256_bytes(data)[:12]}, not {expected.sha256[:12]})"
    try:
        return parse_manifest(path, data), None
    except MmfeatError as error:
        return None, f"{name}: {error.came}"


def unpruned(root: Path, manifest: Manifest) -> bool:
    """Whether there are generations before the oldest that is kept: a removal was cut short."""
    return min(numbers(root), default=manifest.oldest) < manifest.oldest


def prune(root: Path, current: Current) -> None:
    """Remove every generation before the oldest that is kept, and the pieces that no kept one refers to.

    Only under the lock. Where a kept manifest is damaged nothing is removed: what it refers to is not known.
    """
    links = list(walk_back(root, current))
    if any(link.manifest is None for link in links):
        return
    kept = {piece.path for link in links if link.manifest for piece in link.manifest.pieces()}
    kept |= {generation_path(root, link.generation).relative_to(root).as_posix() for link in links}
    for folder in sorted(
        FOLDERS, key=lambda name: name == "generations"
    ):  # manifests last: they tell that work is left
        for path in sorted((root / folder).iterdir()) if (root / folder).is_dir() else ():
            number = number_of(path.name) or 0
            if 0 < number <= current.generation and path.relative_to(root).as_posix() not in kept:
                with contextlib.suppress(PermissionError):  # Windows, where somebody reads it
                    remove(path)
        sync_folder(root / folder)  # or the manifests could be gone, and pieces be there again, after a power cut
