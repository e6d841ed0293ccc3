"""The learner, the descriptor and the recipe of CONTRIBUTING.md, dropped in as a package of someone else: they work as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fixtures_laws as laws
import numpy as np
import pytest

import mmfeat
from mmfeat import registry
from mmfeat.arrays import Images

PAGE = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"
POINTS = """[mmfeat.learners]
column_hash = my_package.column_hash:ColumnHash
[mmfeat.descriptors]
mean_colour = my_package.mean_colour:MeanColour
[mmfeat.recipes]
colour_codes = my_package.colour_codes:ColourCodes
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that holds the page's files as an installed package, and stands on the path."""
    folder = tmp_path_factory.mktemp("site")
    blocks = re.findall(
        r"^```python\n# my_package/(\w+)\.py\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert [name for name, _ in blocks] == ["column_hash", "mean_colour", "colour_codes"]
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").touch()
    for name, code in blocks:
        (folder / "my_package" / f"{name}.py").write_text(code, "utf-8")
    facts = folder / "my_package-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(POINTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        registry._found.cache_clear()
        yield folder
    registry._found.cache_clear()


@pytest.mark.parametrize("law", laws.LAWS)
@pytest.mark.usefixtures("site")
def test_the_learner_keeps_the_law(law: str) -> None:
    laws.LAWS[law](laws.shrink(registry.learners()["column_hash"]()))


@pytest.mark.usefixtures("site")
def test_the_learner_takes_the_columns_that_vary_most() -> None:
    draw = np.random.default_rng(0)
    scales = np.array([1, 5, 2, 8, 3], np.float32)
    x = (draw.normal(size=(500, 5)) * scales + 100).astype(np.float32)
    model = mmfeat.fit(registry.learners()["column_hash"](bits=3), x)
    np.testing.assert_array_equal(model.encode(x) > 0, x[:, [3, 1, 4]] > x[:, [3, 1, 4]].mean(axis=0, dtype=np.float64))


@pytest.mark.usefixtures("site")
def test_the_descriptor_sees_no_padding() -> None:
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 256, (12, 8, 3), np.uint8)
    padded = np.full((1, 20, 16, 3), 255, np.uint8)
    padded[0, :12, :8] = picture
    rows = registry.descriptors()["mean_colour"](cells=4)(Images(padded, np.array([[12, 8]], np.int32)))
    parts = picture.reshape(4, 3, 4, 2, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(rows[0], parts.reshape(-1), atol=1e-6)


@pytest.mark.usefixtures("site")
def test_the_recipe_learns_codes_from_pictures() -> None:
    draw = np.random.default_rng(0)
    colours = draw.integers(0, 256, (40, 2, 2, 3)).repeat(16, axis=1).repeat(16, axis=2)
    pictures = np.clip(colours + draw.integers(-9, 10, colours.shape), 0, 255).astype(np.uint8)
    again = np.clip(colours + draw.integers(-9, 10, colours.shape), 0, 255).astype(np.uint8)
    model = mmfeat.fit("colour-codes", pictures, settings={"cells": 2, "bits": 12})
    one, two = model.encode(pictures) > 0, model.encode(again) > 0
    differ = (one[:, None, :] != two[None, :, :]).sum(axis=2)
    assert (differ.argmin(axis=1) == np.arange(40)).mean() > 0.8


def test_a_new_process_lists_them(site: Path) -> None:
    """As another package that is installed: `mmfeat recipes` shows the recipe and the learner."""
    home = str(Path(str(mmfeat.__file__)).parent.parent)
    code = f"import sys; sys.path[:0] = [{str(site)!r}, {home!r}]; from mmfeat.cli.main import main; main()"
    ran = subprocess.run([sys.executable, "-c", code, "recipes"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "colour-codes" in ran.stdout
    assert "column-hash" in ran.stdout
