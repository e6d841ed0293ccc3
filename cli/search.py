"""`mmfeat search`: the nearest items to pictures, vectors or items."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["search"]


Queries = Annotated[
    list[str],
    typer.Argument(
        metavar="QUERY",
        help="Pictures, parts of pictures (a.jpg#xywh=x,y,w,h in pixels or xywh=percent:x,y,w,h), ids of the index, or "
        ".npy files of vectors.",
        show_default=False,
    ),
]
Where = Annotated[
    str | None, typer.Option("--where", help="Only items for which this is true: \"label = 'cat' and width >= 640\".")
]
Rerank = Annotated[
    Path | None, typer.Option("--rerank", help="Another index of the same items, which orders what this one finds.")
]
Candidates = Annotated[
    int | None, typer.Option("--candidates", min=1, help="How many of the nearest are measured by exact codes.")
]


Within = Annotated[
    float | None, typer.Option("--within", help="All items at no more than this distance (bits, or of floats).")
]
LikeAll = Annotated[
    bool, typer.Option("--like-all", help="The queries are examples of one: by the mean distance to them.")
]
LikeAny = Annotated[
    bool, typer.Option("--like-any", help="The queries are examples of one: by the least distance to them.")
]


def search(
    index: Annotated[Path, typer.Argument(help="An index's folder.", show_default=False)],
    queries: Queries,
    k: Annotated[
        int | None,
        typer.Option("-k", min=1, help="How many neighbours; 10, or all with --within.", show_default=False),
    ] = None,
    where: Where = None,
    within: Within = None,
    like_all: LikeAll = False,
    like_any: LikeAny = False,
    rerank: Rerank = None,
    candidates: Candidates = None,
    nprobe: Annotated[int | None, typer.Option("--nprobe", min=1, help="IVF: lists that are visited.")] = None,
    ef: Annotated[int | None, typer.Option("--ef", min=1, help="HNSW: length of the queue.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Scan everything, whatever the type.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Find the nearest items of an index.

    A query that cannot be read does not stop the others: it is said, and the exit code is 1.
    """
    from mmfeat.indexes.structures import Effort
    from mmfeat.pipelines.searching import open as open_searcher

    _check(html, like_all and like_any)
    results = open_searcher(index).search(
        list(queries),
        k,
        where=where,
        within=within,
        together="mean" if like_all else "min" if like_any else None,
        rerank=open_searcher(rerank) if rerank else None,
        candidates=candidates or 1000,
        effort=Effort(nprobe, ef, candidates if rerank is None else None, exact=exact),
    )
    if html is not None:
        results.save(html)
    _show(results, as_json, html)
    for answer in results.failed:
        typer.echo(f"mmfeat: {answer.query}: {answer.reason}", err=True)
    raise typer.Exit(1 if results.failed else 0)


def _check(html: Path | None, both: bool) -> None:
    """Say before the search what cannot be; both: --like-all and --like-any are given."""
    from mmfeat.errors import UsageError
    from mmfeat.files import check_writable

    if html is not None:
        if html.is_dir():
            raise UsageError("--html names a file", f"the folder {html}", "for example --html out.html")
        check_writable(html.parent)
    if both:
        raise UsageError("examples are joined in one way", "--like-all and --like-any", "leave one of them out")


def _show(results: Any, as_json: bool, html: Path | None) -> None:
    """The answers on standard output."""
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
