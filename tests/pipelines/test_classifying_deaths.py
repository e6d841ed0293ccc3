"""`mmfeat classify fit` that was killed, or interrupted, is given again: it goes on, and the model has the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures_command import run
from fixtures_pictures import write_folder

from mmfeat.errors import UsageError
from mmfeat.pipelines import kept_features
from mmfeat.pipelines.classifying import fit_classifier

SETTINGS = {"max_side": 48, "components": 8, "codewords": 4}
SMALL = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
DYING = """
import os, signal, sys
from mmfeat.cli import main
from mmfeat.pipelines import kept_features

kept_features.PART, place = 8, sys.argv.pop(1)

def dying(rename):
    def renamed(source, target, *rest, **named):
        if os.path.basename(target) == place:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(source, target, *rest, **named)
    return renamed

os.replace, os.rename = dying(os.replace), dying(os.rename)
main.main()
"""


@pytest.fixture(autouse=True)
def _parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_features, "PART", 8)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four crops of two photographs and a broken file: four parts."""
    folder = write_folder(tmp_path_factory.mktemp("dying") / "train", 24, 48)
    (folder / "china" / "torn.jpg").write_bytes((folder / "china" / "crop 000.jpg").read_bytes()[:700])
    return folder


@pytest.fixture(scope="module")
def whole(train: Path) -> Path:
    """The model of a run that nothing disturbed and that kept nothing."""
    return fit_classifier(train, settings=SETTINGS).model.save(train.parent / "whole")


class Told:
    """What a run reports; it may be interrupted at the first report of a kind from some count on."""

    def __init__(self, what: str = "", at: int = 0) -> None:
        self.what, self.at = what, at
        self.said: list[tuple[str, int]] = []

    def __call__(self, what: str, done: int, total: int, metrics: Any) -> None:
        self.said.append((what, done))
        if self.what and what == self.what and done >= self.at:
            raise KeyboardInterrupt

    def learned(self) -> bool:
        return any(what.startswith("learning ") and what != "learning LinearSvm" for what, _ in self.said)

    def counts(self) -> Iterator[int]:
        return (done for what, done in self.said if what == "encoding")


@pytest.mark.parametrize("place", ["learner-2.kept", "part-00002.json"])
def test_killed_and_given_again_it_ends_in_the_same_bytes(
    place: str, train: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ["classify", "fit", str(train), "-o", str(tmp_path / "m"), "-q", *SMALL]
    died = subprocess.run([sys.executable, "-c", DYING, place, *words], check=False)
    assert died.returncode == -signal.SIGKILL
    kept = tmp_path / "m.fit"
    assert (kept / "learner-1.kept").exists()
    assert (kept / "features.model").exists() == place.startswith("part")
    assert len(list(kept.glob("features/parts/*.json"))) == (2 if place.startswith("part") else 0)
    code, out, err = run(monkeypatch, capsys, *words)
    assert (code, "torn.jpg" in err) == (1, True)
    assert "2 classes learned from 24 items" in out
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "m" / name).read_bytes() == (whole / name).read_bytes(), name
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_what_is_finished_is_not_done_again_and_another_call_begins_anew(
    train: Path, whole: Path, tmp_path: Path
) -> None:
    kept, stopped, rest, other = tmp_path / "kept", Told("encoding", 17), Told(), Told("encoding", 1)
    with pytest.raises(KeyboardInterrupt):
        fit_classifier(train, settings=SETTINGS, kept_in=kept, report=stopped)
    assert stopped.learned()
    found = fit_classifier(train, settings=SETTINGS, kept_in=kept, report=rest)
    assert found.model.sha256 in (whole / "model.json").read_text()
    assert [*found.failures] == ["china/torn.jpg"]
    assert not rest.learned()
    assert min(rest.counts()) > 16
    for changed in ({"c": 1.0}, {"seed": 1}, {"settings": {**SETTINGS, "components": 7}}):
        other.said.clear()
        with pytest.raises(KeyboardInterrupt):
            fit_classifier(train, **{"settings": SETTINGS, **changed}, kept_in=kept, report=other)  # type: ignore[arg-type]
        assert other.learned(), changed
        assert min(other.counts()) <= 8, changed
    (kept / "mine.txt").write_text("not of a fit")
    with pytest.raises(UsageError, match="something else"):
        fit_classifier(train, settings=SETTINGS, kept_in=kept)


def test_an_interrupted_command_says_that_it_goes_on(
    train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*a: Any, **k: Any) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    words = ("classify", "fit", train, "-o", tmp_path / "m", "-q", *SMALL)
    try:
        monkeypatch.setattr("mmfeat.pipelines.extracting.encode_items", pressed)
        code, _, err = run(monkeypatch, capsys, *words)
        assert (code, err) == (
            130,
            "mmfeat: interrupted; no model was written; what is finished is kept, and the same command goes on from there\n",
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "m.fit").is_dir()
    assert not (tmp_path / "m").exists()
