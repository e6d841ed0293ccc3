"""How a command ends: by Ctrl-C or SIGTERM at any moment, when nobody reads any more, and what it leaves behind."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures_command import run
from fixtures_pictures import write_folder

import mmfeat
from mmfeat.cli import main as command
from mmfeat.cli.options import ASKED
from mmfeat.pipelines import building, fitting
from mmfeat.progress import Progress


@pytest.fixture(autouse=True)
def _same_signals() -> Iterator[None]:
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), 12)


SMALL = ("--recipe", "pixel-codes", "--set", "side=4", "--set", "bits=8", "-q")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_learning_leaves_nothing(
    number: signal.Signals,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(fitting, "fit_job", lambda *a, **k: signal.raise_signal(number))
    ended, out, err = run(monkeypatch, capsys, "fit", "pixel-codes", folder, "-o", tmp_path / "new" / "m", "-q")
    assert (ended, out, err) == (code, "", "mmfeat: interrupted; no model was written\n")
    assert not list(tmp_path.rglob("m"))
    signal.raise_signal(number)  # once more, while the process ends: nothing happens


def test_a_signal_while_encoding_leaves_an_index_and_the_same_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(building, "FIRST", 4)
    add = building._Growth.add
    times = iter([1, 2, 3, 4, 5, 6])

    def interrupted(self: object, rows: object, base: int) -> None:
        add(self, rows, base)  # type: ignore[arg-type]
        if next(times) == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(building._Growth, "add", interrupted)
    words = ("index", "build", folder, "-o", tmp_path / "i", *SMALL)
    code, out, err = run(monkeypatch, capsys, *words)
    assert code == 130
    assert "8 indexed" in out
    assert "It is not finished" in run(monkeypatch, capsys, "index", "info", tmp_path / "i")[1]
    assert err == "mmfeat: interrupted; what is indexed can be searched; the same command goes on from there\n"
    code, out, err = run(monkeypatch, capsys, *words)
    assert (code, err) == (0, "")
    assert "12 indexed" in out
    assert "not finished" not in run(monkeypatch, capsys, "index", "info", tmp_path / "i")[1]


def test_an_interruption_of_an_import_waits_for_the_next_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Extension modules crash when they are left half imported, and some libraries forget the interruption."""
    (tmp_path / "sends_a_signal.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\ndone = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with command._signals() as ended:
        assert importlib.import_module("sends_a_signal").done
        assert ASKED.is_set()
        with Progress(quiet=True, stop=ASKED.is_set) as shown:
            with pytest.raises(KeyboardInterrupt):
                shown("reading", 1, 2)
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt:
                shown("reading", 2, 2)  # while the interruption is seen to, work may report
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert ended == [130]


def test_a_reader_that_has_seen_enough_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; sys.argv = ['mmfeat', 'recipes']\nfrom mmfeat.cli.main import main\nmain()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=Path(mmfeat.__file__).parent.parent,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_that_no_encoding_has_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    index = os.fsdecode(bytes(tmp_path) + b"/i\xff")
    try:
        os.mkdir(index)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    done = subprocess.run(
        [sys.executable, "-m", "mmfeat.cli.main", "index", "build", str(folder), "-o", index, *SMALL],
        capture_output=True,
        check=False,
        cwd=Path(mmfeat.__file__).parent.parent,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"12 indexed" in done.stdout


def test_a_demonstration_that_was_interrupted_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    def half(*a: object, **k: object) -> building.Build:
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "index.html").touch()
        return building.Build(tmp_path / "out" / "photos.index", 12, 5, 0, 0, 0, {}, complete=False)

    monkeypatch.setattr(building, "build_index", half)
    code, out, err = run(monkeypatch, capsys, "demo", folder, "-o", tmp_path / "out", "-q")
    assert (code, out) == (130, "")
    assert "index.html shows what was finished; the same command goes on from there" in err


def test_wrong_places_are_named_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    for module in (fitting, building):
        monkeypatch.setattr(module, "fit_job", lambda *a, **k: pytest.fail("learned all the same"))
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "x"
    for words in (
        ("fit", "pixel-codes", folder, "-o", place),
        ("index", "build", folder, "-o", place),
        ("index", "build", folder, "-o", tmp_path / "file"),
        ("demo", folder, "-o", place),
        ("demo", tmp_path / "nowhere", "-o", tmp_path / "new"),
    ):
        code, _, err = run(monkeypatch, capsys, *words, "-q")
        assert code == 2, words
        assert "may be written" in err or "a root exists" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_full_disk_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    def full(*a: object, **k: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fitting, "fit_job", full)
    code, _, err = run(monkeypatch, capsys, "fit", "pixel-codes", folder, "-o", tmp_path / "m", "-q")
    assert (code, err.startswith("mmfeat: the disk is full")) == (3, True)
