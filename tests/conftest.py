"""How every test runs: four CPU devices, strict dtypes and ranks, no shared state with the user, no machine-dependent draws."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
if importlib.util.find_spec("mmfeat") is None:  # a checkout that is not installed; an installed wheel is what is tested
    sys.path.insert(0, str(ROOT))

_own = tempfile.TemporaryDirectory(prefix="mmfeat-tests-")


def _environment() -> None:
    """Before JAX is imported; processes started by a test inherit it. Only compiled programs and fonts outlive a run."""
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        folder = Path(_own.name, name.lower())
        folder.mkdir()
        os.environ[f"XDG_{name}_HOME"] = str(folder)
    kept = ROOT / ".pytest_cache" if os.access(ROOT, os.W_OK) else Path(_own.name)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")  # JAX reads what another process has written by half
    for name, part in (("JAX_COMPILATION_CACHE_DIR", f"jax{worker}"), ("MPLCONFIGDIR", f"matplotlib{worker}")):
        (kept / part).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(kept / part)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(kept / "hypothesis")
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads spin while they wait, beside those of JAX
    os.environ["MPLBACKEND"] = "agg"
    for name in ("MMFEAT_HOST", "XLA_FLAGS", "JAX_ENABLE_X64", "JAX_NUM_CPU_DEVICES"):
        os.environ.pop(name, None)


_environment()

import jax  # noqa: E402 - after the environment

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("mmfeat", deadline=None, derandomize=True, database=None, max_examples=30)
hypothesis.settings.load_profile("mmfeat")
_tests = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Folders with a dot hold no tests (Hypothesis warns if its own is among those looked into)."""
    config.addinivalue_line("norecursedirs", ".*")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets."""
    folder = os.environ.get("MMFEAT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set MMFEAT_DATA to the folder of real data sets to run this test")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def one_device_mesh() -> Any:
    """A mesh of one device, as on a laptop: on it the NumPy paths of learners run."""
    from mmfeat.mesh import make_mesh

    return make_mesh(1, devices=jax.devices()[:1])


@pytest.fixture(autouse=True)
def _few_programs() -> Iterator[None]:
    """Forget compiled programs before they use up the memory maps a process may have (65,530 on Linux): XLA then crashes."""
    yield
    if next(_tests) % 16:  # reading them takes milliseconds
        return
    try:
        maps = Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:  # not Linux
        return
    if maps > 15_000:
        jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def _leave_nothing() -> Iterator[None]:
    yield
    _own.cleanup()
