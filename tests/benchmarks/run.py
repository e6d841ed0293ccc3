"""Speed beside the rivals: `python tests/benchmarks/run.py [--only NAME ...] [--json FILE] [--page FILE]`.

Each benchmark is one module here, `bench_<name>.py`, with a function `run(work)` that gets an empty folder and yields rows. Each
runs in a process of its own, so that none inherits the threads and the memory of another; inside it, ours and the rival run
in turn. With --only nothing is written unless --json or --page says where. MMFEAT_DATA names the folder of real data sets; without
it pictures are cut from scikit-learn's two photographs.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin between calls slow down what runs beside them
os.environ.pop("OPENBLAS_CORETYPE", None)  # every library takes the kernels it finds, as its users get them
if "BENCH_KERNELS" in os.environ:
    os.environ["OPENBLAS_CORETYPE"] = os.environ["BENCH_KERNELS"]

import argparse
import dataclasses
import datetime
import importlib
import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
if importlib.util.find_spec("mmfeat") is None:  # a checkout that is not installed
    sys.path.append(str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))

from measuring import Row, kernels, machine, missing  # noqa: E402 - beside this file
from reporting import print_rows, write  # noqa: E402

ORDER = (
    *("startup", "search", "types", "itq", "query", "extraction", "scale"),
    *("descriptors", "codewords", "fisher", "llc", "rbm", "sparse", "svm"),
)
TWICE = (
    "itq",
    "fisher",
)  # where the kernels of a rival's own, older BLAS decide: once more with the same ones for both
SAME = "Haswell"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks and write the page; a missed aim is a row that says so. Exit code 1 when one did not run to its end."""
    parser = argparse.ArgumentParser(description="Speed beside the rivals.")
    parser.add_argument("--only", nargs="+", choices=ORDER, default=None, help="run these alone")
    parser.add_argument(
        "--json",
        type=Path,
        default=None,
        help="where the numbers go (default docs/benchmarks.json); with --only, other rows there stay",
    )
    parser.add_argument("--page", type=Path, default=None, help="where the page goes (default docs/BENCHMARKS.md)")
    parser.add_argument("--worker", choices=ORDER, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker:
        return _work(given.worker)
    rows = []
    for name in given.only or ORDER:
        rows += _in_a_process(name)
        if name in TWICE and platform.machine() in ("x86_64", "AMD64") and len(set(kernels().values())) > 1:
            rows += _in_a_process(name, SAME)
    facts = {**machine(), "date": datetime.date.today().isoformat(), "data": _data()}
    if given.only and given.json and given.json.is_file():  # rows of the others stay
        before = [Row(**row) for row in json.loads(given.json.read_text(encoding="utf-8"))["rows"]]
        names = {row.name for row in rows}
        rows = [row for row in before if row.name not in names] + rows
    if not given.only or given.json or given.page:
        data = given.json or (ROOT / "docs" / "benchmarks.json" if not given.only else Path(os.devnull))
        page = given.page or (ROOT / "docs" / "BENCHMARKS.md" if not (given.only or given.json) else Path(os.devnull))
        write(rows, facts, page, data)
    missed = sum(row.reached is False for row in rows)
    print(f"{missed} of {sum(row.reached is not None for row in rows)} aims missed")
    return 1 if any("ended with exit code" in row.note for row in rows) else 0


def _in_a_process(name: str, same: str | None = None) -> list[Row]:
    """The rows of one benchmark, printed as they come. What it says besides goes to stderr. same: BLAS kernels for all of it."""
    command = [sys.executable, str(Path(__file__)), "--worker", name]
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment(same)) as process:
        for line in process.stdout or ():
            row = Row(**json.loads(line))
            rows.append(dataclasses.replace(row, name=f"{row.name}, {same} kernels for all") if same else row)
            print_rows(rows[-1:])
    if process.returncode:
        rows.append(missing(name, f"ended with exit code {process.returncode}; see what it said above"))
        print_rows(rows[-1:])
    return rows


def _environment(same: str | None) -> dict[str, str]:
    return os.environ | ({"BENCH_KERNELS": same} if same else {})


def _work(name: str) -> int:
    """One benchmark in this process; every row is one line of JSON."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not come between the rows
    with tempfile.TemporaryDirectory(prefix="mmfeat-bench-") as folder:
        for row in _rows(name, Path(folder)):
            print(json.dumps(vars(row), ensure_ascii=False), file=out, flush=True)
    return 0


def _rows(name: str, folder: Path) -> Iterator[Row]:
    try:
        yield from importlib.import_module(f"bench_{name}").run(folder)
    except ImportError as error:
        yield missing(name, f"cannot run here: {error}")
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout or "").strip().splitlines()
        yield missing(name, f"a command failed: {last[-1] if last else error}")


def _data() -> str:
    folder = os.environ.get("MMFEAT_DATA")
    return "the sets of MMFEAT_DATA" if folder else "pictures cut from scikit-learn's two photographs"


if __name__ == "__main__":
    sys.exit(main())
