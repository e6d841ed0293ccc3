"""Recipes are tried with the settings that go with the pictures, and the best by the self-check is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_pictures import write_folder
from PIL import Image

import mmfeat
from mmfeat.errors import UsageError
from mmfeat.media.items import Items
from mmfeat.media.walk import walk
from mmfeat.pipelines import building
from mmfeat.pipelines.recommending import (
    Candidate,
    Trial,
    best,
    candidates,
    choose_recipe,
    describe_trials,
    try_recipes,
    usual_recipe,
)

COARSE, FINE = Candidate("pixel-codes", {"side": 2, "bits": 2}), Candidate("pixel-codes", {"side": 12, "bits": 48})


class Told:
    """A report that keeps what is said."""

    def __init__(self, told: list[str]) -> None:
        self.say = told.append

    def __call__(self, what: str, done: int, total: int, metrics: Any) -> None:
        pass


def digits(folder: Path, count: int, side: int, channels: int = 1) -> Items:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side + 4, channels), np.uint8)
    np.save(folder / "x.npy", pixels)
    return walk(folder / "x.npy")


def found(items: Items) -> dict[str, dict[str, Any]]:
    tried = candidates(items, items.images)
    return {f"{one.recipe} {one.settings.get('augment', '')}".strip(): dict(one.settings) for one in tried}


def test_small_grey_pictures_are_tried_at_their_size_in_grey(tmp_path: Path) -> None:
    tried = found(digits(tmp_path, 40, 24))
    shape = {"side": 28, "color": "grey"}
    assert tried == {
        "pixel-codes": shape,
        "patch-codes": {},
        "deep-codes": shape,
        "contrastive-codes digits": {**shape, "augment": "digits"},
    }


def test_colours_and_large_pictures(tmp_path: Path) -> None:
    assert "color" not in found(digits(tmp_path, 12, 24, 3))["pixel-codes"]
    photos = walk(write_folder(tmp_path / "photos", 6))
    assert found(photos) == {"pixel-codes": {}, "patch-codes": {}, "deep-codes": {}}
    (tmp_path / "grey").mkdir()
    for number in range(4):  # grey photographs that were saved with colours
        grey = Image.open(photos.path_of(number)).convert("L").convert("RGB")
        grey.save(tmp_path / "grey" / f"{number}.jpg")
    assert found(walk(tmp_path / "grey"))["pixel-codes"] == {"color": "grey"}


def test_many_tiny_pictures_get_a_net_and_few_patches(tmp_path: Path) -> None:
    assert usual_recipe(digits(tmp_path, 1999, 6)) == Candidate("patch-codes", {})
    told: list[str] = []
    assert usual_recipe(digits(tmp_path, 2000, 6), report=Told(told)) == Candidate(
        "contrastive-codes", {"side": 10, "color": "grey", "augment": "digits"}
    )
    assert "contrastive-codes" in told[0]
    assert usual_recipe(digits(tmp_path, 2000, 6, 3)).settings == {"side": 10, "augment": "photo"}
    assert usual_recipe(digits(tmp_path, 49, 61)) == Candidate("patch-codes", {})


def test_all_others_get_photo_features_and_grey_ones_no_colours(tmp_path: Path) -> None:
    assert usual_recipe(digits(tmp_path, 2000, 26, 3)) == Candidate("image-retrieval", {})
    for count, side in ((2000, 26), (50, 20), (2000, 61)):
        assert usual_recipe(digits(tmp_path, count, side)) == Candidate("image-retrieval", {"colour": 0.0})


def test_a_build_without_a_recipe_learns_the_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmfeat.pipelines.recommending.usual_recipe", lambda *given: COARSE)
    items = digits(tmp_path, 40, 12)
    built = building.build_index(items, tmp_path / "index", settings={"bits": 3})
    assert built.check["bits"] == 3  # a setting that is given stands above the usual ones


def test_what_finds_more_is_chosen_and_what_cannot_be_tried_is_said(tmp_path: Path) -> None:
    items = walk(write_folder(tmp_path / "photos", 24, side=48))
    wrong = Candidate("patch-codes", {"patch": 200})
    trials = try_recipes(items, [COARSE, wrong, FINE], items.images)
    assert best(trials) == 2
    assert trials[2].rank1 > trials[0].rank1 + 0.3
    lines = describe_trials(trials)
    assert "side=2 bits=2" in lines[1]
    assert "not tried: " in lines[2]
    assert "side=12 bits=48" in lines[3]
    with pytest.raises(UsageError, match="one recipe can be tried"):
        best(try_recipes(items, [wrong], items.images))


def test_of_those_alike_the_first_is_chosen_whatever_the_clock_says() -> None:
    shares = (0.5, 0.915, 0.92, 0.91)
    assert best([Trial(COARSE, share, None, 0, 9.0 - place) for place, share in enumerate(shares)]) == 1


def test_an_interrupted_trial_chooses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`build_index` keeps what it has when it is interrupted; half a trial is worth nothing."""
    items = walk(write_folder(tmp_path / "photos", 6))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "encode_items", stop)
    with pytest.raises(KeyboardInterrupt):
        try_recipes(items, [COARSE], items.images)


def test_without_pictures_there_is_nothing_to_choose(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no picture")
    with pytest.raises(UsageError, match="recipes are tried on pictures"):
        choose_recipe(walk(tmp_path))
    with pytest.raises(UsageError, match="recipes are tried on folders of pictures"):
        mmfeat.fit("auto", np.zeros((4, 8, 8), np.uint8))


def test_real_digits(data_folder: Path) -> None:
    items = walk(data_folder / "mnist" / "t10k-images-idx3-ubyte.gz")
    tried = candidates(items, items.images[:100])
    assert [one.settings.get("side", 28) for one in tried] == [28] * 5
    assert [one.settings.get("color") for one in tried] == ["grey", None, None, "grey", "grey"]
