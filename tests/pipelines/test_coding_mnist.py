"""`reproduce coding-mnist`, small, on digits of scikit-learn in the files of MNIST."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.svm import LinearSVC

from mmfeat.pipelines.datasets import mnist
from mmfeat.pipelines.reproducing import find_experiment, reproduce
from mmfeat.pipelines.reproductions.coding_mnist import CodingMnist, digits
from mmfeat.progress import Progress

SMALL = {
    "atoms": 60,
    "anchors": 80,
    "tangents": 6,
    "components": 20,
    "words": 8,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "mnist").mkdir()
    held = load_digits()
    pixels = np.zeros((len(held.data), 28, 28), np.uint8)
    pixels[:, 6:22, 6:22] = np.kron(held.images * 15, np.ones((2, 2)))
    for part, rows in (("train", slice(0, 400)), ("t10k", slice(400, 600))):
        for name, values in (("images-idx3", pixels[rows]), ("labels-idx1", held.target[rows].astype(np.uint8))):
            header = b"\0\0\x08" + bytes([values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (tmp_path / "mnist" / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes(), 1))
    return tmp_path


def test_every_coding_stands_beside_what_was_published() -> None:
    experiment = CodingMnist()
    beside = {name: published for name, (_, _, published) in experiment.whole().items()}
    assert beside == {"sparse coding": 2.10, "LCC": 1.90, "extended LCC": 1.64}
    assert {published for _, _, published in experiment.pooled().values()} == {0.98}


def test_codes_of_patches_that_are_pooled_beat_pixels(data: Path) -> None:
    settings = {**SMALL, "only": ("extended LCC", "soft threshold")}
    rows = reproduce(find_experiment("coding-mnist", settings), data, [0], Progress(quiet=True))
    found = {row.row: row for row in rows}
    assert list(found) == [
        "whole digits, extended LCC, 560 dimensions",
        "patches pooled, soft threshold, 256 dimensions",
    ]
    assert [row.published for row in rows] == [1.64, 0.98]
    assert all(row.metric == "error %" and row.better == "lower" and row.n == 200 for row in rows)
    assert all(row.interval is not None and row.interval[0] <= row.measured <= row.interval[1] for row in rows)
    held = mnist(data)
    train, test = (part.reshape(len(part), -1) / 255.0 for part in (held.train, held.test))
    pixels = 100 * (1 - LinearSVC(C=0.1).fit(train, held.train_labels).score(test, held.test_labels))
    assert rows[1].measured < pixels
    assert rows[0].measured < 30  # nine of ten, if it had learned nothing


def test_digits_have_black_borders(data: Path) -> None:
    plain, padded = digits(data), digits(data, 2)
    assert padded.train.pixels.shape == (400, 32, 32, 1)
    np.testing.assert_array_equal(padded.test.pixels[:, 2:-2, 2:-2], plain.test.pixels)
    assert padded.test.pixels.sum() == plain.test.pixels.sum()
