"""Runs experiments and keeps their rows: a JSON file for each, and one Markdown page written from all of them."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import os
import platform
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfeat import registry
from mmfeat.errors import UsageError
from mmfeat.evaluate.rows import Finding, Row, as_json, from_json, join_seeds, markdown
from mmfeat.files import write_bytes

if TYPE_CHECKING:
    from mmfeat.pipelines.kept_rows import KeptRows
    from mmfeat.stages import Report

_HEAD = """# Reproductions

Written by `make reproductions` from the rows that `mmfeat reproduce` measured; do not edit this page. `mmfeat reproduce` lists the
experiments. ↑: higher is better, ↓: lower. A published figure stands beside ours only where the protocol is the same.
[How to read a number](reading-numbers.md).

The data sets are not part of mmfeat: `--data FOLDER` (or MMFEAT_DATA) names a folder with `mnist/` (the four gzipped idx files),
`cifar10/` (`cifar10_subset.npz`: `x_train`, `y_train`, `x_test`, `y_test`) and `caltech101/` (`train/` and `test/`, each with a
sub-folder for every category).
"""

__all__ = ["find_experiment", "known_rows", "machine", "page", "reproduce", "write_page", "write_rows"]


def find_experiment(name: str, settings: Mapping[str, Any] | None = None) -> Any:
    """An experiment by name, with settings replaced. UsageError or SettingsError where there is none of that name."""
    from mmfeat.settings import replace_at

    found = registry.reproductions()
    cls = found.get(name.replace("-", "_"))
    if cls is None:
        raise UsageError(
            "an experiment is one of " + ", ".join(map(registry.hyphens, found)), repr(name), "choose one of these"
        )
    return replace_at(cls(), settings or {})


def reproduce(
    experiment: Any,
    data: Path,
    seeds: Sequence[int],
    report: Report,
    say: Callable[[Row], None] = lambda row: None,
    settings: Sequence[str] = (),
    known: Sequence[Row] = (),
    kept: KeptRows | None = None,
) -> list[Row]:
    """The rows of an experiment, over all seeds. say: is told every row of every seed as soon as it is there.

    settings: the texts of `--set`, for the command that a row names. known: rows of other seeds, which are not run again.
    kept: is given every row as it comes; the seeds that it has are not run again either.
    """
    name = registry.hyphens(registry.name_of(type(experiment)))
    known = [*known, *(kept.rows if kept is not None else ())]
    done = {seed for row in known for seed in row.seed}
    command = shlex.join(
        [
            *("mmfeat", "reproduce", name, *(part for text in settings for part in ("--set", text))),
            *_seeds(sorted(done | set(seeds))),
        ]
    )
    device, rows = machine(), [dataclasses.replace(row, command=command) for row in known]
    for seed in [seed for seed in seeds if seed not in done]:
        began = time.perf_counter()
        for finding in experiment.measure(data, seed, report):
            now = time.perf_counter()
            rows.append(_row(name, finding, seed, now - began, device, command))
            if kept is not None:
                kept.add(rows[-1])
            say(rows[-1])
            began = now
        if kept is not None:
            kept.finish(seed)
    return join_seeds(rows)


def _row(name: str, finding: Finding, seed: int, elapsed: float, device: str, command: str) -> Row:
    seconds = round(elapsed if finding.seconds is None else finding.seconds, 2)
    fields = finding._asdict() | {"seconds": seconds, "measured": float(finding.measured)}
    return Row(experiment=name, seed=(seed,), device=device, command=command, **fields)


def _seeds(seeds: Sequence[int]) -> list[str]:
    """The options that name these seeds, if they follow each other."""
    if len(seeds) > 1:
        return ["--seeds", str(len(seeds))] + (["--seed", str(seeds[0])] if seeds[0] else [])
    return ["--seed", str(seeds[0])] if seeds[0] else []


def machine() -> str:
    """The machine in words: its processor, cores, and the accelerators JAX computes on."""
    import jax

    devices = jax.devices()
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    extra = "" if devices[0].platform == "cpu" else f", {len(devices)} x {devices[0].device_kind}"
    return f"{model}, {cores} cores{extra}"


def known_rows(experiment: Any, path: Path) -> list[Row]:
    """The rows of this experiment in a file, none where there is no file. UsageError: the file is another experiment's."""
    if not path.exists():
        return []
    rows, name = from_json(path.read_text(encoding="utf-8")), registry.hyphens(registry.name_of(type(experiment)))
    others = {row.experiment for row in rows} - {name}
    if others:
        raise UsageError(f"seeds are added to rows of {name}", f"{path} of {', '.join(others)}", "name another file")
    return rows


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, as_json(rows).encode())


def write_page(folder: Path, path: Path) -> None:
    """Write the page of every JSON file in a folder."""
    write_bytes(
        path, page([from_json(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]).encode()
    )


def page(experiments: Sequence[Sequence[Row]]) -> str:
    """A Markdown page: what each experiment is, its rows, and how to make them again."""
    parts = [_HEAD]
    known = registry.reproductions()
    for rows in experiments:
        if not rows:
            continue
        name = rows[0].experiment
        cls = known.get(name.replace("-", "_"))
        about = _about(cls) if cls else ""
        parts.append(f"## {name}\n\n{about}\n\n{markdown(rows)}")
    return "\n".join(parts)


def _about(cls: type) -> str:
    """The docstring of an experiment, a paragraph a line, up to its cost: what follows is for those who run it."""
    parts = (inspect.getdoc(cls) or "").split("\n\n")
    told = itertools.takewhile(lambda part: not part.startswith("Cost:"), parts)
    return "\n\n".join(" ".join(part.split()) for part in told)
