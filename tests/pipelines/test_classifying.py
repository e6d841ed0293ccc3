"""Classifiers of pictures: what they learn, what becomes of odd data, and that pictures and extracted features agree."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score

from mmfeat.errors import DataError, MismatchError, SettingsError, UsageError
from mmfeat.media.walk import walk
from mmfeat.model import Model, load
from mmfeat.pipelines.classifying import Fitted, fit_classifier
from mmfeat.pipelines.extracting import extract
from mmfeat.pipelines.fitting import fit
from mmfeat.pipelines.image_classification import ImageClassification
from mmfeat.pipelines.labelled_data import Matrix
from mmfeat.pipelines.predicting import predict, score, write_predictions

KINDS = ("across", "along", "dots")
SMALL = {"max_side": 48, "components": 10, "codewords": 4}


def picture(kind: str, number: int) -> Image.Image:
    """Stripes one way or the other, or dots, in a colour of its own, grey in every third; sizes differ."""
    random = np.random.default_rng([number, KINDS.index(kind)])
    height, width = random.integers(40, 56, 2)
    y, x = np.mgrid[:height, :width]
    waves = {"across": np.sin(y * 0.9), "along": np.sin(x * 0.9), "dots": np.sin(y * 0.9) * np.sin(x * 0.9)}
    grey = 128 + 80 * waves[kind] + random.normal(0, 25, (height, width))
    pixels = np.clip(grey[:, :, None] * random.uniform(0.6, 1.0, 3), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if number % 3 == 0 else pixels)


def folder(root: Path, counts: dict[str, int], first: int = 0) -> Path:
    for kind, count in counts.items():
        (root / kind).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            picture(kind, number).save(root / kind / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("stripes")
    train, test = folder(root / "train", dict.fromkeys(KINDS, 12)), folder(root / "test", dict.fromkeys(KINDS, 8), 50)
    (test / "dots" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    (test / "notes.txt").write_text("not a picture")
    return train, test


@pytest.fixture(scope="module")
def fitted(places: tuple[Path, Path]) -> Fitted:
    return fit_classifier(places[0], settings=SMALL)


@pytest.fixture(scope="module")
def features(places: tuple[Path, Path]) -> Model:
    return fit(ImageClassification(**SMALL), walk([places[0]]))


def test_it_learns_and_the_model_is_one_that_is_saved_and_loaded(
    fitted: Fitted, places: tuple[Path, Path], tmp_path: Path
) -> None:
    assert fitted.counts == dict.fromkeys(KINDS, 12)
    assert (fitted.notes, fitted.exit_code) == ((), 0)
    fitted.model.save(tmp_path / "m")
    model = load(tmp_path / "m")
    assert model.classes == KINDS
    assert type(model.chain.stages[-1]).__name__ == "LinearSvm"
    scored = score(model, places[1])
    assert scored.measured.accuracy > 0.9
    assert scored.exit_code == 1
    assert [*scored.failures] == ["dots/broken.png"]
    assert scored.measured.items == 24
    answers = scored.probabilities.argmax(axis=1)
    seen = np.isfinite(scored.probabilities[:, 0])
    assert scored.measured.accuracy == pytest.approx(accuracy_score(scored.truth[seen], answers[seen]))
    np.testing.assert_allclose(scored.probabilities[seen].sum(axis=1), 1, atol=1e-5)
    page = scored.page()
    assert "What is taken for what" in page
    assert page.count("<title>across taken for") >= 1
    again = fit_classifier(places[0], settings=SMALL).model
    assert again.sha256 == model.sha256


def test_labels_never_touch_the_features(fitted: Fitted, features: Model) -> None:
    for stage, other in zip(fitted.model.states[:-1], features.states, strict=True):
        for name in getattr(stage, "_fields", ()):
            np.testing.assert_array_equal(getattr(stage, name), getattr(other, name))


def test_every_file_has_a_row(fitted: Fitted, places: tuple[Path, Path], tmp_path: Path) -> None:
    counts = write_predictions(tmp_path / "p.csv", predict(fitted.model, places[1]), KINDS)
    assert (counts.done, counts.failed, counts.skipped, counts.exit_code) == (24, 1, 1, 1)
    rows = {row["id"]: row for row in csv.DictReader((tmp_path / "p.csv").read_text().splitlines())}
    assert len(rows) == 26
    assert rows["dots/broken.png"]["status"] == "failed"
    assert rows["dots/broken.png"]["reason"]
    assert rows["dots/broken.png"]["label"] == ""
    assert rows["notes.txt"]["status"] == "skipped"
    good = [row for row in rows.values() if row["status"] == "done"]
    assert np.mean([row["label"] == row["id"].split("/")[0] for row in good]) > 0.9
    for row in good:
        shares = {kind: float(row[f"p_{kind}"]) for kind in KINDS}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
        assert shares[row["label"]] == max(shares.values()) == pytest.approx(float(row["probability"]))
    write_predictions(tmp_path / "p.parquet", predict(fitted.model, places[1]), KINDS, top=2)
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.column_names == ["id", "label", "probability", "label_2", "probability_2", "status", "reason"]
    found = {row["id"]: row for row in table.to_pylist()}
    assert found.keys() == rows.keys()
    for row in good:
        assert found[row["id"]]["label"] == row["label"]
        assert 0 <= found[row["id"]]["probability_2"] <= found[row["id"]]["probability"]


def test_features_on_disk_give_the_same_classifier(
    fitted: Fitted, features: Model, places: tuple[Path, Path], tmp_path: Path
) -> None:
    extract(features, walk([places[0]]), tmp_path / "train", part=7)
    extract(features, walk([places[1]]), tmp_path / "test", part=7)
    given = fit_classifier(tmp_path / "train", model=features)
    assert given.model.sha256 == fitted.model.sha256
    alone = fit_classifier(tmp_path / "train").model
    assert alone.decode is None
    one, two = score(alone, tmp_path / "test"), score(fitted.model, places[1])
    assert score(fitted.model, tmp_path / "test").measured.accuracy == one.measured.accuracy
    seen = np.isfinite(two.probabilities[:, 0])
    np.testing.assert_allclose(one.probabilities, two.probabilities[seen], atol=1e-4)
    assert "data:image/" not in one.page()
    with pytest.raises(UsageError, match="takes features"):
        score(alone, places[1])
    other = fit(ImageClassification(**{**SMALL, "codewords": 5}), walk([places[0]]))
    with pytest.raises(MismatchError, match="goes with features"):
        fit_classifier(tmp_path / "train", model=other)
    with pytest.raises(UsageError, match="settings are those of a recipe"):
        fit_classifier(tmp_path / "train", settings={"bits": 3})


@pytest.mark.parametrize("name", ["softmax", "averaged-sgd"])
def test_the_other_classifiers(name: str, features: Model, places: tuple[Path, Path]) -> None:
    found = fit_classifier(places[0], model=features, classifier=name)
    assert found.choice is None
    scored = score(found.model, places[1])
    assert scored.measured.accuracy > 0.8
    assert np.isfinite(scored.measured.log_loss)  # they are probabilities


def test_beyond_memory_it_learns_from_the_stream(
    features: Model, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMFEAT_FEATURES_IN_MEMORY", "1000")
    found = fit_classifier(places[0], model=features)
    assert found.model.provenance["classifier"] == "averaged-sgd"
    assert "from the stream" in " ".join(found.notes)
    monkeypatch.delenv("MMFEAT_FEATURES_IN_MEMORY")
    same = fit_classifier(places[0], model=features, classifier="averaged-sgd")
    assert same.model.sha256 == found.model.sha256


def test_c_and_settings_of_the_classifier(features: Model, places: tuple[Path, Path]) -> None:
    found = fit_classifier(places[0], model=features, c="3", settings={"classifier.class_weight": "balanced"})
    last = found.model.chain.stages[-1]
    assert (last.c, last.class_weight) == (3.0, "balanced")
    assert found.choice is not None
    assert len(found.choice.table) == 1
    for wrong, said in (({"c": "many"}, "C is auto"), ({"c": -1}, "C is auto"), ({"classifier": "tree"}, "one of"),
                        ({"classifier": "softmax", "c": 3}, "setting of linear-svm"),
                        ({"settings": {"classifier.c": 3}}, "given by --c")):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            fit_classifier(places[0], model=features, **wrong)
    assert issubclass(SettingsError, UsageError)


def test_odd_folders(features: Model, tmp_path: Path) -> None:
    single = folder(tmp_path / "single", {"across": 1, "along": 1})
    found = fit_classifier(single, model=features)
    assert "have a single example" in found.notes[0]
    assert "not calibrated" in found.notes[1]
    assert [*found.model.classes] == ["across", "along"]
    (single / "empty").mkdir()
    (single / "torn").mkdir()
    (single / "torn" / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    said = " ".join(fit_classifier(single, model=features).notes)
    assert "empty" in said
    assert "torn" in said
    shutil.rmtree(single / "along")
    with pytest.raises(DataError, match="'across' alone"):
        fit_classifier(single, model=features)
    (tmp_path / "flat").mkdir()
    picture("dots", 0).save(tmp_path / "flat" / "a.png")
    with pytest.raises(DataError, match="learns from labels"):
        fit_classifier(tmp_path / "flat", model=features)
    both = folder(tmp_path / "both" / "train", {"across": 1, "along": 1}).parent
    folder(both / "test", {"across": 1, "along": 1})
    with pytest.raises(UsageError, match="Name the folder train"):
        fit_classifier(both, model=features)


def test_a_file_that_is_cut_is_named(features: Model, tmp_path: Path) -> None:
    root = folder(tmp_path / "cut", {"across": 3, "along": 3})
    whole = (root / "along" / "00.png").read_bytes()
    (root / "along" / "cut.png").write_bytes(whole[: len(whole) // 2])
    found = fit_classifier(root, model=features)
    assert found.exit_code == 1
    assert [*found.failures] == ["along/cut.png"]
    assert found.done == 6
    counts = write_predictions(tmp_path / "p.csv", predict(found.model, root), found.model.classes)
    assert (counts.done, counts.failed) == (6, 1)


def test_tables_with_labels_and_splits(features: Model, tmp_path: Path) -> None:
    root = folder(tmp_path / "all", dict.fromkeys(KINDS, 6))
    lines = ["path,label,split"] + [
        f"{kind}/{number:02}.png,kind {kind},{'train' if number < 4 else 'test'}"
        for kind in KINDS
        for number in range(6)
    ]
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    found = fit_classifier(root / "table.csv", model=features)
    assert found.counts == {f"kind {kind}": 4 for kind in KINDS}
    assert "split 'train'" in found.notes[-1]
    scored = score(found.model, root / "table.csv")
    assert scored.measured.items == 6
    assert "split 'test'" in scored.notes[-1]
    with pytest.raises(UsageError, match="another --split"):
        score(found.model, root / "table.csv", split="val")
    (root / "l.csv").write_text("id,label\nacross/00.png,kind across\nalong/00.png,strange\nnowhere.png,kind dots\n")
    scored = score(found.model, root, labels=root / "l.csv")
    assert scored.measured.items == 1
    assert any("strange" in note for note in scored.notes)
    (root / "l.csv").write_text("id,label\nnowhere.png,kind dots\n")
    with pytest.raises(DataError, match="labels name the items"):
        score(found.model, root, labels=root / "l.csv")
    with pytest.raises(DataError, match="items of its classes"):
        score(found.model, root)


def test_a_model_without_classes_predicts_nothing(features: Model, places: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="without classes"):
        next(predict(features, places[1]))
    with pytest.raises(UsageError, match="without classes"):
        score(features, places[1])


def test_a_matrix_in_parts_is_read_like_one() -> None:
    random = np.random.default_rng(0)
    parts = [random.normal(size=(n, 3)).astype(kind) for n, kind in ((5, np.float32), (1, np.float16), (7, np.float32))]
    whole = np.concatenate([part.astype(np.float32) for part in parts])
    rows = np.array([12, 0, 5, 4, 5])
    matrix = Matrix(parts)
    np.testing.assert_array_equal(matrix.take(rows), whole[rows])
    np.testing.assert_array_equal(matrix.select(rows).take(np.array([3, 1])), whole[[4, 0]])
    np.testing.assert_array_equal(np.concatenate([block for _, block in matrix.blocks(4)]), whole)
    assert (len(matrix), matrix.width, matrix.nbytes) == (13, 3, 156)
