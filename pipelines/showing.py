"""A fitted model on a page: its chain, what its stages look for, how it learned; with data, reconstructions and bit statistics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.errors import DataError, ShapeError, UsageError

if TYPE_CHECKING:
    from mmfeat.model import Model
    from mmfeat.stages import Report
    from mmfeat.stream import Source
    from mmfeat.visualise.looking import Shape
    from mmfeat.visualise.sections import Section

__all__ = ["read_shape", "show_model"]

ITEMS = 1000  # of the data, at the most


def read_shape(text: str) -> Shape:
    """Read "28x28", or "32x32x3" for colour, as (h, w, c).

    >>> read_shape("28x28"), read_shape("32x24x3")
    ((28, 28, 1), (32, 24, 3))
    """
    parts = text.lower().split("x")
    if len(parts) not in (2, 3) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError("a shape is HEIGHTxWIDTH, or with the channels HEIGHTxWIDTHx3", repr(text), "write 28x28")
    height, width, channels = (*map(int, parts), 1)[:3]
    if channels not in (1, 3):
        raise UsageError("pictures have 1 channel or 3", repr(text), "write 28x28 or 32x32x3")
    return height, width, channels


def show_model(
    model: Model,
    data: Any = None,
    *,
    name: str = "A model",
    shape: Shape | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> str:
    """The page as HTML.

    data: a folder of pictures (or several) for a model of pictures; rows (n, d), or their .npy file, for a model of rows. They
        need not be what it learned from; a seeded choice of at most 1,000 is looked at. Without data there are neither
        reconstructions nor statistics.
    shape: (h, w, c) of the pictures that the rows of a model of rows are; a model of pictures knows its own.
    """
    from mmfeat.pipelines.model_on_data import data_sections
    from mmfeat.visualise import model_page as parts
    from mmfeat.visualise.pages import demo_page

    shape = _shape(model, shape, parts.picture_shape(model))
    found = parts.spaces(model, shape)
    source = None if data is None else _source(model, data, seed, report)
    sections: list[Section] = [parts.chain_section(model), *parts.stage_sections(model, found, seed)]
    if source is not None:
        sections += data_sections(model, found, source, seed, report)
    sections += [*parts.curve_sections(model), parts.provenance_section(model)]
    given, out = "pictures" if model.decode is not None else "rows of numbers", "bits" if model.hash else "numbers"
    return demo_page(sections, name, f"A fitted chain that turns {given} into {out}.{_missing(model, shape, data)}")


def _missing(model: Model, shape: Shape | None, data: Any) -> str:
    """What would show more."""
    words = ""
    if shape is None and model.decode is None:
        words += " Are its rows pictures, --shape HxW draws what it looks for."
    if data is None:
        words += " With --data FOLDER the page also shows what it does to pictures." if model.decode is not None else ""
    return words


def _shape(model: Model, given: Shape | None, own: Shape | None) -> Shape | None:
    if given is None:
        return own
    if own is not None and own != given:
        raise UsageError(f"this model sees pictures of {_said(own)}", f"--shape {_said(given)}", "leave --shape out")
    values = int(np.prod(model.forms[0]["x"][0])) if model.forms[0] else None
    if own is None and values is None:
        raise UsageError("a shape is of rows", "a model of pictures that have no one shape", "leave --shape out")
    if own is None and values != int(np.prod(given)):
        raise ShapeError(
            f"this model takes rows of {values} values", f"--shape {_said(given)}", "give the height and width of them"
        )
    return given


def _said(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _source(model: Model, data: Any, seed: int, report: Report | None) -> Source:
    """A seeded choice of the data, as the model takes them."""
    from mmfeat.stream import Subset

    if model.decode is not None and (isinstance(data, str | os.PathLike) or _are_paths(data)):
        return _pictures(model, data, seed, report)
    if isinstance(data, str | os.PathLike) or _are_paths(data):
        paths = [Path(data)] if isinstance(data, str | os.PathLike) else [Path(one) for one in data]
        if len(paths) > 1:
            raise UsageError("a model of rows is shown one .npy file", f"{len(paths)} paths", "give one")
        from mmfeat.pipelines.given_vectors import as_vectors

        data = as_vectors(paths[0])
    source = model.source(data)
    return Subset(source, _chosen(len(source), seed))


def _are_paths(data: Any) -> bool:
    return isinstance(data, list | tuple) and all(isinstance(one, str | os.PathLike) for one in data)


def _pictures(model: Model, data: Any, seed: int, report: Report | None) -> Source:
    from mmfeat.media.source import ImageSource
    from mmfeat.media.walk import walk

    def progress(done: int, total: int) -> None:
        if report:
            report("looking at files", done, total, {})

    roots = [data] if isinstance(data, str | os.PathLike) else list(data)
    items = walk(roots, progress=progress)
    if not len(items.images):
        raise DataError("there is a picture to look at", f"none in {roots[0]}", "name another folder")
    return ImageSource(items, model.decode, rows=items.images[_chosen(len(items.images), seed)])


def _chosen(count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(count)[:ITEMS])
