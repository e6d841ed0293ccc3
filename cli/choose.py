"""`mmfeat index choose`: which type of index for these vectors, measured on a sample of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mmfeat.cli.options import Overwrite, Quiet, Seed, progress

__all__ = ["choose"]


def choose(
    data: Annotated[Path, typer.Argument(help="An .npy file of vectors, or an index of floats.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Build the chosen index of the vectors here.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="l2, cosine or ip; an index knows its own.", show_default=False)
    ] = None,
    size: Annotated[
        int | None, typer.Option("--bytes", min=1, help="Choose among codes of at most so many bytes.")
    ] = None,
    recall: Annotated[
        float,
        typer.Option("--recall", min=0, max=1, help="Otherwise the smallest codes that keep this share of neighbours."),
    ] = 0.9,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Vectors that are measured with.")] = 10_000,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Compare index types on these vectors: bytes, recall, speed; and choose one."""
    from mmfeat.pipelines.choosing import measure_kinds
    from mmfeat.pipelines.choosing_data import build_chosen, read_vectors

    given = read_vectors(data, metric)
    with progress(quiet, lambda: "nothing was changed") as shown:
        found = measure_kinds(
            given.vectors, metric=given.metric, sample=sample, seed=seed, size=size, recall=recall, report=shown
        )
    if output is not None:
        build_chosen(given, found.chosen.kind, output, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
        return
    for line in found.lines():
        typer.echo(line)
    typer.echo(
        f"\nmeasured with {found.queries:,} queries on {found.rows:,} of {len(given.vectors):,} vectors, {found.metric}"
    )
    typer.echo(f"chosen: {found.chosen.kind}" + (f", built as {output}" if output else ""))
