"""`mmfeat show`: a fitted model on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmfeat.cli.options import Quiet, Seed, progress

__all__ = ["show"]


def show(
    model: Annotated[
        Path, typer.Argument(help="A model's folder, or an index that keeps its model.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The page; by default beside the model, with .html added.", show_default=False
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            help="Pictures to try it on: a folder, or an .npy file of rows for a model of rows; may be repeated.",
            show_default=False,
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option("--shape", help="What picture a row is: 28x28, or 32x32x3 in colour.", show_default=False),
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Draw what a model has learned into one page.

    Its stages and settings, what each looks for (filters, codewords, samples) in pixels, and how it learned. With --data also what
    is left of pictures after encoding, and how its bits are used.
    """
    from mmfeat.errors import UsageError
    from mmfeat.files import check_writable, write_bytes
    from mmfeat.pipelines.finding_models import find_model
    from mmfeat.pipelines.showing import read_shape, show_model

    page = output or model.resolve().with_name(model.resolve().name + ".html")
    picture = None if shape is None else read_shape(shape)
    if page.is_file() and not page.read_bytes()[:15].lower().startswith(b"<!doctype html"):
        raise UsageError("only a page is overwritten by a page", f"{page}, which is none", "choose another name for -o")
    check_writable(page.parent)
    fitted = find_model(model)
    with progress(quiet, lambda: "no page was written") as shown:
        html = show_model(fitted, data or None, name=model.resolve().name, shape=picture, seed=seed, report=shown)
    write_bytes(page, html.encode())
    typer.echo(f"{page}: a page of {model}")
