"""An extraction that dies, or meets a full disk, at any point is given again and ends the same; so does one after Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_command import run
from fixtures_extracting import PlainModel, contents
from fixtures_pictures import crops, write_folder
from PIL import Image

from mmfeat.media.walk import walk
from mmfeat.model import Model
from mmfeat.pipelines import extracting
from mmfeat.pipelines.extracting import extract


@pytest.fixture(scope="module")
def model() -> Any:
    return PlainModel()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve good pictures, one broken beyond its header, one that is none."""
    root = write_folder(tmp_path / "pictures", 12, side=32)
    (root / "china" / "broken.jpg").write_bytes((root / "china" / "crop 000.jpg").read_bytes()[:700])
    (root / "notes.txt").write_text("not a picture")
    return root


# --- dying anywhere ---------------------------------------------------------------------------------------------------


class Death(BaseException):
    """The process is no more: from here on nothing it does reaches the disk."""


def at_the_nth(
    monkeypatch: pytest.MonkeyPatch, number: int, error: Callable[[], BaseException], stays: bool
) -> list[int]:
    """The n-th of all writes, fsyncs and renames raises; with `stays` all that follow do, as nothing follows a kill."""
    count = [0]

    def wrap(true: Any) -> Any:
        def wrapped(*a: Any, **k: Any) -> Any:
            count[0] += 1
            if count[0] == number or (stays and count[0] > number > 0):
                raise error()
            return true(*a, **k)

        return wrapped

    for name in ("replace", "rename", "fsync", "unlink", "mkdir", "rmdir"):
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    monkeypatch.setattr(np, "save", wrap(np.save))
    return count


def changed(folder: Path) -> None:
    (folder / "china" / "crop 002.jpg").unlink()
    Image.fromarray(crops(20)[17][1][:32, :32]).save(folder / "flower" / "a new one.jpg")


@pytest.mark.parametrize("job", ["new", "update", "retry"])
@pytest.mark.parametrize("disk_full", [False, True])
def test_dying_at_every_point_and_running_again_ends_the_same(
    job: str, disk_full: bool, folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # counted below, but the disk need not be waited for
    begun = tmp_path / "begun"
    if job != "new":
        extract(model, walk(folder), begun, part=6)
    if job == "update":
        changed(folder)
    items, how = walk(folder), {"part": 6, "retry_failed": job == "retry"}
    shutil.copytree(begun, tmp_path / "w") if job != "new" else None
    with monkeypatch.context() as patch:
        points = at_the_nth(patch, 0, Death, False)
        extract(model, items, tmp_path / "w", **how)  # type: ignore[arg-type]
        total = points[0]
    assert total > 15
    wanted = contents(tmp_path / "w")
    full = lambda: OSError(errno.ENOSPC, "No space left on device")  # noqa: E731
    for number in range(1, total + 1):
        place = tmp_path / "f"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(begun, place) if job != "new" else None
        with monkeypatch.context() as patch:
            at_the_nth(patch, number, full if disk_full else Death, not disk_full)
            with contextlib.suppress(Death, OSError):
                extract(model, items, place, **how)  # type: ignore[arg-type]
        result = extract(model, items, place, **how)  # type: ignore[arg-type]
        assert contents(place) == wanted, number
        assert (result.done, result.failed) == (12, 1), number
        (tmp_path / "f").rename(tmp_path / "done")
        shutil.rmtree(tmp_path / "done")


def test_ctrl_c_keeps_what_is_finished(
    folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mmfeat.model.load", lambda path: model)
    true, calls = extracting.encode_items, [0]

    def pressed(*a: Any, **k: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            signal.raise_signal(signal.SIGINT)
        return true(*a, **k)

    monkeypatch.setattr(extracting, "encode_items", pressed)
    before = signal.getsignal(signal.SIGINT)
    words = ("extract", tmp_path / "model", folder, "-o", tmp_path / "f", "--part", 4, "-q")
    try:
        code, _, err = run(monkeypatch, capsys, *words)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, err) == (
        130,
        "mmfeat: interrupted; what is finished is kept, and the same command goes on from there\n",
    )
    assert len(list((tmp_path / "f" / "parts").glob("*.json"))) == 2
    calls[0] = 10
    code, out, err = run(monkeypatch, capsys, *words)
    assert (code, err) == (1, "")
    assert "12 done, 1 failed, 1 skipped" in out


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command(
    folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mmfeat.model.load", lambda path: model)
    words = ("extract", tmp_path / "model", folder, "-o", tmp_path / "f", "-q")
    code, out, _ = run(monkeypatch, capsys, *words, "--shard", "1/2", "--part", 4)
    assert f"shard 1/2: 7 done, 1 failed; when all are there: mmfeat extract --merge -o {tmp_path / 'f'}" in out
    code, _, err = run(monkeypatch, capsys, "extract", "--merge", "-o", tmp_path / "f")
    assert code == 3
    assert "missing: part-00001, part-00003" in err
    code, out, _ = run(monkeypatch, capsys, *words, "--shard", "2/2")
    assert (code, "5 done, 0 failed" in out) == (0, True)
    assert (
        run(monkeypatch, capsys, "extract", "--merge", "-o", tmp_path / "f")[0] == 1
    )  # the failure is new to the folder
    assert run(monkeypatch, capsys, "extract", "--merge", "-o", tmp_path / "f")[0] == 0
    assert run(monkeypatch, capsys, "extract", "--merge", "-o", tmp_path / "f", "--strict")[0] == 1
    assert run(monkeypatch, capsys, *words, "--retry-failed")[0] == 0
    for wrong in (("extract", tmp_path / "model", "--merge", "-o", tmp_path / "f"), ("extract", "-o", tmp_path / "f"),
                  ("extract", tmp_path / "model", folder), (*words, "--shard", "3/2"), (*words, "--pages", "some")):  # fmt: skip
        code, out, err = run(monkeypatch, capsys, *wrong)
        assert (code, out) == (2, ""), wrong
        assert err.startswith("mmfeat: ")
