"""Searching in all its forms: parts of pictures, ids, vectors, several examples, filters, two stages, broken queries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures_command import run
from fixtures_pictures import write_folder
from PIL import Image

import mmfeat
from mmfeat.errors import UsageError
from mmfeat.pipelines.building import build_index
from mmfeat.pipelines.building_vectors import build_from_vectors
from mmfeat.pipelines.searching import Searcher


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), 30)


@pytest.fixture(scope="module")
def searcher(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    path = tmp_path_factory.mktemp("indexes") / "photos.index"
    build_index(folder, path, recipe="pixel-codes", settings={"side": 12, "bits": 40})
    return mmfeat.open(path)


def test_a_part_of_a_picture_is_asked(folder: Path, searcher: Searcher, tmp_path: Path) -> None:
    """A part is the same query as a file that holds it; outside of the picture it is cut off."""
    path = folder / "china" / "crop 000.jpg"
    with Image.open(path) as image:
        width, height = image.size
        cut = np.asarray(image.convert("RGB"))[10:70, 20:90]
    expected = [n.id for n in searcher.search(cut, 5)[0].neighbours]
    for text in (
        f"{path}#xywh=20,10,70,60",
        f"{path}#xywh=pixel:20,10,70,60",
        "china/crop 000.jpg#xywh=20,10,70,60",
        f"{path}#xywh=percent:{2000 / width:.3f},{1000 / height:.3f},{7000 / width:.3f},{6000 / height:.3f}",
    ):
        answer = searcher.search(text, 5)[0]
        assert [n.id for n in answer.neighbours] == expected
        assert answer.picture.shape == (60, 70, 3)
    whole = searcher.search(f"{path}#xywh=0,0,9999,9999", 5)[0]
    assert whole.picture.shape == (height, width, 3)
    assert whole.neighbours[0].id == "china/crop 000.jpg"
    searcher.search([f"{path}#xywh=0,0,50,50"], 3).save(tmp_path / "page.html")
    for text, said in (
        (f"{path}#xywh=500,0,10,10", f"inside its picture of {width} x {height}"),
        (f"{path}#xywh=0,0,0,10", "inside its picture"),
        (f"{path}#xywh=1,2,3", "a query is a picture that exists"),
        ("nowhere.jpg#xywh=0,0,9,9", "a query is a picture that exists"),
        ("100%.jpg#xywh=0,0,9,9", "a query is a picture that exists"),
    ):
        with pytest.raises(UsageError, match=said):
            searcher.search(text)


def test_one_broken_query_stops_no_other(folder: Path, searcher: Searcher, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((folder / "china" / "crop 000.jpg").read_bytes()[:500])
    good = [folder / "china" / "crop 000.jpg", "flower/crop 001.jpg"]
    asked = [good[0], broken, np.zeros((0, 4, 3), np.uint8), good[1], "no such id", np.zeros(3, np.float32)]
    results = searcher.search(asked, 3)
    assert [answer.status for answer in results] == ["done", "failed", "failed", "done", "failed", "failed"]
    assert results[0].neighbours == searcher.search(good, 3)[0].neighbours
    assert results[3].neighbours == searcher.search(good, 3)[1].neighbours
    assert "broken.jpg" in str(results[1].reason)
    said = results.to_json()["results"]
    assert [sorted(one) for one in said] == [["neighbours", "query", "reason", "status"]] * 6
    assert (said[0]["reason"], said[1]["neighbours"]) == (None, [])
    assert len(results.views()) == 2
    with pytest.raises(UsageError, match="can be read"):
        searcher.search([broken, "no such id"])
    with pytest.raises(UsageError, match="can be read"):
        searcher.search([broken, good[0]], together="mean")


def test_filters_balls_and_examples(searcher: Searcher) -> None:
    item = "china/crop 000.jpg"
    only = searcher.search(item, 50, where="label = 'flower'")
    assert {n.label for n in only[0].neighbours} == {"flower"}
    assert len(only[0].neighbours) == 15
    assert only.facts["where"] == "label = 'flower'"
    assert len(searcher.search(item, 50, where="bytes > 0 and width >= 96")[0].neighbours) == 30
    every = searcher.search(item, 50)[0].neighbours
    near = searcher.search(item, within=14)[0].neighbours
    assert near == tuple(n for n in every if n.distance <= 14)
    assert searcher.search(item, 2, within=40)[0].neighbours == every[:2]
    both = [item, "flower/crop 001.jpg"]
    one, other = ({n.id: n.distance for n in searcher.search(name, 50)[0].neighbours} for name in both)
    for how, join in (("mean", lambda a, b: (a + b) / 2), ("min", min)):
        answer = searcher.search(both, 30, together=how)
        assert len(answer) == 1
        assert [n.distance for n in answer[0].neighbours] == sorted(join(one[name], other[name]) for name in one)
    with pytest.raises(UsageError, match="within or rerank besides"):
        searcher.search(both, together="mean", within=3)


def test_short_codes_find_and_floats_rank(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 24)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    build_from_vectors(tmp_path / "v.npy", tmp_path / "bits", recipe="vector-codes", settings={"bits": 16})
    build_from_vectors(tmp_path / "v.npy", tmp_path / "floats")
    bits, floats = mmfeat.open(tmp_path / "bits"), mmfeat.open(tmp_path / "floats")
    asked = vectors[:20] + 0.1 * rng.normal(size=(20, 24)).astype(np.float32)
    exact = floats.search(asked, 10)
    alone = bits.search(asked, 10)
    two = bits.search(asked, 10, rerank=floats, candidates=150)

    def recall(found: object) -> float:
        pairs = zip(found, exact, strict=True)  # type: ignore[call-overload]
        return float(np.mean([len({n.id for n in a.neighbours} & {n.id for n in b.neighbours}) / 10 for a, b in pairs]))

    assert recall(bits.search(asked, 10, rerank=floats, candidates=400)) == 1.0
    assert recall(two) > recall(alone) + 0.2
    assert recall(bits.search(asked, 10, rerank=floats, within=6)) > recall(alone)
    assert bits.search("v.npy#row=7", 1, rerank=floats)[0].neighbours[0].distance == 0.0


def test_a_file_of_vectors_is_many_queries(tmp_path: Path) -> None:
    vectors = np.eye(6, dtype=np.float32)
    build_from_vectors(vectors, tmp_path / "i")
    np.save(tmp_path / "one.npy", vectors[2])
    np.save(tmp_path / "many.npy", vectors[:3])
    searcher = mmfeat.open(tmp_path / "i")
    assert searcher.search(tmp_path / "one.npy", 1)[0].neighbours[0].id == "vectors.npy#row=2"
    assert [a.neighbours[0].id[-1] for a in searcher.search(str(tmp_path / "many.npy"), 1)] == ["0", "1", "2"]


def test_the_command(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    searcher: Searcher,
    tmp_path: Path,
) -> None:
    index, item = searcher.index.path, "china/crop 000.jpg"
    code, out, _ = run(monkeypatch, capsys, "search", index, item, "--where", "label = 'flower'", "--json")
    assert code == 0
    assert {n["label"] for n in json.loads(out)["results"][0]["neighbours"]} == {"flower"}
    code, out, err = run(monkeypatch, capsys, "search", index, item, "nobody", "-k", 2)
    assert (code, len(out.splitlines())) == (1, 3)
    assert "mmfeat: nobody: a query is" in err
    code, _, err = run(monkeypatch, capsys, "search", index, item, "--where", "label is 'a'")
    assert code == 2
    assert "at character 10 it needs null" in err
    both = (item, "flower/crop 001.jpg")
    code, out, _ = run(monkeypatch, capsys, "search", index, *both, "--like-all", "-k", 3)
    assert (code, len(out.splitlines())) == (0, 4)
    code, _, err = run(monkeypatch, capsys, "search", index, *both, "--like-all", "--like-any")
    assert code == 2
    code, out, _ = run(monkeypatch, capsys, "search", index, item, "--within", 0, "--rerank", index, "-k", 1)
    assert (code, out.splitlines()[1].split("\t")[2]) == (0, "0")
