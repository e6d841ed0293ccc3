"""Many photographs from folder to index, and a large index kept: one changed file among a million items, verifying.

Photographs are seeded crops, flips and changes of brightness of real ones, written as JPEG; making them is not timed. A tenth of
100,000 is built, all with BENCH=full; BENCH_PICTURES and BENCH_ITEMS set other numbers.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from bench_startup import program
from measuring import Row, limit, time_program
from pictures import real_or_made

_ALL = 100_000
_PICTURES = int(os.environ.get("BENCH_PICTURES") or (_ALL if os.environ.get("BENCH") == "full" else _ALL // 10))
_ITEMS = int(os.environ.get("BENCH_ITEMS") or 1_000_000)
_BASE = 2000  # photographs that are varied
_MIB = 2**20


def run(work: Path) -> Iterator[Row]:
    """A folder to an index, then the same again with nothing to do; then the index of many items."""
    base = sorted(real_or_made(work / "base", _BASE).iterdir())
    photographs = _varied(work / "photographs", base, _PICTURES)
    yield from _built(photographs, work / "photographs.index")
    shutil.rmtree(photographs)
    yield from _kept(work, base)


def _varied(folder: Path, base: list[Path], count: int) -> Path:
    """So many photographs made of those of `base`, a thousand in a sub-folder."""
    from PIL import Image, ImageEnhance

    def make(number: int) -> None:
        rng = np.random.default_rng(number)
        with Image.open(base[number % len(base)]) as opened:
            picture = opened.convert("RGB")
        share = rng.uniform(0.7, 1.0)
        width, height = (max(1, int(share * side)) for side in picture.size)
        left, top = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(picture.size, (width, height)))  # noqa: B905
        picture = picture.crop((left, top, left + width, top + height))
        if rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.7, 1.3))
        picture.save(folder / f"{number // 1000:03}" / f"{number:06}.jpg", quality=90)

    for number in range(0, count, 1000):
        (folder / f"{number // 1000:03}").mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, range(count)))
    return folder


def _built(folder: Path, index: Path) -> Iterator[Row]:
    """Rate, memory and bytes of `mmfeat index build`, and an update that finds nothing new."""
    seconds, peak = _measured([*program(), "index", "build", str(folder), "-o", str(index), "--quiet"])
    minutes, whole = seconds / 60 * _ALL / _PICTURES, _PICTURES == _ALL
    note = f"mmfeat index build, default recipe, {os.cpu_count()} cores, all included: start, compiling, learning, self-check"
    if not whole:
        note += f"; extrapolated: {_ALL / _PICTURES:g} times the {seconds:.0f} s of {_PICTURES:,}, learning among them"
    yield limit(f"folder to index, {_ALL:,} photographs", minutes, 60, "min", note)
    yield Row(f"folder to index, {_PICTURES:,} photographs", _PICTURES / seconds, unit="files/s", note="measured")
    held = f"largest resident memory of the command, {_PICTURES:,} photographs"
    yield Row("folder to index, memory", peak / _MIB, unit="MiB", note=held)
    size = sum(path.stat().st_size for path in index.rglob("*") if path.is_file())
    yield Row(
        "folder to index, size", size / _PICTURES, unit="B/file", note="all of the index with model, tables and page"
    )
    seconds, _ = _measured([*program(), "index", "update", str(index), "--quiet"])
    note = f"mmfeat index update, a fresh process, none of {_PICTURES:,} files changed"
    yield Row("update that finds nothing to do", _PICTURES / seconds, unit="files/s", note=note)


def _kept(work: Path, base: list[Path]) -> Iterator[Row]:
    """One changed file in an index of many items, as a command and in a process; verifying."""
    from mmfeat.pipelines.updating import update_index

    folder, index = work / "few", work / "many.index"
    _varied(folder, base, 300)
    time_program([*program(), "index", "build", str(folder), "-o", str(index), "--quiet"], 1)
    _grow(index, _ITEMS)
    changed = folder / "000" / "000007.jpg"
    command = [*program(), "index", "update", str(index), str(changed), "--quiet"]
    cold, peaks, warm = [], [], []
    for number in range(6):  # the first hashes what it opens, and compiles
        shutil.copy(base[number], changed)
        seconds, peak = _measured(command)
        cold.append(seconds)
        peaks.append(peak)
    note = (
        f"mmfeat index update INDEX FILE, a fresh process, {_ITEMS:,} items of made codes; the first: {cold[0]:.2f} s"
    )
    yield limit("update of one changed file, cold", statistics.median(cold[1:]), 2.0, note=note)
    yield Row("update of one changed file, memory", max(peaks) / _MIB, unit="MiB", note="largest resident memory of it")
    for number in range(6):
        shutil.copy(base[6 + number], changed)
        start = time.perf_counter()
        done = update_index(index, [changed])
        warm.append(time.perf_counter() - start)
        if (done.changed, done.failed) != (1, 0):
            raise RuntimeError(f"one file was changed, the update says {done}")
    note = "opening the index and its model included"
    yield limit("update of one changed file, in a process", statistics.median(warm[1:]), 2.0, note=note)
    yield _verified(index)


def _grow(path: Path, count: int) -> None:
    """Made items in an index of pictures, codes, parts and table of items, as if a build had made them."""
    import pyarrow as pa

    import mmfeat.indexes
    from mmfeat.indexes.item_log import ITEMS, as_bytes, read_log

    index = mmfeat.indexes.open_index(path)
    known: Any = read_log(index.snapshot)
    more = count - len(index)
    ids = pa.array([f"made/{number:08}.jpg" for number in range(more)], pa.string())
    first = np.zeros(more, np.int64)
    made = known.take(pa.array(first)).set_column(0, known.schema.field(0), ids)
    parts = index.parts_at(first).drop_columns("id")
    codes = np.random.default_rng(0).integers(0, 256, (more, index.dim // 8), np.uint8)
    index.change(ids, codes, parts, extras={ITEMS: as_bytes(pa.concat_tables([known, made]))})
    index.compact(1)


def _verified(index: Path) -> Row:
    """All bytes of an index read and hashed by `mmfeat index verify`."""
    size = sum(path.stat().st_size for path in index.rglob("*") if path.is_file())
    seconds = statistics.median(time_program([*program(), "index", "verify", str(index)], 5))
    note = f"mmfeat index verify, a fresh process, {size / _MIB:.0f} MiB: {seconds:.2f} s, its start among them"
    return Row("verifying an index", size / _MIB / seconds, unit="MiB/s", note=note)


def _measured(command: list[str]) -> tuple[float, int]:
    """Wall-clock seconds of a program, and the largest resident memory it had, in bytes."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        said = process.stdout.read() if process.stdout else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, said, "")
    return seconds, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
