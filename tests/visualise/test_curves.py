"""Charts are read back as XML: every series, value and name is there, and points stand where their values say."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest

from mmfeat.errors import DataError, ShapeError
from mmfeat.visualise.curves import HEIGHT, WIDTH, bar_chart, line_chart

SVG = "{http://www.w3.org/2000/svg}"
SERIES = {"learned": [0.4, 0.5, 0.6], "random <b>": [0.1, 0.2, 0.3], "raw": [0.1, 0.2, 0.31], "x": [0.0, 0.0, 0.305]}


def texts(root):
    return [node.text for node in root.iter(f"{SVG}text")]


def test_line_chart_holds_every_series_and_value():
    root = ElementTree.fromstring(line_chart([16, 32, 64], SERIES, "mAP & bits", y_label="mAP", x_label="bits").markup)
    shown = " ".join(texts(root))
    told = root.find(f"{SVG}desc").text
    for name, values in SERIES.items():
        assert f"{name} {values[-1]:.3g}" in shown
        assert f"{name}: 16 {values[0]:.3g}, 32 {values[1]:.3g}, 64 {values[2]:.3g}" in told
    assert root.find(f"{SVG}title").text == root.get("aria-label") == "mAP & bits"
    assert {"16", "32", "64", "mAP", "bits", "0"} <= set(texts(root))


def test_points_stand_on_the_axis_and_names_do_not_cover_each_other():
    root = ElementTree.fromstring(line_chart(["a", "b", "c"], SERIES, "t").markup)
    lines = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("stroke-width")]
    heights = [[float(y) for y in re.findall(r" ([\d.]+)", line)] for line in lines]
    ticks = {
        node.text: float(node.get("y")) - 5 for node in root.iter(f"{SVG}text") if node.get("text-anchor") == "end"
    }
    unit = (ticks["0"] - ticks["0.6"]) / 0.6
    for drawn, values in zip(heights, SERIES.values(), strict=True):
        assert drawn == pytest.approx([ticks["0"] - unit * value for value in values], abs=0.2)
    names = [node for node in root.iter(f"{SVG}text") if node.text.split()[0] in ("learned", "random", "raw", "x")]
    places = sorted(float(node.get("y")) for node in names)
    assert len(places) == 4
    assert min(b - a for a, b in itertools.pairwise(places)) > 13
    assert all(0 <= float(node.get("x")) < WIDTH for node in root.iter(f"{SVG}text"))
    assert all(0 <= y <= HEIGHT for y in places)


@pytest.mark.parametrize("values", [[0.0], [-2.0, 5.0], [1e-6, 3e-6], [123456.0, 234567.0], [1.0, 1.0]])
def test_any_range_has_an_axis_that_holds_it(values):
    root = ElementTree.fromstring(line_chart(list(range(len(values))), {"s": values}, "t").markup)
    line = next(path.get("d") for path in root.iter(f"{SVG}path") if path.get("stroke-width"))
    assert all(0 <= float(y) <= HEIGHT for y in re.findall(r" ([\d.]+)", line))
    assert 2 <= sum(node.get("text-anchor") == "end" for node in root.iter(f"{SVG}text")) <= 9


def test_bars_are_as_long_as_their_values():
    values = {"learned": 0.8, "random": 0.4, "n" * 60: 0.0}
    root = ElementTree.fromstring(bar_chart(values, "mAP").markup)
    lengths = [float(bar.get("width")) for bar in root.iter(f"{SVG}rect")]
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=0.2)
    assert lengths[2] == 1
    assert {"learned", "0.8", "0.4"} <= set(texts(root))
    assert "n" * 60 in root.find(f"{SVG}desc").text


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match="one value for each point"):
        line_chart([1, 2], {"a": [1.0]}, "t")
    with pytest.raises(DataError, match="finite"):
        line_chart([1], {"a": [float("nan")]}, "t")
    with pytest.raises(DataError, match="line_chart"):
        bar_chart({"a": -1.0}, "t")
