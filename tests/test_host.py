"""The process as mmfeat sets it up: one BLAS thread, however blocks overlap; programs kept where the user wants them."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mmfeat.host import keep_memory, one_blas_thread, program_cache


def _threads() -> set[int]:
    return {int(each["num_threads"]) for each in threadpool_info() if each["user_api"] == "blas"}


def test_blocks_that_overlap_give_the_threads_back_once_the_last_is_left() -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one core has no threads to give back")
    with one_blas_thread():  # what finds the libraries has loaded them
        pass
    with threadpool_limits(2, user_api="blas"):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert _threads() == {1}
        second.__exit__(None, None, None)
        assert _threads() == {2}


def test_programs_are_kept_in_the_users_cache_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert program_cache() == {}  # the tests have named a place
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    assert program_cache()["jax_compilation_cache_dir"] == str(tmp_path / "mmfeat" / "compiled")
    monkeypatch.setenv("MMFEAT_COMPILE_CACHE", "0")
    assert program_cache() == {}


def test_memory_is_kept_where_the_c_library_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    glibc = SimpleNamespace(mallopt=lambda number, value: asked.append((number, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: glibc)
    keep_memory()
    assert asked == [(-3, 2**26), (-1, 2**29)]  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())  # musl, macOS
    keep_memory()
    assert len(asked) == 2


def test_every_command_keeps_its_programs(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['mmfeat', '--version']; from mmfeat.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: import jax; print(jax.config.jax_compilation_cache_dir)\n"
    )
    place = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**place, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == str(tmp_path / "mmfeat" / "compiled")
