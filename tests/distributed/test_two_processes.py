"""Two real processes on this machine train as one: every bit is as in one process with as many devices."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import fixtures_worker as worker
import jax
import numpy as np
import pytest

import mmfeat
from mmfeat.checkpoint import latest, restore
from mmfeat.learner import default_batches, train
from mmfeat.mesh import leaf_names, make_mesh, on_host
from mmfeat.stream import Batches

LIMIT = 120  # seconds, for all processes of a run


def launch(processes: int, folder: Path) -> None:
    """Start the processes of one run and wait for them; none outlives this call."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(Path(str(mmfeat.__file__)).parents[1])}
    logs = [folder / f"{number}-of-{processes}.log" for number in range(processes)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(processes):
            command = [sys.executable, worker.__file__, str(number), str(processes), str(port), str(folder)]
            with logs[number].open("wb") as log:
                started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment))
        end = time.monotonic() + LIMIT
        while any(each.poll() is None for each in started) and not any(each.poll() for each in started):
            assert time.monotonic() < end, f"not done within {LIMIT} s"
            time.sleep(0.05)
    finally:
        for each in started:
            if each.poll() is None:
                each.send_signal(signal.SIGKILL)  # SIGTERM is ignored by a process of a distributed run
                each.wait()
    said = "\n".join(log.read_text(errors="replace")[-2000:] for log in logs)
    assert [each.returncode for each in started] == [0] * processes, said


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for processes in (1, 2):
        launch(processes, folder)
    return folder


@pytest.mark.parametrize("name", worker.learners())
def test_two_processes_train_as_one(runs: Path, name: str) -> None:
    one, first, second = (np.load(runs / f"{name}-{ending}.npz") for ending in ("1-0", "2-0", "2-1"))
    assert one["run.step"] > 3
    np.testing.assert_allclose(first["codes"], one["codes"], rtol=1e-4, atol=1e-5)  # rows at another shape per device
    for key in one.files:
        if key != "codes":
            assert one[key].tobytes() == first[key].tobytes(), f"{key} of the first process"
        assert first[key].tobytes() == second[key].tobytes(), f"{key} of the second process"


def test_two_processes_fit_a_chain_as_one(runs: Path) -> None:
    """Each encodes the sample for the second stage by itself, on its own devices: the last bits may differ from one process's."""
    one, first, second = (np.load(runs / f"chain-{ending}.npz") for ending in ("1-0", "2-0", "2-1"))
    for key in one.files:
        assert first[key].tobytes() == second[key].tobytes(), f"{key} of two processes"
        np.testing.assert_allclose(first[key], one[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", worker.learners())
def test_what_two_processes_saved_one_continues(runs: Path, name: str) -> None:
    learner, mesh = worker.learners()[name], make_mesh(2)
    folder = runs / f"{name}-2"
    assert latest(folder) == latest(runs / f"{name}-1")
    batches = default_batches(learner, worker.data(), mesh=mesh)
    if not learner.full_batch:
        batches = Batches(batches.source, worker.BATCH, batches.seed)
    run = train(learner, restore(folder, learner, worker.data(), mesh), batches, mesh)
    wanted = np.load(runs / f"{name}-2-0.npz")
    for key, leaf in zip(leaf_names(run.state), jax.tree.leaves(on_host(run.state)), strict=True):
        assert leaf.tobytes() == wanted[key].tobytes(), key
