"""`mmfeat extract`: features of every picture of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmfeat.cli.options import Data, Labels, Quiet, progress

__all__ = ["extract"]


def extract(
    model: Annotated[Path, typer.Argument(help="A model's folder.", show_default=False)],
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="The features' folder.", show_default=False)],
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="float32, float16 or bits; a hash gives bits unless told, anything else float32."),
    ] = None,
    labels: Labels = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 for any failed file, not only for new ones.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Encode pictures with a model. A rerun makes what is missing."""
    from mmfeat.model import load
    from mmfeat.pipelines.extracting import extract as run
    from mmfeat.pipelines.fitting import _walk

    held = load(model)
    with progress(quiet, lambda: "what is finished is kept, and the same command goes on from there") as shown:
        items = _walk(list(data), labels, shown)
        result = run(held, items, output, dtype=dtype, report=shown)
    typer.echo(
        f"{result.path}: {result.done:,} done, {result.failed:,} failed, {result.skipped:,} skipped (reasons: items.parquet)"
    )
    raise typer.Exit(1 if strict and result.failed and result.exit_code == 0 else result.exit_code)
