"""The folder of broken and unusual files: each ends in one status with its reason, and nothing else happens."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from mmfeat.media.decode import Decode, decode
from mmfeat.media.items import Items
from mmfeat.media.source import ImageSource
from mmfeat.media.walk import walk


@pytest.fixture(scope="module")
def odd(data_folder: Path) -> Path:
    return data_folder / "odd_media"


@pytest.fixture(scope="module")
def ended(odd: Path) -> Items:
    """The table after all pictures have been decoded."""
    items = walk(odd)
    source = ImageSource(items, Decode(size=(32, 32)), threads=2)
    _, weight = source.read(np.arange(len(source)))
    status = ["done" if one else "failed" for one in weight]
    reasons = [source.failures.get(int(row)) for row in source.rows]
    return items.with_status(source.rows, status, reasons, [source.sha256.get(int(row)) for row in source.rows])


def test_count_in_is_count_out(odd: Path, ended: Items) -> None:
    assert len(ended) == sum(path.is_file() for path in odd.rglob("*"))
    assert ended.count("found") == 0
    for row in ended.table.to_pylist():
        assert (row["reason"] is None) == (row["status"] == "done"), row["id"]
        assert " at 0x" not in (row["reason"] or "")


def test_against_what_pillow_did(odd: Path, ended: Items) -> None:
    by_id = {row["id"]: row for row in ended.table.to_pylist()}
    with open(odd / "manifest.csv", encoding="utf-8", newline="") as file:
        manifest = list(csv.DictReader(file))
    for record in manifest:
        row = by_id[record["file"].replace("%", "%25").replace("#", "%23")]
        failed = record["observed"].startswith("error")
        if record["file"] == "image/test-ole-file.doc":
            wanted = ("other", "skipped")  # neither the name nor the content says picture
        elif record["kind"] == "image":
            wanted = ("image", "failed" if failed else "done")
        elif record["file"].endswith(".gif"):
            wanted = ("image", "done")  # an animated GIF among the videos: its first frame
        else:
            assert row["kind"] != "image", record["file"]
            wanted = (row["kind"], "skipped")
        assert (row["kind"], row["status"]) == wanted, record["file"]


@pytest.mark.parametrize("how", [Decode(), Decode(max_side=32), Decode(size=(20, 40), color="grey")])
def test_orientations_show_one_picture(odd: Path, how: Decode) -> None:
    upright = decode(odd / "image" / "hopper.jpg", how).astype(int)
    for number in range(2, 9):
        turned = decode(odd / "image" / f"hopper_orientation_{number}.jpg", how)
        assert turned.shape == upright.shape
        assert np.abs(turned - upright).mean() < 6, number  # they were compressed once more


def test_the_same_picture_in_other_formats(odd: Path) -> None:
    upright = decode(odd / "image" / "hopper.jpg").astype(int)
    for name in ("hopper.webp", "hopper.gif", "avif_hopper.avif", "hopper.psd", "jpeg_named_png.png"):
        assert np.abs(decode(odd / "image" / name) - upright).mean() < 12, name
    sixteen = decode(odd / "image" / "hopper_16bit.pgm", Decode(color="grey")).astype(int)
    assert np.abs(sixteen - decode(odd / "image" / "hopper.jpg", Decode(color="grey"))).mean() < 6
