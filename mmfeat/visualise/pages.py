"""Pages that stand alone: one HTML file each, styles and pictures inside, no script, nothing fetched from anywhere.

Names of files, labels and reasons are written by strangers, so every text goes through Jinja2's autoescape; characters
that are invisible or turn the direction of writing are shown as escapes; and the pages forbid scripts by a content
security policy. The same input gives the same bytes: no dates, no random names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmfeat.visualise.colours import css_gradient
from mmfeat.visualise.report import BuildReport, Outcome
from mmfeat.visualise.results import QueryResult, Thumb, visible
from mmfeat.visualise.sections import (
    ChartSection,
    GridSection,
    HeatPair,
    HeatSection,
    Section,
    SheetSection,
    StripSection,
    TableSection,
    TextSection,
)
from mmfeat.visualise.views import Row, row_view, view

__all__ = ["build_page", "demo_page", "notebook_html", "search_page"]

TEMPLATES = Path(__file__).parent / "templates"
LEVELS = {"good": "good", "look": "have a look", "worry": "worry"}
REASONS = 5  # shown of each status


def search_page(
    results: Sequence[QueryResult], info: Mapping[str, object], title: str = "Search results", unit: str = ""
) -> str:
    """The page of a search: each query large, then its neighbours from near to far.

    results: as they were found. info: facts of the index, such as items, bits and model, in the order they are shown.
    unit: of the distances, such as «bits».
    """
    counts = {len(result.neighbours) for result in results}
    most = f"{'up to ' if len(counts) > 1 else ''}{max(counts, default=0):,}"
    found = f"{most} {'neighbour' if counts == {1} else 'neighbours'}{' each' if len(results) > 1 else ''}"
    queries = f"{len(results):,} {'query' if len(results) == 1 else 'queries'}"
    return _render(
        "search.html",
        title=title,
        lead=f"{queries}, {found}, nearest first.",
        body_class="single" if len(results) == 1 else "",
        rows=[row_view(result, unit) for result in results],
        info=_facts(info),
    )


def build_page(report: BuildReport, unit: str = "", refresh: int | None = None) -> str:
    """The page of an index: its facts, its self-check in plain words, some neighbours, what became of every file.

    refresh: while the build goes on, the seconds after which a browser loads the page again.
    """
    progress = None
    if report.progress is not None:
        done, found = report.progress
        percent = min(100, 100 * done // max(1, found))
        progress = {"done": f"{done:,}", "found": f"{found:,}", "percent": percent}
    outcomes = [
        {
            "status": outcome.status,
            "count": f"{outcome.count:,}",
            "reasons": outcome.reasons[:REASONS],
            "more": _more(outcome),
        }
        for outcome in report.outcomes
    ]
    return _render(
        "build.html",
        title=report.title,
        lead="",
        refresh=refresh,
        report=report,
        progress=progress,
        info=_facts(report.facts),
        outcomes=outcomes,
        level_words=LEVELS,
        rows=[row_view(result, unit) for result in report.mosaic],
        cells=_cells(report.mosaic),
    )


def demo_page(sections: Sequence[Section], title: str = "mmfeat on real pictures", lead: str = "") -> str:
    """A page of sections, in their order: text, heat over photographs, strips of neighbours, charts, tables."""
    shown = [_section(section) for section in sections]
    return _render("demo.html", title=title, lead=lead, sections=shown, gradient=css_gradient())


def notebook_html(results: Sequence[QueryResult], unit: str = "", limit: int = 5) -> str:
    """The first results, small, as the `_repr_html_` of a notebook: a fragment, with styles that touch nothing else."""
    rows = [row_view(result, unit) for result in results[:limit]]
    more = len(results) - len(rows)
    return _render("notebook.html", rows=rows, more=f"{more:,}" if more else "")


def _section(section: Section) -> dict[str, Any]:
    shown: dict[str, Any] = {"title": section.title, "paragraphs": _paragraphs(section.text)}
    if isinstance(section, TextSection):
        return shown | {"kind": "text", "commands": section.commands}
    if isinstance(section, HeatSection):
        return shown | {"kind": "heat", "pairs": [_heat_pair(pair) for pair in section.pairs]}
    if isinstance(section, StripSection):
        return shown | {
            "kind": "strip",
            "rows": _named_rows(section),
            "cells": _cells(section.rows),
        }
    if isinstance(section, ChartSection):
        return shown | {"kind": "chart", "svg": section.svg}
    if isinstance(section, SheetSection):
        return shown | {"kind": "sheet", "sheet": view(section.image, section.alt)}
    if isinstance(section, GridSection):
        return shown | {
            "kind": "grid",
            "items": row_view(QueryResult(Thumb(None, ""), list(section.thumbs))).neighbours,
        }
    return shown | {"kind": "table"} | _table(section)


def _heat_pair(pair: HeatPair) -> dict[str, Any]:
    tile = view(pair.tile, "the tile that was searched for")
    return {
        "tile": tile,
        "photo": view(pair.photo, f"where its neighbours lie: {pair.caption}"),
        "caption": pair.caption,
    }


def _named_rows(section: StripSection) -> list[Row]:
    names = dict(enumerate(section.names))
    return [row_view(result, section.unit, section.mark, names.get(i, "")) for i, result in enumerate(section.rows)]


def _table(section: TableSection) -> dict[str, Any]:
    columns = [
        {
            "name": str(name),
            "number": bool(section.rows) and all(_is_number(row[i]) for row in section.rows),
        }
        for i, name in enumerate(section.columns)
    ]
    return {"columns": columns, "cells": [[_cell(cell) for cell in row] for row in section.rows]}


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _facts(info: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(str(name), _cell(value)) for name, value in info.items()]


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def _more(outcome: Outcome) -> str:
    """How many files are not listed with their reason; empty where none of the status has one, or all are listed."""
    unlisted = outcome.count - len(outcome.reasons[:REASONS])
    return f"{unlisted:,}" if outcome.reasons and unlisted > 0 else ""


def _cells(rows: Iterable[QueryResult]) -> int:
    return 1 + max((len(row.neighbours) for row in rows), default=0)


def _render(name: str, **values: Any) -> str:
    page = _environment().get_template(name).render(**{"refresh": None, "body_class": "", **values})
    return "\n".join(line for line in page.splitlines() if line.strip()) + "\n"


@lru_cache(maxsize=1)
def _environment() -> Any:
    import jinja2  # here, so that whoever only needs a table of text does not pay for it

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _finalize(value: Any) -> Any:
    """What every expression of a template passes: plain text made visible; then autoescape has it."""
    return visible(value) if type(value) is str else value
