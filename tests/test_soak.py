"""A little of `make soak`: processes that are killed, bits that are flipped, files that may not grow, readers meanwhile."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soak
from fixtures_pictures import write_folder

import mmfeat
from mmfeat.indexes import create, open_index, rollback, verify_index


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_three_kills_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # in this process; those that are killed wait for the disk
    monkeypatch.setenv("SOAK_CHANGES", "8")
    monkeypatch.setattr(soak, "CHANGES", 8)
    prepared = soak.Soak("changes", tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(3):
        prepared.kill(rng)


def test_a_process_that_aborts_by_itself_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed is killed by us: a job that ends by SIGABRT before is no kill."""
    monkeypatch.setenv("SOAK_CHANGES", "3")
    monkeypatch.setattr(soak, "CHANGES", 3)
    prepared = soak.Soak("changes", tmp_path)
    real = soak.start

    def aborting(job: str, path: Path) -> subprocess.Popen[str]:
        process = real(job, path)
        process.send_signal(signal.SIGABRT)
        process.wait()
        return process

    monkeypatch.setattr(soak, "start", aborting)
    monkeypatch.setattr(soak, "go", lambda process: None)
    with pytest.raises(AssertionError, match="changes ended by itself with -6"):
        prepared.kill(np.random.default_rng(0))


def test_damaged_pictures_are_part_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert soak.decode_damaged(12, 0)
    assert "12 damaged pictures: exit code 0" in capfd.readouterr().out


def test_flipped_bits_of_a_model_are_named(tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", 12, side=32)
    root = mmfeat.fit("pixel-codes", photos, settings={"side": 4, "bits": 8}).save(tmp_path / "model")
    rng = np.random.default_rng(0)
    assert soak.flip(root, 60, rng, lambda path: soak.named_by_load(root, path), soak.UNREAD) == 0


def test_files_that_may_not_grow_leave_the_old_state(tmp_path: Path) -> None:
    index = create(tmp_path / "x.index", dim=64)
    index.add([str(i) for i in range(100)], np.zeros((100, 8), np.uint8))
    before = soak.essence(index.path)
    code = (
        "import sys, resource, signal, numpy as np; from mmfeat.indexes import open_index\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try: open_index(sys.argv[1]).add([f'n{i}' for i in range(20000)], np.zeros((20000, 8), np.uint8))\n"
        "except OSError as error: print(error.strerror)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "-c", code, str(index.path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "File too large\n"
    assert soak.essence(index.path) == before
    assert verify_index(index.path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_readers_never_meet_half_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four readers open and search while one writer adds, removes, compacts and goes back."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    index = create(tmp_path / "x.index", dim=16)
    states = {index.generation: index.ids.to_pylist()}
    seen: list[tuple[int, list[str], list[str]]] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                held = open_index(index.path)
                found = held.search(np.zeros((1, 2), np.uint8), 1000)
                seen.append((held.generation, held.ids.to_pylist(), sorted(held.ids_at(found.row[0]))))
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(40):
        if step % 10 == 9:
            index = rollback(index.path)
        else:
            soak.one_change(index)
        states[index.generation] = index.ids.to_pylist()
    done.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert len({generation for generation, _, _ in seen}) > 3
    for generation, ids, found in seen:
        assert ids == states[generation]
        assert found == sorted(ids)
