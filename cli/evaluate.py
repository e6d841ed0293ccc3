"""`mmfeat evaluate`: how good an index is, against labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mmfeat.cli.options import Quiet, Seed, progress

__all__ = ["app"]

app = typer.Typer(help="Measure against labels.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Measure against labels."""


@app.command("retrieval")
def retrieval(
    index: Annotated[Path, typer.Argument(help="An index's folder.", show_default=False)],
    queries: Annotated[
        Path | None,
        typer.Option("--queries", help="A labelled folder of pictures that ask; without it items ask for one another."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Labels of the items: CSV or Parquet with id and label; else the index's own."),
    ] = None,
    query_labels: Annotated[
        Path | None, typer.Option("--query-labels", help="Labels of the folder; otherwise its sub-folders.")
    ] = None,
    k: Annotated[
        list[str] | None,
        typer.Option("-k", metavar="K[,K]", help="Cuts of mAP, precision and recall.", show_default="10,100"),
    ] = None,
    most: Annotated[
        int, typer.Option("--most", min=1, help="Without --queries: at most so many items ask, drawn by the seed.")
    ] = 5000,
    seed: Seed = 0,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with curves and pictures.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers here.")] = None,
    quiet: Quiet = False,
) -> None:
    """Measure how well the neighbours of an index agree with labels.

    mAP, precision and recall, exact for ties, each with its interval and what a random order would score.
    """
    from mmfeat.errors import UsageError
    from mmfeat.files import check_writable, write_bytes
    from mmfeat.pipelines.evaluating import evaluate_index
    from mmfeat.visualise.evaluation import measure_rows

    if queries is None and query_labels is not None:
        raise UsageError("--query-labels is for a folder of queries", "none", "add --queries FOLDER")
    for path in filter(None, (html, json_)):
        if path.is_dir():
            raise UsageError("results are written to files", f"the folder {path}", "give a name in it")
        check_writable(path.parent)
    with progress(quiet, lambda: "nothing was written") as shown:
        found = evaluate_index(
            index, queries=queries, labels=labels, query_labels=query_labels, ks=_cuts(k or ["10,100"]), most=most,
            seed=seed, report=shown,
        )  # fmt: skip
        page = found.page() if html is not None else ""
    if json_ is not None:
        write_bytes(json_, (json.dumps(found.to_json(), indent=1, ensure_ascii=False, default=str) + "\n").encode())
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(html, page.encode())
    rows = measure_rows(found.scores)
    width = max(len(row[0]) for row in rows)
    typer.echo(f"{'':{width}}   mean   95 % interval   random order")
    for name, mean, low, high, random in rows:
        typer.echo(f"{name:{width}}  {mean:.3f}  {low:.3f} to {high:.3f}  {random}".rstrip())
    for sentence in (found.scores.protocol.sentence if found.scores.protocol else "", *found.notes):
        typer.echo(sentence)
    if html is not None:
        typer.echo(f"{html}: with curves and pictures")


def _cuts(texts: list[str]) -> list[int]:
    from mmfeat.errors import UsageError

    cuts = [part.strip() for text in texts for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in cuts):
        raise UsageError("cuts are whole numbers of at least 1", ",".join(cuts), "for example -k 10,100")
    return [int(part) for part in cuts]
