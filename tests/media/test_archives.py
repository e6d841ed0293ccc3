"""Items of tar shards, of pages and of other machines give the pixels of plain files."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_sources import SMALL, pixels, png, rows, write_tar
from PIL import Image

from mmfeat.errors import MediaError, MissingExtraError, UsageError
from mmfeat.media import remote
from mmfeat.media.decode import Decode, decode
from mmfeat.media.items import Items
from mmfeat.media.source import ImageSource
from mmfeat.media.walk import walk

# --- tar shards -------------------------------------------------------------------------------------------------------


def test_members_of_a_tar_with_what_stands_beside_them(tmp_path: Path) -> None:
    members = {
        "./000.png": png(0),
        "000.cls": b"7\n",
        "000.json": b'{"label": "no", "split": "train", "group": 4}',
        "001.png": png(1),
        "001.json": b"not json",
        "dogs/002.jpg": png(2),
        "003.txt": b"alone",
        "004.cls": b"no picture",
        "._000.png": b"hidden",
        "caf\udce9 #1.png": png(3),
    }
    items = walk(write_tar(tmp_path / "shard-0.tar", members))
    found = rows(items)
    assert {id: (row["label"], row["split"], row["group"], row["status"]) for id, row in found.items()} == {
        "shard-0.tar/000.png": ("7", "train", "4", "found"),
        "shard-0.tar/001.png": (None, None, None, "found"),
        "shard-0.tar/003.txt": (None, None, None, "skipped"),
        "shard-0.tar/004.cls": (None, None, None, "skipped"),
        "shard-0.tar/caf%E9 %231.png": (None, None, None, "found"),
        "shard-0.tar/dogs/002.jpg": ("dogs", None, None, "found"),
    }
    got = pixels(items)
    for name, seed in (("000.png", 0), ("001.png", 1), ("dogs/002.jpg", 2), ("caf%E9 %231.png", 3)):
        np.testing.assert_array_equal(got[f"shard-0.tar/{name}"], decode(png(seed), SMALL))
    np.testing.assert_array_equal(decode(items.path_of(0), SMALL), decode(png(0), SMALL))
    assert found["shard-0.tar/000.png"]["bytes"] == len(png(0))


def test_several_shards_have_ids_of_their_own(tmp_path: Path) -> None:
    places = [write_tar(tmp_path / f"{number}.tar", {"a.png": png(number)}) for number in range(2)]
    items = walk(places)
    assert items.ids == ["0.tar/a.png", "1.tar/a.png"]
    assert items.table["label"].to_pylist() == [None, None]  # a shard is no class
    np.testing.assert_array_equal(pixels(items)["1.tar/a.png"], decode(png(1), SMALL))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.png").write_bytes(png(5))
    assert walk([tmp_path / "folder", places[0]]).ids == ["0.tar/a.png", "folder/b.png"]
    assert rows(walk(tmp_path))["0.tar"]["reason"].startswith("it may hold pictures: name it itself")


@pytest.mark.parametrize("damage", ["cut in a member", "cut between", "a broken header", "compressed"])
def test_a_damaged_tar_says_so_and_keeps_what_can_be_read(tmp_path: Path, damage: str) -> None:
    path = write_tar(tmp_path / "s.tar", {f"{number}.png": png(number) for number in range(3)})
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        third = archive.getmember("2.png")
    if damage == "cut in a member":
        data = data[: third.offset_data + 100]
    elif damage == "cut between":
        data = data[: third.offset]
    elif damage == "a broken header":
        data[third.offset : third.offset + 100] = os.urandom(100)
    else:
        data = bytearray(gzip.compress(data))
    path.write_bytes(data)
    found = rows(walk(path))
    assert found["s.tar"]["status"] == "failed"
    assert "damaged or compressed" in found["s.tar"]["reason"]
    good = {id for id, row in found.items() if row["status"] == "found"}
    assert good == (set() if damage == "compressed" else {"s.tar/0.png", "s.tar/1.png"})


def test_members_that_are_no_files_or_lead_out(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, kind in (("link.png", tarfile.SYMTYPE), ("pipe.png", tarfile.FIFOTYPE), ("folder", tarfile.DIRTYPE)):
            one = tarfile.TarInfo(name)
            one.type, one.linkname = kind, "/etc/passwd"
            archive.addfile(one)
        for name in ("../../out.png", "/root.png"):
            one = tarfile.TarInfo(name)
            one.size = len(png(0))
            archive.addfile(one, io.BytesIO(png(0)))
    items = walk(tmp_path / "s.tar")
    assert {id: row["status"] for id, row in rows(items).items()} == {
        "s.tar/..%2F..%2Fout.png": "failed",
        "s.tar/link.png": "skipped",
        "s.tar/pipe.png": "skipped",
        "s.tar/root.png": "found",  # within the archive, as tar itself would have it
    }
    with pytest.raises(UsageError):
        items.path_of(0)


def test_a_tar_that_is_gone_or_rewritten_fails_by_item(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", {"a.png": png(0), "b.png": png(1)})
    items = walk(path)
    write_tar(path, {"x.png": png(9), "b.png": png(1)})
    found = pixels(items)
    assert found["s.tar/a.png"] is None
    np.testing.assert_array_equal(found["s.tar/b.png"], decode(png(1), SMALL))
    path.unlink()
    assert set(pixels(items).values()) == {None}


# --- pages ------------------------------------------------------------------------------------------------------------


def test_pages_are_items_when_asked_for(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((10 + page, 12, 3), 10 * page, np.uint8)) for page in range(12)]
    pages[0].save(tmp_path / "book.tif", save_all=True, append_images=pages[1:])
    pages[3].save(tmp_path / "one.tif")
    pages[0].save(tmp_path / "film.gif", save_all=True, append_images=pages[1:3])
    assert walk(tmp_path).ids == ["book.tif", "film.gif", "one.tif"]
    items = walk(tmp_path, pages="all")
    assert items.ids == [*(f"book.tif#page={page}" for page in range(12)), "film.gif", "one.tif"]
    assert items.table["height"].to_pylist()[:12] == list(range(10, 22))
    found = pixels(items)
    for page in range(12):
        picture = found[f"book.tif#page={page}"]
        assert picture is not None
        assert np.abs(picture.astype(int) - 10 * page).max() == 0
    source = ImageSource(items, SMALL, threads=1)
    source.read(np.arange(len(source)))
    assert len(set(source.sha256.values())) == len(items)  # pages of one file are not one picture
    turned = ImageSource(items, Decode(orient=False), threads=1)  # sizes are read again
    assert not turned.failures
    with pytest.raises(UsageError, match="pages are"):
        walk(tmp_path, pages="some")


def test_a_book_whose_chain_of_pages_is_broken_is_a_failure(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((10, 12), page, np.uint8)) for page in range(3)]
    pages[0].save(tmp_path / "book.tif", save_all=True, append_images=pages[1:])
    data = (tmp_path / "book.tif").read_bytes()
    (tmp_path / "book.tif").write_bytes(data[: len(data) * 2 // 3])
    (row, *more) = walk(tmp_path, pages="all").table.to_pylist()
    assert row["status"] == "failed" or more[-1]["status"] == "failed"
    assert row["reason"] or more[-1]["reason"]


# --- elsewhere --------------------------------------------------------------------------------------------------------


def test_a_folder_elsewhere(tmp_path: Path) -> None:
    store = pytest.importorskip("fsspec", reason="the extra `remote` is not installed").filesystem("memory")
    store.pipe(
        {"/photos/cat/a.png": png(0), "/photos/b #1.png": png(1), "/photos/.x.png": b"", "/photos/bad.jpg": b"x"}
    )
    store.pipe({"/photos/own/model.json": b"{}", "/photos/own/model.safetensors": b"", "/photos/n.txt": b"text"})
    shard = write_tar(tmp_path / "s.tar", {"c.png": png(2)})
    store.pipe({"/photos/shards/s.tar": shard.read_bytes()})
    np.save(tmp_path / "x.npy", np.zeros((2, 5, 5), np.uint8))
    store.pipe({"/arrays/x.npy": (tmp_path / "x.npy").read_bytes()})
    try:
        items = walk("memory://photos")
        assert {id: (row["status"], row["label"]) for id, row in rows(items).items()} == {
            "b %231.png": ("found", None),
            "bad.jpg": ("failed", None),
            "cat/a.png": ("found", "cat"),
            "n.txt": ("skipped", None),
            "shards/s.tar": ("skipped", "shards"),
        }
        found = pixels(items)
        np.testing.assert_array_equal(found["cat/a.png"], decode(png(0), SMALL))
        np.testing.assert_array_equal(found["b %231.png"], decode(png(1), SMALL))
        items.write(tmp_path / "items.parquet")
        back = Items.read(tmp_path / "items.parquet")
        assert pixels(back).keys() == found.keys()
        assert walk(Path("memory://photos")).ids == items.ids  # the command line makes paths of its arguments
        one = walk("memory://photos/cat/a.png")
        np.testing.assert_array_equal(pixels(one)["a.png"], found["cat/a.png"])
        inner = walk("memory://photos/shards/s.tar")
        np.testing.assert_array_equal(pixels(inner)["s.tar/c.png"], decode(png(2), SMALL))
        assert len(pixels(walk("memory://arrays/x.npy"))) == 2
        several = walk(["memory://photos", tmp_path / "x.npy"])
        assert len(pixels(several)) == 4
        store.rm("/photos/cat/a.png")
        assert pixels(items)["cat/a.png"] is None
        with pytest.raises(UsageError, match="a root exists"):
            walk("memory://nothing")
    finally:
        store.rm("/photos", recursive=True)
        store.rm("/arrays", recursive=True)


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    remote._of_scheme.cache_clear()
    with pytest.raises(MissingExtraError, match=r"mmfeat\[remote\]"):
        walk("s3://bucket/photos")
    monkeypatch.undo()
    with pytest.raises((UsageError, MissingExtraError)):
        walk("nosuchscheme://x")


def test_what_a_store_raises_becomes_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def isfile(self, path: str) -> bool:
            return False

        def _strip_protocol(self, url: str) -> str:
            return url.partition("://")[2]

        def info(self, path: str) -> dict[str, Any]:
            raise RuntimeError("access denied")

        def find(self, path: str, detail: bool) -> dict[str, Any]:
            raise RuntimeError("access denied")

        def open(self, *a: Any, **k: Any) -> Any:
            raise RuntimeError("access denied")

    monkeypatch.setattr(remote, "_of_scheme", lambda scheme: Broken())
    with pytest.raises(UsageError, match="RuntimeError: access denied"):
        walk("s3://b/x")
    with pytest.raises(MediaError, match="access denied"):
        decode("s3://b/x.jpg")


def test_json_of_a_member_that_is_no_dict(tmp_path: Path) -> None:
    items = walk(write_tar(tmp_path / "s.tar", {"0.png": png(0), "0.json": json.dumps([1]).encode()}))
    assert items.table["label"].to_pylist() == [None]
