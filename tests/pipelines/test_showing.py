"""A model's page: what it draws is right by identities, no picture on it is empty, and what cannot be shown is said."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures_command import run
from fixtures_pictures import write_folder
from PIL import Image

import mmfeat
from mmfeat.descriptors import Patches, Pixels
from mmfeat.errors import DataError, ShapeError, UsageError
from mmfeat.learner import Learner, rows_of
from mmfeat.learners import Autoencoder, KMeans, Lsh, Pca, Vlad, itq_hash
from mmfeat.media.decode import Decode
from mmfeat.pipelines.finding_models import find_model
from mmfeat.pipelines.showing import read_shape, show_model
from mmfeat.visualise.model_page import picture_shape

Array = Any


def digits(count: int = 200) -> np.ndarray:
    """Digits (count, 8, 8) uint8."""
    from sklearn.datasets import load_digits

    return (load_digits().images[:count] * 15.9).astype(np.uint8)


def titles(page: str) -> list[str]:
    return [html.unescape(title) for title in re.findall(r"<h2>(.*?)</h2>", page)]


def section(page: str, title: str) -> str:
    """What stands below a title."""
    return page[page.index(f"<h2>{title}</h2>") :].split("</section>")[0]


def sheets(page: str) -> Iterator[np.ndarray]:
    """The pixels of every sheet, as if on white."""
    for data in re.findall(r'class="sheet crisp" src="data:image/png;base64,([^"]+)"', page):
        yield np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"), np.float32)


def check(page: str) -> str:
    """It stands alone, and on every sheet there is something to see."""
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    for pixels in sheets(page):
        assert pixels[pixels[..., 3] > 0][:, :3].std() > 5
    return page


@pytest.fixture(scope="module")
def codes() -> mmfeat.Model:
    return mmfeat.fit(mmfeat.Chain(Pixels(), Pca(12), itq_hash(8)), digits())


def test_the_error_of_principal_components_is_the_variance_they_leave() -> None:
    x = digits(200)
    model = mmfeat.fit(mmfeat.Chain(Pixels(), Pca(10)), x)
    page = check(show_model(model, x))
    rows = x.reshape(200, -1) / 255
    spectrum = np.linalg.eigvalsh(np.cov(rows.T, ddof=0))[::-1]
    told = section(page, "What is left after encoding")
    found = re.search(r"squared error ([\d.]+)\).*vary by\s+([\d.]+)\.", told, re.DOTALL)
    assert found is not None
    assert float(found[1]) == pytest.approx(spectrum[10:].sum(), abs=0.006)
    assert float(found[2]) == pytest.approx(spectrum.sum(), abs=0.006)


# What is on the page


def test_a_hash_of_pictures_shows_all_it_has(codes: mmfeat.Model) -> None:
    page = check(show_model(codes, digits(60), name="<b>digits</b>"))
    assert titles(page) == [
        "The chain",
        "Stage 2, Pca: filters",
        "Stage 3, Pca: filters",
        "Stage 4, ItqRotation: filters",
        "What is left after encoding",
        "What goes with each bit of the code",
        "The bits on these data",
        "Which bits say the same",
        "Stage 2, Pca: variance along its components",
        "Stage 3, Pca: variance along its components",
        "Stage 4, ItqRotation: while it learned",
        "Where it comes from",
    ]
    assert "<b>digits" not in page
    assert "8 bits" in section(page, "The chain")
    assert "quantisation error" in section(page, "Stage 4, ItqRotation: while it learned")
    assert check(show_model(codes, digits(60))) == show_model(codes, digits(60))


def test_without_data_there_is_what_the_model_itself_holds(codes: mmfeat.Model) -> None:
    page = check(show_model(codes))
    assert "What is left after encoding" not in titles(page)
    assert "Stage 2, Pca: filters" in titles(page)
    assert "--data FOLDER" in page


def test_patches_and_their_codebook(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", 12, side=48)
    chain = mmfeat.Chain(Patches(6, stride=3), Pca(20, whiten=True), Vlad(KMeans(9, passes=2)), Pca(5), fit_rows=2000)
    model = mmfeat.fit(chain, str(folder), decode=Decode(max_side=48))
    page = check(show_model(model, str(folder)))
    assert "Stage 3, Vlad: prototypes" in titles(page)
    assert "Stage 4, Pca: filters" not in titles(page)  # it sees no pictures
    assert "patches of the data" in section(page, "What is left after encoding")
    assert "of the code" not in "".join(titles(page))


def test_prototypes_of_digits_behind_components_are_means_of_digits() -> None:
    x = digits(300)
    model = mmfeat.fit(mmfeat.Chain(Pixels(), Pca(64), KMeans(3, passes=5)), x)
    drawn = next(iter([one for one in sheets(show_model(model))][1:]))
    means = model.states[2].means @ np.asarray(model.states[1].matrix).T + model.states[1].mean
    shown = drawn[:56, : 3 * 59 - 3, 0].reshape(56, -1)
    tiles = np.stack([shown[::7, 59 * k : 59 * k + 56 : 7] for k in range(3)])
    np.testing.assert_allclose(tiles / 255, np.clip(means, 0, 1).reshape(3, 8, 8), atol=0.01)


def test_what_goes_with_a_bit_is_where_the_pictures_differ() -> None:
    """A hash whose bit k is the brightness of pixel k: its picture is brightest there."""
    x = np.random.default_rng(0).integers(0, 256, (400, 3, 3), np.uint8)
    model = mmfeat.fit(mmfeat.Chain(Pixels(), _Brightness()), x)
    page = check(show_model(model, x))
    drawn = next(iter(sheets(page)))[:, :, 0]
    for bit in range(9):
        times = 19
        tile = drawn[: 3 * times : times, bit * 60 : bit * 60 + 3 * times : times]
        assert tile.ravel().argmax() == bit


def test_a_binary_autoencoder_reconstructs_from_its_bits() -> None:
    model = mmfeat.fit(mmfeat.Chain(Pixels(), Autoencoder(hidden=(16,), code=8, kind="binary", passes=2)), digits())
    page = check(show_model(model, digits(40)))
    assert "from the 8 bits of Stage 2, Autoencoder" in section(page, "What is left after encoding")
    assert "objective" in section(page, "Stage 2, Autoencoder: while it learned")


# What a learner may offer


class _State(NamedTuple):
    scale: Array


@dataclass(frozen=True)
class _Brightness(Learner):
    """A bit for each pixel: whether it is brighter than the middle."""

    hash: ClassVar[bool] = True

    def init(self, key: Array, x: Array) -> _State:
        return _State(jnp.ones(rows_of(x).shape[1], jnp.float32))

    def step(self, key: Array, state: _State, x: Array, weight: Array) -> tuple[_State, dict[str, Array]]:
        return state, {}

    def encode(self, state: _State, x: Array) -> Array:
        return (rows_of(x) - 0.5) * state.scale[None, :]


@dataclass(frozen=True)
class _Open(_Brightness):
    """One that offers everything there is to look at."""

    hash: ClassVar[bool] = False

    def filters(self, state: _State) -> Array:
        return jnp.arange(2 * 25 * 3, dtype=jnp.float32).reshape(2, 5, 5, 3) - 70

    def prototypes(self, state: _State) -> Array:
        return jnp.linspace(0, 1, 3 * 64, dtype=jnp.float32).reshape(3, 64)

    def atoms(self, state: _State) -> Array:
        return jnp.linspace(-1, 1, 4 * 64, dtype=jnp.float32).reshape(4, 64)

    def reconstruct(self, state: _State, x: Array) -> Array:
        return rows_of(x) * 0.5

    def generate(self, key: Array, state: _State, count: int) -> Array:
        return jax.random.uniform(key, (count, 64), jnp.float32)


def test_all_that_a_learner_may_offer_is_drawn() -> None:
    model = mmfeat.fit(mmfeat.Chain(Pixels(), _Open()), digits(50))
    page = check(show_model(model, digits(50)))
    named = [title for title in titles(page) if title.startswith("Stage 2")]
    assert named == [f"Stage 2, _Open: {what}" for what in ("filters", "prototypes", "atoms", "samples")]
    assert "What goes with each value of the code" in titles(page)
    assert show_model(model, seed=1) != show_model(model, seed=2)  # of the samples


@dataclass(frozen=True)
class _Dull(_Brightness):
    """Its samples are black, its filters noise."""

    def generate(self, key: Array, state: _State, count: int) -> Array:
        return jnp.zeros((count, 64), jnp.float32)

    def filters(self, state: _State) -> Array:
        return jax.random.normal(jax.random.key(0), (30, 64), jnp.float32)


def test_pictures_that_show_nothing_say_so() -> None:
    page = show_model(mmfeat.fit(mmfeat.Chain(Pixels(), _Dull()), digits(20)))
    assert "all but blank" in section(page, "Stage 2, _Dull: samples")
    assert "hardly go together" in section(page, "Stage 2, _Dull: filters")
    page = show_model(mmfeat.fit(mmfeat.Chain(Pixels(), Pca(3)), digits(50)))
    assert "hardly go together" not in page


def test_a_way_back_that_leads_nowhere_is_said() -> None:
    """One step of a net is not enough to come back; components that all stay are."""
    begun = mmfeat.fit(mmfeat.Chain(Pixels(), Autoencoder(hidden=(8,), code=4, passes=1, batch=200)), digits())
    nowhere = "no better than showing their mean: too little was learned"
    assert nowhere in section(show_model(begun, digits()), "What is left after encoding")
    whole = mmfeat.fit(mmfeat.Chain(Pixels(), Pca(40)), digits())
    assert nowhere not in show_model(whole, digits())


# Rows, shapes, and mistakes


def test_rows_are_pictures_when_their_shape_is_said() -> None:
    rows = digits(100).reshape(100, -1) / 255
    model = mmfeat.fit(Pca(6), rows)
    plain = check(show_model(model, rows))
    assert not list(sheets(plain))
    assert "--shape HxW" in plain
    shown = check(show_model(model, rows, shape=(8, 8, 1)))
    assert "Stage 1, Pca: filters" in titles(shown)
    assert "What is left after encoding" in titles(shown)
    assert check(show_model(mmfeat.fit(Lsh(8), rows), rows))


def test_mistakes_are_told(codes: mmfeat.Model, tmp_path: Path) -> None:
    rows = mmfeat.fit(Pca(2), np.random.default_rng(0).normal(size=(30, 12)))
    with pytest.raises(ShapeError, match="rows of 12 values"):
        show_model(rows, shape=(4, 4, 1))
    with pytest.raises(UsageError, match="Leave --shape out"):
        show_model(codes, shape=(4, 16, 1))
    for text in ("28", "28x", "axb", "28x28x4", "0x3"):
        with pytest.raises(UsageError, match="28x28"):
            read_shape(text)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match="none in"):
        show_model(codes, tmp_path / "empty")
    with pytest.raises(UsageError, match=r"model\.json"):
        find_model(tmp_path)
    assert picture_shape(mmfeat.fit(Pca(2), np.eye(5))) is None


def test_the_command(
    codes: mmfeat.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder = codes.save(tmp_path / "digits.model"), tmp_path / "digits"
    folder.mkdir()
    for number, pixels in enumerate(digits(20)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    code, out, err = run(monkeypatch, capsys, "show", model, "--data", folder, "-q")
    assert (code, err) == (0, "")
    page = tmp_path / "digits.model.html"
    assert str(page) in out
    check(page.read_text())
    assert run(monkeypatch, capsys, "show", model, "-o", page, "-q")[0] == 0  # a page is made anew
    code, _, err = run(monkeypatch, capsys, "show", model, "-o", folder / "1.png", "-q")
    assert (code, err.count("\n")) == (2, 1)
    assert "only a page is overwritten" in err
    code, _, err = run(monkeypatch, capsys, "show", folder, "-q")
    assert code == 2
    assert "model.json" in err


def test_an_index_shows_its_model(tmp_path: Path) -> None:
    from mmfeat.pipelines.building import build_index

    folder = write_folder(tmp_path / "pictures", 10, side=32)
    build_index([folder], tmp_path / "some.index", recipe="pixel-codes", settings={"side": 8, "bits": 8})
    assert find_model(tmp_path / "some.index").hash
