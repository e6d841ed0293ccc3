"""Items of tables of paths and of arrays give the pixels of plain files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures_media import smooth
from fixtures_sources import SMALL, pixels, png, rows, write_tar

from mmfeat.errors import DataError, UsageError
from mmfeat.media.decode import decode, decode_array
from mmfeat.media.ids import split_id
from mmfeat.media.walk import walk

# --- tables of paths --------------------------------------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for number, name in enumerate(("cat/a.png", "dog/b #2.png", "c.png")):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(png(number))
    return tmp_path / "pets"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_names_files_with_label_split_and_group(pets: Path, form: str) -> None:
    table = pa.table(
        {
            "path": ["dog/b #2.png", "./cat/a.png", str(pets / "c.png"), "gone.png"],
            "label": ["Canis", "Felis", "", "x"],
            "split": ["test", "train", "train", None],
            "group": ["g1", "g2", "g2", None],
        }
    )
    if form == "csv":
        lines = [",".join(one or "" for one in row.values()) for row in table.to_pylist()]
        (pets / "list.csv").write_text("path,label,split,group\n" + "\n".join(lines) + "\n")
    else:
        pq.write_table(table, pets / "list.parquet")
    items = walk(pets / f"list.{form}")
    assert [tuple(row[name] for name in ("id", "label", "split", "group", "status")) for row in items.table.to_pylist()] == [
        ("c.png", None, "train", "g2", "found"),
        ("cat/a.png", "Felis", "train", "g2", "found"),
        ("dog/b %232.png", "Canis", "test", "g1", "found"),
        ("gone.png", "x", None, None, "failed"),
    ]  # fmt: skip
    plain = pixels(walk(pets))
    for id, found in pixels(items).items():
        np.testing.assert_array_equal(found, plain[id])


def test_a_table_without_labels_keeps_the_folders_and_may_name_parts(pets: Path) -> None:
    np.save(pets / "x.npy", np.stack([smooth(6, 7), smooth(6, 7)[::-1]]))
    write_tar(pets / "s.tar", {"k/1.png": png(9)})
    ids = ["cat/a.png", "x.npy#row=1", "s.tar/k/1.png", "x.npy#row=7"]
    pq.write_table(pa.table({"id": ids}), pets / "ids.parquet")
    items = walk(pets / "ids.parquet")
    assert {id: (row["label"], row["status"]) for id, row in rows(items).items()} == {
        "cat/a.png": ("cat", "found"),
        "s.tar/k/1.png": ("s.tar", "found"),
        "x.npy#row=1": (None, "found"),
        "x.npy#row=7": (None, "failed"),
    }
    found = pixels(items)
    np.testing.assert_array_equal(found["x.npy#row=1"], decode_array(smooth(6, 7)[::-1], SMALL))
    np.testing.assert_array_equal(found["s.tar/k/1.png"], decode(png(9), SMALL))


def test_rows_that_lead_out_of_the_folder_fail_alone(pets: Path) -> None:
    (pets / "deep").mkdir()
    (pets / "deep" / "list.csv").write_text(f"path\n../c.png\n{pets / 'c.png'}\n../deep/../deep/d.png\n")
    (pets / "deep" / "d.png").write_bytes(png(3))
    found = rows(walk(pets / "deep" / "list.csv"))
    assert {row["status"] for id, row in found.items() if id != "d.png"} == {"failed"}
    assert len(found) == 3
    assert found["d.png"]["status"] == "found"
    assert all("out of the table's folder" in row["reason"] for id, row in found.items() if id != "d.png")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("name,label\na.png,x\n", UsageError),
        ("path,label\n,x\n", DataError),
        ("path,label\nc.png,x\nc.png,y\n", DataError),
        ("path\n", DataError),
        ('path,label\nc.png,"two\nlines"\n', DataError),
    ],
)
def test_tables_that_cannot_be_used_are_sentences(pets: Path, text: str, error: type[Exception]) -> None:
    (pets / "list.csv").write_text(text)
    with pytest.raises(error):
        walk(pets / "list.csv")


def test_a_table_that_mmfeat_wrote_comes_back_without_looking_at_files(pets: Path, tmp_path: Path) -> None:
    items = walk(pets)
    items.write(tmp_path / "found.parquet")
    (pets / "c.png").unlink()
    again = walk(tmp_path / "found.parquet")
    assert again.table.equals(items.table)
    assert again.root == items.root
    other = walk(tmp_path / "found.parquet", labels=pa.table({"id": ["c.png"], "label": ["new"]}))
    assert other.table["label"].to_pylist() == ["new", None, None]


# --- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).integers(0, 256, (12, 6, 7), np.uint8),
        np.random.default_rng(0).integers(0, 256, (12, 6, 7, 3), np.uint8),
        np.random.default_rng(0).random((12, 6, 7, 1)).astype(np.float32),
    ],
)
def test_rows_of_an_array_are_pictures_in_its_order(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "z.npz", images=array, labels=np.arange(12) % 3, other=np.arange(4))
    for name, stem, labels in (("x.npy", "x.npy", None), ("z.npz", "z.npz/images", [str(n % 3) for n in range(12)])):
        items = walk(tmp_path / name)
        assert items.ids == [f"{stem}#row={row}" for row in range(12)]  # 9, 10, 11: by number
        assert items.table["label"].to_pylist() == (labels or [None] * 12)
        assert items.table["width"].to_pylist() == [7] * 12
        assert items.table["bytes"].to_pylist() == [array[0].nbytes] * 12
        found = pixels(items)
        for row, id in enumerate(items.ids):
            np.testing.assert_array_equal(found[id], decode_array(array[row], SMALL))
            np.testing.assert_array_equal(decode(items.path_of(row), SMALL, split_id(id)[1]), found[id])


def test_idx_with_the_labels_beside_it(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 6, 7), np.uint8)
    data = struct.pack(">4B3I", 0, 0, 8, 3, 5, 6, 7) + array.tobytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(data))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, 5) + bytes(range(5)))
    )
    items = walk(tmp_path / "train-images-idx3-ubyte.gz")
    assert items.table["label"].to_pylist() == list("01234")
    np.testing.assert_array_equal(pixels(items)["train-images-idx3-ubyte.gz#row=3"], decode_array(array[3], SMALL))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(data[:-1])
    assert "header says" in rows(walk(tmp_path / "t10k-images-idx3-ubyte"))["t10k-images-idx3-ubyte"]["reason"]


def test_real_digits(data_folder: Path) -> None:
    found = sorted((data_folder / "mnist").rglob("t10k-images*idx3-ubyte*"))
    if not found:
        pytest.skip("this folder of data has no MNIST in idx files")
    items = walk(found[0])
    assert len(items.images) == 10_000
    assert items.table["label"].to_pylist()[:5] == ["7", "2", "1", "0", "4"]  # as every page about MNIST shows them


def test_arrays_that_hold_no_pictures_are_rows_that_say_so(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.zeros((5, 8), np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    np.save(tmp_path / "cut.npy", np.zeros((5, 8, 8), np.uint8))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-1])
    (tmp_path / "no.npz").write_bytes(b"PK nothing")
    said = {"vectors": "vectors are indexed", "objects": "never opened", "cut": "can be read", "no": "zip of arrays"}
    for path in sorted(tmp_path.iterdir()):
        (row,) = walk(path).table.to_pylist()
        assert (row["id"], row["status"]) == (path.name, "failed")
        assert said[path.stem] in row["reason"].lower()


def test_an_array_that_changes_fails_row_by_row(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8), np.uint8))
    items = walk(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8), np.uint8))
    found = pixels(items)
    assert [found[id] is None for id in items.ids] == [False, False, True]
