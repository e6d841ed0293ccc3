"""`reproduce deep-autoencoder-mnist`, small, on digits of scikit-learn in the files of MNIST."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from mmfeat.pipelines.datasets import mnist
from mmfeat.pipelines.reproducing import find_experiment, reproduce
from mmfeat.progress import Progress


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    (tmp_path / "mnist").mkdir()
    held = load_digits()
    pixels = np.zeros((len(held.data), 28, 28), np.uint8)
    pixels[:, 6:22, 6:22] = np.kron(held.images * 15, np.ones((2, 2)))
    for part, rows in (("train", slice(0, 1500)), ("t10k", slice(1500, None))):
        for name, values in (("images-idx3", pixels[rows]), ("labels-idx1", held.target[rows].astype(np.uint8))):
            header = b"\0\0\x08" + bytes([values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (tmp_path / "mnist" / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes(), 1))
    return tmp_path


def test_every_row_is_there_and_pca_is_scikit_learns(digits: Path) -> None:
    settings = {
        "hidden": (24,),
        "code": 6,
        "passes": 60,
        "pretraining": 2,
        "tuning": 4,
        "bits": (16,),
        "bit_hidden": (32,),
    }
    experiment = find_experiment("deep-autoencoder-mnist", {**settings, "bit_passes": 4})
    rows = reproduce(experiment, digits, [0], Progress(quiet=True))
    found = {(row.row, row.metric): row for row in rows}
    assert list(found) == [
        ("PCA-6", "squared error"),
        ("784-24-6, from scratch", "squared error"),
        ("784-24-6, pretrained", "squared error"),
        ("784-24-6, not pretrained", "squared error"),
        ("16 bits", "squared error"),
        ("16 bits", "distinct codes"),
        ("16 bits", "largest skew of a bit"),
    ]
    train, test = (part.reshape(-1, 784) / 255.0 for part in (mnist(digits).train, mnist(digits).test))
    pca = PCA(6, svd_solver="full").fit(train)
    exact = np.square(test - pca.inverse_transform(pca.transform(test))).sum(1).mean()
    assert found["PCA-6", "squared error"].measured == pytest.approx(exact, rel=1e-4)
    nothing = np.square(test - train.mean(0)).sum(1).mean()
    assert found["784-24-6, from scratch", "squared error"].measured < nothing
    assert 1 < found["16 bits", "distinct codes"].measured <= 1500
    assert 0 <= found["16 bits", "largest skew of a bit"].measured < 0.5
    assert all(row.published is None for row in rows)  # another net than the paper's
    assert found["16 bits", "squared error"].n == 297
