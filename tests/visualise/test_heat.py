"""Heat maps against sums written out, and the scale of colours against CIE's lightness, a formula of another kind."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmfeat.errors import DataError, ShapeError
from mmfeat.visualise.colours import colour_map, css_gradient
from mmfeat.visualise.heat import closeness, draw_heat, heat_map


def test_one_box_is_one_inside_and_zero_outside():
    heat = heat_map((20, 30), np.array([[5, 4, 10, 7]]), np.array([1.0]))
    expected = np.zeros((20, 30))
    expected[4:11, 5:15] = 1
    np.testing.assert_allclose(heat, expected, atol=1e-12)


def test_overlap_is_the_weighted_mean_of_its_tiles():
    boxes, scores = np.array([[0, 0, 5, 1], [3, 0, 5, 1]]), np.array([1.0, 0.0])
    # tents 1 2 3 2 1: the tiles share the pixels 3 (2 against 1) and 4 (1 against 2)
    np.testing.assert_allclose(heat_map((1, 8), boxes, scores)[0], [1, 1, 1, 2 / 3, 1 / 3, 0, 0, 0])


def test_equal_scores_give_a_flat_map_with_boxes_over_the_edge():
    x, y = np.meshgrid(np.arange(-10, 50, 8), np.arange(-10, 40, 8))
    boxes = np.stack([x.ravel(), y.ravel(), np.full(x.size, 16), np.full(x.size, 13)], axis=1)
    np.testing.assert_allclose(heat_map((40, 50), boxes, np.full(len(boxes), 0.7)), 0.7)
    assert heat_map((4, 4), np.array([[9, 9, 5, 5]]), np.array([1.0])).max() == 0


def test_closeness_grows_towards_the_query_and_ends_at_its_reach():
    distances = np.random.default_rng(0).integers(0, 64, 1000)
    scores = closeness(distances, reach=0.2)
    order = np.argsort(distances, kind="stable")
    assert (np.diff(scores[order]) <= 0).all()
    assert scores[distances == 0].min() == 1
    assert 0.1 < (scores > 0).mean() <= 0.2
    assert closeness(np.zeros(4, int)).tolist() == [1, 1, 1, 1]
    assert closeness(np.array([5, 5, 9]), reach=0.1).tolist() == [1, 1, 0]


def test_overlay_has_the_size_of_the_photograph_and_colour_only_where_it_is_hot():
    photo = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    heat = np.zeros((50, 70))
    heat[:, 35:] = 1
    drawn = np.asarray(draw_heat(photo, heat), int)
    assert drawn.shape == photo.shape
    saturation = drawn.max(axis=2) - drawn.min(axis=2)
    assert saturation[:, :35].max() == 0
    assert saturation[:, 35:].mean() > 15
    assert drawn[:, 35:].mean() > drawn[:, :35].mean() + 30


def test_query_keeps_its_colours_inside_a_light_and_a_dark_line():
    photo = Image.fromarray(np.full((60, 80, 3), (200, 30, 40), np.uint8))
    drawn = np.asarray(draw_heat(photo, np.zeros((60, 80)), (20, 10, 16, 12)))
    assert (drawn[10:22, 20:36] == (200, 30, 40)).all()
    assert (drawn[9, 19:37] == 255).all()
    assert (drawn[8, 18:38] == 0).all()
    edge = draw_heat(photo, np.zeros((60, 80)), (70, 50, 30, 30))
    assert edge.size == (80, 60)


def test_colours_rise_in_equal_steps_of_lightness():
    rgb = colour_map().astype(float) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)  # CIE 1976 L*
    steps = np.diff(lightness[::15])
    assert (steps > 0).all()
    assert steps.std() < 0.25 * steps.mean()
    assert lightness[0] < 20
    assert lightness[-1] > 88
    assert np.corrcoef(lightness, np.arange(256))[0, 1] > 0.995
    assert len(css_gradient(5).split("#")) == 6


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match="one score per tile"):
        heat_map((5, 5), np.zeros((2, 4), int), np.zeros(3))
    with pytest.raises(DataError, match="NaN"):
        heat_map((5, 5), np.zeros((1, 4), int), np.array([np.nan]))
    with pytest.raises(ShapeError, match="photograph's shape"):
        draw_heat(np.zeros((5, 6), np.uint8), np.zeros((6, 5)))
    with pytest.raises(ShapeError, match="finite distances"):
        closeness(np.array([]))
