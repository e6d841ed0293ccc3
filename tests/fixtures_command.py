"""The command line, called in this process."""

from __future__ import annotations

import sys

import pytest

from mmfeat.cli import main as command


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `mmfeat WORDS`."""
    monkeypatch.setattr(sys, "argv", ["mmfeat", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err
