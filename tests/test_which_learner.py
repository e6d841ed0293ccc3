"""The page that says which learner to take: every figure on it stands in the rows of an experiment."""

from __future__ import annotations

import re

from which_learner import PAGE, figure_of, lines_of


def test_every_figure_is_that_of_a_row() -> None:
    lines = lines_of(PAGE.read_text("utf-8"))
    assert len(lines) > 10, "the table of evidence is not read any more"
    for experiment, row, measure, figure in lines:
        assert figure_of(experiment, row, measure) == figure, f"{experiment}: {row}, {measure}"


def test_every_figure_on_the_page_stands_in_the_table() -> None:
    """A decimal number anywhere else would go stale unseen."""
    page = PAGE.read_text("utf-8")
    prose = "\n".join(line for line in page.splitlines() if not line.startswith("|"))
    assert re.findall(r"\d\.\d{2,}", prose) == []
