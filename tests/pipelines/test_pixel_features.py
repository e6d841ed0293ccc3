"""`pixel-features`: any learner by its name, or a sentence that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures_command import run
from fixtures_pictures import write_folder

import mmfeat
from mmfeat import registry
from mmfeat.descriptors import Patches, Pixels
from mmfeat.errors import MmfeatError, SettingsError
from mmfeat.learners import Lsh, Pca
from mmfeat.pipelines.fitting import find_recipe
from mmfeat.pipelines.pixel_features import PixelFeatures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), 12, side=16)


@pytest.mark.parametrize("name", registry.learners())
def test_a_learner_by_name_is_that_learner(name: str) -> None:
    """`--set learner=NAME` and the name as a recipe are the same chain, for every learner."""
    named = find_recipe("pixel-features", {"learner": registry.hyphens(name)})
    assert named == find_recipe(name)
    first, learner = named.chain(None).stages
    assert registry.name_of(type(learner)) == name
    assert isinstance(first, Patches if learner.locals else Pixels)


def test_its_settings_come_after_its_name() -> None:
    made = find_recipe("pixel-features", {"learner": "lsh", "learner.bits": 12})
    assert made.learner == Lsh(bits=12)
    assert PixelFeatures().chain(None).stages[1] == Pca(64)


@pytest.mark.parametrize("value", ["pool", "lhs", 5, Lsh, Pixels(), True])
def test_what_is_no_learner_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match="learner is"):
        PixelFeatures(learner=value)


@pytest.mark.parametrize("name", ["contrastive", "fisher", "wide-pca", "kmeans"])
def test_pictures_that_a_learner_cannot_take_are_a_sentence(folder: Path, name: str) -> None:
    with pytest.raises(MmfeatError, match="got"):
        mmfeat.fit("pixel-features", folder, settings={"learner": name, "side": 6, "color": "grey"})


def test_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("fit", "pixel-features", folder, "-o", tmp_path / "m", "--set", "side=8", "-q", "--set")
    assert run(monkeypatch, capsys, *words, "learner=lsh")[0] == 0
    assert mmfeat.load(tmp_path / "m").hash
    code, _, err = run(monkeypatch, capsys, *words, "learner=lhs", "--overwrite")
    assert (code, err.count("\n")) == (2, 1)
    assert "learner is one of" in err
