"""Single ids and single columns: what a plain query looks up, and what it does not have to import for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fixtures_index import make

from mmfeat.errors import UsageError
from mmfeat.indexes import create, open_index

AWKWARD = [
    "a.jpg",
    "b.jpg",
    "ab.jpg",
    "aa.jpg",
    "é.jpg",
    "a",
    "jpg",
    ".jpg",
    "x/a.jpg",
    "日本/二.jpg",
    "a.jpg ",
    "a.jpG",
]


def test_one_id_is_found_as_a_list_finds_it(tmp_path: Path) -> None:
    index = create(tmp_path / "x.index", dim=8)
    for some in (AWKWARD[:7], AWKWARD[7:]):  # two segments
        index.add(some, np.zeros((len(some), 1), np.uint8))
    for name in [*AWKWARD, "nowhere.jpg", "", "b", "aé.jpg", "\udcff.jpg"]:
        assert index.snapshot.row_named(name) == (AWKWARD.index(name) if name in AWKWARD else -1), name


def test_one_id_among_many_of_one_width(tmp_path: Path) -> None:
    index = create(tmp_path / "x.index", dim=8)
    index.add([f"{number:05}.jpg" for number in range(3000)], np.zeros((3000, 1), np.uint8))
    assert [index.snapshot.row_named(f"{number:05}.jpg") for number in range(0, 3000, 50)] == list(range(0, 3000, 50))
    assert index.snapshot.row_named("03000.jpg") == -1


def test_a_replaced_id_is_where_it_lives_and_a_removed_one_nowhere(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")  # f/1.jpg was added twice, f/2.jpg removed
    assert [index.snapshot.row_named(f"f/{number}.jpg") for number in range(4)] == [0, 10, -1, 3]
    assert index.row_of("f/1.jpg") == 10
    with pytest.raises(UsageError, match=r"f/2\.jpg"):
        index.row_of("f/2.jpg")


def test_no_rows_and_empty_ids(tmp_path: Path) -> None:
    index = create(tmp_path / "x.index", dim=8)
    assert index.snapshot.row_named("a") == -1
    index.add([""], np.zeros((1, 1), np.uint8))
    assert (index.snapshot.row_named(""), index.snapshot.row_named("a")) == (0, -1)


def test_values_of_one_column(tmp_path: Path) -> None:
    snapshot = make(tmp_path / "x.index").snapshot
    assert snapshot.values_at("w", [11, 3, 10, 0]) == [None, 3, None, 0]
    assert snapshot.values_at("t0", np.array([11, 3])) == [1.5, None]
    assert snapshot.values_at("nothing", [0]) == [None]
    assert snapshot.values_at("id", []) == []


def test_dictionaries_come_back_as_text(tmp_path: Path) -> None:
    index = create(tmp_path / "x.index", dim=8)
    labels = pa.array(["cat", "dog", "cat"]).dictionary_encode()
    index.add(["a", "b", "c"], np.zeros((3, 1), np.uint8), pa.table({"label": labels}))
    again = open_index(index.path)
    assert again.snapshot.values_at("label", [2, 1]) == ["cat", "dog"]
    assert again.parts_at([1]).to_pylist() == [{"id": "b", "label": "dog"}]


@pytest.mark.parametrize("query", ["'b'", "np.ones(1, np.uint8)", "sys.argv[1]"], ids=["id", "code", "file"])
def test_a_query_by_id_or_vector_imports_little(tmp_path: Path, query: str) -> None:
    """Arrow's functions, its data sets, pandas (which Arrow imports where it is) and masked arrays take 0.05 to 0.4 s."""
    index = create(tmp_path / "x.index", dim=8)
    index.add(["a", "b"], np.array([[0], [1]], np.uint8), pa.table({"label": ["cat", None]}))
    np.save(tmp_path / "q.npy", np.ones((1, 1), np.uint8))
    code = (
        "import sys, numpy as np, mmfeat.pipelines.searching as s; "
        f"print(s.open({str(index.path)!r}).search({query})[0].neighbours[1].label); "
        "names = 'pyarrow.compute', 'pyarrow.dataset', 'pandas', 'dateutil', 'numpy.ma', 'jax', 'scipy', 'PIL'; "
        "print([name for name in names if name in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "q.npy")], capture_output=True, text=True, check=True, env=env
    ).stdout
    assert told.split("\n")[:2] == ["cat", "[]"]
