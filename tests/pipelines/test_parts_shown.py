"""Rows of arrays, pages and members of tars are shown, asked in part, filtered, updated and compared like files."""

from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixtures_pictures import crops
from fixtures_sources import png, write_tar
from PIL import Image

import mmfeat
from mmfeat.pipelines.building import build_index
from mmfeat.pipelines.duplicates import find_duplicates
from mmfeat.pipelines.evaluating import evaluate_index
from mmfeat.pipelines.index_page import stored_page
from mmfeat.pipelines.pictures import view
from mmfeat.pipelines.updating import add_to_index, update_index

SMALL = {"side": 6, "bits": 24}
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


def flat(number: int) -> np.ndarray:
    """A picture that is known again by its colour, whatever is done to it."""
    return np.full((24, 24, 3), COLOURS[number % 4], np.uint8)


def source(form: str, folder: Path) -> Path:
    """Eight pictures, the colours in turn, in one file of this form."""
    folder.mkdir()
    pictures = [flat(number) for number in range(8)]
    for number, picture in enumerate(pictures):
        picture[:number, :number] = 128  # no two are the same
    images = [Image.fromarray(picture) for picture in pictures]
    if form == "npy":
        np.save(folder / "x.npy", np.stack(pictures))
    elif form == "npz":
        np.savez(folder / "x.npz", images=np.stack(pictures), labels=np.arange(8) % 4)
    elif form == "tif":
        images[0].save(folder / "x.tif", save_all=True, append_images=images[1:])
    else:
        members = {}
        for number, image in enumerate(images):
            data = io.BytesIO()
            image.save(data, "PNG")
            members[f"{number % 4}/{number}.png"] = data.getvalue()
        write_tar(folder / "x.tar", members)
    return folder / f"x.{form}"


def ids(form: str) -> list[str]:
    """The ids of the eight, in order."""
    if form == "tar":
        return [f"x.tar/{number % 4}/{number}.png" for number in range(8)]
    name = {"npy": "x.npy#row", "npz": "x.npz/images#row", "tif": "x.tif#page"}[form]
    return [f"{name}={number}" for number in range(8)]


def shown(page: str) -> list[tuple[int, ...]]:
    """The middle pixel of every picture of a page, its values rounded to 0, 128 or 255."""
    found = []
    for text in re.findall(r"data:image/(?:jpeg|png|webp);base64,([A-Za-z0-9+/=]+)", page):
        with Image.open(io.BytesIO(base64.b64decode(text))) as image:
            pixel = image.convert("RGB").getpixel((image.width - 3, image.height - 3))
        found.append(tuple(int(value > 128) * 255 for value in pixel))  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize("form", ["npy", "npz", "tif", "tar"])
def test_what_is_no_file_of_its_own_appears_in_pages(form: str, tmp_path: Path) -> None:
    place = source(form, tmp_path / "data")
    built = build_index(place, tmp_path / "i", recipe="pixel-codes", settings=SMALL, pages="all")
    assert (built.done, built.check["items"]) == (8, 8)
    searcher = mmfeat.open(tmp_path / "i")
    names = ids(form)
    assert sorted(searcher.index.ids.to_pylist()) == sorted(names)
    results = searcher.search(names[5], k=8)
    page = shown(results.page())
    expected = [COLOURS[5 % 4], *(COLOURS[names.index(one.id) % 4] for one in results[0].neighbours)]
    assert page == expected
    assert len(shown(stored_page(searcher.index))) > 8
    where = "bytes > 0 and status = 'done' and id = '" + names[3] + "'"
    assert [n.id for n in searcher.search(names[0], k=8, where=where)[0].neighbours] == [names[3]]
    again = update_index(tmp_path / "i")
    assert (again.same, again.new, again.deleted, again.generation) == (8, 0, 0, searcher.index.generation)


def test_parts_of_a_folder_that_was_added_are_found(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    for number in range(6):
        (tmp_path / "first" / f"{number}.png").write_bytes(png(number))
    build_index(tmp_path / "first", tmp_path / "i", recipe="pixel-codes", settings=SMALL)
    add_to_index(tmp_path / "i", [source("tar", tmp_path / "second"), source("npy", tmp_path / "third")])
    searcher = mmfeat.open(tmp_path / "i")
    assert searcher.path_of("x.tar/1/5.png") == tmp_path / "second" / "x.tar" / "1" / "5.png"
    assert searcher.path_of("x.npy#row=5") == tmp_path / "third" / "x.npy"
    for item in ("x.tar/1/5.png", "x.npy#row=5"):
        assert shown(searcher.search(item, k=1).page()) == [COLOURS[1]] * 2
    part = searcher.search("x.tar/1/5.png#xywh=8,8,12,12", k=3)
    assert part[0].picture.shape == (12, 12, 3)
    assert part[0].neighbours[0].id in ("x.tar/1/1.png", "x.npy#row=1", "x.tar/1/5.png", "x.npy#row=5")


def test_labelled_rows_are_evaluated_with_pictures(tmp_path: Path) -> None:
    built = build_index(source("npz", tmp_path / "data"), tmp_path / "i", recipe="pixel-codes", settings=SMALL)
    found = evaluate_index(built.path, ks=(1,))
    assert set(found.labels) == {"0", "1", "2", "3"}
    assert len(shown(found.page())) >= 8
    queries = source("npz", tmp_path / "queries")
    shutil.move(queries, tmp_path / "queries" / "other.npz")
    asked = evaluate_index(built.path, queries=tmp_path / "queries" / "other.npz", ks=(1,))
    (_, answer, _), *_ = asked.extremes(best=1, worst=0)
    row = int(answer.query.rpartition("=")[2])
    thumb = view(answer).query
    assert thumb.image is not None
    assert shown(f"data:image/jpeg;base64,{base64.b64encode(thumb.image).decode()}") == [COLOURS[row % 4]]


def test_duplicates_among_rows_are_found_and_their_file_is_not_to_be_dropped(tmp_path: Path) -> None:
    pictures = np.stack([np.asarray(Image.fromarray(one).resize((64, 64))) for _, one in crops(12, 64)])
    pictures = np.concatenate([pictures, pictures[7:8]])
    np.save(tmp_path / "x.npy", pictures)
    build_index(tmp_path / "x.npy", tmp_path / "i", recipe="pixel-codes", settings={"side": 8, "bits": 64})
    found = find_duplicates(tmp_path / "i")
    assert [[one.id for one in group] for group in found.groups] == [["x.npy#row=12", "x.npy#row=7"]]
    assert [(one.width, one.height, one.bytes) for one in found.groups[0]] == [(64, 64, 64 * 64 * 3)] * 2
    assert [row[-1] for row in found.rows()] == [f"{tmp_path / 'x.npy'}#row=12", f"{tmp_path / 'x.npy'}#row=7"]
    assert found.page("x").count("data:image/") == 2
