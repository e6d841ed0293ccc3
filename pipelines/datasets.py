"""The data sets of the experiments, as arrays: read from the folder that MMFEAT_DATA or `--data` names.

Nothing is downloaded and nothing comes along with mmfeat. A folder holds `mnist/` (the four gzipped idx files), `cifar10/`
(`cifar10_subset.npz`) and `caltech101/` (`train/` and `test/` with one sub-folder a category).
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmfeat.errors import DataError, UsageError

__all__ = ["Folders", "Pictures", "caltech101", "cifar10", "data_folder", "mnist"]


class Pictures(NamedTuple):
    """A data set in two parts.

    train (n, h, w, c) uint8, train_labels (n,) int32; test and test_labels likewise; about: its name and its sizes, in words.
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    about: str


class Folders(NamedTuple):
    """A data set in two folders of pictures, labelled by their sub-folders."""

    train: Path
    test: Path
    about: str


def data_folder(given: Path | None = None) -> Path:
    """The folder of data sets: the one given, or MMFEAT_DATA. UsageError where there is none."""
    named = given or os.environ.get("MMFEAT_DATA")
    folder = Path(named) if named else None
    if folder is None or not folder.is_dir():
        raise UsageError(
            "experiments read their data from a folder of data sets",
            "none named" if folder is None else f"{folder} is no folder",
            "give --data FOLDER, or set MMFEAT_DATA; docs/REPRODUCTIONS.md says what lies in it",
        )
    return folder


def mnist(data: Path) -> Pictures:
    """MNIST, complete: 60,000 and 10,000 digits of 28 x 28, white on black, c = 1."""
    train, test = (_idx(_file(data, f"mnist/{part}-images-idx3-ubyte.gz")) for part in ("train", "t10k"))
    labels = [_idx(_file(data, f"mnist/{part}-labels-idx1-ubyte.gz")) for part in ("train", "t10k")]
    return Pictures(
        train[..., None], labels[0].astype(np.int32), test[..., None], labels[1].astype(np.int32),
        f"MNIST, {len(train):,} training and {len(test):,} test digits",
    )  # fmt: skip


def cifar10(data: Path) -> Pictures:
    """The CIFAR-10 subset: 8,000 and 2,000 photographs of 32 x 32, c = 3, balanced over 10 classes."""
    with np.load(_file(data, "cifar10/cifar10_subset.npz"), allow_pickle=False) as held:
        train, test = held["x_train"], held["x_test"]
        labels = held["y_train"].astype(np.int32), held["y_test"].astype(np.int32)
    return Pictures(
        train, labels[0], test, labels[1], f"a CIFAR-10 subset, {len(train):,} training and {len(test):,} test pictures"
    )


def caltech101(data: Path) -> Folders:
    """The Caltech-101 subset: 50 categories, 30 training and 15 test photographs each."""
    root = _file(data, "caltech101")
    return Folders(
        root / "train", root / "test", "a Caltech-101 subset, 50 categories of 30 training and 15 test photographs"
    )


def _file(data: Path, name: str) -> Path:
    path = data / name
    if not path.exists():
        raise DataError("the folder of data sets holds what the experiment reads", f"no {path}", "put it there")
    return path


def _idx(path: Path) -> np.ndarray:
    """The array of an idx file: two zero bytes, the type (8: uint8), the number of axes, their lengths big-endian, the data."""
    with gzip.open(path) as file:
        content = file.read()
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4).astype(int)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if content[:3] != b"\0\0\x08" or values.size != np.prod(shape):
        raise DataError("an idx file holds bytes in the shape it says", str(path), "fetch the file again")
    return values.reshape(shape)
