"""Adding, replacing, removing, filtering, compacting, going back, dying, opening, searching in any order, against plain lists."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fixtures_faults import faults
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mmfeat.errors import UsageError
from mmfeat.indexes import create, open_index, rollback

Row = tuple[str, tuple, str]  # id, code, label

IDS = st.lists(st.sampled_from([f"ä/{i}.jpg" for i in range(12)]), min_size=1, max_size=6, unique=True)
SEEDS = st.integers(0, 2**20)
LABELS = ("cat", "dog", "o'hare")


class Machine(RuleBasedStateMachine):
    """`states`: the rows of every generation that is kept, by number. `kind` and `dim`: set by the classes below."""

    kind, dim = "binary-flat", 12

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda handle: None)
        self.patch.setenv("XDG_CACHE_HOME", os.devnull)
        self.folder = Path(tempfile.mkdtemp(prefix="mmfeat-machine-"))
        self.path = self.folder / "x.index"
        self.index = create(self.path, kind=self.kind, dim=self.dim)
        self.states: dict[int, list[Row]] = {1: []}
        self.equals: dict[int, int] = {}  # after a rollback: the generation that one equals

    def teardown(self) -> None:
        assert self.index.verify() == []
        self.patch.undo()
        shutil.rmtree(self.folder)

    @property
    def rows(self) -> list[Row]:
        return self.states[max(self.states)]

    def codes(self, count: int, seed: int) -> np.ndarray:
        """Few different ones: ties are common."""
        rng = np.random.default_rng(seed)
        if self.kind.startswith("float"):
            return rng.integers(-1, 2, (count, self.dim)).astype(np.float32)
        return rng.integers(0, 4, (count, 2), dtype=np.uint8)

    def become(self, rows: list[Row]) -> None:
        self.states[max(self.states) + 1] = rows

    def rows_of(self, ids: list[str], codes: np.ndarray, labels: list[str]) -> list[Row]:
        return [(one, tuple(code.tolist()), label) for one, code, label in zip(ids, codes, labels, strict=True)]

    def plan(self, ids: list[str], seed: int) -> tuple[dict, list[Row]]:
        """A change of everything at once, and the rows it leads to."""
        rng = np.random.default_rng(seed)
        codes, labels = self.codes(len(ids), seed), [LABELS[i] for i in rng.integers(0, 3, len(ids))]
        gone = [one for one, _, _ in self.rows if one not in ids and rng.random() < 0.3]
        rows = [row for row in self.rows if row[0] not in (*ids, *gone)] + self.rows_of(ids, codes, labels)
        return {"ids": ids, "codes": codes, "parts": pa.table({"label": labels}), "remove": gone}, rows

    @rule(ids=IDS, seed=SEEDS)
    def change(self, ids: list[str], seed: int) -> None:
        arguments, rows = self.plan(ids, seed)
        assert self.index.change(**arguments) == len(arguments["remove"])
        self.become(rows)

    @rule(ids=IDS, seed=SEEDS)
    def add(self, ids: list[str], seed: int) -> None:
        codes = self.codes(len(ids), seed)
        self.index.add(ids, codes, pa.table({"label": ["cat"] * len(ids)}))
        self.become([row for row in self.rows if row[0] not in ids] + self.rows_of(ids, codes, ["cat"] * len(ids)))

    @rule(ids=IDS)
    def remove(self, ids: list[str]) -> None:
        there = [one for one, _, _ in self.rows]
        if not set(ids) <= set(there):
            with pytest.raises(UsageError):
                self.index.remove(ids)
            return
        self.index.remove(ids)
        self.become([row for row in self.rows if row[0] not in ids])

    @rule(keep=st.integers(1, 4))
    def compact(self, keep: int) -> None:
        before = self.index.generation
        self.index.compact(keep)
        if self.index.generation > before:
            self.become(self.rows)
        kept = self.index.info_dict()["generations_kept"][0]
        self.states = {number: rows for number, rows in self.states.items() if number >= kept}

    @rule(back=st.integers(1, 5))
    def roll_back(self, back: int) -> None:
        held = max(self.states)
        number = held - back
        if number not in self.states:
            with pytest.raises(UsageError):
                rollback(self.path, number)
            return
        self.index = rollback(self.path, number)
        self.become(self.states[number])
        self.equals[held + 1] = self.equals.get(number, number)

    @rule()
    def roll_back_one_step(self) -> None:
        held = max(self.states)
        earlier = [number for number in self.states if number < self.equals.get(held, held)]
        useful = [
            number for number in earlier if self.states[number] or not self.states[held]
        ]  # never to what was empty
        if not useful:
            with pytest.raises(UsageError):
                rollback(self.path)
            return
        before = max(useful)
        self.index = rollback(self.path)
        self.become(self.states[before])
        self.equals[held + 1] = self.equals.get(before, before)

    @rule(ids=IDS, seed=SEEDS, at=st.integers(0, 40), how=st.sampled_from(["killed", "power", "torn", "full"]))
    def die(self, ids: list[str], seed: int, at: int, how: str) -> None:
        arguments, rows = self.plan(ids, seed)
        with faults(at, how, seed) as disk, contextlib.suppress(OSError):
            self.index.change(**arguments)
        self.index = open_index(self.path)
        if self.index.generation > max(self.states):
            self.become(rows)
        else:
            assert disk.dead

    @rule()
    def open(self) -> None:
        self.index.close()
        self.index = open_index(self.path)

    @precondition(lambda self: self.rows)
    @rule(seed=SEEDS, k=st.integers(1, 15), where=st.sampled_from([None, *LABELS]))
    def search(self, seed: int, k: int, where: str | None) -> None:
        query = self.codes(1, seed)
        may = [row for row in self.rows if where in (None, row[2])]
        condition = None if where is None else "label = '" + where.replace("'", "''") + "'"
        hits = self.index.search(query, k, where=condition)
        assert hits.row.shape == (1, min(k, len(may)))
        codes = np.array([row[1] for row in may], query.dtype).reshape(len(may), query.shape[1])
        if self.kind.startswith("float"):
            expected = np.sqrt(((codes - query) ** 2).sum(axis=1))
        else:
            expected = np.bitwise_count(codes ^ query).sum(axis=1)
        order = np.argsort(expected, kind="stable")[:k]
        assert self.index.ids_at(hits.row[0]) == [may[i][0] for i in order]
        np.testing.assert_allclose(hits.distance[0], expected[order], rtol=1e-6)

    @invariant()
    def holds(self) -> None:
        assert self.index.generation == max(self.states)
        ids = self.index.ids.to_pylist()
        assert ids == [row[0] for row in self.rows]
        numbers = [self.index.row_of(one) for one in ids]
        assert [tuple(code) for code in self.index.codes_at(numbers).tolist()] == [row[1] for row in self.rows]
        if ids:
            assert self.index.parts_at(numbers)["label"].to_pylist() == [row[2] for row in self.rows]


class Floats(Machine):
    kind, dim = "float-flat", 3


Machine.TestCase.settings = Floats.TestCase.settings = settings(
    max_examples=100 if os.environ.get("MMFEAT_CHECK_ALL") else 12, stateful_step_count=15
)
TestBits = Machine.TestCase
TestFloats = Floats.TestCase
