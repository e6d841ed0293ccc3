"""Protocols: which queries are asked of which database, what counts as right, and what is reported.

The same codes score 0.44 or 0.77 (ITQ, 32 bits, MNIST), depending on the protocol alone, so every result carries its
protocol's name and sentence.

P1 to P6 are those in use on CIFAR-10, told apart by what released code and tables do:

    P1  DeepBit, GreedyHash (unsupervised), BiHalf (I)      P4  most supervised papers
    P2  BiHalf (II)                                         P5  ITQ's toolbox: neighbours in space, no labels
    P3  CIBHash                                             P6  tables in the tradition of CNNH, "within the top 5000"

M1, S1 and C1 are those of this project; LOO is leave-one-out on any labelled index, GIVEN is a folder of queries.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, NamedTuple

import numpy as np

from mmfeat.errors import DataError, UsageError

__all__ = ["PROTOCOLS", "Protocol", "Split", "protocol"]


class Split(NamedTuple):
    """Rows of the training part followed by the test part: (q,), (n,) and (t,) int64, sorted but for the queries of a draw."""

    queries: np.ndarray
    database: np.ndarray
    train: np.ndarray


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A named way of measuring retrieval.

    queries, database, relevance, train: in words; train is what codes may learn from, without labels.
    measures: the names of what is reported, as in `RetrievalScores.values`.
    data: the data set and sizes, the images of its training and test part that it fits; None: any.
    asked: how many queries are drawn; each_class: so many of each class; pool: from the test part or from all.
    rest: the database is all that is no query; otherwise the training part.
    taught: images a class that codes learn from; None: the whole database.
    """

    name: str
    queries: str
    database: str
    measures: tuple[str, ...]
    relevance: str = "items of the query's label"
    train: str = "the whole database"
    data: str = ""
    sizes: tuple[int, int] | None = None
    asked: int | None = None
    each_class: bool = False
    pool: str = "test"
    rest: bool = False
    taught: int | None = None

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        data = f"{self.data}: " if self.data else ""
        taught = f"codes learn from {self.train}, without labels; " if self.train else ""
        text = (
            f"{data}{self.queries} asked of {self.database}; relevant are {self.relevance}; {', '.join(self.measures)}; "
            f"{taught}ties averaged over all orders, a query without a hit counts 0."
        )
        return text[0].upper() + text[1:]

    @property
    def ks(self) -> tuple[int, ...]:
        """The cuts its measures name.

        >>> PROTOCOLS["M1"].ks
        (1000, 5000)
        """
        return tuple(sorted({int(k) for name in self.measures for k in re.findall(r"@(\d+)$", name)}))

    def fits(self, train: int, test: int) -> bool:
        """Whether a data set of so many training and test images is the one it is made for."""
        return self.sizes == (train, test)

    def split(self, train_labels: np.ndarray, test_labels: np.ndarray, seed: int = 0) -> Split:
        """Draw the queries, the database and the rows to learn from.

        train_labels (n,), test_labels (m,): the labels of the two parts; they only keep classes in equal numbers.
        DataError: the data set has other sizes than the protocol is made for.
        """
        sizes = len(train_labels), len(test_labels)
        if not self.fits(*sizes):
            wanted = "data it brings itself" if self.sizes is None else f"{self.sizes[0]:,} + {self.sizes[1]:,} images"
            raise DataError(f"{self.name} is for {wanted}", f"{sizes[0]:,} + {sizes[1]:,}", "use another protocol")
        labels = np.concatenate([train_labels, test_labels])
        pool = np.arange(sizes[0] if self.pool == "test" else 0, len(labels))
        rng = np.random.default_rng(seed)
        queries = pool
        if self.asked is not None:
            order = rng.permutation(len(pool))
            queries = pool[_each(labels[pool], order, self.asked) if self.each_class else order[: self.asked]]
        database = np.setdiff1d(np.arange(len(labels)), queries) if self.rest else np.arange(sizes[0])
        train = database
        if self.taught is not None:
            train = database[np.sort(_each(labels[database], rng.permutation(len(database)), self.taught))]
        return Split(queries, database, train)


def protocol(name: str) -> Protocol:
    """A protocol by its name, in any case. UsageError: there is none."""
    if name.upper() not in PROTOCOLS:
        raise UsageError(f"a protocol is one of {', '.join(PROTOCOLS)}", repr(name), "choose one of them")
    return PROTOCOLS[name.upper()]


def _each(labels: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """The first `count` of each class in the given order of rows."""
    return np.concatenate([order[labels[order] == label][:count] for label in np.unique(labels)])


_CIFAR: dict[str, Any] = {"data": "CIFAR-10", "sizes": (50_000, 10_000)}
_5000 = "5,000 images of the database, 500 a class"
PROTOCOLS = {
    each.name: each
    for each in (
        Protocol("P1", "all 10,000 test images", "the 50,000 training images", ("mAP@1000",), **_CIFAR),
        Protocol(
            "P2", "10,000 images, 1,000 a class,", "the other 50,000", ("mAP@all",), train=_5000, asked=1000,
            each_class=True, pool="all", rest=True, taught=500, **_CIFAR,
        ),
        Protocol(
            "P3", "5,000 of the test images", "the 50,000 training images", ("mAP@1000",), train=_5000, asked=5000,
            taught=500, **_CIFAR,
        ),
        Protocol(
            "P4", "1,000 images, 100 a class,", "the other 59,000", ("mAP@all", "mAP@5000"), train=_5000, asked=100,
            each_class=True, pool="all", rest=True, taught=500, **_CIFAR,
        ),
        Protocol(
            "P5", "1,000 images", "the other 59,000", ("mAP@all",), asked=1000, pool="all", rest=True,
            relevance="items nearer in the space of the floats than the 50th neighbour is on average", **_CIFAR,
        ),
        Protocol("P6", "1,000 images", "the other 59,000", ("mAP@5000",), asked=1000, pool="all", rest=True, **_CIFAR),
        Protocol(
            "M1", "1,000 seeded test images", "the 60,000 training images",
            ("mAP@all", "mAP@1000", "mAP@5000", "precision within radius 2"),
            data="MNIST", sizes=(60_000, 10_000), asked=1000,
        ),
        Protocol(
            "S1", "all 2,000 test images", "the 8,000 training images", ("mAP@all", "mAP@1000", "precision@100"),
            data="CIFAR-10 subset", sizes=(8_000, 2_000),
        ),
        Protocol(
            "C1", "all 750 test images", "the 1,500 training images", ("mAP@all", "mAP@100", "precision@10"),
            data="Caltech-101 subset of 50 classes", sizes=(1_500, 750),
        ),
        Protocol("LOO", "items of the index", "all its other labelled items", ("mAP@all", "mAP@k", "precision@k"), train=""),
        Protocol(
            "GIVEN", "labelled pictures of a folder", "the labelled items of the index", ("mAP@all", "mAP@k"), train="",
        ),
    )
}  # fmt: skip
