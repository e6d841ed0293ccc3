"""A fit that dies at any write, or between passes, goes on and ends in the same model to the bit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_command import run
from fixtures_faults import faults
from fixtures_sources import png

from mmfeat import resume
from mmfeat.chain import Chain
from mmfeat.errors import BusyError, UsageError
from mmfeat.learners import Autoencoder, KMeans, Pca
from mmfeat.resume import keeping
from mmfeat.stages import Fitted, fit_chain

ROWS = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
CHAIN = Chain(Pca(5), KMeans(4, passes=4), fit_rows=150)
ENDS = ("killed", "power", "torn", "full")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of `faults` nothing waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def fitted(folder: Path | None, report: Any = None, identity: Any = None) -> Fitted:
    with keeping(folder, identity or {"of": "these"}) as kept:
        if kept is not None:
            kept.seconds = 0.0
        return fit_chain(CHAIN, ROWS, seed=3, report=report, kept=kept)


def bits(found: Fitted) -> list[bytes]:
    import jax

    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(found.states)] + [repr(found.log).encode()]


@pytest.fixture(scope="module")
def whole() -> list[bytes]:
    return bits(fit_chain(CHAIN, ROWS, seed=3))


def counting(steps: list[str], stop: int | None = None) -> Callable[..., None]:
    """Notes every step that is learned; interrupts at the number `stop`."""

    def report(what: str, done: int, total: int, metrics: Any) -> None:
        if what.startswith("learning") and metrics:
            steps.append(what)
            if len(steps) == stop:
                raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("how", ENDS)
def test_a_fit_that_died_at_a_write_ends_in_the_same_bits(how: str, whole: list[bytes], tmp_path: Path) -> None:
    for at in range(ENDS.index(how), 48, 8):
        folder = tmp_path / str(at)
        with faults(at, how, seed=at), contextlib.suppress(OSError):
            fitted(folder)
        assert bits(fitted(folder)) == whole


def test_what_was_learned_is_not_learned_again(whole: list[bytes], tmp_path: Path) -> None:
    every: list[str] = []
    fitted(None, counting(every))
    for stop in (2, 3, 4):
        before: list[str] = []
        after: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            fitted(tmp_path / str(stop), counting(before, stop))
        assert bits(fitted(tmp_path / str(stop), counting(after))) == whole
        assert len(before) - 1 + len(after) == len(every) == 4  # only the step that was interrupted is done twice
    again: list[str] = []
    assert bits(fitted(tmp_path / "4", counting(again))) == whole
    assert again == []


def test_another_identity_begins_anew_and_damage_counts_as_absent(whole: list[bytes], tmp_path: Path) -> None:
    fitted(tmp_path / "k")
    steps: list[str] = []
    assert bits(fitted(tmp_path / "k", counting(steps), {"of": "others"})) == whole
    assert len(steps) == 4
    for path in (tmp_path / "k").glob("*.kept"):
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data)
    steps.clear()
    assert bits(fitted(tmp_path / "k", counting(steps), {"of": "others"})) == whole
    assert len(steps) == 4


def test_states_of_another_form_are_not_taken(tmp_path: Path) -> None:
    """The identity is that of the caller: rows of another width under the same one are learned as they are."""
    with keeping(tmp_path / "k", {}) as kept:
        fit_chain(Chain(Pca(2)), ROWS, kept=kept)
    with keeping(tmp_path / "k", {}) as kept:
        found = fit_chain(Chain(Pca(2)), ROWS[:, :4], kept=kept)
    assert bits(found) == bits(fit_chain(Chain(Pca(2)), ROWS[:, :4]))


def test_a_learner_with_momenta_goes_on(tmp_path: Path) -> None:
    chain = Chain(Autoencoder((3,), passes=3, batch=50))
    steps: list[str] = []
    with keeping(tmp_path / "k", {}) as kept:
        assert kept is not None
        kept.seconds = 0.0
        with pytest.raises(KeyboardInterrupt):
            fit_chain(chain, ROWS, report=counting(steps, 6), kept=kept)
    assert (tmp_path / "k" / "learner-1.kept").is_file()
    with keeping(tmp_path / "k", {}) as kept:
        found = fit_chain(chain, ROWS, kept=kept)
    assert bits(found) == bits(fit_chain(chain, ROWS))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "thesis.txt").write_text("all of it")
    with pytest.raises(UsageError, match="a folder of its own"), keeping(tmp_path / "k", {}):
        pass
    with pytest.raises(ZeroDivisionError), keeping(tmp_path / "m", {}):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["k"]  # nothing was kept: nothing is left
    with keeping(tmp_path / "l", {}), pytest.raises(BusyError), keeping(tmp_path / "l", {}):
        pass


def test_the_command_goes_on_and_leaves_the_model_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(png(number))
    words = ("fit", "pixel-codes", folder, "--set", "side=4", "--set", "bits=4", "-q", "-o")
    assert run(monkeypatch, capsys, *words, tmp_path / "whole")[0] == 0
    real = resume.Kept.pass_done

    def die(self: Any, run: Any, passes: Any, last: int) -> None:
        real(self, run, passes, last)
        if run.passes == last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resume.Kept, "pass_done", die)
        code, _, err = run(patch, capsys, *words, tmp_path / "m")
    assert (code, "the same command goes on after the last pass that was kept" in err) == (130, True)
    assert (tmp_path / "m.fit" / "learner-1.kept").is_file()
    assert run(monkeypatch, capsys, *words, tmp_path / "m")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "pictures", "whole"]
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "m" / path.name).read_bytes() == path.read_bytes()
