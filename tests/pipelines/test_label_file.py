"""The file of labels: what is written is read again, answers and questions take their places, contradictions are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmfeat.errors import DataError, UsageError
from mmfeat.pipelines.label_file import read_label_file


def test_answers_and_questions_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "labels.csv"
    held = read_label_file(path)
    assert (held.labels, held.asked, held.kept) == ({}, {}, False)
    held.answer({"a.jpg": "yes", "ü,b.jpg": "no"})
    held.ask(["c.jpg", "d.jpg"])
    held.write(path)
    assert path.read_text() == 'id,label,asked\na.jpg,yes,\n"ü,b.jpg",no,\nc.jpg,,1\nd.jpg,,2\n'
    again = read_label_file(path)
    assert again.kept
    assert again.asked == {1: "c.jpg", 2: "d.jpg"}
    again.answer({"d.jpg": "no", "a.jpg": "no"})
    again.ask(["e.jpg"])
    again.write(path)
    assert path.read_text() == 'id,label,asked\na.jpg,no,\n"ü,b.jpg",no,\nd.jpg,no,\ne.jpg,,1\n'


def test_a_file_of_somebody_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("path,who,label\na.jpg,Eva,yes\nb.jpg,Eva,\na.jpg,Eva,\n")
    held = read_label_file(path)
    assert not held.kept
    assert held.labels == {"a.jpg": "yes"}
    held.ask(["b.jpg"])
    held.write(path)
    assert path.read_text().splitlines() == ["path,who,label,id,asked", "a.jpg,Eva,yes,a.jpg,", ",,,b.jpg,1"]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("id,label\na,yes\na,no\n", DataError, "yes and no for a"),
        ("id,label\n,yes\n", DataError, "every label has its id"),
        ("name,label\na,yes\n", UsageError, "columns"),
        ("id,class\na,yes\n", UsageError, "columns"),
    ],
)
def test_what_cannot_be_labels_is_said(text: str, error: type[Exception], said: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(error, match=said):
        read_label_file(path)
