"""What every benchmark uses: a row of the table, and medians of things that are run in turn.

Ours and the rival are timed alternately in one process, so that whatever slows the machine slows both; the ratio is the median of
the ratios of the rounds, not the ratio of two medians taken at different times.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = [
    "Row",
    "Timing",
    "alone",
    "kernels",
    "limit",
    "machine",
    "missing",
    "side_by_side",
    "speed",
    "stated",
    "time_program",
]

_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "scikit-learn", "numba", "faiss-cpu", "pillow", "pyarrow", "simplejpeg")


@dataclasses.dataclass(frozen=True)
class Row:
    """One result. ratio: ours beside the rival, above 1 is better than the rival. reached: None where nothing is aimed at."""

    name: str
    ours: float | None = None
    rival: float | None = None
    ratio: float | None = None
    target: str = ""
    reached: bool | None = None
    unit: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of ours and of the rival (medians), and the median over the rounds of rival / ours."""

    ours: float
    rival: float
    ratio: float


def side_by_side(
    ours: Callable[[], Any], rival: Callable[[], Any], rounds: int, inner: int = 1, seconds: float = 120.0
) -> Timing:
    """Time two functions in turn, each `inner` times a round, after one run of each that is not counted.

    The order changes from round to round. It ends after `rounds`, or when `seconds` have passed and three rounds are done.
    """
    ours(), rival()
    times: dict[str, list[float]] = {"ours": [], "rival": []}
    began = time.perf_counter()
    for number in range(rounds):
        order = [("ours", ours), ("rival", rival)]
        for name, function in order if number % 2 else reversed(order):
            times[name].append(_once(function, inner))
        if number >= 2 and time.perf_counter() - began > seconds:
            break
    ratios = [b / a for a, b in zip(times["ours"], times["rival"], strict=True)]
    return Timing(statistics.median(times["ours"]), statistics.median(times["rival"]), statistics.median(ratios))


def alone(function: Callable[[], Any], rounds: int, inner: int = 1) -> float:
    """The median of seconds of one function, after one run that is not counted."""
    function()
    return statistics.median(_once(function, inner) for _ in range(rounds))


def _once(function: Callable[[], Any], inner: int) -> float:
    gc.collect()
    start = time.perf_counter()
    for _ in range(inner):
        function()
    return (time.perf_counter() - start) / inner


def time_program(command: Sequence[str], rounds: int, env: dict[str, str] | None = None) -> list[float]:
    """Wall-clock seconds of a program, `rounds` times; raises CalledProcessError with what it said when it fails."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        ran = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        found.append(time.perf_counter() - start)
        if ran.returncode:
            raise subprocess.CalledProcessError(ran.returncode, list(command), ran.stdout, ran.stderr)
    return found


def speed(name: str, timing: Timing, work: float, at_least: float, unit: str, note: str = "") -> Row:
    """A row of rates: `work` units are done in one run; the ratio has to be at least `at_least`."""
    reached = timing.ratio >= at_least
    return Row(name, work / timing.ours, work / timing.rival, timing.ratio, f"≥ {at_least:g} ×", reached, unit, note)


def stated(name: str, timing: Timing, work: float, unit: str, note: str = "") -> Row:
    """A row of rates that is measured and stated, with nothing to reach."""
    return Row(name, work / timing.ours, work / timing.rival, timing.ratio, unit=unit, note=note)


def limit(name: str, ours: float, at_most: float, unit: str = "s", note: str = "", rival: float | None = None) -> Row:
    """A row that has to stay below a limit."""
    ratio = rival / ours if rival is not None else None
    return Row(name, ours, rival, ratio, f"≤ {at_most:g} {unit}", ours <= at_most, unit, note)


def missing(name: str, reason: str) -> Row:
    """A row that says why there is no number."""
    return Row(name, note=reason)


def machine() -> dict[str, Any]:
    """What the numbers depend on, without saying which machine it is."""
    versions = {"python": platform.python_version()}
    for name in ("mmfeat", *_PACKAGES):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": _cpu_model(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gib": round(_memory() / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "kernels": kernels(),
        "versions": versions,
    }


def kernels() -> dict[str, str]:
    """The processor that the OpenBLAS of each library takes this one for; they ship with releases of different age."""
    program = (
        "import json, numpy, scipy.linalg, faiss\n"
        "from threadpoolctl import threadpool_info\n"
        "print(json.dumps([[each['filepath'], each['architecture']] for each in threadpool_info() if each.get('architecture')]))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    found = json.loads(ran.stdout) if ran.returncode == 0 else []
    named = {"numpy": "numpy", "scipy": "scipy", "faiss": "faiss-cpu"}
    return {
        name: kind
        for path, kind in found
        for part, name in named.items()
        if f"{part}.libs" in path or f"{part}_cpu.libs" in path
    }


def _cpu_model() -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.lower().startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
