"""Going back: a new generation that equals an older one.

Nothing is lost by it: what is left behind is kept like every generation, and can be gone back to.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from mmfeat.errors import DamagedError, UsageError
from mmfeat.files import hold_lock, sha256_file
from mmfeat.indexes.extras import sweep
from mmfeat.indexes.generations import Link, numbers, walk_back
from mmfeat.indexes.manifest import Current, Manifest, generation_path, number_of, read_current, switch_to
from mmfeat.indexes.store import Index, open_index
from mmfeat.indexes.verify import find_damage

__all__ = ["newest_whole", "rollback"]


def rollback(
    path: str | os.PathLike[str], to: int | None = None, accept: Callable[[Manifest], bool] = lambda manifest: True
) -> Index:
    """Make the state of an older generation hold again, as a new generation; returns the index, open.

    to: the number of a kept generation. Without it: the last one before what holds now; after a rollback the one before
    that, and so on. Where what holds is damaged, the newest one that is not. Every byte of it is read first.
    accept: which generations come into question without `to`; one in which nothing is alive never does, while what holds has
    something in it (an index begins empty).

    UsageError: no such generation, or not an index. DamagedError: it is damaged, or all are. BusyError.
    """
    root = Path(path)
    _there(root)
    with hold_lock(root / "lock"):
        current = _current(root)
        if current:
            sweep(root, current.generation)
        links = [link for link in walk_back(root, current) if to is None or link.generation == to]
        if to is not None and not links:
            kept = ", ".join(str(link.generation) for link in walk_back(root, current))
            raise UsageError("a rollback goes to a generation that is kept", f"{to}, not {kept}", "choose one of these")
        target = _named(root, links[0]) if to is not None else _last_sound(root, current, links, accept)
        _switch(root, current, target)
    return open_index(root)


def newest_whole(path: str | os.PathLike[str]) -> tuple[int | None, bool]:
    """The newest generation in which every byte is as it was written, or None, and whether it is the one that holds."""
    root = Path(path)
    current = _current(root)
    for link in walk_back(root, current):
        if link.manifest and not find_damage(root, link.manifest.pieces()):
            return link.generation, current is not None and link.generation == current.generation
    return None, False


def _there(root: Path) -> None:
    if not numbers(root):
        raise UsageError("an index is a folder with a current.json", str(root), "check the path, or build the index")


def _current(root: Path) -> Current | None:
    try:
        return read_current(root)
    except DamagedError:
        return None


def _named(root: Path, link: Link) -> Manifest:
    problems = find_damage(root, link.manifest.pieces()) if link.manifest else [str(link.problem)]
    if problems or link.manifest is None:
        raise DamagedError(
            "a rollback goes to a generation in which nothing is damaged",
            f"generation {link.generation}: {'; '.join(problems[:3])}",
            "choose another, or restore these files from a copy",
        )
    return link.manifest


def _last_sound(root: Path, current: Current | None, links: list[Link], accept: Callable[[Manifest], bool]) -> Manifest:
    """The newest generation in which every byte is as it was written, before what holds if that is whole itself."""
    holds = next((link.manifest for link in links if current and link.generation == current.generation), None)
    if holds and not find_damage(root, holds.pieces()):
        found = [link for link in links if link.generation < (holds.restores or holds.generation)]
        kept = [link for link in found if link.manifest is None or _of_use(link.manifest, holds, accept)]
        if found and not kept:
            raise UsageError(
                "a rollback goes to a finished generation",
                f"only steps of making the index: {', '.join(str(link.generation) for link in found[:5])}",
                "leave it as it is, or name one with --to",
            )
        found = kept
    else:
        found = [link for link in links if holds is None or link.generation != holds.generation]
    for link in found:
        if link.manifest and not find_damage(root, link.manifest.pieces()):
            return link.manifest
    if found:
        raise DamagedError(
            "a rollback goes to a generation in which nothing is damaged",
            f"damage in all {len(found)} that are kept",
            "`mmfeat index verify` lists it; restore these files from a copy, or build the index again",
        )
    raise UsageError("a rollback goes to an earlier generation", "none is kept", "build the index again")


def _of_use(manifest: Manifest, holds: Manifest, accept: Callable[[Manifest], bool]) -> bool:
    """Whether somebody who names no generation may mean this one."""
    return (manifest.rows > manifest.dead or holds.rows == holds.dead) and accept(manifest)


def _switch(root: Path, current: Current | None, target: Manifest) -> None:
    """Name the new generation. Its parent is what held, unless that is damaged: then the one that is restored."""
    held = next(iter(walk_back(root, current))).manifest if current else None
    back = Current(target.generation, sha256_file(generation_path(root, target.generation)))
    reach = [link.generation for link in itertools.takewhile(lambda link: link.manifest, walk_back(root, back))]
    folders = [folder for folder in root.iterdir() if folder.is_dir()]
    used = [number_of(path.name) or 0 for folder in folders for path in folder.iterdir()]
    manifest = dataclasses.replace(
        target,
        generation=max([*used, current.generation if current else 0]) + 1,
        parent=current if held else back,
        restores=target.restores or target.generation,
        oldest=held.oldest if held else reach[-1],
    )
    switch_to(root, manifest)
