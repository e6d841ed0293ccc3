"""The terminal's tables, and names made safe to look at."""

from __future__ import annotations

import io
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mmfeat.visualise.console import plain_results, result_table
from mmfeat.visualise.results import QueryResult, Thumb, format_distance, split_id, visible

NEAR = [
    Thumb(None, "[red]a[/red].jpg", "cat", 3),
    Thumb(None, "b\x1b[31m\n\u202e.jpg", None, 0.5),
    Thumb(None, "ü\udcff"),
]


def printed(result, width=80, **more):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(result_table(result, **more))
    return out.getvalue()


def test_table_shows_ids_as_text_with_escapes():
    shown = printed(QueryResult(Thumb(None, "q\x07.jpg"), NEAR), unit="bits")
    for words in ("q\\x07.jpg", "distance (bits)", "[red]a[/red].jpg", "cat", "b\\x1b[31m\\n\\u202e.jpg", "ü\\udcff"):
        assert words in shown
    assert "\x1b" not in shown


def test_columns_without_content_are_left_out_and_long_ids_are_whole():
    long = "x" * 200
    shown = printed(QueryResult(Thumb(None, "q"), [Thumb(None, long, None, 1)]), width=60)
    assert "label" not in shown
    assert shown.count("x") == 200
    assert "no neighbours" in printed(QueryResult(Thumb(None, "q")))


def test_plain_lines_have_five_fields():
    lines = plain_results([QueryResult(Thumb(None, "q\t1"), NEAR)]).split("\n")
    assert [line.split("\t") for line in lines] == [
        ["query", "rank", "distance", "label", "id"],
        ["q\\t1", "1", "3", "cat", "[red]a[/red].jpg"],
        ["q\\t1", "2", "0.500", "", "b\\x1b[31m\\n\\u202e.jpg"],
        ["q\\t1", "3", "", "", "ü\\udcff"],
    ]


@given(st.text(st.characters(codec=None)))
def test_visible_text_can_be_written_and_moves_nothing(text):
    shown = visible(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    for character in shown:
        assert unicodedata.bidirectional(character) not in {
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        }
        assert unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("item", "parts"),
    [
        ("a/b/c.jpg", ("a/b/", "c.jpg")),
        ("c.jpg#xywh=0,0,1/2", ("", "c.jpg#xywh=0,0,1/2")),
        ("shard.tar/key", ("shard.tar/", "key")),
        ("/", ("", "/")),
        ("", ("", "")),
    ],
)
def test_split_id(item, parts):
    assert split_id(item) == parts


@pytest.mark.parametrize(
    ("distance", "text"),
    [(7, "7"), (np.int32(7), "7"), (0.0, "0.00"), (1.5, "1.50"), (np.float32(0.123456), "0.123"), (99.96, "100"),
     (1e6, "1000000"), (float("inf"), "inf"), (-0.5, "-0.500"), (3e-7, "3.00e-07")],
)  # fmt: skip
def test_distances_have_few_digits(distance, text):
    assert format_distance(distance) == text
