"""Batches of pictures: the right pixels in the right row, and no file that stops a run."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mmfeat.errors import DataError, UsageError
from mmfeat.media import folders
from mmfeat.media.decode import Decode, decode, decode_array
from mmfeat.media.items import SCHEMA
from mmfeat.media.source import ArrayImages, ImageSource
from mmfeat.media.walk import walk

SIZES = [(30, 20), (64, 64), (65, 10), (200, 100), (20, 30), (100, 200), (64, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of several sizes, one broken beyond its header, one text file."""
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(tmp_path / f"{number}.png")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a.txt").write_text("text")
    return tmp_path


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("how", [Decode(max_side=100), Decode(size=(16, 24), color="grey", depth=16)])
def test_every_picture_in_its_place(folder: Path, how: Decode, threads: int) -> None:
    items = walk(folder)
    source = ImageSource(items, how, threads=threads)
    assert len(source) == len(items.images) == len(SIZES) + 1
    assert source.groups.dtype == np.int32
    seen = 0
    for group, (height, width) in enumerate(source.shapes):
        rows = np.flatnonzero(source.groups == group)[::-1]
        images, weight = source.read(rows)
        assert images.pixels.shape == (len(rows), height, width, how.channels)
        assert str(images.pixels.dtype) == how.dtype
        assert (images.size.dtype, weight.dtype) == (np.int32, np.float32)
        for place, row in enumerate(rows):
            id = items.ids[source.rows[row]]
            if id == "broken.png":
                assert weight[place] == 0
                assert images.size[place].tolist() == [1, 1]
                assert not images.pixels[place].any()
                continue
            h, w = images.size[place]
            wanted = decode(folder / id, how)
            assert weight[place] == 1
            assert (images.pixels[place, :h, :w] == wanted).all()
            assert not images.pixels[place, h:].any()
            assert not images.pixels[place, :, w:].any()
            if how.size is None:  # no smaller bucket of the grid would hold it
                assert height - 64 < h <= height
                assert width - 64 < w <= width
            seen += 1
    assert seen == len(SIZES)
    (broken,) = source.failures
    assert items.ids[broken] == "broken.png"
    assert "last pixel" in source.failures[broken]
    wanted_sha = {int(row): hashlib.sha256(items.path_of(row).read_bytes()).hexdigest() for row in items.images}
    assert source.sha256 == wanted_sha


def test_some_rows(folder: Path) -> None:
    items = walk(folder)
    chosen = items.images[[4, 2]]
    source = ImageSource(items, Decode(size=(8, 8)), rows=chosen, threads=1)
    images, _ = source.read([0, 1])
    for place, row in enumerate(chosen):
        assert (images.pixels[place] == decode(items.path_of(row), Decode(size=(8, 8)))).all()


def test_files_that_change_are_failures(folder: Path) -> None:
    items = walk(folder)
    source = ImageSource(items, Decode(size=(8, 8)), threads=2)
    (folder / "0.png").unlink()
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes() + b"more")
    (folder / "3.png").unlink()
    (folder / "3.png").mkdir()
    same_length = bytearray((folder / "4.png").read_bytes())
    same_length[40:60] = bytes(20)
    (folder / "4.png").write_bytes(same_length)
    for _ in range(2):  # the second pass sees the same
        images, weight = source.read(np.arange(len(source)))
        ended = {items.ids[row]: bool(weight[place]) for place, row in enumerate(source.rows)}
        assert ended == {"0.png": False, "1.png": True, "2.png": False, "3.png": False, "4.png": False} | {
            "5.png": True,
            "6.png": True,
            "broken.png": False,
        }
        assert not images.pixels[weight == 0].any()
    reasons = {items.ids[row]: reason for row, reason in source.failures.items()}
    assert "No such file" in reasons["0.png"]
    assert "bytes instead of" in reasons["2.png"]
    assert len(reasons) == 5


def test_a_size_other_than_the_header_said(folder: Path) -> None:
    items = walk(folder)
    table = items.table.set_column(5, SCHEMA.field("width"), pa.array([999] * len(items), pa.int32()))
    source = ImageSource(type(items)(items.root, table), Decode(max_side=64), rows=items.images[:4], threads=1)
    for group in range(len(source.shapes)):
        _, weight = source.read(np.flatnonzero(source.groups == group))
        assert not weight.any()
    assert len(source.failures) == len(source)


def test_sizes_that_the_table_does_not_hold(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("L", (10, 20)).save(tmp_path / "pages.tif", save_all=True, append_images=[Image.new("L", (40, 50))])
    items = walk(tmp_path)
    turned = ImageSource(items, Decode(orient=False), threads=1)
    assert turned.read([1])[0].size.tolist() == [[20, 30]]
    second = ImageSource(items, Decode(frame=1), threads=1)
    images, weight = second.read([0, 1])
    assert images.size.tolist() == [[50, 40], [1, 1]]
    assert weight.tolist() == [1, 0]
    assert "no frame 1" in second.failures[1]


def test_large_files_and_pictures_take_another_way_to_the_same_pixels(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = walk(folder)
    plain = ImageSource(items, Decode(size=(8, 8)), threads=2)
    wanted = plain.read(np.arange(len(plain)))[0].pixels
    monkeypatch.setattr(folders, "_AT_ONCE", 100)
    large = ImageSource(items, Decode(size=(8, 8), pixel_limit=20_000), threads=2)
    assert (large.read(np.arange(len(large)))[0].pixels == wanted).all()
    assert large.sha256 == plain.sha256


def test_wrong_calls(folder: Path) -> None:
    items = walk(folder)
    source = ImageSource(items, Decode(), threads=1)
    with pytest.raises(UsageError, match="bucket"):
        source.read(np.arange(len(source)))
    with pytest.raises(UsageError, match="bucket"):
        source.read([])
    with pytest.raises(UsageError, match="thread"):
        ImageSource(items, Decode(), threads=0)
    with pytest.raises(DataError, match="at least one"):
        ImageSource(items, Decode(), rows=[])


def test_pictures_in_memory() -> None:
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[274] = 6
    turned = Image.fromarray(rng.integers(0, 256, (20, 70, 3), np.uint8))
    turned.info["exif"] = exif.tobytes()
    pictures = [rng.integers(0, 256, (h, w, 3), np.uint8) for w, h in SIZES] + [
        turned,
        np.full((5, 5), np.nan),
        np.zeros(3),
    ]
    source = ArrayImages(pictures, Decode(max_side=100), threads=2)
    assert len(source) == len(pictures)
    for group in range(len(source.shapes)):
        rows = np.flatnonzero(source.groups == group)
        images, weight = source.read(rows)
        for place, row in enumerate(rows):
            if row >= len(SIZES) + 1:
                assert weight[place] == 0
                continue
            wanted = decode_array(pictures[row], Decode(max_side=100))
            h, w = images.size[place]
            assert (h, w) == wanted.shape[:2]
            assert (images.pixels[place, :h, :w] == wanted).all()
    assert sorted(source.failures) == [len(SIZES) + 1, len(SIZES) + 2]
    assert decode_array(turned, Decode(max_side=100)).shape == (70, 20, 3)
    stack = ArrayImages(rng.integers(0, 256, (3, 28, 28), np.uint8), Decode(color="grey"), threads=1)
    assert stack.shapes == [(64, 64)]
    assert stack.read([2, 0])[1].tolist() == [1, 1]
    with pytest.raises(DataError):
        ArrayImages([], Decode())


def test_threads_are_as_many_as_cores(folder: Path) -> None:
    source = ImageSource(walk(folder), Decode(size=(8, 8)))
    assert source._pool.threads == os.cpu_count()


def test_a_file_that_became_a_pipe_is_a_failure_not_a_hang(folder: Path) -> None:
    items = walk(folder)
    (folder / "0.png").unlink()
    os.mkfifo(folder / "0.png")
    source = ImageSource(items, Decode(size=(8, 8)), threads=2)
    _, weight = source.read(np.arange(len(source)))
    assert weight[0] == 0
    assert "regular file" in source.failures[int(source.rows[0])]


class Racing:
    """A file that somebody writes to as soon as it has been read."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file, self.path = file, path

    def read(self, count: int) -> bytes:
        data = self.file.read(count)
        os.utime(self.path, ns=(1, 1))
        return data

    def fileno(self) -> int:
        return self.file.fileno()

    def __enter__(self) -> Racing:
        return self

    def __exit__(self, *a: object) -> None:
        self.file.close()


def test_a_file_that_is_written_to_while_it_is_read_is_a_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = walk(folder)
    true = folders.open_regular
    monkeypatch.setattr(
        folders, "open_regular", lambda path: Racing(true(path), path) if path.endswith("1.png") else true(path)
    )
    source = ImageSource(items, Decode(size=(8, 8)), threads=1)
    _, weight = source.read(np.arange(len(source)))
    reasons = {items.ids[row]: reason for row, reason in source.failures.items()}
    assert "while it is read" in reasons["1.png"]
    assert set(reasons) == {"1.png", "broken.png"}
    assert weight.sum() == len(SIZES) - 1
