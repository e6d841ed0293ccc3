"""Dense SIFT against a loop over pixels in float64, written from the definition."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest

from mmfeat.arrays import Images, Locals
from mmfeat.descriptors import DenseSift
from mmfeat.errors import SettingsError, ShapeError

SIZES = np.array([[44, 52], [37, 40], [20, 52], [44, 52]], np.int32)


def pictures(channels: int = 3) -> Images:
    """Four smooth pictures with noise in one bucket of 44 x 52, three smaller or flat in part; what is outside is 99."""
    generator = np.random.default_rng(0)
    pixels = np.full((4, 44, 52, channels), 99, np.uint8)
    y, x = np.mgrid[:44, :52]
    for number, (picture, (height, width)) in enumerate(zip(pixels, SIZES, strict=True)):
        wave = 100 + 60 * np.sin(x / (3 + number) + y / 7)[..., None] + 30 * np.cos(y / 4 - x / 9)[..., None]
        drawn = wave + generator.normal(0, 12, (44, 52, channels))
        picture[:height, :width] = drawn.clip(0, 255)[:height, :width]
    pixels[3, :24, :24] = 77  # flat
    return Images(pixels, SIZES)


def smoothed(plane: np.ndarray, deviation: float) -> np.ndarray:
    """(h + 2, w + 2): a plane that goes on as its border, under a Gaussian cut at 4 deviations, with a margin of one pixel."""
    radius = math.ceil(4 * deviation)
    place = np.arange(-radius, radius + 1)
    taps = np.exp(-(place**2) / (2 * deviation**2)) if deviation else np.ones(1)
    out = np.pad(plane, radius + 1, mode="edge")
    for axis in (0, 1):
        out = np.apply_along_axis(np.convolve, axis, out, taps / taps.sum(), "valid")
    return out


def tri(t: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(t))


def orientations(plane: np.ndarray, side: int, sigma: float | None = 6.0) -> np.ndarray:
    """The gradient's norm (8, h, w), shared between the two directions it lies between."""
    wide = smoothed(plane, math.sqrt(max(0, (side / sigma) ** 2 - 0.25)) if sigma else 0.0)
    across, down = (wide[1:-1, 2:] - wide[1:-1, :-2]) / 2, (wide[2:, 1:-1] - wide[:-2, 1:-1]) / 2
    turned = np.arctan2(down, across) - np.arange(8)[:, None, None] * np.pi / 4
    apart = (turned + np.pi) % (2 * np.pi) - np.pi
    return np.hypot(across, down) * tri(apart / (np.pi / 4))


def described(maps: np.ndarray, x0: int, y0: int, side: int, window: float | None = 2.0) -> np.ndarray:
    """The counts (4, 4, 8) of one patch from all pixels of one plane, in float64."""

    def profiles(length: int, start: int) -> np.ndarray:
        place = np.arange(length) + 0.5 - start - 2 * side  # of the middles of pixels, from the middle of the patch
        gauss = np.exp(-(place**2) / (2 * (window * side) ** 2)) if window else np.ones(length)
        return np.array([tri((place - side * (j - 1.5)) / side) * gauss for j in range(4)])

    return np.einsum("iy,jx,oyx->ijo", profiles(maps.shape[1], y0), profiles(maps.shape[2], x0), maps, optimize=True)


def normalised(counts: np.ndarray, root: bool = False) -> np.ndarray:
    if not counts.any():
        return counts.reshape(-1)
    h = counts.reshape(-1) / np.linalg.norm(counts)
    h = np.minimum(h, 0.2)
    h = h / np.linalg.norm(h)
    return np.sqrt(h / h.sum()) if root else h


def luma(pixels: np.ndarray) -> np.ndarray:
    return (
        pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) / 255
        if pixels.shape[-1] == 3
        else pixels[..., 0] / 255.0
    )


def corners(height: int, width: int, sizes: tuple[int, ...], step: int) -> list[tuple[int, int, int]]:
    """(x, y, side) of the patches, in the order of the descriptors."""
    return [
        (x, y, side)
        for side in sizes
        for y in range(0, height - 4 * side + 1, step)
        for x in range(0, width - 4 * side + 1, step)
    ]


def run(sift: DenseSift, images: Images) -> Locals:
    return jax.tree.map(np.asarray, jax.jit(sift)(images))


@pytest.mark.parametrize(
    ("sizes", "step", "sigma", "window", "root"),
    [
        ((4, 6), 8, 6.0, 2.0, False),
        ((5,), 7, 3.0, None, True),
        ((9,), 7, 3.0, 1.0, False),
        ((6,), 9, None, 1.5, False),
        ((3,), 11, 1.0, 1.0, False),
    ],
)
def test_the_definition(
    sizes: tuple[int, ...], step: int, sigma: float | None, window: float | None, root: bool
) -> None:
    images = pictures()
    found = run(DenseSift(sizes, step, sigma, window, contrast=0, root=root), images)
    places = corners(44, 52, sizes, step)
    assert found.values.shape == (4, len(places), 128)
    for item in (0, 1, 3):
        height, width = SIZES[item]
        plane = luma(images.pixels[item, :height, :width])
        maps = {side: orientations(plane, side, sigma) for side in sizes}
        for row, (x, y, side) in enumerate(places):
            inside = x + 4 * side <= width and y + 4 * side <= height
            assert found.weight[item, row] == inside
            if not inside:
                assert (found.values[item, row] == 0).all()
                continue
            counts = described(maps[side], x, y, side, window)
            if 1e-12 < counts.sum() < 0.05:  # all but flat: float32 has no digits left
                continue
            want = normalised(counts, root)
            np.testing.assert_allclose(found.values[item, row], want, atol=2e-5 if not root else 2e-3)
            assert found.values[item, row] @ want >= 0.99999 * (want @ want)
            np.testing.assert_allclose(
                found.where[item, row], [(x + 2 * side) / width, (y + 2 * side) / height], atol=1e-6
            )


def test_padding_and_company_do_not_matter() -> None:
    images, sift = pictures(), DenseSift(sizes=(5,), step=6)
    padded = run(sift, images)
    roomy = np.zeros((4, 64, 64, 3), np.uint8)
    roomy[:, :44, :52] = images.pixels
    larger = run(sift, Images(roomy, SIZES))
    for item, (height, width) in list(enumerate(SIZES))[1:3]:
        alone = run(sift, Images(images.pixels[item : item + 1, :height, :width], SIZES[item : item + 1]))
        want = alone.values[0][alone.weight[0] > 0]
        for batch in (padded, larger):
            valid = batch.weight[item] > 0
            assert valid.sum() == len(want)
            np.testing.assert_allclose(batch.values[item][valid], want, atol=2e-6)
            np.testing.assert_allclose(batch.where[item][valid], alone.where[0][alone.weight[0] > 0], atol=1e-6)


def test_a_picture_gives_the_same_bits_in_any_batch() -> None:
    images, sift = pictures(), jax.jit(DenseSift(sizes=(6,), step=5))
    turned = sift(Images(images.pixels[::-1], SIZES[::-1]))
    for one, two in zip(sift(images), turned, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two)[::-1])


def test_pictures_at_once_as_accelerators_do_it() -> None:
    """The other path gives what one after another gives."""
    images, sift = pictures(), DenseSift((5,), 6)
    (many,) = jax.jit(jax.vmap(lambda pixels, size: list(sift._picture(pixels, size, [5]))))(*map(np.asarray, images))
    found = run(sift, images)
    np.testing.assert_allclose(many[0], found.values, atol=2e-6)
    np.testing.assert_array_equal(many[1], found.weight)


def test_contrast_is_the_weighed_mean_of_the_gradients_norm() -> None:
    images = pictures()
    plane = luma(images.pixels[3])
    places = corners(44, 52, (4, 6), 6)
    slope = np.arange(100.0) * np.ones((100, 1))  # a gradient of 1 everywhere
    weights = {side: described(orientations(slope, side), 40, 40, side).sum() for side in (4, 6)}
    maps = {side: orientations(plane, side) for side in (4, 6)}
    contrast = np.array([described(maps[side], x, y, side).sum() / weights[side] for x, y, side in places])
    least = float(np.sort(contrast)[len(contrast) // 2 :][:2].mean())
    seen = contrast >= least
    dropped = run(DenseSift((4, 6), 6, contrast=least), images)
    kept = run(DenseSift((4, 6), 6, contrast=least, keep_flat=True), images)
    np.testing.assert_array_equal(dropped.weight[3] > 0, seen)
    assert (kept.weight[3] == 1).all()
    assert (kept.values[3][~seen] == 0).all()
    np.testing.assert_array_equal(kept.values, dropped.values)


def test_flat_pictures_are_zeros() -> None:
    pixels = np.stack([np.full((40, 40, 3), value, np.uint8) for value in (0, 77, 255)])
    images = Images(pixels, np.full((3, 2), 40, np.int32))
    found = run(DenseSift((6,), contrast=0, root=True, color="opponent"), images)
    assert (found.values == 0).all()
    assert (found.weight == 1).all()
    assert (run(DenseSift((6,)), images).weight == 0).all()


def test_slopes_at_exactly_45_degrees_have_a_root() -> None:
    """No share may be negative by a rounding error: all of the gradient is at 45°, in every cell by the same window."""
    y, x = np.mgrid[:40, :40]
    pixels = (3 * (y + x)).astype(np.uint8)[None, :, :, None]
    found = run(
        DenseSift((4,), contrast=0, root=True, magnification=None), Images(pixels, np.array([[40, 40]], np.int32))
    )
    middle = found.values[0].reshape(4, 4, 16, 8)[1, 1]
    np.testing.assert_allclose((middle[:, [0, 2, 3, 4, 5, 6, 7]] ** 2).sum(), 0, atol=1e-5)
    np.testing.assert_allclose((middle**2).sum(), 1, atol=1e-5)
    assert np.isfinite(found.values).all()


def test_a_quarter_turn_turns_cells_and_orientations() -> None:
    images = pictures(1)
    square = images.pixels[:1, :44, :44]
    upright = run(DenseSift((4, 5), 4, contrast=0), Images(square, np.array([[44, 44]], np.int32)))
    turned = run(
        DenseSift((4, 5), 4, contrast=0),
        Images(square.transpose(0, 2, 1, 3)[:, :, ::-1], np.array([[44, 44]], np.int32)),
    )
    start = 0
    for side in (4, 5):
        grid = (44 - 4 * side) // 4 + 1
        one, two = (x.values[0, start : start + grid * grid].reshape(grid, grid, 4, 4, 8) for x in (upright, turned))
        # clockwise as one sees it: what was at (row, column) is at (column, last - row), and a direction gains 90°
        want = np.roll(one.transpose(1, 0, 3, 2, 4)[:, ::-1, :, ::-1], 2, axis=-1)
        np.testing.assert_allclose(two, want, atol=2e-6)
        start += grid * grid


def test_bytes_floats_and_grey() -> None:
    images, sift = pictures(), DenseSift((4,), 5)
    floats = Images((images.pixels / 255).astype(np.float32), SIZES)
    np.testing.assert_allclose(run(sift, floats).values, run(sift, images).values, atol=1e-5)
    grey = np.repeat(images.pixels[..., :1], 3, axis=-1)
    one, three = (run(sift, Images(pixels, SIZES)).values for pixels in (grey[..., :1], grey))
    np.testing.assert_allclose(one, three, atol=1e-5)


def test_opponent_planes_are_described_each_on_its_own() -> None:
    images = pictures()
    found = run(DenseSift((4,), 8, color="opponent"), images)
    np.testing.assert_allclose(found.values[..., :128], run(DenseSift((4,), 8), images).values, atol=2e-6)
    red, green, blue = np.moveaxis(images.pixels[0] / 255.0, -1, 0)
    grey = luma(images.pixels[0])
    planes = (grey, (red - green) / 2**0.5 + 0.01 * grey, (red + green - 2 * blue) / 6**0.5 + 0.01 * grey)
    for row, (x, y, side) in list(enumerate(corners(44, 52, (4,), 8)))[::5]:
        want = np.concatenate([normalised(described(orientations(plane, side), x, y, side)) for plane in planes])
        np.testing.assert_allclose(found.values[0, row], want, atol=1e-4)


def test_sizes_that_do_not_fit_are_left_out() -> None:
    images = pictures()
    np.testing.assert_array_equal(run(DenseSift((4, 12), 8), images).values, run(DenseSift((4,), 8), images).values)
    with pytest.raises(ShapeError, match="at least one patch of 48 pixels; got 44 x 52"):
        DenseSift((12,))(images)


def test_mistakes_are_told() -> None:
    with pytest.raises(SettingsError, match=r"sizes=\(\)"):
        DenseSift(())
    with pytest.raises(SettingsError, match="step=0"):
        DenseSift(step=0)
    with pytest.raises(SettingsError, match=r"window=0\.0"):
        DenseSift(window=0.0)
    with pytest.raises(SettingsError, match="contrast=-1"):
        DenseSift(contrast=-1)
    with pytest.raises(SettingsError, match="'rgb'"):
        DenseSift(color="rgb")
    rows: Any = np.zeros((2, 3))
    with pytest.raises(ShapeError, match="DenseSift describes Images"):
        DenseSift()(rows)
