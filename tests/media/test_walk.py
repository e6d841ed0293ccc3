"""The walk: every file is one row, whatever its name, its kind or its state."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmfeat.errors import DataError, UsageError
from mmfeat.media.contents import open_content
from mmfeat.media.items import SCHEMA, Items
from mmfeat.media.walk import walk


def picture(path: Path, width: int = 6, height: int = 4, exif: Image.Exif | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (9, 99, 199)).save(path, exif=exif or Image.Exif())
    return path


def rows(items: Items) -> dict[str, dict[str, object]]:
    return {row["id"]: row for row in items.table.to_pylist()}


def test_every_file_is_one_row(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    picture(tmp_path / "cat" / "a.jpg", exif=exif)
    picture(tmp_path / "cat" / "old" / "b.png")
    picture(tmp_path / "root.gif")
    picture(tmp_path / ".hidden.png")
    picture(tmp_path / ".git" / "c.png")
    (tmp_path / "notes.txt").write_text("Name: x\nSize: 512*512\n")
    (tmp_path / "talk.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    (tmp_path / "talk.WAV").write_bytes(b"RIFF")
    (tmp_path / "bad.jpg").write_text("no picture")
    picture(tmp_path / "x.png").rename(tmp_path / "picture.dat")
    items = walk(tmp_path)
    table = rows(items)
    assert list(table) == sorted(table)
    assert set(table) == {
        "bad.jpg",
        "cat/a.jpg",
        "cat/old/b.png",
        "notes.txt",
        "picture.dat",
        "root.gif",
        "talk.WAV",
        "talk.mp4",
    }
    assert {id: (row["kind"], row["status"]) for id, row in table.items()} == {
        "bad.jpg": ("image", "failed"),
        "cat/a.jpg": ("image", "found"),
        "cat/old/b.png": ("image", "found"),
        "notes.txt": ("other", "skipped"),
        "picture.dat": ("image", "found"),
        "root.gif": ("image", "found"),
        "talk.WAV": ("audio", "skipped"),
        "talk.mp4": ("video", "skipped"),
    }
    assert all((row["status"] == "found") == (row["reason"] is None) for row in table.values())
    assert "video needs a reader" in str(table["talk.mp4"]["reason"])
    assert (table["cat/a.jpg"]["width"], table["cat/a.jpg"]["height"]) == (4, 6)  # as shown
    assert (table["cat/old/b.png"]["width"], table["cat/old/b.png"]["height"]) == (6, 4)
    assert [table[id]["label"] for id in ("cat/a.jpg", "cat/old/b.png", "root.gif")] == ["cat", "cat", None]
    stat = (tmp_path / "root.gif").stat()
    assert (table["root.gif"]["bytes"], table["root.gif"]["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
    assert items.table.schema.equals(SCHEMA)
    assert [items.ids[row] for row in items.images] == ["cat/a.jpg", "cat/old/b.png", "picture.dat", "root.gif"]
    assert all(items.path_of(row).is_file() for row in range(len(items)))


def test_any_name(tmp_path: Path) -> None:
    names = [b"\xff\xfe.png", "日本 #1 100%.png".encode(), b"two\nlines.png", b"<script>.png", b"a'\"b.png"]
    source = picture(tmp_path / "x.png")
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(source.read_bytes())
    items = walk(tmp_path)
    assert items.count("found") == len(names) + 1
    found = {os.fsencode(items.path_of(row).name) for row in items.images}
    assert found == {*names, b"x.png"}


def test_links(tmp_path: Path) -> None:
    real = tmp_path / "real"
    picture(real / "a.png")
    (real / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to(real, target_is_directory=True)
    (tmp_path / "linked.png").symlink_to(real / "a.png")
    (tmp_path / "nothing.png").symlink_to(tmp_path / "gone.png")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    picture(outside / "b.png")
    (tmp_path / "out").symlink_to(outside, target_is_directory=True)
    assert walk(tmp_path).ids == ["linked.png", "nothing.png", "real/a.png"]
    followed = walk(tmp_path, follow_links=True)
    assert followed.ids == ["linked.png", "nothing.png", "out/b.png", "real/a.png"]
    broken = rows(followed)["nothing.png"]
    assert (broken["status"], broken["reason"]) == ("failed", "a link to nothing")


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    picture(tmp_path / "a.png")
    assert rows(walk(tmp_path))["pipe.png"]["reason"] == "not a regular file"


def test_what_cannot_be_read_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "open" / "a.png")
    picture(tmp_path / "shut" / "b.png")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("mmfeat.media.folders.os.scandir", refuse)
    table = rows(walk(tmp_path))
    assert list(table) == ["open/a.png", "shut"]
    assert table["shut"]["status"] == "failed"
    assert "Permission denied" in str(table["shut"]["reason"])


def test_roots(tmp_path: Path) -> None:
    one, other = picture(tmp_path / "one" / "a.png"), picture(tmp_path / "other" / "sub" / "b.png")
    single = walk(one)
    assert (single.ids, single.path_of(0)) == (["a.png"], one)
    both = walk([tmp_path / "other", tmp_path / "one"])
    assert both.ids == ["one/a.png", "other/sub/b.png"]
    assert [both.path_of(row) for row in (0, 1)] == [one, other]
    assert both.table["label"].to_pylist() == ["one", "other"]
    files = walk([one, other])
    assert [files.path_of(row) for row in (0, 1)] == [one, other]
    picture(tmp_path / "deep" / "one" / "c.png")
    with pytest.raises(UsageError, match="different names"):
        walk([tmp_path / "one", tmp_path / "deep" / "one"])
    with pytest.raises(UsageError, match="a root exists"):
        walk(tmp_path / "gone")


def test_nothing_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").touch()
    with pytest.raises(DataError, match="1 hidden"):
        walk(tmp_path)


def test_progress(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    seen: list[tuple[int, int]] = []
    walk(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 1)
    assert seen[-1] == (1, 1)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name in ("cat/a.png", "dog/b #2.png", "c.png"):
        picture(tmp_path / "pets" / name)
    return tmp_path / "pets"


def columns(items: Items) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in ("id", "label", "split", "group")) for row in items.table.to_pylist()]


def test_labels_from_csv(pets: Path, tmp_path: Path) -> None:
    text = "﻿path,label,split,note\r\n./cat/a.png,Felis,train,x\r\ndog/b #2.png,,test,y\r\nelsewhere.png,z,,\r\n"
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    assert columns(walk(pets, labels=tmp_path / "labels.csv")) == [
        ("c.png", None, None, None),
        ("cat/a.png", "Felis", "train", None),
        ("dog/b %232.png", None, "test", None),
    ]


def test_labels_from_parquet_and_tables(pets: Path, tmp_path: Path) -> None:
    table = pa.table({"id": ["dog/b %232.png", "c.png"], "label": [3, 4], "group": ["g", None]})
    pq.write_table(table, tmp_path / "labels.parquet")
    wanted = [("c.png", "4", None, None), ("cat/a.png", None, None, None), ("dog/b %232.png", "3", None, "g")]
    assert columns(walk(pets, labels=tmp_path / "labels.parquet")) == wanted
    assert columns(walk(pets, labels=table)) == wanted


def test_a_split_alone_keeps_the_folders(pets: Path) -> None:
    items = walk(pets, labels=pa.table({"path": ["c.png"], "split": ["test"]}))
    assert columns(items) == [
        ("c.png", None, "test", None),
        ("cat/a.png", "cat", None, None),
        ("dog/b %232.png", "dog", None, None),
    ]


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ({"name": ["a"], "label": ["b"]}, UsageError),
        ({"path": ["c.png"]}, UsageError),
        ({"path": ["c.png", "c.png"], "label": ["a", "b"]}, DataError),
        ({"path": ["other.png"], "label": ["a"]}, DataError),
        ({"path": [None], "label": ["a"]}, DataError),
        ({"path": ["../c.png"], "label": ["a"]}, UsageError),
        ({"path": ["c.png"], "label": ["two\nlines"]}, DataError),
    ],
)
def test_wrong_labels_are_refused(pets: Path, table: dict[str, list[object]], error: type[Exception]) -> None:
    with pytest.raises(error):
        walk(pets, labels=pa.table(table))


def test_a_labels_file_that_cannot_be_read(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    for name in ("x.parquet", "gone.csv"):
        with pytest.raises(UsageError):
            walk(pets, labels=tmp_path / name)


def test_links_in_a_circle_are_failures_and_nothing_else(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "b").symlink_to("c")
    (tmp_path / "c").symlink_to("b")
    (tmp_path / "self").symlink_to(".")
    found = rows(walk(tmp_path))
    assert {name: row["status"] for name, row in found.items()} == {"a.png": "found", "b": "failed", "c": "failed"}


def test_what_is_known_is_not_opened_while_size_and_time_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png"):
        picture(tmp_path / name)
    (tmp_path / "bad.jpg").write_text("no picture")
    before = walk(tmp_path)
    opened: list[str] = []
    original = open_content

    def noted(place: str) -> Any:
        opened.append(os.path.basename(place))
        return original(place)

    monkeypatch.setattr("mmfeat.media.walk.open_content", noted)
    assert walk(tmp_path, known=before.table).table.equals(before.table)
    assert opened == ["bad.jpg"]  # what could not be read is tried again
    picture(tmp_path / "b.png", 7, 5)
    os.utime(tmp_path / "c.png", ns=(1, 1))
    picture(tmp_path / "e.png")
    opened.clear()
    again = walk(tmp_path, known=before.table)
    assert sorted(opened) == ["b.png", "bad.jpg", "c.png", "e.png"]
    assert again.table.equals(walk(tmp_path).table)
    opened.clear()
    walk(tmp_path, known=before.table, pages="all")
    assert len(opened) == 6
