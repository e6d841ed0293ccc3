"""Ctrl-C before the command line is there: no stack trace, exit code 130."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mmfeat

HOME = Path(mmfeat.__file__).parent.parent
AT_A_TERMINAL = (
    "signal.signal(signal.SIGINT, signal.default_int_handler)"  # whoever started the tests may ignore Ctrl-C
)
# does something when a module is about to be imported, such as pressing Ctrl-C
STARTS = """
import os, runpy, signal, sys, time
{before}
class Then:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            {act}
sys.meta_path.insert(0, Then())
sys.argv = ["mmfeat", "--version"]
{program}
"""
PRESS = "os.kill(os.getpid(), signal.SIGINT)"
PROGRAMS = {
    "script": "from mmfeat.cli.start import main; main()",
    "module": "runpy.run_module('mmfeat', run_name='__main__')",
}


def ended(module: str, program: str, before: str = AT_A_TERMINAL) -> tuple[int, str, str]:
    code = STARTS.format(module=module, act=PRESS, program=PROGRAMS[program], before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=HOME)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("module", "program"),
    [("mmfeat.cli.main", "script"), ("typer", "module"), ("typer.core", "script"), ("mmfeat.cli.teach", "module")],
)
def test_while_it_is_imported(module: str, program: str) -> None:
    assert ended(module, program) == (130, "", "mmfeat: interrupted\n")


def test_who_wants_it_ignored_has_it_ignored_while_it_starts() -> None:
    assert ended("typer", "script", "signal.signal(signal.SIGINT, signal.SIG_IGN)") == (
        0,
        f"mmfeat {mmfeat.__version__}\n",
        "",
    )


def test_from_outside_too() -> None:
    waits = "print('now', flush=True); time.sleep(60)"  # an import that takes long
    program = STARTS.format(module="typer", act=waits, program=PROGRAMS["script"], before=AT_A_TERMINAL)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HOME
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "now\n"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (130, "", "mmfeat: interrupted\n")
