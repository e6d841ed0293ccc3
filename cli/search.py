"""`mmfeat search`: the nearest items to pictures, vectors or items."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["search"]


def search(
    index: Annotated[Path, typer.Argument(help="An index's folder.", show_default=False)],
    queries: Annotated[
        list[str],
        typer.Argument(
            metavar="QUERY", help="Pictures, ids of the index, or .npy files of vectors.", show_default=False
        ),
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours.")] = 10,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Find the nearest items of an index."""
    from mmfeat.errors import UsageError
    from mmfeat.files import check_writable
    from mmfeat.pipelines.searching import open as open_searcher

    if html is not None:
        if html.is_dir():
            raise UsageError("--html names a file", f"the folder {html}", "for example --html out.html")
        check_writable(html.parent)
    results = open_searcher(index).search(list(queries), k)
    if html is not None:
        results.save(html)
    if as_json:
        typer.echo(json.dumps(results.to_json(), indent=1, ensure_ascii=False))
        return
    from mmfeat.visualise.console import plain_results, result_table

    if sys.stdout.isatty():
        from rich.console import Console

        for result in results.plain():
            Console().print(result_table(result, results.unit))
    else:
        typer.echo(plain_results(results.plain()))
    if html is not None:
        typer.echo(f"\n{html}: the same with pictures")
