"""Every learner there is keeps every law. A learner dropped into its folder as a file is tested without a change here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fixtures_broken as broken
import fixtures_laws as laws
import numpy as np
import pytest

from mmfeat import learner as training
from mmfeat import registry, settings
from mmfeat.arrays import Locals
from mmfeat.chain import Chain
from mmfeat.errors import ShapeError
from mmfeat.files import canonical_json, sha256_bytes

FOUND = registry.learners()


@pytest.mark.parametrize("law", laws.LAWS)
@pytest.mark.parametrize("name", FOUND)
def test_law(name: str, law: str) -> None:
    laws.LAWS[law](laws.shrink(FOUND[name]()))


# The laws themselves: sound learners pass, and every law fails on the learner that breaks it


@pytest.fixture
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The learners of these tests can be read from JSON."""
    classes = [*broken.SOUND, *(cls for _, _, cls in broken.BROKEN.values())]
    names = {registry.name_of(cls): cls for cls in classes}
    monkeypatch.setattr(settings, "class_named", names.__getitem__)


@pytest.mark.parametrize("law", laws.LAWS)
@pytest.mark.parametrize("cls", broken.SOUND)
@pytest.mark.usefixtures("_known")
def test_the_laws_let_sound_learners_pass(cls: Any, law: str) -> None:
    laws.LAWS[law](cls())


@pytest.mark.parametrize("case", broken.BROKEN)
@pytest.mark.usefixtures("_known")
def test_the_laws_catch(case: str) -> None:
    law, said, cls = broken.BROKEN[case]
    with pytest.raises((AssertionError, TypeError), match=said):
        laws.LAWS[law](cls() if cls.__name__ != "NoDefault" else cls(choice=1))


def test_the_laws_catch_an_encoding_before_the_first_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "finished", lambda learner, run: run.state)
    with pytest.raises(AssertionError, match="not finished a pass encoded"):
        laws.nothing_is_encoded_before_the_first_finish(broken.Sound())


def test_the_laws_catch_a_loop_that_begins_its_pass_again(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = training._feed
    monkeypatch.setattr(
        training, "_feed", lambda learner, batches, epoch, first, *rest: feed(learner, batches, epoch, 0, *rest)
    )
    with pytest.raises(AssertionError, match="continued from"):
        laws.resumed_is_uninterrupted(broken.Sound())


def test_every_law_can_fail() -> None:
    kept_by_the_loop = {"nothing_is_encoded_before_the_first_finish"}  # shown just above
    assert {law for law, _, _ in broken.BROKEN.values()} | kept_by_the_loop == set(laws.LAWS)


# A learner in a Model


@dataclass(frozen=True)
class Cut:
    """Rows (n, 8 d) as 8 places an item."""

    def __call__(self, x: Any) -> Locals:
        values = x.reshape(x.shape[0], 8, -1)
        return Locals(values, values[..., :2], values[..., 0] * 0 + 1)


@pytest.mark.parametrize("name", FOUND)
def test_a_saved_model_encodes_to_the_same_bits(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: an array of the wrong shape in its file is named."""
    model = pytest.importorskip("mmfeat.model")
    stages = pytest.importorskip("mmfeat.stages")
    named = settings.class_named
    monkeypatch.setattr(settings, "class_named", lambda name: Cut if name == "cut" else named(name))
    learner = laws.shrink(FOUND[name]())
    chain, data = Chain(learner), laws.example(learner)
    if learner.locals:
        chain, data = Chain(Cut(), learner), laws.rows().reshape(-1, 8 * laws.WIDTH)
    labels = data.pop("y") if isinstance(data, dict) and "y" in data else None
    data = data["x"] if isinstance(data, dict) and set(data) == {"x"} else data
    fitted = stages.fit_chain(chain, data, labels=labels, classes=laws.CLASSES if labels is not None else 0)
    made = model.Model(fitted.chain, fitted.states, fitted.forms)
    x = data["x"] if isinstance(data, dict) else data
    back = model.load(made.save(tmp_path / "model"))
    assert back.chain == made.chain
    assert back.sha256 == made.sha256
    np.testing.assert_array_equal(made.encode(x), back.encode(x))
    spoil_first_array(tmp_path / "model")
    with pytest.raises(ShapeError, match=r"float32|int32|uint32|bool"):
        model.load(tmp_path / "model")


def spoil_first_array(folder: Path) -> None:
    """Give the first array an axis more, with all checksums as they should be."""
    from safetensors.numpy import load, save

    tensors = load((folder / "model.safetensors").read_bytes())
    first = min(tensors)
    data = save(tensors | {first: tensors[first][None]})
    (folder / "model.safetensors").write_bytes(data)
    described = json.loads((folder / "model.json").read_text())
    described["tensors"]["sha256"] = sha256_bytes(data)
    rest = {key: value for key, value in described.items() if key != "checksum"}
    (folder / "model.json").write_bytes(canonical_json(rest | {"checksum": sha256_bytes(canonical_json(rest))}))
