"""The page that says which learner to take: every figure on it stands in the rows of an experiment."""

from __future__ import annotations

import re
from pathlib import Path

from mmfeat.evaluate.rows import from_json, number

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_every_figure_is_that_of_a_row() -> None:
    page = (DOCS / "which-learner.md").read_text("utf-8")
    lines = re.findall(
        r"^\| (?:[^|]* \| )?`([a-z0-9-]+)`: ([^|]+?) \| ([^|]+?) \| \**([\d.,]+)\** \|$", page, re.MULTILINE
    )
    assert len(lines) > 10, "the table of evidence is not read any more"
    for experiment, row, measure, figure in lines:
        rows = from_json((DOCS / "reproductions" / f"{experiment}.json").read_text("utf-8"))
        found = [number(each.measured) for each in rows if (each.row, each.metric) == (row, measure)]
        assert found == [figure], f"{experiment}: {row}, {measure}"


def test_every_figure_on_the_page_stands_in_the_table() -> None:
    """A decimal number anywhere else would go stale unseen."""
    page = (DOCS / "which-learner.md").read_text("utf-8")
    prose = "\n".join(line for line in page.splitlines() if not line.startswith("|"))
    assert re.findall(r"\d\.\d{2,}", prose) == []
