"""A small index with every sort of piece, what a reader sees of an index, and changes to make to one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmfeat.indexes import Index, create, open_index, rollback


def make(path: Path) -> Index:
    """Two segments, tombstones, a file and a folder attached, an old page."""
    folder = path.parent / "model"
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text('{"é": 1}')
    (folder / "sub" / "weights").write_bytes(bytes(range(100)))
    index = create(path, dim=12, model="ab" * 32, info={"recipe": "tiny"})
    codes = np.arange(20, dtype=np.uint8).reshape(10, 2) % 16
    index.add([f"f/{i}.jpg" for i in range(10)], codes, pa.table({"w": range(10)}), {"page.html": b"old"})
    index.add(["f/1.jpg", "g.jpg"], codes[:2], pa.table({"t0": [0.5, 1.5]}), {"page.html": b"new", "model": folder})
    index.remove(["f/2.jpg"])
    return index


def state(path: Path) -> tuple:
    """All that a reader can see."""
    index = open_index(path)
    rows = [index.row_of(name) for name in index.ids.to_pylist()]
    extras = {name: hash_tree(index.extra(name)) for name in index.extras}
    return index.generation, index.ids.to_pylist(), index.codes_at(rows).tolist(), extras, index.model, index.info


def hash_tree(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(files)}


def add(path: Path) -> None:
    codes = np.full((2, 2), 3, np.uint8)
    open_index(path).add(["f/0.jpg", "new"], codes, extras={"page.html": b"3", "model": path.parent / "model" / "sub"})


def update(path: Path) -> None:
    """New, changed and deleted rows, an extra and a note, in one generation."""
    codes = np.full((2, 2), 5, np.uint8)
    open_index(path).change(
        ["f/0.jpg", "new"], codes, remove=["g.jpg"], extras={"items": b"3"}, drop=["page.html"], info={"labels": None}
    )


CHANGES: dict[str, Callable[[Path], object]] = {
    "add": add,
    "remove": lambda path: open_index(path).remove(["g.jpg", "f/5.jpg"]),
    "update": update,
    "attach": lambda path: open_index(path).attach({"note": b"n"}),
    "compact": lambda path: open_index(path).compact(1),
    "compact, keeping": lambda path: open_index(path).compact(3),
    "rollback": rollback,
    "rollback to": lambda path: rollback(path, 2),
    "overwrite": lambda path: create(path, kind="float-flat", dim=4, overwrite=True),
}
