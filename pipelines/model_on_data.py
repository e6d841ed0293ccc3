"""What a model does to data, for its page: what is left of them after encoding, what goes with each value, how bits are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import DataError

if TYPE_CHECKING:
    from mmfeat.encoder import Encoder
    from mmfeat.model import Model
    from mmfeat.stages import Report
    from mmfeat.stream import Source
    from mmfeat.visualise.looking import PixelSpace
    from mmfeat.visualise.sections import Section

__all__ = ["data_sections"]

COMPARED = 256  # rows behind an error of reconstruction
DRAWN = 16  # of these, drawn
SHOWN = 100  # values of a code
BINS = 10
MATRIX = 384  # px
Spaces = list["PixelSpace | None"]


def data_sections(
    model: Model, found: Spaces, source: Source, seed: int = 0, report: Report | None = None
) -> Iterator[Section]:
    """The sections of a page that need data.

    found: the stages' spaces, of `mmfeat.visualise.model_page.spaces`. source: a few hundred items. DataError: none can be read.
    """
    first = next((place for place, space in enumerate(found) if space is not None), None)
    if first is not None:
        yield from _reconstructions(model, found, first, source, seed)
    places, values = _encoded(model.encoder, source, report)
    if first is not None:
        yield from _tendencies(model, found, first, source, places, values)
    if model.hash:
        yield from _bits(values)


def _encoder(model: Model, count: int) -> Encoder:
    """The first stages of a chain."""
    from mmfeat.encoder import Encoder
    from mmfeat.mesh import default_mesh

    return Encoder(model.chain.stages[:count], model.states[:count], model.mesh or default_mesh())


def _encoded(encoder: Encoder, source: Source, report: Report | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Of all items that can be read their places (r,), rising, and their features (r, d)."""
    from mmfeat.stages import encode_source

    places, parts, done = [], [], 0
    for rows, out, read in encode_source(encoder, source):
        places.append(rows[read])
        parts.append(np.asarray(out, np.float32).reshape(len(read), -1)[read])
        done += len(read)
        if report:
            report("encoding", done, len(source), {})
    at = np.concatenate(places)
    if not len(at):
        raise DataError("there is something that can be read", "nothing in the data", "name another folder")
    order = np.argsort(at)
    return at[order], np.concatenate(parts)[order]


def _reconstructions(model: Model, found: Spaces, first: int, source: Source, seed: int) -> Iterator[Section]:
    """Originals above what is left of them after each learner that has a way back."""
    from mmfeat.visualise.filters import sheet
    from mmfeat.visualise.model_page import looks
    from mmfeat.visualise.sections import SheetSection

    space = found[first]
    if space is None:
        return
    rows = _rows(_encoder(model, first), source, seed)
    originals = space.of_rows(rows)
    lines = [("the originals", originals), *_lines(model, found, first, rows)]
    if len(lines) == 1:
        return
    energy = ((originals - originals.mean(axis=0)) ** 2).sum(axis=(1, 2, 3)).mean()
    errors = [((one - originals) ** 2).sum(axis=(1, 2, 3)).mean() for _, one in lines[1:]]
    told = [lines[0][0]] + [
        f"{said} (squared error {error:,.2f})" for (said, _), error in zip(lines[1:], errors, strict=True)
    ]
    drawn = [one[:DRAWN] for _, one in lines]
    pictures, scaled = looks(space, np.concatenate(drawn), together=True)
    what = "pictures" if space.natural else "patches"
    text = (
        f"From the top: {'; '.join(told)}. Errors are means over {len(rows):,} {what} of the data; about their mean these vary "
        f"by {energy:,.2f}.{_worthless(errors, energy, what)} {scaled}"
    )
    words = f"{len(drawn[0])} originals, and below each what is left of it after {len(lines) - 1} of the stages"
    yield SheetSection("What is left after encoding", text, sheet(pictures, columns=len(drawn[0])), words)


def _worthless(errors: Sequence[float], energy: float, what: str) -> str:
    """Said where what comes back is no nearer to the originals than their mean."""
    if max(errors) < energy:
        return ""
    return f" An error that is not below that is no better than showing their mean: too little was learned, or from other {what}."


def _rows(encoder: Encoder, source: Source, seed: int) -> np.ndarray:
    """At most COMPARED rows (n, d) of what these stages give; of locals, a few of each item."""
    from mmfeat.stages import encode_source
    from mmfeat.stream import Subset

    some = Subset(source, np.arange(min(len(source), COMPARED)))
    rows = np.concatenate([_readable(out, read, len(some), seed) for _, out, read in encode_source(encoder, some)])
    if not len(rows):
        raise DataError("there is something that can be read", "nothing in the data", "name another folder")
    return rows[np.random.default_rng(seed).permutation(len(rows))[:COMPARED]]


def _readable(out: Any, read: np.ndarray, items: int, seed: int) -> np.ndarray:
    from mmfeat.arrays import Locals

    if not isinstance(out, Locals):
        return np.asarray(out, np.float32).reshape(len(read), -1)[read]
    random, each = np.random.default_rng(seed), -(-COMPARED // items)
    weight = np.asarray(out.weight) * read[:, None]
    places = [random.permutation(np.flatnonzero(line > 0))[:each] for line in weight]
    values = np.asarray(out.values, np.float32)
    return np.concatenate([values[item][chosen] for item, chosen in enumerate(places)])


def _lines(model: Model, found: Spaces, first: int, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """(words, pictures) after each learner from `first` on, as far as there is a way back and something is lost on it."""
    from mmfeat.chain import apply_stage
    from mmfeat.visualise.looking import has_way_back, undo
    from mmfeat.visualise.model_page import name_of_stage

    for number in range(first, len(found)):
        stage, state, space = model.chain.stages[number], model.states[number], found[number]
        if space is None or stage.locals:
            return
        codes = np.asarray(apply_stage(stage, state, rows))
        back = None
        if hasattr(stage, "reconstruct"):
            back = np.asarray(stage.reconstruct(state, rows))
        elif has_way_back(stage) and (hasattr(stage, "decode") or codes.shape[1] < rows.shape[1]):
            back = undo(stage, state, codes)
        if back is not None:
            kind = "bits" if stage.hash and not hasattr(stage, "affine") else "values"
            yield f"from the {codes.shape[1]:,} {kind} of {name_of_stage(model, number)}", space.of_rows(back)
        rows = codes


def _tendencies(
    model: Model, found: Spaces, first: int, source: Source, places: np.ndarray, values: np.ndarray
) -> Iterator[Section]:
    """For each value of the codes (n, k) the pixels that go with it, where the pictures are whole items."""
    from mmfeat.visualise.filters import rows_as_pictures, sheet, signed
    from mmfeat.visualise.sections import SheetSection

    space = found[first]
    if space is None or not space.natural:
        return
    seen, rows = _encoded(_encoder(model, first), source)
    if not np.array_equal(seen, places) or len(rows) < 2:
        return
    codes = (values[:, :SHOWN] > 0).astype(np.float32) if model.hash else values[:, :SHOWN]
    with_it = (codes - codes.mean(axis=0)).T @ (rows - rows.mean(axis=0)) / len(rows)
    what, how = ("bit", "The mean of the pictures whose bit is 1, less the mean of the others: what a bit tells.")
    if not model.hash:
        what, how = ("value", "How each pixel rises and falls with the value, over the pictures: their covariance.")
    some = f"All {values.shape[1]:,}." if values.shape[1] <= SHOWN else f"The first {SHOWN} of {values.shape[1]:,}."
    text = f"{how} {some} Of {len(rows):,} pictures of the data; each is scaled by itself: mid-grey is 0."
    picture = sheet(signed(rows_as_pictures(with_it, space.shape)))
    yield SheetSection(
        f"What goes with each {what} of the code", text, picture, f"a picture for each {what} of the code"
    )


def _bits(values: np.ndarray) -> Iterator[Section]:
    """How evenly and how independently the bits are used on the data."""
    from mmfeat.arrays import pack_bits
    from mmfeat.evaluate.bits import bit_statistics
    from mmfeat.visualise.curves import bar_chart
    from mmfeat.visualise.filters import sheet
    from mmfeat.visualise.sections import ChartSection, SheetSection

    found = bit_statistics(pack_bits(values), values.shape[1])
    counts = np.histogram(found.means, bins=BINS, range=(0, 1))[0]
    bars = {f"{100 * at // BINS} to {100 * (at + 1) // BINS} %": float(count) for at, count in enumerate(counts)}
    text = (
        f"{found.distinct:,} different codes on {found.items:,} items; {found.dead} of {found.bits} bits are dead (they have one "
        "value on 99.5 % of the items or more).\n\n"
        "Below: how many bits are 1 on which share of the items; near the half they tell most."
    )
    chart = bar_chart(bars, "bits by how often they are 1", max(bars, key=lambda name: bars[name]))
    yield ChartSection("The bits on these data", text, chart)
    if found.bits > 1:
        told = (
            f"Every bit with every other, in their order: white is no correlation, black is 1 or -1, as of a bit with itself. The "
            f"others' mean, signs aside, is {found.mean_correlation:.3f}; a bit that says what another says is wasted."
        )
        picture = sheet(1 - np.abs(found.correlation)[None, :, :, None], side=MATRIX)
        yield SheetSection("Which bits say the same", told, picture, f"correlations of {found.bits} bits")
