"""Writes the figures of docs/which-learner.md from the rows of the experiments: python tests/which_learner.py"""

from __future__ import annotations

import re
from pathlib import Path

from mmfeat.evaluate.rows import from_json, number

PAGE = Path(__file__).resolve().parent.parent / "docs" / "which-learner.md"
_LINE = re.compile(r"^(\| (?:[^|]* \| )?`([a-z0-9-]+)`: ([^|]+?) \| ([^|]+?) \| \**)([\d.,?]+)(\** \|)$", re.MULTILINE)


def lines_of(text: str) -> list[tuple[str, str, str, str]]:
    """(experiment, row, measure, figure) of every line of a table that names its row."""
    return [found.group(2, 3, 4, 5) for found in _LINE.finditer(text)]


def figure_of(experiment: str, row: str, measure: str) -> str:
    """What was measured, as the page prints it."""
    rows = from_json((PAGE.parent / "reproductions" / f"{experiment}.json").read_text("utf-8"))
    (found,) = [each.measured for each in rows if (each.row, each.metric) == (row, measure)]
    return number(found)


if __name__ == "__main__":
    text = _LINE.sub(lambda one: one[1] + figure_of(*one.group(2, 3, 4)) + one[6], PAGE.read_text("utf-8"))
    PAGE.write_text(text, "utf-8")
