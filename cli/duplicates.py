"""`mmfeat duplicates`: groups of near-duplicates, with a keep/drop table and a page; nothing is ever deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmfeat.cli.options import Quiet, Seed, progress

__all__ = ["duplicates"]


def duplicates(
    data: Annotated[list[Path], typer.Argument(help="An index, or folders of pictures.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the table as CSV; printed otherwise.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with the groups as pictures.")] = None,
    within: Annotated[
        float | None,
        typer.Option(
            "--within", help="Join all pairs at no more than this distance of codes; do not look at the pictures."
        ),
    ] = None,
    agreement: Annotated[
        float, typer.Option("--agreement", help="How well two pictures laid upon each other must agree, up to 1.")
    ] = 0.96,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Find near-duplicates: copies, smaller copies, recompressions, cut-outs. Nothing is deleted.

    The table has a row for each picture of a group: keep (the largest) or drop.
    """
    from mmfeat.errors import UsageError
    from mmfeat.files import check_writable, write_bytes
    from mmfeat.pipelines.duplicates import find_duplicates

    for path in (output, html):
        if path is not None and path.is_dir():
            raise UsageError("a result is a file", f"the folder {path}", "name a file in it")
        if path is not None:
            check_writable(path.parent)
    with progress(quiet, lambda: "nothing was changed") as shown:
        found = find_duplicates(list(data), within=within, agreement=agreement, seed=seed, report=shown)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(html, found.page(f"Near-duplicates in {data[0].name or data[0]}").encode())
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(output, found.csv().encode())
    else:
        typer.echo(found.csv(), nl=False)
    drop = sum(len(group) - 1 for group in found.groups)
    said = f"{len(found.groups):,} groups among {found.looked:,} items: {drop:,} could go. Nothing was deleted."
    typer.echo(said, err=output is None)
