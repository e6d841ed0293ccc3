"""Conditions on columns, against SQLite's answers on the same rows; and what is said of texts that are none."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfeat.errors import UsageError
from mmfeat.indexes import create, open_index, structures
from mmfeat.indexes import search as searching
from mmfeat.indexes.filters import evaluate, parse
from mmfeat.indexes.structures import Effort

ROWS = 60
rng = np.random.default_rng(0)
LABELS = ["cat", "dog's", "", "Cat", "a_b%", None]
TABLE = pa.table(
    {
        "label": [LABELS[i] for i in rng.integers(0, len(LABELS), ROWS)],
        "w": pa.array([None if i == 5 else int(i) for i in rng.integers(-3, 6, ROWS)], pa.int32()),
        "t": pa.array([None if i == 5 else i / 2 for i in rng.integers(-3, 6, ROWS)], pa.float64()),
        "two words": [str(i) for i in rng.integers(0, 3, ROWS)],
    }
)


def by_sqlite(text: str) -> list[bool]:
    base = sqlite3.connect(":memory:")
    base.execute("pragma case_sensitive_like = on")
    base.execute('create table t(n integer, label text, w integer, t real, "two words" text)')
    columns = [TABLE[name].to_pylist() for name in TABLE.column_names]
    base.executemany("insert into t values (?, ?, ?, ?, ?)", list(zip(range(ROWS), *columns, strict=True)))
    rows = {row[0] for row in base.execute(f"select n from t where {text}")}
    return [n in rows for n in range(ROWS)]


def ours(text: str) -> list[bool]:
    columns = {name: TABLE[name] for name in TABLE.column_names}
    return evaluate(text, parse(text), columns, ROWS).tolist()


texts = st.sampled_from(["'cat'", "'Cat'", "'dog''s'", "''", "'zebra'", '"two words"', "label"])
numbers = st.sampled_from(["w", "t", "0", "-1", "2", "0.5", "-1.5", "1e0", "w"])
signs = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "<>"])
simple = st.one_of(
    st.builds("label {} {}".format, signs, texts),
    st.builds("{} {} {}".format, numbers, signs, numbers),
    st.builds("label {} ({}, {})".format, st.sampled_from(["in", "NOT IN"]), texts, texts),
    st.builds("w {} ({})".format, st.sampled_from(["in", "not in"]), st.sampled_from(["1", "1, 2, 3", "-3, 4, w"])),
    st.builds("label {} {}".format, st.sampled_from(["like", "not like"]), st.sampled_from(["'c%'", "'_at'", "'%'"])),
    st.builds("{} is {}null".format, st.sampled_from(["label", "w", "t"]), st.sampled_from(["", "not "])),
)
conditions = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds("{} and {}".format, inner, inner),
        st.builds("{} or {}".format, inner, inner),
        st.builds("({})".format, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=6,
)


@given(conditions)
def test_a_condition_means_what_sqlite_says(text: str) -> None:
    assert ours(text) == by_sqlite(text)


@pytest.mark.parametrize(
    ("text", "place", "wanted"),
    [
        ("label = 'a' and", 16, "a column or a value"),
        ("label 'a'", 7, "=, !="),
        ("(label = 'a'", 13, ")"),
        ("label = 'a' or or w = 1", 16, "a column or a value"),
        ("label = 'unended", 9, "a column, a value or a comparison"),
        ("w in 3", 6, "("),
        ("label like w", 12, "a pattern"),
        ("w is 3", 6, "null"),
        ("w = 1; drop table t", 6, "a column, a value or a comparison"),
        ("w = 1 w = 2", 7, "and, or, or the end"),
        ("__import__('os').system('x') = 1", 17, "a column, a value or a comparison"),
        ("(" * 150 + "w = 1" + ")" * 150, 101, "at most 100"),
    ],
)
def test_a_text_that_is_no_condition_is_pointed_into(text: str, place: int, wanted: str) -> None:
    with pytest.raises(UsageError, match=f"at character {place} it needs") as error:
        parse(text)
    assert wanted in error.value.rule


def test_text_and_numbers_are_not_compared() -> None:
    for text in ("label > 3", "w = 'cat'", "w like 'a%'"):
        with pytest.raises(UsageError, match="two values of one kind"):
            ours(text)


def test_an_index_is_filtered_by_parts_and_items(tmp_path: Path) -> None:
    codes = np.arange(40, dtype=np.uint8)[:, None]
    index = create(tmp_path / "i", dim=8)
    names = [f"f{i:02}.jpg#xywh=0,0,{i},1" for i in range(40)]
    index.add(names[:20], codes[:20], pa.table({"label": ["a", "b"] * 10}))
    index.add(names[20:], codes[20:])  # has no label at all
    table = pa.table({"id": [f"f{i:02}.jpg" for i in range(40)], "bytes": list(range(40))})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    index.attach({"items.parquet": sink.getvalue().to_pybytes()})
    index.remove(names[:2])
    index = open_index(index.path)

    def found(where: str, **more: object) -> set[int]:
        return set(index.search(codes[:1], 40, where=where, **more).row[0].tolist())  # type: ignore[arg-type]

    assert found("label = 'a'") == set(range(2, 20, 2))
    assert found("label is null") == set(range(20, 40))
    assert found("bytes >= 10 and label = 'b'") == set(range(11, 20, 2))
    assert found("label = 'b'", allow=names[:8]) == {3, 5, 7}
    assert found("id like 'f3%'") == set(range(30, 40))
    assert found("label = 'nobody'") == set()
    assert index.within(codes[:1], 8, where="bytes < 5").row.tolist() == [2, 4, 3]  # 1, 1 and 2 bits from 0
    assert index.search_together(codes[[4, 8]], 3, where="label = 'a'").row.tolist() == [[4, 8, 12]]
    with pytest.raises(UsageError, match="columns of the index: id, label, bytes"):
        found("colour = 'red'")
    with pytest.raises(UsageError, match="a condition is a text"):
        found("  ")


def test_rows_and_pages_are_items_and_crops_are_parts_of_one(tmp_path: Path) -> None:
    names = ["x.npy#row=0", "x.npy#row=1", "book.tif#page=0", "book.tif#page=1", "a.jpg#xywh=0,0,4,4", "gone.jpg"]
    index = create(tmp_path / "i", dim=8)
    index.add(names, np.arange(6, dtype=np.uint8)[:, None])
    known = [*names[:4], "a.jpg", "book.tif"]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": known, "bytes": [10, 11, 20, 21, 30, 99]}), sink)
    index.attach({"items.parquet": sink.getvalue().to_pybytes()})
    for where, rows in (
        ("bytes = 11", [1]),
        ("bytes < 20", [0, 1]),
        ("bytes >= 21", [3, 4]),  # a page has its own bytes, a crop those of its file
        ("bytes is null", [5]),
    ):
        assert sorted(index.search(np.zeros((1, 1), np.uint8), 6, where=where).row[0].tolist()) == rows, where


@pytest.mark.parametrize("kind", ["binary-flat", "binary-ivf"])
def test_a_remembered_condition_answers_as_a_mask(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a condition may be copied together to be scanned again: the same rows, distances and order come out."""
    monkeypatch.setattr(structures, "LEAST", 300)
    monkeypatch.setattr(searching, "FEW", 100)
    draw = np.random.default_rng(3)
    codes, label = draw.integers(0, 256, (1200, 2), dtype=np.uint8), draw.integers(0, 4, 1200)
    index = create(tmp_path / "i", kind=kind, dim=16)
    for part in (slice(0, 700), slice(700, 1200)):
        names = [f"n{i}" for i in range(part.start, part.stop)]
        index.add(names, codes[part], pa.table({"label": label[part]}))
    index.remove([f"n{i}" for i in range(0, 1200, 7)])
    alive = np.arange(1200) % 7 > 0
    for where, mask in (("label = 1", label == 1), ("label < 3", label < 3), ("label = 9", label == 9)):
        may = np.flatnonzero(mask & alive)
        for asked in (codes[:1], codes[:30]):
            for _ in range(2):
                hits = index.search(asked, 8, where=where, effort=Effort(exact=True))
                full = np.bitwise_count(asked[:, None] ^ codes[may]).sum(axis=2)
                order = np.argsort(full, axis=1, kind="stable")[:, :8]
                np.testing.assert_array_equal(hits.row, may[order])
                np.testing.assert_array_equal(hits.distance, np.take_along_axis(full, order, axis=1))
                rough = index.search(asked, 8, where=where)
                assert rough.row.shape == hits.row.shape
                assert np.isin(rough.row, may).all()
