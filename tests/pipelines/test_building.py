"""From a folder to answers: build, interrupt, go on, search, check."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures_pictures import crops, write_folder
from PIL import Image

import mmfeat
from mmfeat.errors import BusyError, DataError, MismatchError, UsageError
from mmfeat.indexes import create
from mmfeat.pipelines import building
from mmfeat.pipelines.building import Build, build_index, chunks
from mmfeat.pipelines.building_vectors import build_from_vectors
from mmfeat.pipelines.self_check import _float_overlap, describe

SMALL = {"side": 12, "bits": 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_folder(tmp_path_factory.mktemp("pictures"), 40)
    (root / "flower" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 50)
    return root


def build(folder: Path, path: Path, **more: object) -> Build:
    return build_index(folder, path, recipe="pixel-codes", settings=dict(SMALL), **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    return build(folder, tmp_path_factory.mktemp("indexes") / "photos.index")


def test_segments_double(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [len(part) for part in chunks(np.arange(5_000))]
    assert sizes == [500, 500, 1000, 2000, 1000]
    assert [len(part) for part in chunks(np.arange(3))] == [3]
    assert max(len(part) for part in chunks(np.arange(1_000_000))) == building.LARGEST
    np.testing.assert_array_equal(np.concatenate(chunks(np.arange(200_000))), np.arange(200_000))


def test_a_picture_of_the_index_finds_itself(folder: Path, built: Build) -> None:
    assert (built.done, built.failed, built.exit_code) == (40, 1, 1)
    searcher = mmfeat.open(built.path)
    for name in ("china/crop 000.jpg", "flower/crop 003.jpg"):
        by_file, by_id = searcher.search([folder / name, name], k=3)
        assert by_file.neighbours[0].id == by_id.neighbours[0].id == name
        assert by_file.neighbours[0].distance == 0
        assert by_file.neighbours[0].label == name.split("/")[0]
        assert [n.id for n in by_file.neighbours] == [n.id for n in by_id.neighbours]


def test_distances_are_those_of_the_codes(folder: Path, built: Build) -> None:
    searcher = mmfeat.open(built.path)
    query = Image.open(folder / "china" / "crop 002.jpg").rotate(3)
    answer = searcher.search(query, k=40)[0]
    codes = searcher.index.codes_at([searcher.index.row_of(n.id) for n in answer.neighbours])
    own = searcher.model.encode_bits([np.asarray(query)], small=True)
    expected = np.bitwise_count(codes ^ own).sum(axis=1)
    np.testing.assert_array_equal([n.distance for n in answer.neighbours], expected)
    assert list(expected) == sorted(expected)


def test_what_is_said_as_json_and_shown_as_a_page(folder: Path, built: Build, tmp_path: Path) -> None:
    results = mmfeat.open(built.path).search(str(folder / "china" / "crop 000.jpg"), k=2)
    said = json.loads(json.dumps(results.to_json()))
    assert said["results"][0]["query"].endswith("crop 000.jpg")
    assert [sorted(one) for one in said["results"][0]["neighbours"]] == [["distance", "id", "label"]] * 2
    page = results.save(tmp_path / "out.html").read_text()
    assert page.count("data:image/") >= 3
    assert "data:image/" in results._repr_html_()


def test_the_name_of_a_query_is_no_id(folder: Path, built: Build, tmp_path: Path) -> None:
    """A `#` begins the part of a file in an id, and is a letter like others in the name of a file."""
    query = tmp_path / "a#b 100%.jpg"
    query.write_bytes((folder / "china" / "crop 000.jpg").read_bytes())
    for asked in (query, str(query)):
        page = mmfeat.open(built.path).search(asked, k=2).page()
        assert page.count("data:image/") >= 3


def test_an_interrupted_build_can_be_searched_and_goes_on_to_the_same_codes(
    folder: Path, built: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "FIRST", 8)

    stopped = []

    def stop(index: object, items: object, complete: bool) -> None:
        if not stopped and len(index) >= 16:  # type: ignore[arg-type]
            stopped.append(True)
            raise KeyboardInterrupt

    half = build(folder, tmp_path / "i", after=stop)
    assert not half.complete
    assert 16 <= half.done < 40
    assert len(mmfeat.open(tmp_path / "i").search(folder / "china" / "crop 000.jpg", k=5)[0].neighbours) == 5
    whole = build(folder, tmp_path / "i")
    assert whole.complete
    assert whole.done == 40
    assert whole.check == built.check
    a, b = (mmfeat.open(path).index for path in (tmp_path / "i", built.path))
    assert a.model == b.model
    ids = sorted(a.ids.to_pylist())
    assert ids == sorted(b.ids.to_pylist())
    rows = [[index.row_of(one) for one in ids] for index in (a, b)]
    np.testing.assert_array_equal(a.codes_at(rows[0]), b.codes_at(rows[1]))


def test_an_index_that_was_only_begun_is_begun_again(folder: Path, built: Build, tmp_path: Path) -> None:
    """A kill, or a full disk, between the making of the index and its first contents."""
    for path, make in (
        (tmp_path / "a", lambda path: build(folder, path)),
        (tmp_path / "b", lambda path: build_from_vectors(np.eye(40, dtype=np.float32), path)),
    ):
        create(path, dim=40)
        assert make(path).done == 40
        with pytest.raises(UsageError, match="overwrit"):
            make(path)


def test_one_build_at_a_time_and_a_failed_one_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second(*a: object, **k: object) -> None:
        build(folder, tmp_path / "i")

    monkeypatch.setattr(building, "fit_job", second)
    with pytest.raises(BusyError, match="one build at a time"):
        build(folder, tmp_path / "i")
    assert not (tmp_path / "i").exists()


def test_progress_counts_up_to_all_pictures(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "FIRST", 8)
    seen: list[tuple[int, int]] = []

    def report(what: str, done: int, total: int, metrics: object) -> None:
        if what == "encoding":
            seen.append((done, total))

    build(folder, tmp_path / "i", report=report)
    counts = [done for done, _ in seen]
    assert counts == sorted(counts)
    assert {total for _, total in seen} == {counts[-1]}


def test_a_finished_index_is_not_touched_unasked(folder: Path, built: Build) -> None:
    with pytest.raises(UsageError, match="never overwritten unasked"):
        build(folder, built.path)
    assert len(mmfeat.open(built.path)) == 40


def test_an_index_refuses_another_model(folder: Path, built: Build) -> None:
    other = mmfeat.fit("pixel-codes", folder, settings={**SMALL, "bits": 32})
    with pytest.raises(MismatchError, match="asked by the model that made it"):
        mmfeat.open(built.path).search(folder / "china" / "crop 000.jpg", by=other)


def test_queries_that_cannot_be_are_sentences(built: Build, tmp_path: Path) -> None:
    searcher = mmfeat.open(built.path)
    with pytest.raises(UsageError, match="a picture that exists, or an id"):
        searcher.search("no such thing.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(UsageError, match="can be read"):
        searcher.search(tmp_path / "text.jpg")
    with pytest.raises(UsageError, match=r"a query is a picture, a file; got the folder"):
        searcher.search(tmp_path)
    with pytest.raises(UsageError, match="asked with pictures"):
        searcher.search(np.zeros(40, np.float32))
    with pytest.raises(UsageError, match="at least one query"):
        searcher.search([])


def test_a_folder_without_pictures_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_text("x")
    with pytest.raises(DataError, match=r"a picture that can be read; got 1 files: b\.txt: not a picture"):
        build(tmp_path / "a", tmp_path / "i")
    assert not (tmp_path / "i").exists()


def test_a_folder_of_broken_pictures_is_a_sentence_with_reasons(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(4):
        (tmp_path / "a" / f"{number}.jpg").write_bytes((folder / "china" / "crop 000.jpg").read_bytes()[:900])
    with pytest.raises(DataError, match=r"none of 4: 0\.jpg: .*truncated.*; 1\.jpg: .*; and 2 more"):
        build(tmp_path / "a", tmp_path / "i")
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(("count", "said"), [(1, "one item alone"), (5, "all 5 items have the same code")])
def test_the_self_check_of_next_to_nothing(count: int, said: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(count):
        (tmp_path / "a" / f"{number}.jpg").write_bytes((folder / "china" / "crop 000.jpg").read_bytes())
    lines = describe(build(tmp_path / "a", tmp_path / "i").check)
    assert any(said in line for line in lines)
    assert not any("float top-10" in line for line in lines)


def test_neighbours_by_floats_that_are_equally_near_all_count() -> None:
    """Twelve equal rows: whatever eleven the bits put first are as near as any; and one apart that comes last."""
    floats = np.ones((12, 8), np.float32)
    assert _float_overlap(floats, 12) == 1.0
    floats[11] = -1
    assert _float_overlap(floats, 11) == 1.0
    floats[:, 0] = -np.arange(12) - 1.0  # the bits see nothing of this: by chance ten of the eleven others
    floats[11, 1:] = 1
    assert _float_overlap(floats, 12) == pytest.approx(10 / 11, abs=1e-4)


def test_the_self_check_tells_good_features_from_useless_ones(folder: Path, built: Build, tmp_path: Path) -> None:
    """Pixels of a picture survive JPEG and resizing; codes that ignore the picture find nothing."""
    assert built.check["items"] == 40
    found = built.check["found_at_rank_1"]
    assert min(found["jpeg"], found["resize"]) > 0.6  # crops of sky share codes, and with them the first place
    assert built.check["bits"] == 40
    assert any("found at rank 1" in line for line in describe(built.check))
    for number in range(20):  # twenty pictures of one grey: every code is equal, so the first place is shared by all
        Image.new("RGB", (40, 40), (128, 128, 128)).save(tmp_path / f"{number}.png")
    for number, (_, pixels) in enumerate(crops(4)):
        Image.fromarray(pixels).save(tmp_path / f"real {number}.png")
    grey = build_index(tmp_path, tmp_path / "i.index", recipe="pixel-codes", settings={"side": 4, "bits": 2})
    assert grey.check["rank1"] < 0.3


def test_vectors_are_welcome(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 24)).astype(np.float64)
    np.save(tmp_path / "v.npy", vectors)
    (tmp_path / "ids.txt").write_text("\n".join(f"bild {i} ü" for i in range(50)))
    result = build_from_vectors(tmp_path / "v.npy", tmp_path / "i", ids=tmp_path / "ids.txt")
    assert result.done == 50
    searcher = mmfeat.open(tmp_path / "i")
    answer = searcher.search(vectors[7].astype(np.float32), k=5)[0]
    order = np.argsort(((vectors - vectors[7]) ** 2).sum(axis=1))[:5]
    assert [n.id for n in answer.neighbours] == [f"bild {i} ü" for i in order]
    assert [n.id for n in searcher.search(tmp_path / "v.npy", k=1)[3].neighbours] == ["bild 3 ü"]
    with pytest.raises(UsageError, match=r"asked with vectors|has a model"):
        searcher.search(np.zeros((4, 4, 3), np.uint8))


def test_vectors_become_bits(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 24)).astype(np.float32)
    build_from_vectors(vectors, tmp_path / "i", recipe="vector-codes", settings={"bits": 16})
    searcher = mmfeat.open(tmp_path / "i")
    assert searcher.index.dim == 16
    assert searcher.search(vectors[5], k=1)[0].neighbours[0].distance == 0


@pytest.mark.parametrize(
    ("bad", "match"),
    [(np.zeros((0, 3)), "at least one"), (np.zeros(5), r"shape \(n, d\)"), (np.array([["a"]]), "numbers")],
)
def test_bad_vectors_are_sentences(bad: np.ndarray, match: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=match):
        build_from_vectors(bad, tmp_path / "i")
    with pytest.raises(UsageError, match="one id"):
        build_from_vectors(np.ones((3, 2)), tmp_path / "i", ids=["a", "b"])
    with pytest.raises(UsageError, match="a recipe for vectors; got image-retrieval"):
        build_from_vectors(np.ones((3, 2)), tmp_path / "i", recipe="image-retrieval")
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_vectors_that_are_not_finite_leave_nothing_behind(value: float, tmp_path: Path) -> None:
    vectors = np.ones((6, 2))
    vectors[4, 1] = value
    for recipe in (None, "vector-codes"):
        with pytest.raises(DataError, match="in 1 rows, the first is row 4"):
            build_from_vectors(vectors, tmp_path / "i", recipe=recipe, settings={"bits": 2} if recipe else None)
    assert not (tmp_path / "i").exists()


def test_files_that_hold_no_vectors_are_sentences_without_numpys_advice(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    for name in ("objects.npy", "text.npy"):
        with pytest.raises(UsageError, match="Python objects, which are never opened") as error:
            build_from_vectors(tmp_path / name, tmp_path / "i")
        assert "unsafely" not in str(error.value)
    with pytest.raises(UsageError, match=r"nowhere\.npy: No such file"):
        build_from_vectors(tmp_path / "nowhere.npy", tmp_path / "i")


def test_queries_of_several_widths_are_a_sentence(tmp_path: Path) -> None:
    build_from_vectors(np.eye(6), tmp_path / "i")
    with pytest.raises(UsageError, match="of one width; got 4, 6"):
        mmfeat.open(tmp_path / "i").search([np.ones(6), np.ones(4)])


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_a_sentence(seed: int, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"got {seed}"):
        build(folder, tmp_path / "i", seed=seed)
    assert build(folder, tmp_path / "i", seed=2**63 - 1).done == 40
