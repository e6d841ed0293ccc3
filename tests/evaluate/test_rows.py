"""Rows of experiments: the keys every reader relies on, joining of seeds, the Markdown table."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mmfeat.errors import DataError
from mmfeat.evaluate.rows import Finding, Row, as_json, from_json, join_seeds, markdown

KEYS = [
    *("experiment", "row", "metric", "better", "published", "measured", "interval"),
    *("n", "seed", "protocol", "data", "seconds", "device", "command"),
]
ROW = Row(
    "codes", "itq 32", "mAP@all", "higher", 0.43, 0.4, (0.39, 0.41), 1000, (0,), "M1", "MNIST", 2.5, "cpu", "mmfeat"
)


def test_the_keys_are_the_agreed_ones() -> None:
    objects = json.loads(as_json([ROW]))
    assert [list(each) for each in objects] == [KEYS]
    assert objects[0]["seed"] == [0]
    assert objects[0]["interval"] == [0.39, 0.41]


def test_a_finding_is_a_row_without_its_run() -> None:
    assert set(Finding._fields) == set(KEYS) - {"experiment", "seed", "device", "command"}


def test_rows_come_back_from_json() -> None:
    rows = [ROW, dataclasses.replace(ROW, published=None, interval=None, seconds=None, seed=(3, 4))]
    assert from_json(as_json(rows)) == rows


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"row": "x"}]', as_json([ROW]).replace("higher", "better")])
def test_other_text_is_refused(text: str) -> None:
    if text == "{}":
        assert from_json(text) == []
        return
    with pytest.raises(DataError):
        from_json(text)


def test_seeds_are_joined_row_by_row() -> None:
    other = dataclasses.replace(ROW, row="lsh 32", measured=0.2)
    second = [dataclasses.replace(row, measured=row.measured + 0.1, seed=(1,), seconds=3.5) for row in (ROW, other)]
    joined = join_seeds([ROW, other, *second])
    assert [row.row for row in joined] == ["itq 32", "lsh 32"]
    assert joined[0].measured == pytest.approx(0.45)
    assert joined[0].interval == pytest.approx((0.4, 0.5))
    assert joined[0].seed == (0, 1)
    assert joined[0].seconds == pytest.approx(3.0)
    assert join_seeds([ROW]) == [ROW]


def test_the_table_holds_every_figure_and_says_how_to_make_it() -> None:
    text = markdown([ROW, dataclasses.replace(ROW, row="a|b", metric="error", better="lower")])
    assert "| itq 32 | mAP@all ↑ | 0.430 | 0.400 | 0.390 to 0.410 | 1,000 | 2 |" in text
    assert "a\\|b | error ↓" in text
    assert "Protocol: M1" in text
    assert "Command: `mmfeat`" in text
