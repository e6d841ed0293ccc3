"""The table of items: statuses, selection, and the same bytes on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmfeat.errors import DamagedError, ShapeError, UsageError
from mmfeat.media.items import SCHEMA, Items


def table(count: int, **columns: list[object]) -> pa.Table:
    filled: dict[str, list[object]] = {field.name: [None] * count for field in SCHEMA}
    filled |= {"id": [f"{n}.png" for n in range(count)], "kind": ["image"] * count, "status": ["found"] * count}
    return pa.table(
        {field.name: pa.array((filled | columns)[field.name], field.type) for field in SCHEMA}, schema=SCHEMA
    )


def test_status_of_some_rows() -> None:
    items = Items(Path("/x"), table(5, kind=["image", "video", "image", "image", "image"]))
    assert items.images.tolist() == [0, 2, 3, 4]
    ended = items.with_status([3, 0], ["failed", "done"], ["broken", None], ["s3", "s0"]).with_status(
        [1], "skipped", "video"
    )
    assert ended.table["status"].to_pylist() == ["done", "skipped", "found", "failed", "found"]
    assert ended.table["reason"].to_pylist() == [None, "video", None, "broken", None]
    assert ended.table["sha256"].to_pylist() == ["s0", None, None, "s3", None]
    assert [ended.count(status) for status in ("found", "done", "failed", "skipped")] == [2, 1, 1, 1]
    assert ended.images.tolist() == [2, 4]
    assert items.count("found") == 5  # the first is as it was
    assert ended.table.schema.equals(SCHEMA)
    assert repr(ended) == "Items('/x': 2 found, 1 done, 1 failed, 1 skipped)"
    with pytest.raises(UsageError):
        items.with_status([0], "lost")
    with pytest.raises(UsageError):
        items.count("lost")
    with pytest.raises(ShapeError):
        items.with_status([0, 1], ["done"])


def test_selection() -> None:
    items = Items(Path("/x"), table(5))
    assert items.select(np.array([4, 0])).ids == ["4.png", "0.png"]
    assert len(items.select([])) == 0


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    items = Items(tmp_path, table(100, label=["ä"] * 100), (("a", tmp_path / "a"),))
    items.write(tmp_path / "one")
    pieces = pa.concat_tables([items.table.slice(0, 30), items.table.slice(30)])  # another chunking
    Items(tmp_path, pieces, items.roots).write(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    back = Items.read(tmp_path / "one")
    assert back.table.equals(items.table)
    assert (back.root, back.roots) == (items.root, items.roots)
    back.write(tmp_path / "three")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "three").read_bytes()
    moved = Items.read(tmp_path / "one", root="/elsewhere")
    assert moved.roots == (("a", Path("/elsewhere/a")),)


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    odd = tmp_path / "caf\udce9"
    Items(odd, table(1)).write(tmp_path / "items")
    assert Items.read(tmp_path / "items").path_of(0) == odd / "0.png"


def test_damage_is_named(tmp_path: Path) -> None:
    (tmp_path / "items").write_bytes(b"PAR1 and nothing")
    with pytest.raises(DamagedError, match="items"):
        Items.read(tmp_path / "items")
    with pytest.raises(FileNotFoundError):
        Items.read(tmp_path / "gone")


def test_ids_that_lead_out_of_the_root_are_refused() -> None:
    items = Items(Path("/x"), table(2, id=["../etc/passwd", "%2Fetc/passwd"]))
    for row in (0, 1):
        with pytest.raises(UsageError):
            items.path_of(row)


def test_other_tables_are_refused() -> None:
    with pytest.raises(ShapeError):
        Items(Path("/x"), pa.table({"id": ["a"]}))
