"""`mmfeat extract`: features of every picture of a folder, by one process or by many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmfeat.cli.options import Labels, Pages, Quiet, progress

if TYPE_CHECKING:
    from mmfeat.pipelines.merging import Extraction

__all__ = ["extract"]


def extract(
    model: Annotated[
        Path | None, typer.Argument(help="A model's folder, or an index that keeps its model.", show_default=False)
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of pictures, tables of paths, arrays, tar shards or URLs; one or several.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The features' folder.", show_default=False)
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="float32, float16 or bits; a hash gives bits unless told, anything else float32."),
    ] = None,
    labels: Labels = None,
    pages: Pages = "first",
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="K/N", help="Do a part of the work: 1/4, 2/4, 3/4, 4/4 in four processes."),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Check and join what the shards made; takes -o alone.")
    ] = False,
    part: Annotated[int | None, typer.Option("--part", min=1, help="Pictures a part; 4,096 unless told.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Read files again that failed before.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 for any failed file, not only for new ones.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Encode pictures with a model. A rerun reads what is missing, new or changed."""
    from mmfeat.errors import UsageError

    if output is None:
        raise UsageError("features are written to a folder", "no --output", "add -o FEATURES")
    if merge:
        if model is not None or data or shard is not None or retry_failed:
            raise UsageError(
                "--merge takes the features' folder alone", "more", "write: mmfeat extract --merge -o FEATURES"
            )
        from mmfeat.pipelines.merging import merge as join

        _end(join(output), strict)
    if model is None or not data:
        raise UsageError("features are those of a model and of pictures", "no MODEL or no DATA", "name both")
    from mmfeat.media.walk import walk
    from mmfeat.pipelines.extracting import extract as run
    from mmfeat.pipelines.finding_models import find_model
    from mmfeat.pipelines.shards import parse_shard

    chosen = None if shard is None else parse_shard(shard)
    held = find_model(model)
    with progress(quiet, lambda: "what is finished is kept, and the same command goes on from there") as shown:
        seen = lambda done, total: shown("looking at files", done, total, {})  # noqa: E731
        items = walk(list(data), labels=labels, pages=pages, progress=seen)
        result = run(held, items, output, dtype=dtype, part=part, shard=chosen, retry_failed=retry_failed, report=shown)
    _end(result, strict, shard)


def _end(result: Extraction, strict: bool, shard: str | None = None) -> None:
    """Say what it ended in, and end with its exit code."""
    if result.repaired:
        typer.echo(f"made again, for they were damaged: {', '.join(result.repaired)}")
    counts = f"{result.done:,} done, {result.failed:,} failed"
    if result.complete:
        typer.echo(f"{result.path}: {counts}, {result.skipped:,} skipped (reasons: items.parquet)")
    else:
        typer.echo(
            f"{result.path}, shard {shard}: {counts}; when all are there: mmfeat extract --merge -o {result.path}"
        )
    raise typer.Exit(1 if strict and result.failed and result.exit_code == 0 else result.exit_code)
