"""The choice of a type: what is measured is true, and the rule of the choice holds for every table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from fixtures_command import run
from hypothesis import given
from hypothesis import strategies as st

from mmfeat.errors import DataError, UsageError
from mmfeat.indexes import create, open_index, structures
from mmfeat.indexes import search as searching
from mmfeat.pipelines.choosing import Contender, choose, contenders, fewest, measure_kinds


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structures, "LEAST", 300)
    monkeypatch.setattr(searching, "FEW", 100)


def clusters(count: int, dim: int = 16) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(20, dim))[rng.integers(0, 20, count)] + 0.3 * rng.normal(size=(count, dim))).astype(
        np.float32
    )


@pytest.mark.usefixtures("small")
def test_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clusters(1200)
    found = measure_kinds(vectors, sizes=(2, 4), sample=1100, queries=100)
    by_kind = {one.kind: one for one in found.table}
    assert (found.rows, found.queries) == (1100, 100)
    assert by_kind["float-flat"].recall == by_kind["float-flat"].reranked == 1
    assert [by_kind[kind].bytes for kind in ("float-flat", "float:SQ8", "float:PQ4", "float:LSH16t")] == [64, 16, 4, 2]
    assert by_kind["float:PQ4"].recall > by_kind["float:PQ2"].recall
    assert all(one.reranked >= one.recall - 1e-9 for one in found.table)
    # Signs cut at medians, by NumPy: recall@10 of the float neighbours, ties by rows.
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(1200)[:1200])
    mixed = vectors[rows][rng.permutation(1200)]
    asked, held = mixed[:100], mixed[100:]
    near = ((asked[:, None] - held) ** 2).sum(axis=2)
    cut = np.median(held, axis=0)
    bits = ((asked > cut)[:, None] != (held > cut)).sum(axis=2)
    shares = [
        len(set(np.argsort(d)[:10]) & set(np.argsort(b, kind="stable")[:10])) / 10
        for d, b in zip(near, bits, strict=True)
    ]
    assert abs(by_kind["float:LSH16t"].recall - np.mean(shares)) < 0.05  # FAISS breaks ties in another order


tables = st.lists(
    st.builds(
        Contender,
        st.just("x"), st.sampled_from(["float-flat", "float:PQ8", "float:LSH64t"]),
        st.sampled_from([8, 16, 32, 64]), st.floats(0, 1), st.floats(0, 1),
        st.floats(1, 1e5), st.just(0),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@given(tables, st.sampled_from([None, 8, 20, 64]), st.floats(0, 1))
def test_the_choice_is_never_far_below_the_best_of_its_size(
    table: list[Contender], size: int | None, recall: float
) -> None:
    if size is not None and min(one.bytes for one in table) > size:
        with pytest.raises(UsageError, match="smallest code"):
            choose(table, size)
        return
    chosen = choose(table, size, recall)
    rivals = [one for one in table if one.bytes <= max(chosen.bytes, size or 0)]
    best = max(one.recall for one in rivals)
    assert chosen.recall >= best - 0.02
    slower = [dataclasses.replace(one, queries_per_s=1 + one.queries_per_s / 7) for one in table]
    assert dataclasses.replace(choose(slower, size, recall), queries_per_s=0) == dataclasses.replace(
        chosen, queries_per_s=0
    )
    if size is None and max(one.recall for one in table) >= recall:
        smaller = [one for one in table if one.bytes < chosen.bytes]
        assert all(one.recall < recall or one.recall >= best - 0.02 for one in smaller) or not smaller


def test_of_those_alike_bits_come_first_then_the_fewest_bytes() -> None:
    """Whatever the clock says: the float scan is measured as the quickest here."""
    floats = Contender("float", "float-flat", 64, 1.0, 1.0, 9e9, 0)
    small = Contender("SQ8", "float:SQ8", 16, 0.99, 1.0, 1.0, 0)
    product, random = (
        Contender("PQ", "float:PQ8", 8, 0.9, 1.0, 5.0, 8),
        Contender("r", "float:LSH64r", 8, 0.89, 1.0, 2.0, 8),
    )
    assert choose([floats, small, product, random], recall=0.95) is small
    assert choose([floats, small, product, random], recall=0.9) is random
    assert choose([floats, product], size=64) is floats


def test_types_are_measured_as_they_are_and_not_by_a_scan() -> None:
    """A search scans few rows whatever the type: measured on these, eight random bits would keep every neighbour."""
    found = measure_kinds(clusters(fewest(30), 8), sizes=(1,), sample=10_000, queries=30)
    assert next(one for one in found.table if one.kind == "float:LSH8r").recall < 0.5


def test_contenders_are_types_that_can_be_made() -> None:
    from mmfeat.indexes.kinds import find_kind
    from mmfeat.indexes.structures import check_kind

    for dim in (16, 50, 64, 128, 384):
        for _, kind, _ in contenders(dim):
            check_kind(find_kind(kind)[0], dim, "l2")
        assert len({kind for _, kind, _ in contenders(dim)}) == len(contenders(dim))


def test_too_few_vectors_and_bits_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 4,397 vectors; got 3"):
        measure_kinds(np.zeros((3, 4), np.float32))
    with pytest.raises(DataError, match="at least 4,397 vectors; got 1,300"):
        measure_kinds(np.zeros((9000, 4), np.float32), sample=1000)
    create(tmp_path / "b", dim=8)
    from mmfeat.pipelines.choosing_data import read_vectors

    with pytest.raises(UsageError, match="types are compared on floats"):
        read_vectors(tmp_path / "b")


@pytest.mark.usefixtures("small")
def test_the_command_prints_the_table_and_builds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.save(tmp_path / "v.npy", clusters(1100, 8))
    words = ("index", "choose", tmp_path / "v.npy", "-q", "--bytes", 4)
    code, out, _ = run(monkeypatch, capsys, *words, "-o", tmp_path / "i")
    assert code == 0
    marked = [line for line in out.splitlines() if line.startswith("* ")]
    assert len(marked) == 1
    index = open_index(tmp_path / "i")
    assert index.kind in marked[0]
    assert len(index) == 1100
    assert index.search(clusters(1100, 8)[:5], 1).row[:, 0].tolist() == [0, 1, 2, 3, 4]
    code, out, _ = run(monkeypatch, capsys, "index", "choose", tmp_path / "i", "-q", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["chosen"] in {one["kind"] for one in said["table"]}
    assert {field.name for field in dataclasses.fields(Contender)} == set(said["table"][0])
