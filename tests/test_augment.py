"""Random changes of pictures, against NumPy, SciPy and colorsys."""

from __future__ import annotations

import colorsys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mmfeat.augment import PRESETS, Augment, _blurred, _field, preset, warp
from mmfeat.errors import SettingsError, ShapeError

KEY = jax.random.key(3)
DRAW = np.random.default_rng(5)


def pictures(*shape: int) -> np.ndarray:
    """Random pixels in [0, 1]."""
    return DRAW.uniform(size=shape).astype(np.float32)


def still(count: int) -> np.ndarray:
    """The map that leaves every place as it is."""
    return np.tile(np.eye(2, dtype=np.float32), (count, 1, 1))


def rotation(degrees: float) -> np.ndarray:
    """One 2 x 2 rotation."""
    angle = np.deg2rad(degrees)
    return np.array([[[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]], np.float32)


def test_whole_pixels_are_a_roll() -> None:
    x = pictures(2, 7, 9, 3)
    moved = warp(x, still(2), np.array([[-2, 1]] * 2, np.float32))
    np.testing.assert_allclose(moved[:, 2:, :-1], np.roll(x, (2, -1), (1, 2))[:, 2:, :-1], atol=1e-6)
    assert not np.any(moved[:, :2])
    assert not np.any(moved[:, :, -1:])
    edge = warp(x, still(2), np.array([[-2, 1]] * 2, np.float32), fill="edge")
    np.testing.assert_allclose(edge, np.pad(x, ((0, 0), (2, 0), (0, 1), (0, 0)), "edge")[:, :-2, 1:], atol=1e-6)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_those_of_numpy(turns: int) -> None:
    x = pictures(1, 6, 6, 2)
    turned = warp(x, rotation(90 * turns), np.zeros((1, 2), np.float32), fill="edge")
    np.testing.assert_allclose(turned, np.rot90(x, -turns, axes=(1, 2)), atol=1e-5)


@pytest.mark.parametrize(("fill", "mode"), [("zero", "grid-constant"), ("edge", "nearest")])
def test_any_map_is_that_of_scipy(fill: str, mode: str) -> None:
    x = pictures(3, 8, 11, 1)
    matrix = (np.eye(2) + DRAW.normal(size=(3, 2, 2)) * 0.4).astype(np.float32)
    offset = DRAW.normal(size=(3, 2)).astype(np.float32)
    moved = DRAW.normal(size=(3, 8, 11, 2)).astype(np.float32)
    ours = np.asarray(warp(x, matrix, offset, moved, fill))
    centre = np.array([3.5, 5.0])
    for i in range(3):
        grid = np.stack(np.mgrid[:8, :11], axis=-1) - centre
        place = grid @ matrix[i].T + centre + offset[i] + moved[i]
        theirs = ndimage.map_coordinates(x[i, :, :, 0], np.moveaxis(place, -1, 0), order=1, mode=mode)
        np.testing.assert_allclose(ours[i, :, :, 0], theirs, atol=1e-5)


def test_nothing_changes_at_strength_0() -> None:
    x = pictures(2, 5, 6, 3) * 3 - 1
    np.testing.assert_array_equal(Augment()(KEY, x), x)
    assert preset("none") == Augment()


@pytest.mark.parametrize("name", PRESETS)
def test_rows_depend_on_the_key_on_their_place_and_on_themselves_alone(name: str) -> None:
    change, x = preset(name), pictures(6, 8, 8, 1 if name == "digits" else 3)
    whole = np.asarray(change(KEY, x))
    assert whole.shape == x.shape
    assert whole.dtype == np.float32
    assert whole.min() >= 0
    assert whole.max() <= 1
    np.testing.assert_array_equal(change(KEY, x), whole)
    other = x.copy()
    other[3:] = 7
    np.testing.assert_array_equal(np.asarray(change(KEY, other))[:3], whole[:3])
    np.testing.assert_allclose(change(KEY, x[:4]), whole[:4], atol=1e-6)
    if name != "none":
        assert np.abs(np.asarray(change(jax.random.key(4), x)) - whole).max() > 0.01
        same = np.asarray(change(KEY, np.tile(x[:1], (6, 1, 1, 1))))
        assert np.abs(same[1:] - same[:1]).max(axis=(1, 2, 3)).min() > 0.01  # every row is drawn anew


def centroids(images: Any) -> np.ndarray:
    """The centre of mass (B, 2) of each picture in px."""
    x = np.asarray(images, np.float64)[..., 0]
    grid = np.stack(np.mgrid[: x.shape[1], : x.shape[2]], axis=-1)
    return np.einsum("bhw,hwd->bd", x, grid) / x.sum(axis=(1, 2))[:, None]


def dots(count: int, side: int, at: tuple[int, int]) -> np.ndarray:
    """Black pictures with one white pixel."""
    x = np.zeros((count, side, side, 1), np.float32)
    x[:, at[0], at[1]] = 1
    return x


def test_shifts_are_uniform_within_their_limit() -> None:
    gone = centroids(Augment(shift=0.2, fill="zero")(KEY, dots(2000, 21, (10, 10)))) - 10
    assert np.abs(gone).max() <= 0.2 * 21 + 1e-4
    np.testing.assert_allclose(gone.mean(axis=0), 0, atol=0.2)
    np.testing.assert_allclose(gone.std(axis=0), 0.4 * 21 / np.sqrt(12), rtol=0.05)


def test_rotations_and_scales_keep_to_their_limits() -> None:
    turned = centroids(Augment(rotation=30, fill="zero")(KEY, dots(500, 41, (20, 35)))) - 20
    angle = np.rad2deg(np.arctan2(turned[:, 0], turned[:, 1]))
    np.testing.assert_allclose(np.hypot(*turned.T), 15, atol=0.5)
    assert 28 < np.abs(angle).max() < 31
    scaled = centroids(Augment(scale=0.3, fill="zero")(KEY, dots(500, 61, (30, 45))))
    factor = (scaled[:, 1] - 30) / 15
    assert np.exp(-0.3) - 0.05 < factor.min() < np.exp(-0.25)
    assert np.exp(0.25) < factor.max() < np.exp(0.3) + 0.05


def test_crops_stay_inside_and_flips_are_halves() -> None:
    ramp = np.tile(np.arange(33, dtype=np.float32)[None, None, :, None] / 32, (400, 33, 1, 1))
    cut = np.asarray(Augment(crop=0.3, flip_x=True, fill="zero")(KEY, ramp))
    slope = cut[:, 0, -1, 0] - cut[:, 0, 0, 0]
    assert cut[:, 1:-1].min() >= 0
    assert np.abs(cut - cut[:, :1]).max() < 1e-4  # zeros from beyond the border would show
    assert 0.4 < (slope < 0).mean() < 0.6
    assert np.sqrt(0.3 * 3 / 4) - 0.02 < np.abs(slope).min() < 0.6


def test_displacements_have_the_deviation_asked_for_and_are_smooth() -> None:
    how = Augment(elastic=0.04, elastic_width=0.2)
    field = np.asarray(_field(how, jax.random.split(KEY, 500), 30, 50))
    np.testing.assert_allclose(field.std(axis=(0, 1, 2)), [0.04 * 30, 0.04 * 50], rtol=0.05)
    step = np.diff(field[..., 1], axis=2).std()
    assert step == pytest.approx(0.04 * 50 / (np.sqrt(2) * 0.2 * 50), rel=0.1)  # white noise under a Gaussian of 10 px


def test_noise_has_mean_0_and_its_deviation() -> None:
    noise = np.asarray(Augment(noise=0.05)(KEY, np.full((50, 20, 20, 1), 0.5, np.float32))) - 0.5
    assert abs(noise.mean()) < 4 * 0.05 / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(0.05, rel=0.02)


def test_blur_is_that_of_scipy() -> None:
    x = pictures(2, 24, 24, 1)
    ours = np.asarray(_blurred(jnp.asarray(x), jnp.array([0.8, 1.5], jnp.float32)))
    for i, deviation in enumerate((0.8, 1.5)):
        theirs = ndimage.gaussian_filter(x[i, :, :, 0], deviation, mode="constant")
        np.testing.assert_allclose(ours[i, 8:-8, 8:-8, 0], theirs[8:-8, 8:-8], atol=2e-3)


def test_light_and_contrast() -> None:
    x = pictures(300, 6, 6, 1) * 0.2 + 0.4
    gain = np.asarray(Augment(contrast=0.5)(KEY, x)).std(axis=(1, 2, 3)) / x.std(axis=(1, 2, 3))
    assert 0.5 <= gain.min() + 1e-4 < 0.55
    assert 1.45 < gain.max() <= 1.5 + 1e-4
    up = (np.asarray(Augment(brightness=0.3)(KEY, x)) - x).mean(axis=(1, 2, 3))
    assert -0.3 <= up.min() < -0.27
    assert 0.27 < up.max() <= 0.3 + 1e-6


def test_stains_keep_black_and_white_and_scale_the_optical_density() -> None:
    x = np.full((100, 4, 4, 3), 0.25, np.float32)
    density = -np.log(np.asarray(Augment(stain=0.5)(KEY, x))) / -np.log(0.25)
    assert np.exp(-0.5) - 1e-4 <= density.min() < 0.65
    assert 1.5 < density.max() <= np.exp(0.5) + 1e-4
    assert np.ptp(density, axis=3).max() > 0.3  # each channel by itself
    np.testing.assert_allclose(Augment(stain=0.5)(KEY, np.ones((3, 4, 4, 3), np.float32)), 1)


def test_colours_turn_and_fade_but_not_greys() -> None:
    grey = np.tile(pictures(50, 4, 4, 1), (1, 1, 1, 3))
    np.testing.assert_allclose(Augment(hue=0.5, saturation=0.9)(KEY, grey), grey, atol=1e-5)
    x = pictures(200, 4, 4, 3)
    luma = np.array([0.299, 0.587, 0.114])
    faded = np.asarray(Augment(grey=0.25)(KEY, x))
    lost = np.ptp(faded, axis=3).max(axis=(1, 2)) < 1e-5
    assert 0.15 < lost.mean() < 0.35
    np.testing.assert_allclose(faded[lost][..., 0], (x @ luma)[lost], atol=1e-5)
    np.testing.assert_allclose(faded[~lost], x[~lost], atol=1e-6)
    one = np.tile(np.array([0.6, 0.4, 0.4], np.float32), (400, 1, 1, 1))
    turned = np.asarray(Augment(hue=0.1)(KEY, one))
    np.testing.assert_allclose(turned @ luma, one @ luma, atol=2e-3)  # the NTSC matrix has three digits
    hues = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in turned[:, 0, 0]])
    away = np.abs((hues + 0.5) % 1 - 0.5)
    assert 0.06 < away.max() < 0.14


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(SettingsError, match="not negative"):
        Augment(shift=-0.1)
    with pytest.raises(SettingsError, match="crop"):
        Augment(crop=0)
    with pytest.raises(SettingsError, match="edge or zero"):
        Augment(fill="mirror")
    with pytest.raises(SettingsError, match="digits, none, photo, tiles"):
        preset("letters")
    with pytest.raises(ShapeError, match="float32"):
        Augment()(KEY, np.zeros((1, 4, 4, 1), np.uint8))
    with pytest.raises(ShapeError, match="B, H, W, C"):
        Augment()(KEY, np.zeros((4, 16), np.float32))
