"""Small charts as SVG that lives inside a page: it takes the page's text colour, so it is right in light and in dark.

Series are told apart by dash and marker as well as by colour, and named where they end. All values also stand in the
chart's description, for those who cannot see it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from mmfeat.errors import DataError, ShapeError
from mmfeat.visualise.results import visible

__all__ = ["Svg", "bar_chart", "line_chart"]

WIDTH, HEIGHT, FONT = 520, 290, 14
_CHARACTER = 7.4  # px: the mean width of a character of the system fonts at FONT, on the generous side
_DASHES = ("", "7 5", "2 5", "10 4 2 4", "14 4")
_COLOURS = ("var(--accent, #0b6b5d)", "currentColor")


@dataclass(frozen=True)
class Svg:
    """A finished drawing, whose markup goes into a page as it is (everything in it was escaped when it was drawn)."""

    markup: str

    def __html__(self) -> str:
        """What a template with autoescape inserts."""
        return self.markup

    def _repr_svg_(self) -> str:
        return self.markup


def line_chart(
    x: Sequence[object], series: Mapping[str, Sequence[float]], title: str, y_label: str = "", x_label: str = ""
) -> Svg:
    """Lines over common points, drawn at equal steps, such as 16, 32, 64, 128 bits.

    x: the points' names. series: name to one value per point; the first is the one to look at and has the accent.
    The axis begins at 0 unless values are negative.

    >>> "learned" in line_chart([16, 32], {"learned": [0.5, 0.6], "random": [0.3, 0.4]}, "mAP by bits").markup
    True
    """
    _check(title, series, len(x))
    low, high, ticks = _axis([value for values in series.values() for value in values])
    left = 16 + _CHARACTER * max(len(_number(tick)) for tick in ticks)
    ends = {name: len(visible(name)) + max(7, 3 + len(_number(values[-1]))) for name, values in series.items()}
    right = WIDTH - 16 - _CHARACTER * max(ends.values())
    top, bottom = (34.0 if y_label else 14.0), HEIGHT - (50.0 if x_label else 30.0)
    step = (right - left) / max(len(x) - 1, 1)

    def y_of(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = [_text(4, 16, y_label, "start")] if y_label else []
    for tick in ticks:
        parts.append(_grid(left, y_of(tick), right))
        parts.append(_text(left - 8, y_of(tick) + 5, _number(tick), "end"))
    for i, name in enumerate(x):
        parts.append(_text(left + i * step, bottom + 20, str(name), "middle"))
    if x_label:
        parts.append(_text((left + right) / 2, bottom + 42, x_label, "middle"))
    heights = _spread([y_of(values[-1]) for values in series.values()], FONT + 3)
    for i, (name, values) in enumerate(series.items()):
        points = [(left + j * step, y_of(value)) for j, value in enumerate(values)]
        parts.append(_line(points, i))
        parts.append(
            _text(
                right + 12, heights[i] + 5, f"{name} {_number(values[-1])}", "start", _COLOURS[min(i, 1)], strong=i == 0
            )
        )
    told = "; ".join(
        f"{name}: " + ", ".join(f"{at} {_number(value)}" for at, value in zip(x, values, strict=True))
        for name, values in series.items()
    )
    return _svg(title, told, parts, HEIGHT)


def bar_chart(values: Mapping[str, float], title: str, accent: str | None = None) -> Svg:
    """Horizontal bars from 0, one per name, with their values; the bar named `accent` (default: the first) stands out.

    >>> bar_chart({"learned": 0.7, "random": 0.4}, "mAP").markup.count("<rect")
    2
    """
    _check(title, {name: [value] for name, value in values.items()}, 1)
    if min(values.values()) < 0:
        raise DataError("bars show amounts of 0 or more", f"{min(values.values())}", "use line_chart")
    accent = next(iter(values)) if accent is None else accent
    left = 14 + _CHARACTER * min(28, max(len(visible(name)) for name in values))
    span = WIDTH - left - 16 - _CHARACTER * max(len(_number(value)) for value in values.values())
    top = max(values.values()) or 1.0
    parts = []
    for i, (name, value) in enumerate(values.items()):
        y, length = 6 + i * 30, value / top * span
        fill = _COLOURS[0] if name == accent else "currentColor"
        opacity = 1 if name == accent else 0.45
        parts.append(_text(left - 8, y + 16, name, "end", strong=name == accent, limit=28))
        parts.append(
            f'<rect x="{left:.1f}" y="{y}" width="{max(length, 1):.1f}" height="22" rx="2" fill="{fill}" opacity="{opacity}"/>'
        )
        parts.append(_text(left + length + 7, y + 16, _number(value), "start", strong=name == accent))
    told = "; ".join(f"{name} {_number(value)}" for name, value in values.items())
    return _svg(title, told, parts, 12 + 30 * len(values))


def _check(title: str, series: Mapping[str, Sequence[float]], points: int) -> None:
    if not series or not points or any(len(values) != points for values in series.values()):
        lengths = {name: len(values) for name, values in series.items()}
        raise ShapeError(f"every series of «{title}» has one value for each point", f"{points} points, {lengths}", "")
    if not all(math.isfinite(value) for values in series.values() for value in values):
        raise DataError(f"every value of «{title}» is a finite number", "NaN or infinity", "leave the point out")


def _axis(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """From 0, or the least value, to a round number above the largest, with 4 to 7 round ticks."""
    low, high = min(0.0, *values), max(0.0, *values)
    raw = (high - low or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), math.floor(low / step) + 1)
    return first * step, last * step, [n * step for n in range(first, last + 1)]


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """The places moved apart as little as it takes to stand `gap` from each other, in the same order."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for _ in range(50):
        for upper, lower in itertools.pairwise(order):
            short = gap - (moved[lower] - moved[upper])
            if short > 0.01:
                moved[upper] -= short / 2
                moved[lower] += short / 2
    return moved


def _number(value: float) -> str:
    """At most three significant digits, without needless zeros: 0.712, 12.5, 1200."""
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return text.replace("-", "−")


def _text(
    x: float, y: float, text: str, anchor: str, colour: str = "currentColor", strong: bool = False, limit: int = 200
) -> str:
    text = visible(text)
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    weight = ' font-weight="600"' if strong else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(shown)}</text>'


def _grid(left: float, y: float, right: float) -> str:
    return f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="currentColor" opacity="0.16"/>'


def _line(points: Sequence[tuple[float, float]], i: int) -> str:
    colour, dash = _COLOURS[min(i, 1)], _DASHES[i % len(_DASHES)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    opacity = "1" if i == 0 else "0.62"
    marks = "".join(_mark(x, y, i) for x, y in points)
    return (
        f'<g opacity="{opacity}"><path d="{path}" fill="none" stroke="{colour}" stroke-width="2.2"{dashed}/>'
        f'<g fill="{colour}">{marks}</g></g>'
    )


def _mark(x: float, y: float, i: int) -> str:
    if i % 3 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    if i % 3 == 1:
        return f'<path d="M{x - 3.5:.1f} {y - 3.5:.1f}h7v7h-7z"/>'
    return f'<path d="M{x:.1f} {y - 4.5:.1f}l4.5 8h-9z"/>'


def _svg(title: str, told: str, parts: Sequence[str], height: int) -> Svg:
    return Svg(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="inherit" font-size="{FONT}" aria-label="{escape(visible(title))}">'
        f"<title>{escape(visible(title))}</title><desc>{escape(visible(told))}</desc>{''.join(parts)}</svg>"
    )
