"""Results to `docs/benchmarks.json` and `docs/BENCHMARKS.md`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from measuring import Row

__all__ = ["print_rows", "write"]

_HEAD = """# Benchmarks

Made by `make bench`; the same numbers are in [benchmarks.json](benchmarks.json). Do not edit this page.

Ours and the rival run in turn in one process on the same data; numbers are medians, and a ratio is the median over the rounds
of rival's time / our time, so above 1 is faster than the rival. Absolute figures hold for this machine only.

"""


def write(rows: list[Row], facts: dict[str, Any], page: Path, data: Path) -> None:
    """Write both files."""
    data.parent.mkdir(parents=True, exist_ok=True)
    whole = {"machine": facts, "rows": [dataclasses.asdict(row) for row in rows]}
    data.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page.write_text(_page(rows, facts), encoding="utf-8")


def print_rows(rows: list[Row]) -> None:
    """One line a row, as they come."""
    for row in rows:
        ratio = f"{row.ratio:.2f} ×" if row.ratio is not None else ""
        cells = (_number(row.ours), _number(row.rival), row.unit, ratio, row.target, _mark(row), row.note)
        print(f"{row.name}: " + "  ".join(cell for cell in cells if cell), flush=True)


def _page(rows: list[Row], facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    kernels = ", ".join(f"{kind} ({name})" for name, kind in facts.get("kernels", {}).items())
    lines = [
        f"Machine: {facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}.  ",
        f"Versions: {versions}.  ",
        *(
            [
                f"OpenBLAS runs its kernels for {kernels}, as each library finds for itself unless a row says otherwise.  "
            ]
            if kernels
            else []
        ),
        f"Data: {facts['data']}. Date: {facts['date']}.",
        "",
        "| what | ours | rival | unit | ratio | aim | reached | notes |",
        "| --- | ---: | ---: | --- | ---: | --- | --- | --- |",
    ]
    for row in rows:
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        cells = (
            row.name, _number(row.ours), _number(row.rival), row.unit, ratio, row.target, _mark(row), row.note
        )  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return _HEAD + "\n".join(lines) + "\n"


def _mark(row: Row) -> str:
    return {True: "yes", False: "**no**", None: ""}[row.reached]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
