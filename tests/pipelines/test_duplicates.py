"""Near-duplicates: planted copies are found, others are not; the table, the page and the command."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from fixtures_command import run
from fixtures_pictures import photographs
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmfeat.errors import UsageError
from mmfeat.indexes import create
from mmfeat.pipelines.alignment import SIDE, agreement
from mmfeat.pipelines.building import build_index
from mmfeat.pipelines.duplicates import find_duplicates, joined

BOXES = {"cut": (0.06, 0.06, 0.94, 0.94), "side": (0.0, 0.0, 0.88, 1.0), "corner": (0.12, 0.1, 1.0, 1.0)}


def small(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255


def cut(picture: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    w, h = picture.size
    return picture.crop((round(box[0] * w), round(box[1] * h), round(box[2] * w), round(box[3] * h)))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Tiles that do not overlap, with something to see in each."""
    tiles = [
        photo[y : y + 128, x : x + 128]
        for photo in photographs().values()
        for y in (0, 140, 280)
        for x in range(0, 512, 128)
    ]
    return [Image.fromarray(tile) for tile in tiles if tile.mean(axis=2).std() > 25]


def test_a_cut_out_agrees_in_both_directions_and_another_picture_does_not(pictures: list[Image.Image]) -> None:
    for box in BOXES.values():
        a = np.stack([small(picture) for picture in pictures])
        b = np.stack([small(cut(picture, box)) for picture in pictures])
        assert np.median(agreement(a, b)) > 0.97
        assert np.median(agreement(b, a)) > 0.97
        assert (np.maximum(agreement(a, b), agreement(b, a)) > 0.9).mean() >= 0.9
        plain = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)]
        assert np.median(plain) < 0.9  # without laying them upon each other they do not agree
    assert (agreement(a, np.roll(a, 2, axis=0)) < 0.9).mean() > 0.95
    np.testing.assert_allclose(agreement(a, a), 1, atol=1e-5)
    np.testing.assert_allclose(agreement(a, 0.5 * a + 0.2), 1, atol=1e-3)  # brightness does not count


def test_flat_pictures_have_nothing_to_compare() -> None:
    flat = np.full((2, SIDE, SIDE), 0.5, np.float32)
    np.testing.assert_array_equal(agreement(flat, flat), [0, 0])


@pytest.fixture(scope="module")
def folder(pictures: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tiles; of six there are four more each: half as large, recompressed, cut out, brighter."""
    root = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(pictures):
        picture.save(root / f"p{number:02}.png")
        if number < 6:
            w, h = picture.size
            picture.resize((w // 2, h // 2), Image.Resampling.BICUBIC).save(root / f"p{number:02} half.jpg", quality=90)
            picture.save(root / f"p{number:02} jpeg.jpg", quality=30)
            cut(picture, BOXES["cut"]).save(root / f"p{number:02} cut.png")
            ImageEnhance.Brightness(picture).enhance(1.2).save(root / f"p{number:02} bright.jpg", quality=90)
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    return root


@pytest.fixture(scope="module")
def index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("indexes") / "i"
    build_index(folder, path, recipe="pixel-codes", settings={"side": 12, "bits": 32})
    return path


def test_planted_copies_are_found_and_nothing_is_deleted(folder: Path, index: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    found = find_duplicates(index)
    named = [[one.id for one in group] for group in found.groups]
    pairs = {(one, group[0][:3]) for group in named for one in group}
    assert all(one.startswith(of) for one, of in pairs)  # nothing that was not planted
    assert sum(len(group) for group in named) >= 28  # of 30
    for group in found.groups:
        assert group[0].id.endswith((".png", "bright.jpg", "jpeg.jpg"))  # none of the smaller ones
        assert group[0].width * group[0].height == max(one.width * one.height for one in group)
        assert [one.likeness for one in group[1:]] == sorted((one.likeness for one in group[1:]), reverse=True)
        assert min(one.likeness for one in group) >= 0.96
    assert sorted(path.name for path in folder.iterdir()) == before


def test_by_distance_alone(index: Path) -> None:
    from mmfeat.arrays import unpack_bits
    from mmfeat.indexes import open_index

    opened = open_index(index)
    codes = unpack_bits(opened.codes_at(np.arange(len(opened))), opened.dim)
    bits = (codes[:, None] != codes[None]).sum(axis=2)
    found = find_duplicates(index, within=3)
    _, groups = connected_components(coo_array(bits <= 3), directed=False)
    names = np.array(opened.ids.to_pylist())
    expected = {frozenset(names[groups == g]) for g in range(groups.max() + 1) if (groups == g).sum() > 1}
    assert {frozenset(one.id for one in group) for group in found.groups} == expected
    assert find_duplicates(index, within=0).by == "distance"


@given(st.integers(2, 30), st.data())
def test_joined_groups_are_the_connected_components(count: int, data: st.DataObject) -> None:
    one = st.integers(0, count - 1)
    pairs = np.array(data.draw(st.lists(st.tuples(one, one).filter(lambda p: p[0] != p[1]), max_size=25)))
    pairs = pairs.reshape(-1, 2).astype(np.int64)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    expected = [np.flatnonzero(label == g).tolist() for g in range(label.max() + 1) if (label == g).sum() > 1]
    assert joined(count, pairs) == sorted(expected)


def test_vectors_need_a_radius(tmp_path: Path) -> None:
    held = create(tmp_path / "v", kind="float-flat", dim=2)
    held.add(["a", "b", "c"], np.array([[0, 0], [0, 0.5], [9, 9]], np.float32))
    with pytest.raises(UsageError, match="compared by distance"):
        find_duplicates(tmp_path / "v")
    (group,) = find_duplicates(tmp_path / "v", within=0.5).groups
    assert [(one.id, one.likeness) for one in group] == [("a", 0.5), ("b", 0.5)]
    with pytest.raises(UsageError, match="agreement is above 0"):
        find_duplicates(tmp_path / "v", agreement=1.5)


def test_the_command_writes_a_table_and_a_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], index: Path, tmp_path: Path
) -> None:
    table, page = tmp_path / "t.csv", tmp_path / "p.html"
    code, out, _ = run(monkeypatch, capsys, "duplicates", index, "-o", table, "--html", page, "-q")
    assert code == 0
    assert "Nothing was deleted" in out
    rows = list(csv.DictReader(table.open()))
    keep = [row for row in rows if row["action"] == "keep"]
    assert [row["group"] for row in keep] == [str(number + 1) for number in range(len(keep))]
    assert len({row["group"] for row in rows}) == len(keep) == 6
    assert Path(rows[0]["path"]).exists()
    assert page.read_text().count("data:image/") == len(rows)
    code, out, err = run(monkeypatch, capsys, "duplicates", index, "--within", 0, "-q")
    assert (code, out.splitlines()[0]) == (0, "group,action,id,likeness,width,height,bytes,path")
    assert "items" in err
