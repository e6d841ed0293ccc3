"""The rows of an experiment that is still running, beside the file they will be in: a run that is interrupted loses none.

`rows.json.part` is written anew, atomically, after every row, and goes when `rows.json` is written.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmfeat.errors import DataError, UsageError
from mmfeat.evaluate.rows import Row, from_json
from mmfeat.files import write_bytes

__all__ = ["KeptRows"]


class KeptRows:
    """The rows measured so far, one for each seed, and the seeds that are finished.

    path: of the file that the rows will be in. settings: the texts of `--set`; rows of others are not gone on with.
    """

    def __init__(self, path: Path, settings: Sequence[str] = ()) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self.settings = sorted(settings)
        self.rows: list[Row] = []
        self.seeds: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.rows)

    def read(self, experiment: str, known: Iterable[Row] = ()) -> None:
        """Take up what an interrupted run kept: the rows of its finished seeds, without those that `known` rows have.

        UsageError: they are of another experiment or of other settings. DataError: the file holds something else.
        """
        if not self.path.exists():
            return
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
            rows, settings, seeds = from_json(json.dumps(held["rows"])), held["settings"], set(held["finished_seeds"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("kept rows are what `mmfeat reproduce` wrote", str(self.path), "delete it") from error
        if settings != self.settings or {row.experiment for row in rows} - {experiment}:
            raise UsageError(
                "a run goes on with rows of its own experiment and settings",
                f"{self.path} of {', '.join([*sorted({row.experiment for row in rows}), *settings])}",
                "leave --add out to begin again, or give the same command",
            )
        seeds -= {seed for row in known for seed in row.seed}
        self.seeds = sorted(seeds)
        self.rows = [row for row in rows if row.seed[0] in seeds]

    def add(self, row: Row) -> None:
        """Keep one more row."""
        self.rows.append(row)
        self._write()

    def finish(self, seed: int) -> None:
        """All rows of a seed are there."""
        self.seeds.append(seed)
        self._write()

    def clear(self) -> None:
        """Let the file go: its rows are elsewhere now, or nobody wants them."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        held = {
            "settings": self.settings,
            "finished_seeds": self.seeds,
            "rows": [dataclasses.asdict(row) for row in self.rows],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path, (json.dumps(held, indent=1, ensure_ascii=False) + "\n").encode())
