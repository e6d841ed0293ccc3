"""What an experiment found, in the one form that every experiment is written in.

A `Finding` is what an experiment says; a `Row` is a finding with what is known about the run. The JSON form is a list of objects
whose keys are the fields of `Row`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mmfeat.errors import DataError

__all__ = ["Finding", "Row", "as_json", "from_json", "join_seeds", "markdown", "plain"]


class Finding(NamedTuple):
    """One number that an experiment measured.

    row: what was measured on ("itq 32 bits"). metric: the measure ("mAP@all"). measured: its value.
    better: "higher" or "lower". published: the figure of the paper, None where its protocol differs.
    interval: 95 % bounds over the test cases, if they are known. n: test cases. protocol, data: by name and in words.
    seconds: what this row cost, training included.
    """

    row: str
    metric: str
    measured: float
    better: str = "higher"
    published: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    protocol: str = ""
    data: str = ""
    seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """A finding of one run, or of several that differ in the seed.

    interval: 95 % bounds over the test cases of one run; of several runs the lowest and the highest of them.
    seed: the seeds of the runs. seconds: of one run. device: the machine. command: what makes this row again.
    """

    experiment: str
    row: str
    metric: str
    better: str
    published: float | None
    measured: float
    interval: tuple[float, float] | None
    n: int
    seed: tuple[int, ...]
    protocol: str
    data: str
    seconds: float | None
    device: str
    command: str

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise DataError('a measure is better "higher" or "lower"', repr(self.better), "say which")


def join_seeds(rows: Sequence[Row]) -> list[Row]:
    """Rows of several runs as one row for each (row, metric), in the order they came: the mean, and the lowest and highest.

    Rows that are joined already can be joined with others: each counts for as many runs as it has seeds.

    >>> a = Row("e", "r", "m", "higher", None, 0.25, None, 9, (0,), "p", "d", 1.0, "cpu", "c")
    >>> both = join_seeds([a, dataclasses.replace(a, measured=0.75, seed=(1,))])
    >>> both[0].measured, both[0].interval, both[0].seed
    (0.5, (0.25, 0.75), (0, 1))
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.experiment, row.row, row.metric), []).append(row)
    return [group[0] if len(group) == 1 else _joined(group) for group in groups.values()]


def _joined(group: list[Row]) -> Row:
    runs = sum(len(row.seed) for row in group)
    lows, highs = zip(
        *((row.measured,) * 2 if len(row.seed) == 1 else row.interval or () for row in group), strict=True
    )
    timed = [(row.seconds, len(row.seed)) for row in group if row.seconds is not None]
    return dataclasses.replace(
        group[0],
        measured=sum(row.measured * len(row.seed) for row in group) / runs,
        interval=(min(lows), max(highs)),
        seed=tuple(sorted(seed for row in group for seed in row.seed)),
        seconds=sum(each * times for each, times in timed) / sum(times for _, times in timed) if timed else None,
    )


def as_json(rows: Iterable[Row]) -> str:
    """The rows as a JSON list, one object a row."""
    return json.dumps([dataclasses.asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> list[Row]:
    """Rows from `as_json`. DataError: the text is something else."""
    try:
        objects = json.loads(text)
        return [Row(**{**each, "interval": _pair(each["interval"]), "seed": tuple(each["seed"])}) for each in objects]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "the rows of an experiment are a JSON list of objects with the keys of mmfeat.evaluate.rows.Row",
            f"{type(error).__name__}: {error}",
            "write it with `mmfeat reproduce NAME --json FILE`",
        ) from error


def _pair(value: Any) -> tuple[float, float] | None:
    return None if value is None else (float(value[0]), float(value[1]))


def markdown(rows: Sequence[Row]) -> str:
    """The rows of one experiment as a table of a Markdown page, with protocol, data, machine and command below it."""
    lines = [
        "| what | measure | published | measured | interval | n | seconds |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: |",
    ]
    for row in rows:
        cells = (
            row.row, f"{row.metric} {'↑' if row.better == 'higher' else '↓'}", number(row.published), number(row.measured),
            "" if row.interval is None else f"{number(row.interval[0])} to {number(row.interval[1])}",
            f"{row.n:,}" if row.n else "", "" if row.seconds is None else f"{row.seconds:.0f}",
        )  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    seeds = rows[0].seed
    spread = "the lowest and the highest of the seeds" if len(seeds) > 1 else "95 % over the test cases"
    interval = f"Interval: {spread}. " if any(row.interval for row in rows) else ""
    lines += ["", f"{interval}{'Seeds' if len(seeds) > 1 else 'Seed'} {', '.join(map(str, seeds))}.  "]
    lines += [f"Protocol: {text}  " for text in dict.fromkeys(row.protocol for row in rows if row.protocol)]
    lines += [f"Data: {text}  " for text in dict.fromkeys(row.data for row in rows if row.data)]
    commands = ", ".join(f"`{text}`" for text in dict.fromkeys(row.command for row in rows))
    lines += [f"Machine: {rows[0].device}.  ", f"Command: {commands}"]
    return "\n".join(lines) + "\n"


def plain(row: Row) -> str:
    """One row as a line of text."""
    published = "" if row.published is None else f"  published {number(row.published)}"
    interval = "" if row.interval is None else f"  [{number(row.interval[0])}, {number(row.interval[1])}]"
    seconds = "" if row.seconds is None else f"  {row.seconds:.0f} s"
    return f"{row.row:<36} {row.metric:<22} {number(row.measured):>9}{interval}{published}{seconds}"


def number(value: float | None) -> str:
    """A figure with the digits that mean something.

    >>> number(0.43012), number(13.8661), number(1662000.0), number(None)
    ('0.430', '13.87', '1,662,000', '')
    >>> number(0.08), number(0.0042), number(-0.000419), number(0.0), number(3e-9)
    ('0.080', '0.0042', '-0.00042', '0.000', '3.0e-09')
    """
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.2f}"
    if abs(value) >= 0.1 or value == 0:
        return f"{value:.3f}"
    if abs(value) < 1e-6:
        return f"{value:.1e}"
    return f"{value:.{1 - math.floor(math.log10(abs(value)))}f}"  # two digits that are not leading zeros
