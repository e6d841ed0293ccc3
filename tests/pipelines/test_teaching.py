"""Teaching an index: the right items come first, whatever the labels are named by; questions are uncertain and unlike."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures_pictures import crops, write_folder
from PIL import Image

from mmfeat.errors import DataError, UsageError
from mmfeat.indexes import create
from mmfeat.media.walk import walk
from mmfeat.model import load
from mmfeat.pipelines.building import build_index
from mmfeat.pipelines.extracting import extract
from mmfeat.pipelines.fitting import fit
from mmfeat.pipelines.naming_items import places_of
from mmfeat.pipelines.predicting import predict
from mmfeat.pipelines.searching import Searcher
from mmfeat.pipelines.searching import open as open_searcher
from mmfeat.pipelines.teaching import Lesson, teach


def bits_and_kinds(count: int = 600, bits: int = 43) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, 6) of a width that is not whole bytes; kinds 0, 1, 2 differ in ten bits each, which are flipped at random."""
    random = np.random.default_rng(0)
    kinds = random.integers(0, 3, count)
    centres = random.integers(0, 2, (3, bits))
    values = centres[kinds] ^ (random.random((count, bits)) < 0.25)
    return np.packbits(values.astype(np.uint8), axis=1, bitorder="little"), kinds


@pytest.fixture
def bits(tmp_path: Path) -> tuple[Searcher, np.ndarray]:
    codes, kinds = bits_and_kinds()
    held = create(tmp_path / "bits", kind="binary-flat", dim=43)
    for first in range(0, 600, 200):  # three segments
        held.add([f"item {row}" for row in range(first, first + 200)], codes[first : first + 200])
    return Searcher(held), kinds


def some(kinds: np.ndarray, kind: int, count: int) -> list[str]:
    return [f"item {row}" for row in np.flatnonzero(kinds == kind)[:count]]


def test_one_yes_is_enough_to_begin(bits: tuple[Searcher, np.ndarray]) -> None:
    searcher, kinds = bits
    lesson = teach(searcher, {some(kinds, 1, 1)[0]: "yes"})
    found = [kinds[int(one.id.split()[1])] for one in lesson.best(50)]
    assert np.mean(np.array(found) == 1) > 0.8  # a third by chance
    assert lesson.drawn == 200
    assert len(lesson) == 600


def test_every_item_scores_what_the_classifier_says_of_its_code(bits: tuple[Searcher, np.ndarray]) -> None:
    searcher, kinds = bits
    searcher.index.remove(["item 7", "item 300"])
    lesson = teach(searcher, dict.fromkeys(some(kinds, 1, 4), "yes") | dict.fromkeys(some(kinds, 2, 4), "no"))
    rows = np.flatnonzero(searcher.index.snapshot.living)
    np.testing.assert_array_equal(lesson.rows, rows)
    values = np.unpackbits(searcher.index.codes_at(rows), axis=1, bitorder="little")[:, :43] * 2.0 - 1
    expected = values @ lesson.fitted.weights + lesson.fitted.offset
    known = np.isin(rows, list(lesson.told)) | np.isclose(lesson.score, expected[:, 0], atol=1e-5)
    assert known.sum() >= len(rows) - lesson.drawn  # drawn and labelled ones score as if they were not
    assert (lesson.answer == (lesson.score > 0)).all()
    assert (np.diff(lesson.score[lesson.order]) <= 0).all()


def test_what_was_drawn_is_not_pushed_down(bits: tuple[Searcher, np.ndarray]) -> None:
    searcher, kinds = bits
    lesson = teach(searcher, dict.fromkeys(some(kinds, 1, 3), "yes"))
    rank = np.argsort(np.argsort(-lesson.score))
    mine = (kinds == 1) & ~np.isin(np.arange(600), list(lesson.told))
    drawn = np.zeros(600, bool)
    values = np.unpackbits(searcher.index.codes_at(lesson.rows), axis=1, bitorder="little")[:, :43] * 2.0 - 1
    drawn[~np.isclose((values @ lesson.fitted.weights + lesson.fitted.offset)[:, 0], lesson.score, atol=1e-4)] = True
    assert abs(np.median(rank[mine & drawn]) - np.median(rank[mine & ~drawn])) < 60


def test_questions_are_uncertain_unlike_and_not_labelled(bits: tuple[Searcher, np.ndarray]) -> None:
    searcher, kinds = bits
    copies = searcher.index.codes_at(np.repeat([10, 20, 30], 30))
    searcher.index.add([f"copy {number}" for number in range(90)], copies)
    labels = dict.fromkeys(some(kinds, 0, 5), "yes") | dict.fromkeys(some(kinds, 1, 5), "no")
    lesson = teach(searcher, labels)
    asked = [one.id for one in lesson.questions]
    assert 10 < len(asked) <= 20
    assert not set(asked) & set(labels)
    codes = searcher.index.codes_at([one.row for one in lesson.questions])
    apart = np.bitwise_count(codes[:, None] ^ codes[None]).sum(axis=2) + 99 * np.eye(len(asked), dtype=int)
    assert apart.min() >= 3  # of the copies one at most
    unsure = np.abs([one.score for one in lesson.questions])
    assert (np.diff(unsure) >= 0).all()
    assert unsure.max() < np.median(np.abs(lesson.score))
    assert len(teach(searcher, labels, ask=0).questions) == 0


def test_several_classes(bits: tuple[Searcher, np.ndarray]) -> None:
    searcher, kinds = bits
    labels = {id: f"kind {kind}" for kind in range(3) for id in some(kinds, kind, 6)}
    lesson = teach(searcher, labels)
    assert lesson.classes == ("kind 0", "kind 1", "kind 2")
    assert lesson.drawn == 200  # of none
    assert (lesson.answer == kinds).mean() > 0.85
    assert lesson.counts() == {"kind 0": 6, "kind 1": 6, "kind 2": 6}
    strangers = np.random.default_rng(5).integers(0, 256, (40, 6), np.uint8) & np.array([255] * 5 + [7], np.uint8)
    searcher.index.add([f"stranger {number}" for number in range(40)], strangers)
    again = teach(searcher, labels)
    assert (again.score[600:] < np.median(again.score[:600])).mean() > 0.8  # what is of no class stands behind
    assert "kind 2" in lesson.page()


def test_a_wrong_label_is_doubted(bits: tuple[Searcher, np.ndarray]) -> None:
    searcher, kinds = bits
    labels = dict.fromkeys(some(kinds, 0, 10), "yes") | dict.fromkeys(some(kinds, 1, 10), "no")
    wrong = some(kinds, 1, 11)[-1]
    assert teach(searcher, labels | {wrong: "yes"}).doubts[0].id == wrong


def test_floats_and_a_tiny_index(tmp_path: Path) -> None:
    held = create(tmp_path / "v", kind="float-flat", dim=2, metric="cosine")
    x = np.array([[1, 0.02 * row] if row < 10 else [0.02 * row - 0.2, 1] for row in range(20)], np.float32)
    held.add([f"v{row}" for row in range(20)], x)
    lesson = teach(tmp_path / "v", {"v0": "yes"})
    assert sum(int(one.id[1:]) < 10 for one in lesson.best(5)) >= 4
    lesson = teach(tmp_path / "v", {"v0": "left", "v10": "right"})
    assert lesson.classes == ("left", "right")
    others = [row for row in range(20) if row not in (0, 10)]
    assert lesson.answer[others].tolist() == [int(row >= 10) for row in others]
    held.remove([f"v{row}" for row in range(1, 20)])
    with pytest.raises(DataError, match="told from other items"):
        teach(tmp_path / "v", {"v0": "yes"})
    with pytest.raises(UsageError, match="begins with one yes"):
        teach(tmp_path / "v", {"v0": "no"})


def test_the_ranking_is_written_whole(bits: tuple[Searcher, np.ndarray], tmp_path: Path) -> None:
    searcher, kinds = bits
    lesson = teach(searcher, {some(kinds, 1, 1)[0]: "yes"})
    lesson.write(tmp_path / "r.csv")
    lesson.write(tmp_path / "r.parquet")
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    table = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert [row["id"] for row in rows] == [row["id"] for row in table]
    assert len({row["id"] for row in rows}) == 600
    assert [row["rank"] for row in table] == list(range(1, 601))
    assert [row["id"] for row in table if row["label"] == "yes"] == some(kinds, 1, 1)
    with pytest.raises(UsageError, match=r"\.csv or \.parquet"):
        lesson.write(tmp_path / "r.txt")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of crops of two photographs, and its index."""
    folder = write_folder(tmp_path_factory.mktemp("pictures"), 40, side=48)
    path = tmp_path_factory.mktemp("indexes") / "i"
    build_index(folder, path, recipe="pixel-codes", settings={"side": 8, "bits": 24})
    return folder, path


def test_items_are_named_by_id_by_path_or_are_new_pictures(pictures: tuple[Path, Path], tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    folder, path = pictures
    searcher = open_searcher(path)
    new = tmp_path / "new.png"
    Image.fromarray(crops(41)[-1][1]).save(new)
    monkeypatch.chdir(folder / "china")
    names = ["china/crop 000.jpg", str(folder / "flower" / "crop 001.jpg"), "crop 002.jpg", str(new), "nothing.jpg"]
    found = places_of(searcher, names)
    assert [searcher.index.ids_at([row])[0] for row in found.rows.values()] == [
        "china/crop 000.jpg", "flower/crop 001.jpg", "china/crop 002.jpg",
    ]  # fmt: skip
    assert list(found.codes) == [str(new)]
    assert found.missing == ("nothing.jpg",)
    lesson = teach(searcher, {names[1]: "no", str(new): "yes", "nothing.jpg": "yes"})
    assert lesson.counts() == {"yes": 1, "no": 1}
    assert lesson.missing == ("nothing.jpg",)
    page = lesson.page("mmfeat teach", shown=10)
    assert page.count('<img src="data:image/') == len(lesson.questions) + 10 + 1
    assert "Labels of nothing" in page
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 nothing")
    with pytest.raises(UsageError, match=r"broken\.jpg"):
        teach(searcher, {str(broken): "yes"})


def test_an_index_of_several_folders(tmp_path: Path) -> None:
    one, two = write_folder(tmp_path / "one", 6, 48), write_folder(tmp_path / "two", 6, 48, seed=1)
    build_index([one, two], tmp_path / "i", recipe="pixel-codes", settings={"side": 8, "bits": 8})
    found = places_of(open_searcher(tmp_path / "i"), [str(two / "china" / "crop 000.jpg")])
    assert list(found.rows) == [str(two / "china" / "crop 000.jpg")]


def test_teaching_by_ids_imports_no_jax(pictures: tuple[Path, Path]) -> None:
    import subprocess

    code = (
        "import sys; from mmfeat.pipelines.teaching import teach\n"
        f"page = teach({str(pictures[1])!r}, {{'china/crop 000.jpg': 'yes'}}).page()\n"
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what was taught, kept ----------------------------------------------------------------------------------------------


def scores_of(lesson: Lesson, folder: Path, tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the saved classifier for every item, and of the lesson, of what was neither labelled nor drawn."""
    model = load(lesson.model().save(tmp_path / "kept"))
    ids = lesson.searcher.index.ids_at(lesson.rows)
    values = model.encode([folder / id for id in ids])
    codes = lesson.searcher.index.codes_at(lesson.rows)
    bits = lesson.searcher.index.kind.startswith("binary")
    x = np.unpackbits(codes, axis=1, bitorder="little")[:, : len(lesson.fitted.weights)] * 2.0 - 1 if bits else codes
    said = x @ lesson.fitted.weights + lesson.fitted.offset
    np.testing.assert_allclose(values if len(lesson.classes) > 2 else values[:, 1:], said, atol=1e-4)
    return values, np.isclose(lesson.score, said.max(axis=1), atol=1e-4)


def test_a_kept_classifier_scores_as_the_lesson_did(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    folder, path = pictures
    lesson = teach(path, {"china/crop 000.jpg": "yes", "china/crop 002.jpg": "yes", "flower/crop 001.jpg": "no"})
    values, same = scores_of(lesson, folder, tmp_path)
    np.testing.assert_allclose(values[same, 1], lesson.score[same], atol=1e-4)
    assert same.sum() >= len(lesson) - lesson.drawn - 3 > 10
    np.testing.assert_array_equal(values[:, 0], -values[:, 1])


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_floats_are_taken_as_the_index_stores_them(pictures: tuple[Path, Path], tmp_path: Path, metric: str) -> None:
    folder, _ = pictures
    model = fit("pixel-features", folder, settings={"side": 8})
    items = walk(folder)
    held = create(tmp_path / "i", kind="float-flat", dim=64, metric=metric, model=model.sha256)
    held.attach({"model": model.save(tmp_path / "m")})
    held.add(items.ids, model.encode(folder))
    labels = {id: id.split("/")[0] for id in items.ids[::4]} | {"china/crop 004.jpg": "third"}
    values, _ = scores_of(teach(tmp_path / "i", labels), folder, tmp_path)
    assert values.shape == (40, 3)
    extract(model, items, tmp_path / "features")  # features on disk may stand where pictures stand
    kept = load(tmp_path / "kept")
    (on_disk,), (read,) = predict(kept, tmp_path / "features"), predict(kept, folder)
    order = [read.ids.index(id) for id in on_disk.ids]
    np.testing.assert_allclose(on_disk.probabilities, read.probabilities[order], atol=1e-5)


def test_an_index_of_given_vectors_has_no_model_to_keep_it_behind(bits: tuple[Searcher, np.ndarray]) -> None:
    searcher, kinds = bits
    with pytest.raises(UsageError, match="given vectors, which has none"):
        teach(searcher, {some(kinds, 1, 1)[0]: "yes"}).model()
