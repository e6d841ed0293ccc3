"""The page of a model: its stages, what each of them looks for, drawn in pixels where there is a way back, and how it learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.chain import is_fixed
from mmfeat.visualise.curves import Svg, line_chart
from mmfeat.visualise.filters import sheet, signed, unit
from mmfeat.visualise.looking import PixelSpace, Shape, atoms_of, filters_of, prototypes_of
from mmfeat.visualise.sections import ChartSection, Section, SheetSection, TableSection

if TYPE_CHECKING:
    from mmfeat.model import Model

__all__ = [
    "chain_section",
    "curve_sections",
    "looks",
    "name_of_stage",
    "picture_shape",
    "provenance_section",
    "spaces",
    "stage_sections",
]

SHOWN = 100  # filters of a stage
SAMPLES = 40
POINTS = 12  # passes named below a curve
CHARTS = 4  # metrics of a learner
_SCALED = "Each is scaled by itself: mid-grey is 0, black and white are its largest absolute value."
_SLACK = 0.3  # how far beyond [0, 1] reconstructions go and are still pixels
_SMOOTH = 0.2  # of a correlation: below it, pictures look like noise
_BLANK = 0.02  # of a standard deviation of pixels in [0, 1]
_NATURAL = "Pixels are shown as they are, in [0, 1]."


def picture_shape(model: Model) -> Shape | None:
    """(h, w, c) of what the first learner sees as a picture; None where rows are no pictures of one shape.

    `Pixels` gives whole pictures and `Patches` patches. A descriptor of another kind may say it itself, by a method
    `picture_shape(decode)`.
    """
    first, decode = model.chain.stages[0], model.decode
    if hasattr(first, "picture_shape"):
        return first.picture_shape(decode)
    name = type(first).__name__
    if not is_fixed(first) or name not in ("Patches", "Pixels"):
        return None
    grey = first.grey or getattr(decode, "color", "rgb") == "grey"
    side = first.size if name == "Patches" else first.side
    size = (side, side) if side else getattr(decode, "size", None)
    return None if size is None else (int(size[0]), int(size[1]), 1 if grey else 3)


def spaces(model: Model, shape: Shape | None) -> list[PixelSpace | None]:
    """For each stage the space of what it is given: how its rows become pictures; None where they cannot."""
    first = model.chain.stages[0]
    around_zero = type(first).__name__ == "Patches" and first.normalise
    space = None if shape is None else PixelSpace(shape, not around_zero)
    found: list[PixelSpace | None] = []
    for number, (stage, state) in enumerate(zip(model.chain.stages, model.states, strict=True)):
        if not is_fixed(stage):
            found.append(space)
            space = None if space is None else space.after(stage, state)
        else:
            found.append(None)
            space = space if number == 0 else None  # what is pooled has no place any more
    return found


def chain_section(model: Model) -> TableSection:
    """What the stages are: settings, how many values go in and come out, how many numbers were learned."""
    takes, gives = _widths(model)
    rows = []
    for number, stage in enumerate(model.chain.stages):
        learned = sum(leaf.size for name, leaf in model.tensors.items() if name.startswith(f"{number}."))
        rows.append(
            (str(number + 1), type(stage).__name__, _settings(stage), takes[number], gives[number], int(learned))
        )
    kind = "bits: a value above 0 is a 1" if model.hash else "numbers"
    return TableSection(
        "The chain",
        f"What goes in passes through the stages from the first to the last. It gives {kind}.",
        ["", "stage", "settings", "values in", "values out", "numbers learned"],
        rows,
    )


def _settings(stage: Any) -> str:
    values = {field.name: getattr(stage, field.name) for field in dataclasses.fields(stage)}
    texts = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()]
    return ", ".join(texts) or "none"


def _widths(model: Model) -> tuple[list[str], list[str]]:
    """What each stage takes and gives, in words: from the shapes that learners saw, and from their programs."""
    takes: list[str] = []
    gives: list[str] = []
    for number, (stage, form) in enumerate(zip(model.chain.stages, model.forms, strict=True)):
        one = form if isinstance(form, Mapping) else None  # the branches of a Join have forms of their own
        takes.append(f"{int(np.prod(one['x'][0])):,}" if one else gives[-1] if number else "pictures")
        after = model.forms[number + 1] if number + 1 < len(model.forms) else None
        after = after if isinstance(after, Mapping) else None
        if one and not stage.locals:
            gives.append(_given(stage, model.states[number], one))
        else:
            gives.append(f"{int(np.prod(after['x'][0])):,}" if after else "rows")
    return takes, gives


def _given(stage: Any, state: Any, form: Mapping[str, Any]) -> str:
    import jax

    x = jax.ShapeDtypeStruct((1, *form["x"][0]), np.float32)
    return f"{int(jax.eval_shape(stage.encode, state, x).shape[1]):,} {'bits' if stage.hash else ''}".rstrip()


def provenance_section(model: Model) -> TableSection:
    """Where the model comes from, as it was recorded when it was fitted."""
    facts: list[tuple[str, str]] = [("model", model.sha256[:12])]
    if model.decode is not None:
        changed = [f for f in dataclasses.fields(model.decode) if getattr(model.decode, f.name) != f.default]
        told = ", ".join(f"{f.name} {getattr(model.decode, f.name)}" for f in changed)
        facts.append(("pictures are decoded with", told or "the defaults"))
    if model.classes:
        facts.append(("classes", ", ".join(model.classes)))
    for name, value in sorted(model.provenance.items()):
        if name == "unfitted":  # of the settings, which stand above
            continue
        if isinstance(value, Mapping):
            value = ", ".join(f"{part} {text}" for part, text in sorted(value.items()))
        facts.append((name.replace("_", " "), str(value)))
    return TableSection("Where it comes from", "", ["", ""], facts)


def stage_sections(model: Model, found: Sequence[PixelSpace | None], seed: int = 0) -> Iterator[Section]:
    """Filters, prototypes, atoms and samples of every learner that has them, where they have a way back to pixels.

    found: the stages' spaces, of `spaces`. seed: of the samples.
    """
    for number, (stage, state) in enumerate(zip(model.chain.stages, model.states, strict=True)):
        if is_fixed(stage):
            continue
        title, space = name_of_stage(model, number), found[number]
        filters, prototypes, atoms = filters_of(stage, state), prototypes_of(stage, state), atoms_of(stage, state)
        if filters is not None and filters.ndim == 4:
            yield _drawn(title, "filters", signed(filters[:SHOWN]), len(filters), _SCALED)
        if space is None:
            continue
        if filters is not None and filters.ndim == 2 and space.linear:
            through = " Drawn as weights of the pixels, through the stages before." if space.steps else ""
            yield _drawn(title, "filters", signed(space.of_filters(filters[:SHOWN])), len(filters), _SCALED + through)
        if prototypes is not None:
            pictures, told = looks(space, space.of_rows(prototypes[:SHOWN]))
            yield _drawn(title, "prototypes", pictures, len(prototypes), told)
        if atoms is not None and space.linear:
            yield _drawn(title, "atoms", signed(space.of_atoms(atoms[:SHOWN])), len(atoms), _SCALED)
        if hasattr(stage, "generate"):
            yield _samples(title, stage, state, space, seed)


def name_of_stage(model: Model, number: int) -> str:
    """A stage as titles call it: its place, counted from 1, and its class."""
    return f"Stage {number + 1}, {type(model.chain.stages[number]).__name__}"


def looks(space: PixelSpace, pictures: np.ndarray, together: bool = False) -> tuple[np.ndarray, str]:
    """Pictures (n, h, w, c) ready to be drawn, and how: as they are where pixels are in [0, 1], else around mid-grey.

    together: on one scale, so that they can be compared, instead of each by itself.
    """
    low, high = np.quantile(pictures, [0.02, 0.98])
    if space.natural and low >= -_SLACK and high <= 1 + _SLACK:
        return unit(pictures), _NATURAL
    if not together:
        return signed(pictures), _SCALED
    largest = max(float(np.quantile(np.abs(pictures).max(axis=(1, 2, 3)), 0.9)), 1e-30)
    return unit(0.5 + 0.5 * pictures / largest), "All are on one scale, on which mid-grey is 0."


def _drawn(title: str, what: str, pictures: np.ndarray, count: int, told: str) -> SheetSection:
    how = f"All {count:,}." if len(pictures) == count else f"The first {len(pictures):,} of {count:,}."
    if what == "filters" and _smoothness(pictures) < _SMOOTH:
        told += " Neighbouring pixels hardly go together in them: single points, or mostly the noise that learning began with."
    return SheetSection(f"{title}: {what}", f"{how} {told}", sheet(pictures), f"{len(pictures):,} {what} of {title}")


def _smoothness(pictures: np.ndarray) -> float:
    """The correlation of pixels around mid-grey with their right neighbours and the ones below, over all pictures (n, h, w, c)."""
    x = pictures - 0.5
    if min(x.shape[1:3]) < 2:
        return 1.0
    pairs = [(x[:, :, 1:], x[:, :, :-1]), (x[:, 1:], x[:, :-1])]
    joint = sum(float((one * other).sum()) for one, other in pairs)
    alone = sum(0.5 * float((one**2).sum() + (other**2).sum()) for one, other in pairs)
    return joint / alone if alone > 0 else 1.0


def _samples(title: str, stage: Any, state: Any, space: PixelSpace, seed: int) -> SheetSection:
    import jax

    pictures, told = looks(space, space.of_rows(np.asarray(stage.generate(jax.random.key(seed), state, SAMPLES))))
    text = f"{SAMPLES} drawn from the model itself, none of them from the data. {told}"
    if pictures.std() < _BLANK:
        text += " They are all but blank: begun from noise, it does not come near anything it learned from."
    return SheetSection(f"{title}: samples", text, sheet(pictures), f"{SAMPLES} samples of {title}")


def curve_sections(model: Model) -> Iterator[Section]:
    """How each learner's metrics went from pass to pass, and the variances of principal components."""
    for number, state in enumerate(model.states):
        title = name_of_stage(model, number)
        variance = np.asarray(getattr(state, "variance", ()))
        if "Pca" in title and len(variance) > 1:
            places = _some(len(variance))
            values = {"variance": [round(float(variance[at] / max(variance[0], 1e-30)), 4) for at in places]}
            svg = line_chart([at + 1 for at in places], values, f"{title}: variance", "of the first", "component")
            yield ChartSection(f"{title}: variance along its components", "", svg)
        passes = [row for row in model.log if row["stage"] == number]
        charts = _charts(title, passes)
        if charts:
            markup = "".join(chart.markup for chart in charts)
            text = f"Means over the steps of each of its {len(passes)} passes over the data it learned from."
            yield ChartSection(f"{title}: while it learned", text, Svg(f'<div class="charts">{markup}</div>'))


def _charts(title: str, passes: Sequence[Mapping[str, Any]]) -> list[Svg]:
    """A chart for each metric that changed from pass to pass."""
    if len(passes) < 2:
        return []
    places, charts = _some(len(passes)), []
    for name in passes[0]["metrics"]:
        values = [row["metrics"].get(name) for row in passes]
        if None in values or len(set(values)) < 2:
            continue
        said, shown = name.replace("_", " "), [passes[at]["pass"] for at in places]
        charts.append(line_chart(shown, {said: [values[at] for at in places]}, f"{title}: {said}", said, "pass"))
    return charts[:CHARTS]


def _some(count: int) -> list[int]:
    """At most POINTS places among `count`, the first and the last among them."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, POINTS))})
