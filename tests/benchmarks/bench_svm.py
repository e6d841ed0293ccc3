"""Linear classifiers: machines beside LIBLINEAR at equal objective, averaged SGD, and a thousand classes from a file.

LinearSVC is timed on some of the machines where all would take minutes (they are independent of each other), and scaled; rows
say so. Of its two solvers the one that reaches the objective sooner is the rival.
`python tests/benchmarks/bench_svm.py stream FOLDER` is the stream alone, in a process whose memory is measured.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, Timing, speed, stated

_C = 1.0
_STREAM = {"rows": 50_000, "tests": 5_000, "width": 2048, "classes": 1000, "passes": 5, "batch": 256}
_IMAGES, _PASSES = 1_281_167, 5  # ImageNet's training part, and the passes of Lin et al. 2011


def run(work: Path) -> Iterator[Row]:
    """The machines at 10 and 100 classes, wide rows in the Gram form, averaged SGD, and the stream."""
    yield _machines("linear SVM 10,000 × 4,096, 10 classes", 10_000, 4096, 10, 4, at_least=10)
    yield _machines("linear SVM 10,000 × 4,096, 100 classes", 10_000, 4096, 100, 5, at_least=40)
    yield _machines("linear SVM 1,500 × 21,504, 50 classes", 1500, 21_504, 50, 5)
    yield _averaged()
    yield from _stream(work)


def made(rows: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of length 1 about a centre per class, with columns of falling variance, as codes of photographs have."""
    fall = np.exp(-np.arange(width) / (width / 4)).astype(np.float32)
    centres = np.random.default_rng(0).standard_normal((classes, width), np.float32) * fall
    draw = np.random.default_rng(seed + 1)
    y = draw.integers(0, classes, rows).astype(np.int32)
    x = 0.15 * centres[y] + draw.standard_normal((rows, width), np.float32) * fall
    return x / np.linalg.norm(x, axis=1, keepdims=True), y


def _machines(name: str, rows: int, width: int, classes: int, some: int, at_least: float | None = None) -> Row:
    """Three rounds in turn, after one of ours that is not counted (it compiles)."""
    from mmfeat.classify.linear_svm import LinearSvm
    from mmfeat.learner import default_batches, fetched, start, train

    x, y = made(rows, width, classes)
    data = {"x": x, "y": y}
    learner = LinearSvm(classes=classes, c=_C)

    def ours() -> Any:
        return fetched(learner, train(learner, start(learner, data), default_batches(learner, data)))

    state = ours()
    mine = [_objective(state.weights[:, k], state.bias[k], x, y, k) for k in range(some)]
    dual, tol, theirs = _rival(x, y, some, mine)
    times: list[list[float]] = [[], []]
    for _ in range(3):
        for place, function in enumerate((ours, lambda: _liblinear(x, y, some, dual, tol))):
            began = time.perf_counter()
            function()
            times[place].append((time.perf_counter() - began) * (classes / some if place else 1))
    timing = Timing(*map(statistics.median, times), statistics.median(b / a for a, b in zip(*times, strict=True)))
    equal = sum(mine) <= sum(theirs) * (1 + 1e-4)
    solver = f"LinearSVC(dual={dual}, tol={tol:g}) timed on {some} of the machines and scaled"
    note = f"{solver}; objective {sum(mine):.4f} of these, its {sum(theirs):.4f}"
    if at_least is None:
        return stated(name, timing, 1, "fits/s", note)
    row = speed(name, timing, 1, at_least, "fits/s", note)
    return dataclasses.replace(row, reached=bool(row.reached and equal))


def _rival(x: np.ndarray, y: np.ndarray, some: int, mine: list[float]) -> tuple[bool, float, list[float]]:
    """The solver of LinearSVC, and its loosest tolerance, that comes within 1e-4 of our objective soonest."""
    found: list[tuple[float, bool, float, list[float]]] = []
    for dual in (True, False):
        for tol in (1e-1, 1e-2, 1e-3, 1e-4):
            began = time.perf_counter()
            theirs = [
                _objective(machine.coef_[0], machine.intercept_[0], x, y, k)
                for k, machine in enumerate(_liblinear(x, y, some, dual, tol))
            ]
            if sum(theirs) <= sum(mine) * (1 + 1e-4) or tol == 1e-4:
                found.append((time.perf_counter() - began, dual, tol, theirs))
                break
    return min(found)[1:]


def _liblinear(x: np.ndarray, y: np.ndarray, some: int, dual: bool, tol: float) -> list[Any]:
    from sklearn.svm import LinearSVC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: the objective is looked at
        return [LinearSVC(C=_C, dual=dual, tol=tol, random_state=0).fit(x, y == k) for k in range(some)]


def _objective(w: np.ndarray, b: float, x: np.ndarray, y: np.ndarray, k: int) -> float:
    """LIBLINEAR's objective of the machine of class k, summed in float64."""
    lack = np.maximum(0, 1 - np.where(y == k, 1, -1) * (x @ w.astype(np.float32) + np.float32(b)).astype(np.float64))
    return float(0.5 * (w.astype(np.float64) @ w + float(b) ** 2) + _C * (lack @ lack))


def _averaged() -> Row:
    """A pass of averaged SGD over 10,000 rows of 4,096 columns and 10 classes, beside scikit-learn's."""
    import jax
    from measuring import side_by_side
    from sklearn.linear_model import SGDClassifier

    from mmfeat.classify.averaged_sgd import AveragedSgd
    from mmfeat.learner import default_batches, start, train

    x, y = made(10_000, 4096, 10)
    data = {"x": x, "y": y}
    learner = AveragedSgd(classes=10, passes=1, rate=1.0)
    begun, batches = start(learner, data), default_batches(learner, data)

    def ours() -> None:
        jax.block_until_ready(train(learner, begun, batches).state)

    def rival() -> None:
        SGDClassifier(loss="squared_hinge", average=True, max_iter=1, tol=None, eta0=1.0, learning_rate="constant").fit(
            x, y
        )

    timing = _quietly(lambda: side_by_side(ours, rival, 3, seconds=60))
    return stated("averaged SGD 4,096 columns, 10 classes: a pass", timing, len(x), "rows/s", "rival: SGDClassifier")


def _quietly(function: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()


def _stream(work: Path) -> Iterator[Row]:
    """A thousand classes from a file, in a process of its own; and what ImageNet would take at this rate."""
    ran = subprocess.run(
        [sys.executable, __file__, "stream", str(work)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    size = f"{_STREAM['rows']:,} × {_STREAM['width']:,}, 1,000 classes"
    note = f"top-1 {found['top-1']:.3f}, top-5 {found['top-5']:.3f} after {_STREAM['passes']} passes; chance 0.001"
    yield Row(f"averaged SGD from a file: {size}", ours=found["rows/s"], unit="rows/s", note=note)
    limit = 1.0
    note = f"{found['own GiB at most']:.2f} GiB besides what was there before training; the file has {found['file GiB']:.2f}"
    yield Row(
        "averaged SGD from a file: memory of its own",
        found["GiB"],
        None,
        None,
        f"≤ {limit:g} GiB",
        found["GiB"] <= limit,
        "GiB",
        note,
    )
    hours = hours_for(found["rows/s"])
    note = f"{_IMAGES:,} vectors of {_STREAM['width']:,} columns, {_PASSES} passes; computed from the rate, not run"
    yield Row("averaged SGD: ImageNet's training part would take", ours=hours, unit="h", note=note)


def hours_for(
    rows_a_second: float, images: int = _IMAGES, passes: int = _PASSES, width: int = _STREAM["width"]
) -> float:
    """Hours to train on so many images: products and reading both go with rows · columns (1,000 classes).

    >>> hours_for(1000.0, images=3600, passes=1000, width=2048)
    1.0
    """
    return images * passes * width / _STREAM["width"] / rows_a_second / 3600


def stream(work: Path) -> dict[str, float]:
    """Write the vectors, train on the mapped file, and measure: rates, hits, and the memory that is not the file's."""
    from mmfeat.classify.averaged_sgd import AveragedSgd
    from mmfeat.evaluate.classification import measure
    from mmfeat.learner import default_batches, sample, start, train, transform

    rows, width, classes = _STREAM["rows"], _STREAM["width"], _STREAM["classes"]
    file = np.lib.format.open_memmap(work / "x.npy", "w+", np.float32, (rows, width))
    y = np.empty(rows, np.int32)
    for number, first in enumerate(range(0, rows, 5000)):
        x, y[first : first + 5000] = made(min(5000, rows - first), width, classes, seed=number)
        file[first : first + 5000] = x
    file.flush()
    del file, x
    test, truth = made(_STREAM["tests"], width, classes, seed=10_000)
    before, peak = _own(), [0.0]
    data = {"x": np.load(work / "x.npy", mmap_mode="r"), "y": y}
    learner = AveragedSgd(classes=classes, passes=_STREAM["passes"], batch=_STREAM["batch"], loss="softmax", l2=1e-6)
    batches = default_batches(learner, data)
    begun = start(learner, sample(batches, learner.init_rows))
    times = [time.perf_counter()]

    def after(run: Any, metrics: Any) -> None:
        peak[0] = max(peak[0], _own())
        if not metrics:
            times.append(time.perf_counter())

    run_ = train(learner, begun, batches, after=after, together=True)
    found = measure(transform(learner, run_, test), truth, classes)
    pace = statistics.median(np.diff(times))  # the first pass compiles
    gib = {"GiB": peak[0], "own GiB at most": peak[0] - before, "file GiB": rows * width * 4 / 2**30}
    return {"rows/s": rows / pace, "top-1": found.top[1], "top-5": found.top[5], **gib}


def _own() -> float:
    """GiB of this process that are not pages of a file; NaN where the system does not tell."""
    try:
        text = Path("/proc/self/status").read_text("utf-8")
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon")) / 2**20


if __name__ == "__main__" and sys.argv[1:2] == ["stream"]:
    print(json.dumps(stream(Path(sys.argv[2]))))
