"""An index against labels: leave one out and a folder of queries, equal to what the measures say of the codes themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixtures_command import run
from fixtures_pictures import write_folder

import mmfeat
from mmfeat.errors import DataError, UsageError
from mmfeat.evaluate.retrieval import average_precision, drop_diagonal, hamming_distances, precision_at
from mmfeat.indexes import create
from mmfeat.pipelines.building import build_index
from mmfeat.pipelines.building_vectors import build_from_vectors
from mmfeat.pipelines.evaluating import evaluate_index


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), 40)


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("indexes") / "photos.index"
    build_index(folder, path, recipe="pixel-codes", settings={"side": 12, "bits": 40})
    return path


def floats(path: Path, labels: list[str | None], seed: int = 0, metric: str = "l2") -> Path:
    """An index of vectors, and of their labels where there are any."""
    rows = np.random.default_rng(seed).normal(size=(len(labels), 6)).astype(np.float32)
    build_from_vectors(rows, path, metric=metric)
    return path


def label_file(path: Path, labels: list[str | None]) -> Path:
    lines = [f"vectors.npy#row={row},{label or ''}" for row, label in enumerate(labels)]
    path.write_text("id,label\n" + "\n".join(lines))
    return path


def test_leave_one_out_is_what_the_codes_say(built: Path) -> None:
    found = evaluate_index(built, ks=(3, 10))
    index = mmfeat.open(built).index
    ids = index.ids.to_pylist()
    codes = index.codes_at([index.row_of(item) for item in ids])
    labels = np.array([item.split("/")[0] for item in ids])
    apart, same = drop_diagonal(hamming_distances(codes, codes)), drop_diagonal(labels[:, None] == labels[None])
    np.testing.assert_allclose(found.scores.values["mAP@all"], average_precision(apart, same), atol=1e-12)
    np.testing.assert_allclose(found.scores.values["precision@3"], precision_at(apart, same, 3), atol=1e-12)
    assert found.labels == labels.tolist()
    assert found.bits is not None
    assert found.bits.items == 40
    assert found.scores.protocol is not None
    assert found.scores.protocol.sentence.startswith("Each of the 40 labelled items asked of all the others;")
    assert found.notes == ()


def test_a_sample_of_queries_is_seeded_and_said(built: Path) -> None:
    first, again, other = (evaluate_index(built, ks=(3,), most=10, seed=seed) for seed in (0, 0, 1))
    assert len(first.scores) == 10
    np.testing.assert_array_equal(first.scores.values["mAP@all"], again.scores.values["mAP@all"])
    assert first.asked.names != other.asked.names
    assert first.scores.items.tolist() == [39] * 10
    assert "10 seeded ones of the 40 labelled items" in first.to_json()["sentence"]


def test_a_folder_asks_with_the_model_of_the_index(built: Path, folder: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries"
    shutil.copytree(folder, queries)  # the same pictures: each finds its own twin at distance 0
    (queries / "tree").mkdir()
    shutil.copy(next((folder / "china").iterdir()), queries / "tree" / "strange.jpg")
    shutil.copy(next((folder / "china").iterdir()), queries / "bare.jpg")
    (queries / "china" / "broken.jpg").write_bytes(b"\xff\xd8\xff" + b"0" * 40)
    found = evaluate_index(built, queries=queries, ks=(1, 10, 41))
    assert len(found.scores) == 41
    assert found.scores.items.tolist() == [40] * 41
    place = found.asked.names.index("tree/strange.jpg")
    assert found.scores.values["mAP@all"][place] == 0
    assert found.scores.values["precision@1"].mean() > 0.9
    said = " ".join(found.notes)
    assert "1 queries carry a label that no item has" in said
    assert "1 pictures without a label" in said
    assert "Only 40 items are ranked" in said
    assert "recall@41" not in found.scores.values
    name, answer, label = found.extremes()[0]
    assert name.startswith("best")
    assert answer.neighbours[0].distance == 0
    assert answer.neighbours[0].label == label


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_an_index_of_vectors_is_measured_by_its_own_metric(metric: str, tmp_path: Path) -> None:
    labels: list[str | None] = [None, *("ab" * 12), None, "c"]
    path = floats(tmp_path / "v.index", labels, metric=metric)
    found = evaluate_index(path, labels=label_file(tmp_path / "labels.csv", labels), ks=(5,))
    rows = np.random.default_rng(0).normal(size=(len(labels), 6)).astype(np.float32)
    kept = [row for row, label in enumerate(labels) if label]
    rows, names = rows[kept], np.array(labels, object)[kept]
    if metric == "cosine":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    apart = drop_diagonal(((rows[:, None] - rows[None]) ** 2).sum(axis=2))
    same = drop_diagonal(names[:, None] == names[None])
    np.testing.assert_allclose(found.scores.values["mAP@all"], average_precision(apart, same), atol=1e-6)
    assert found.bits is None
    assert found.notes == (
        "1 labels stand on one item only: as queries these count 0.",
        "2 items of the index have no label and were left out.",
    )
    page = found.page()
    assert "Precision among the nearest" in page
    assert "Precision by distance" not in page
    assert "no picture" not in page  # neighbours without pictures stand in a table
    assert "✗ " in page


def test_removed_items_neither_ask_nor_answer(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "less.index"
    shutil.copytree(built, path)
    gone = evaluate_index(path).asked.names[:5]
    with mmfeat.open(path).index as index:
        index.remove(gone)
    found = evaluate_index(path)
    assert len(found.scores) == 35
    assert not set(gone) & {*found.asked.names, *found.held.ids}


def test_the_page_shows_pictures_curves_and_classes(built: Path, tmp_path: Path) -> None:
    page = evaluate_index(built, ks=(3,)).save(tmp_path / "new" / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 2 * 9
    for heading in (
        "Measures",
        "Precision and recall",
        "Precision by distance",
        "The best and",
        "By label",
        "The bits",
    ):
        assert f"<h2>{heading}" in page
    assert page.count("<svg") == 4
    assert "✗" in page  # a wrong neighbour is marked
    assert "missing" not in page.split("</style>")[1]


def test_the_command_prints_writes_and_says_the_protocol(
    built: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "scores.json", tmp_path / "page.html"
    words = ("evaluate", "retrieval", built, "-k", "3,10", "-k", "5", "--json", out, "--html", page)
    code, printed, _ = run(monkeypatch, capsys, *words)
    assert code == 0
    written = json.loads(out.read_text())
    assert f"{written['measures']['mAP@5']['mean']:.3f}" in printed
    assert written["sentence"] in printed
    assert {"mAP@all", "mAP@3", "precision@10", "recall@5", "precision within radius 2"} <= written["measures"].keys()
    assert written["bits"]["bits"] == 40
    assert page.read_text().startswith("<!doctype html>")
    for more, said in (
        (("-k", "ten"), "whole numbers"),
        (("--queries", folder), "Leave --queries out"),
        (("--query-labels", out), "Add --queries"),
        (("--html", tmp_path), "written to files"),
    ):
        code, _, error = run(monkeypatch, capsys, "evaluate", "retrieval", built, *more)
        assert code == 2
        assert said in error


def test_what_cannot_be_measured_is_a_sentence(built: Path, tmp_path: Path) -> None:
    bare = floats(tmp_path / "bare.index", [None] * 4)
    with pytest.raises(DataError, match=r"none of the 4 items .* has one\. Pass --labels"):
        evaluate_index(bare)
    with pytest.raises(DataError, match="two labels; got all 4 labelled items are 'a'"):
        evaluate_index(bare, labels=label_file(tmp_path / "one.csv", ["a"] * 4))
    with pytest.raises(DataError, match="each of another label"):
        evaluate_index(bare, labels=label_file(tmp_path / "each.csv", ["a", "b", "c", None]))
    with pytest.raises(UsageError, match="has a model"):
        evaluate_index(
            bare, labels=label_file(tmp_path / "two.csv", list("aabb")), queries=write_folder(tmp_path / "q", 2)
        )
    others = tmp_path / "others"
    shutil.copytree(tmp_path / "q", others / "deeper")
    with pytest.raises(DataError, match="'deeper' against"):
        evaluate_index(built, queries=others)
    plain = tmp_path / "plain"
    shutil.copytree(tmp_path / "q" / "china", plain)
    with pytest.raises(DataError, match="none with a label"):
        evaluate_index(built, queries=plain)
    empty = create(tmp_path / "empty.index", kind="binary-flat", dim=8)
    with pytest.raises(DataError, match="none of the 0 items"):
        evaluate_index(empty.path)
