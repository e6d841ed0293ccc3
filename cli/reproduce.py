"""`mmfeat reproduce`: run an experiment and print its rows."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmfeat.cli.options import Quiet, Seed, Set, assignments, progress

if TYPE_CHECKING:
    from mmfeat.evaluate.rows import Row
    from mmfeat.pipelines.kept_rows import KeptRows

__all__ = ["reproduce"]


def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="The experiment; without it they are listed.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="The folder of data sets; MMFEAT_DATA unless told.")
    ] = None,
    json_: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the rows here, too; in FILE.part while it runs."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE", help="Write a page of every .json beside the one of --json."),
    ] = None,
    seed: Seed = 0,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Run so many times, with this seed and those after it.")
    ] = 1,
    add: Annotated[
        bool,
        typer.Option("--add", help="Keep the seeds that the file of --json has, or an interrupted run; add others."),
    ] = False,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Run an experiment whose numbers are published, and print what is measured here beside them.

    With --json every row is kept in FILE.part as soon as it is measured. A run that was interrupted goes on with --add: seeds
    that are finished there are not run again; one that was not finished begins anew.
    """
    from mmfeat.errors import UsageError
    from mmfeat.evaluate.rows import plain
    from mmfeat.files import check_writable
    from mmfeat.pipelines import reproducing
    from mmfeat.pipelines.datasets import data_folder

    if name is None:
        _list()
        return
    if json_ is None and (page is not None or add):
        raise UsageError("--page and --add go with a file of rows", "no --json", "add --json FILE")
    experiment = reproducing.find_experiment(name, assignments(set_))
    known = reproducing.known_rows(experiment, json_) if add and json_ is not None else []
    folder = data_folder(data)
    for path in filter(None, (json_, page)):
        check_writable(path.parent)

    def say(row: Row) -> None:
        typer.echo((f"seed {row.seed[0]}  " if seeds > 1 else "") + plain(row))

    kept = None if json_ is None else _begun(experiment, json_, set_ or [], known if add else None)
    with progress(quiet, lambda: _left(kept)) as shown:
        rows = reproducing.reproduce(experiment, folder, range(seed, seed + seeds), shown, say, set_ or (), known, kept)
    _say_means(rows)
    if json_ is not None and kept is not None:
        reproducing.write_rows(rows, json_)
        kept.clear()
    if page is not None and json_ is not None:
        reproducing.write_page(json_.parent, page)


def _list() -> None:
    """Every experiment with its first sentence."""
    from mmfeat import registry

    for key, cls in registry.reproductions().items():
        typer.echo(f"{registry.hyphens(key):<26} {(inspect.getdoc(cls) or '').splitlines()[0]}")


def _begun(experiment: Any, path: Path, settings: list[str], known: Sequence[Row] | None) -> KeptRows:
    """What keeps the rows of this run; with `known` rows also those of an interrupted one, which are let go otherwise."""
    from mmfeat import registry
    from mmfeat.pipelines.kept_rows import KeptRows

    kept = KeptRows(path, settings)
    if known is None:
        kept.clear()
    else:
        kept.read(registry.hyphens(registry.name_of(type(experiment))), known)
    return kept


def _say_means(rows: Sequence[Row]) -> None:
    """The rows over all seeds, where there are several."""
    from mmfeat.evaluate.rows import plain

    runs = max((len(row.seed) for row in rows), default=1)
    if runs > 1:
        typer.echo(f"\nmean of {runs} seeds, lowest and highest:")
        for row in rows:
            typer.echo(plain(row))


def _left(kept: KeptRows | None) -> str:
    """What an interrupted run leaves behind."""
    if not kept:
        return "no row was kept"
    again = "; with --add the finished seeds are not run again" if kept.seeds else ""
    return f"{len(kept.rows):,} rows are kept in {kept.path}{again}"
