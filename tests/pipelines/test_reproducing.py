"""`mmfeat reproduce`: the data sets are read as they are, rows carry their run, pages are written from rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fixtures_command import run

from mmfeat import registry
from mmfeat.errors import DataError, UsageError
from mmfeat.evaluate.protocols import protocol
from mmfeat.evaluate.retrieval import same_label
from mmfeat.evaluate.rows import Finding, from_json
from mmfeat.learners.itq import itq_hash
from mmfeat.pipelines import datasets, reproducing
from mmfeat.pipelines.reproductions.codes import Columns, Task, Times, beside, learn, measure
from mmfeat.progress import Progress

QUIET = Progress(quiet=True)


@dataclass(frozen=True)
class Counting:
    """Counts.

    Twice.

    Cost: none.
    """

    start: int = 1

    def measure(self, data: Path, seed: int, report: Progress) -> Iterator[Finding]:
        for number in range(2):
            yield Finding(f"row {number}", "count", self.start + number + seed, n=7, protocol="P", data="D")


def test_rows_know_their_run() -> None:
    rows = reproducing.reproduce(Counting(5), Path(), [0], QUIET, settings=["start=5"])
    assert [(row.experiment, row.row, row.measured, row.seed) for row in rows] == [
        ("counting", "row 0", 5.0, (0,)),
        ("counting", "row 1", 6.0, (0,)),
    ]
    assert rows[0].command == "mmfeat reproduce counting --set start=5"
    assert rows[0].seconds is not None
    assert "cores" in rows[0].device


def test_seeds_are_run_and_joined() -> None:
    told: list[float] = []
    rows = reproducing.reproduce(Counting(), Path(), range(2, 5), QUIET, lambda row: told.append(row.measured))
    assert told == [3, 4, 4, 5, 5, 6]
    assert [(row.measured, row.interval, row.seed) for row in rows] == [
        (4.0, (3.0, 5.0), (2, 3, 4)),
        (5.0, (4.0, 6.0), (2, 3, 4)),
    ]
    assert rows[0].command == "mmfeat reproduce counting --seeds 3 --seed 2"


def test_seeds_are_added_to_those_that_were_run(tmp_path: Path) -> None:
    file = tmp_path / "counting.json"
    told: list[float] = []
    for count in (1, 2, 4):
        known = reproducing.known_rows(Counting(), file)
        rows = reproducing.reproduce(
            Counting(), Path(), range(count), QUIET, lambda row: told.append(row.measured), (), known
        )
        reproducing.write_rows(rows, file)
    assert told == [1, 2, 2, 3, 3, 4, 4, 5]
    whole = reproducing.reproduce(Counting(), Path(), range(4), QUIET)
    for added, at_once in zip(rows, whole, strict=True):
        assert (added.measured, added.interval, added.seed) == (at_once.measured, at_once.interval, at_once.seed)
        assert added.command == at_once.command
    file.write_text(file.read_text().replace("counting", "summing"))
    with pytest.raises(UsageError, match="summing"):
        reproducing.known_rows(Counting(), file)


@dataclass(frozen=True)
class Breaking(Counting):
    """Counts until it is stopped at a seed, after its first row."""

    stop: int = -1

    def measure(self, data: Path, seed: int, report: Progress) -> Iterator[Finding]:
        for finding in super().measure(data, seed, report):
            yield finding
            if seed == self.stop:
                raise KeyboardInterrupt


def test_an_interrupted_run_keeps_its_rows_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*more: str, stop: int = -1) -> tuple[int, str, str]:
        monkeypatch.setattr(registry, "reproductions", lambda: {"breaking": Breaking})
        settings = () if stop < 0 else ("--set", f"stop={stop}")
        words = ("reproduce", "breaking", "--data", tmp_path, "--json", tmp_path / "b.json", "--seeds", 3, "-q")
        return run(monkeypatch, capsys, *words, *settings, *more)

    part = tmp_path / "b.json.part"
    code, out, err = call(stop=2)
    assert (code, out.count("\n"), len(err.splitlines())) == (130, 5, 1)
    assert f"5 rows are kept in {part}" in err
    held = json.loads(part.read_text())
    assert [(row["seed"], row["row"]) for row in held["rows"]] == [
        ([seed], f"row {number}") for seed in range(3) for number in range(2)
    ][:5]
    assert held["finished_seeds"] == [0, 1]
    assert not (tmp_path / "b.json").exists()
    code, _, err = call("--add")
    assert (code, "stop=2" in err) == (2, True)  # rows of other settings are not mixed with these
    part.write_text(json.dumps({**held, "settings": []}))
    code, out, _ = call("--add")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("seed")] == [
        line for line in out.splitlines() if line.startswith("seed 2")
    ]
    assert not part.exists()
    rows = from_json((tmp_path / "b.json").read_text())
    whole = reproducing.reproduce(Breaking(), Path(), range(3), QUIET)
    for ours, at_once in zip(rows, whole, strict=True):
        assert (ours.measured, ours.interval, ours.seed, ours.command) == (
            (at_once.measured, at_once.interval, at_once.seed, at_once.command)
        )
    part.write_text("[]")
    assert call("--add")[0] == 3  # damaged
    assert call()[0] == 0  # begins anew


def test_a_page_is_written_from_the_files(tmp_path: Path) -> None:
    rows = reproducing.reproduce(reproducing.find_experiment("pca-mnist"), _digits(tmp_path), [0], QUIET)
    reproducing.write_rows(rows, tmp_path / "out" / "pca-mnist.json")
    assert from_json((tmp_path / "out" / "pca-mnist.json").read_text()) == rows
    reproducing.write_page(tmp_path / "out", tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "## pca-mnist" in text
    assert "Science 2006" in text
    assert "| PCA-2 | squared error ↓ |" in text
    assert "`mmfeat reproduce pca-mnist`" in text


def _digits(folder: Path) -> Path:
    """A folder like MNIST's with few made digits: their three components are known."""
    (folder / "mnist").mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", 300), ("t10k", 50)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = b"\0\0\x08" + bytes([values.ndim]) + np.array(values.shape, ">u4").tobytes()
            with gzip.open(folder / "mnist" / f"{part}-{name}-ubyte.gz", "wb") as file:
                file.write(header + values.tobytes())
    return folder


def test_idx_files_come_back_and_damaged_ones_are_named(tmp_path: Path) -> None:
    digits = datasets.mnist(_digits(tmp_path))
    assert digits.train.shape == (300, 28, 28, 1)
    assert np.array_equal(
        digits.train[..., 0], np.random.default_rng(0).integers(0, 256, (300, 28, 28), dtype=np.uint8)
    )
    assert digits.test_labels.tolist() == [i % 10 for i in range(50)]
    with gzip.open(tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz", "wb") as file:
        file.write(b"\0\0\x08\x01\0\0\0\x05ab")
    with pytest.raises(DataError, match="t10k-labels"):
        datasets.mnist(tmp_path)


def test_missing_data_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMFEAT_DATA", raising=False)
    with pytest.raises(UsageError, match="none named"):
        datasets.data_folder()
    with pytest.raises(DataError, match="mnist"):
        datasets.mnist(tmp_path)


def test_unknown_experiments_are_refused() -> None:
    with pytest.raises(UsageError, match="pca-mnist"):
        reproducing.find_experiment("pca-minst")


def test_pca_leaves_what_the_paper_prints(data_folder: Path) -> None:
    """Science 2006: 13.87 squared error a test digit with 30 components."""
    rows = reproducing.reproduce(reproducing.find_experiment("pca-mnist"), data_folder, [0], QUIET)
    measured = {row.row: row.measured for row in rows}
    assert measured["PCA-30"] == pytest.approx(13.87, abs=0.005)
    assert measured["PCA-2"] == pytest.approx(43.64, abs=0.01)


def test_the_page_in_the_docs_is_written_from_the_rows() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    held = [from_json(file.read_text(encoding="utf-8")) for file in sorted((docs / "reproductions").glob("*.json"))]
    assert reproducing.page(held) == (docs / "REPRODUCTIONS.md").read_text(encoding="utf-8")
    names = {rows[0].experiment for rows in held}
    assert names <= {registry.hyphens(name) for name in registry.reproductions()}


def test_the_shallow_codes_are_those_of_another_program() -> None:
    """mAP@all and @1000 of MNIST, measured once by a plain script with its own ITQ, spectral hashing and ranking."""
    known = {
        ("PCAH", 32): (0.245, 0.634),
        ("PCA-RR", 32): (0.364, 0.698),
        ("SH", 32): (0.263, 0.647),
        ("ITQ", 32): (0.430, 0.750),
        ("PCAH", 64): (0.212, 0.618),
        ("PCA-RR", 64): (0.382, 0.735),
        ("SH", 64): (0.249, 0.656),
        ("ITQ", 64): (0.453, 0.791),
    }
    docs = Path(__file__).resolve().parents[2] / "docs"
    rows = from_json((docs / "reproductions" / "hashing-mnist.json").read_text(encoding="utf-8"))
    found = {(row.row, row.metric): row.measured for row in rows}
    for (coder, bits), values in known.items():
        for metric, value in zip(("mAP@all", "mAP@1000"), values, strict=True):
            assert found[f"pixels + {coder}, {bits} bits", metric] == pytest.approx(value, abs=0.025), (
                coder,
                bits,
                metric,
            )


def test_codes_stand_on_features_that_are_learned_once() -> None:
    rng, labels = np.random.default_rng(0), np.arange(300) % 3
    train = (np.eye(3)[labels] @ rng.normal(size=(3, 16)) + 0.1 * rng.normal(size=(300, 16))).astype(np.float32)
    queries, measures = train[:20] + np.float32(0.01), ("mAP@all", "precision@10")
    task = Task(train, queries, same_label(labels[:20], labels), protocol("C1"), measures, "made", 0)
    twice, spent = learn(task, [Times(2.0)], QUIET, spent=7.0)
    assert spent > 7
    np.testing.assert_array_equal(twice.train, 2 * train)
    both = beside(task, twice, 3.0)
    np.testing.assert_allclose(both.queries, np.concatenate([3 * queries, 2 * queries], axis=1), rtol=1e-6)
    found = measure(
        twice, "x", [Columns(8)], {"ITQ": itq_hash}, (8,), QUIET, floats=True, product=True,
        further={"y": [Times(0.5)]}, spent=7.0,
    )  # fmt: skip
    rows = {(one.row, one.metric): one for one in found}
    names = ["x, 8 floats", "x + ITQ, 8 bits", "x + OPQ, 8 bits", "y, 8 floats", "y + ITQ, 8 bits"]
    assert list(rows) == [(name, measure) for name in names for measure in measures]
    assert all(one.seconds is not None and one.seconds > 7 for one in rows.values())
    assert rows["x, 8 floats", "mAP@all"].measured > 0.99  # three groups, far apart
    assert rows["x + ITQ, 8 bits", "mAP@all"].measured == rows["y + ITQ, 8 bits", "mAP@all"].measured > 0.9
