"""Protocols draw what their names promise: sizes, classes in equal numbers, no query in the database."""

from __future__ import annotations

import numpy as np
import pytest

from mmfeat.errors import DataError, UsageError
from mmfeat.evaluate.protocols import PROTOCOLS, protocol

CIFAR = np.arange(50_000) % 10, np.arange(10_000) % 10


@pytest.mark.parametrize(
    ("name", "queries", "database", "train"),
    [
        ("P1", 10_000, 50_000, 50_000),
        ("P2", 10_000, 50_000, 5_000),
        ("P3", 5_000, 50_000, 5_000),
        ("P4", 1_000, 59_000, 5_000),
        ("P5", 1_000, 59_000, 59_000),
        ("P6", 1_000, 59_000, 59_000),
    ],
)
def test_the_sizes_of_the_protocols_on_cifar(name, queries, database, train):
    split = protocol(name).split(*CIFAR, seed=3)
    assert tuple(map(len, split)) == (queries, database, train)
    assert len(np.unique(split.queries)) == queries
    assert not np.isin(split.queries, split.database).any()
    assert np.isin(split.train, split.database).all()
    labels = np.concatenate(CIFAR)
    if name in ("P2", "P4"):
        assert np.bincount(labels[split.queries]).tolist() == [queries // 10] * 10
    if train == 5_000:
        assert np.bincount(labels[split.train]).tolist() == [500] * 10
    if name in ("P1", "P3"):
        assert split.queries.min() >= 50_000  # of the test part
        assert split.database.max() < 50_000


def test_m1_asks_the_first_of_a_seeded_permutation():
    labels = np.zeros(60_000), np.zeros(10_000)
    split = protocol("m1").split(*labels, seed=7)
    np.testing.assert_array_equal(split.queries - 60_000, np.random.default_rng(7).permutation(10_000)[:1000])
    np.testing.assert_array_equal(split.database, np.arange(60_000))
    assert not np.array_equal(split.queries, protocol("M1").split(*labels, seed=8).queries)


@pytest.mark.parametrize(("name", "train", "test"), [("S1", 8_000, 2_000), ("C1", 1_500, 750)])
def test_the_subsets_ask_their_whole_test_part(name, train, test):
    split = protocol(name).split(np.zeros(train), np.zeros(test))
    np.testing.assert_array_equal(split.queries, np.arange(train, train + test))
    np.testing.assert_array_equal(split.train, np.arange(train))


def test_every_protocol_says_itself_in_a_sentence():
    for name, one in PROTOCOLS.items():
        assert one.name == name
        assert one.sentence.count(";") == 3 + bool(one.train)
        assert one.sentence.endswith(".")
    assert PROTOCOLS["P6"].ks == (5000,)
    assert PROTOCOLS["P2"].ks == ()


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match=r"M1 is for 60,000 \+ 10,000 images; got 50,000 \+ 10,000"):
        protocol("M1").split(*CIFAR)
    with pytest.raises(DataError, match="LOO is for data it brings itself"):
        protocol("LOO").split(*CIFAR)
    with pytest.raises(UsageError, match="P1, P2"):
        protocol("P9")
