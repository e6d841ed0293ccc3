"""`mmfeat index add | update | move | remove | verify | compact | rollback | export`: an index one lives with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mmfeat.cli.options import Interrupted, Labels, Overwrite, Quiet, progress

__all__ = ["add", "compact", "export", "move", "remove", "rollback", "update", "verify"]

Index = Annotated[Path, typer.Argument(help="An index's folder.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
_MANY = 200  # segments, from which on opening an index takes longer than it need
_LEFT = "what was done is kept; the same command goes on from there"


def add(
    index: Index,
    data: Annotated[
        list[Path],
        typer.Argument(help="Folders or files of pictures, or one .npy file of vectors.", show_default=False),
    ],
    labels: Labels = None,
    pages: Annotated[
        str | None,
        typer.Option("--pages", help="first (unless told), or all: every page of a TIFF in a new folder is a picture."),
    ] = None,
    ids: Annotated[Path | None, typer.Option("--ids", help="For vectors: a text file with one id a line.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Add pictures, or vectors, to an index.

    They are encoded by its own model.
    A folder that the index does not know yet becomes one of its folders: its name stands before its ids.
    """
    from mmfeat.errors import UsageError
    from mmfeat.indexes import open_index
    from mmfeat.pipelines.updating import add_to_index, add_vectors

    if "root" not in open_index(index).info:
        if len(data) != 1 or labels is not None or pages is not None:
            raise UsageError(
                "vectors come in one .npy file, without labels or pages",
                ", ".join(map(str, data)),
                "add them one by one",
            )
        _end(add_vectors(index, data[0], ids), as_json)
    if ids is not None:
        raise UsageError("--ids is for vectors", f"pictures for {index}", "leave --ids out")
    with progress(quiet, lambda: _LEFT) as shown:
        result = add_to_index(index, data, labels=labels, pages=pages, report=shown)
    _end(result, as_json)


def update(
    index: Index,
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Look only at these folders or files of the index; at all of them unless told.", show_default=False
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Bring an index up to its folders.

    New and changed pictures are encoded; what was deleted goes.
    A file is the same if it has the size and time it had, or else the same contents. Only what changed is encoded and written.
    """
    from mmfeat.pipelines.updating import update_index

    with progress(quiet, lambda: _LEFT) as shown:
        result = update_index(index, data or (), retry=retry, report=shown)
    _end(result, as_json)


def _end(result: Any, as_json: bool) -> None:
    """Say what an update ended in, and end with its exit code."""
    counts = {name: getattr(result, name) for name in ("new", "changed", "deleted", "relabelled", "failed", "same")}
    if as_json:
        facts = {**counts, "indexed": result.count, "generation": result.generation, "complete": result.complete}
        typer.echo(json.dumps({**facts, "why": result.why}, indent=1))
    else:
        said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "nothing there"
        typer.echo(f"{result.path}: {said}; {result.count:,} indexed, generation {result.generation}")
        if result.why:
            typer.echo(f"  failed: {result.why}")
        if result.segments > _MANY:
            typer.echo(f"  it lies in {result.segments:,} segments: `mmfeat index compact` makes them one")
    if not result.complete:
        raise Interrupted(_LEFT)
    raise typer.Exit(result.exit_code)


def move(
    index: Index,
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="NEW",
            help="Where the folder of the index lies now; one for each, in their order, where it has several.",
            show_default=False,
        ),
    ],
    old: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="OLD",
            help="Move only what is OLD or lies below it: one of several folders, or a disk that has another name.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also where hardly any of its files is found.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say where its pictures lie now.

    For folders that were moved. Files of a sample of ids are looked for there first; codes are not touched.
    `mmfeat index update` then reads what the move has changed. `mmfeat index rollback` goes back to the old place.
    """
    from mmfeat.pipelines.moving import move_index

    moved = move_index(index, places, old=old, force=force)
    if as_json:
        facts = {"moved": moved.pairs, "looked_for": moved.looked, "found": moved.found}
        typer.echo(json.dumps({**facts, "generation": moved.generation}, indent=1))
        return
    for before, now in moved.pairs:
        typer.echo(f"{before} is now {now}")
    said = f"{moved.found:,} of {moved.looked:,} files looked for are there" if moved.pairs else "nothing moved"
    typer.echo(f"{index}: {said}; generation {moved.generation}")


def remove(
    index: Index,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of the index.", show_default=False)] = None,
    where: Annotated[
        str | None, typer.Option("--where", help="Remove what meets a condition, such as \"label = 'blurred'\".")
    ] = None,
) -> None:
    """Take items out; their files stay.

    Updates leave them out.
    `mmfeat index rollback` brings them back, `mmfeat index add INDEX FILE` a single one.
    """
    from mmfeat.errors import UsageError
    from mmfeat.pipelines.updating import remove_from_index

    if not ids and where is None:
        raise UsageError("what is removed is named", "neither an ID nor --where", "name ids of the index")
    removed = remove_from_index(index, ids or (), where)
    typer.echo(f"{index}: {len(removed):,} removed" + (f", the first is {removed[0]}" if removed else ""))


def verify(index: Index, as_json: AsJson = False) -> None:
    """Read every byte and name what is damaged.

    All generations that are kept are read. Exit code 3 if a file is damaged; then it says what can be done.
    """
    from mmfeat.indexes import newest_whole, verify_index

    problems = verify_index(index)
    whole, holds = newest_whole(index) if problems else (None, True)
    if as_json:
        typer.echo(json.dumps({"damaged": problems, "holds": holds, "whole_generation": whole}, indent=1))
    else:
        for problem in problems:
            typer.echo(problem)
        typer.echo(
            f"{index}: " + (_verdict(len(problems), whole, holds) if problems else "every byte is as it was written")
        )
    raise typer.Exit(3 if problems else 0)


def _verdict(count: int, whole: int | None, holds: bool) -> str:
    if holds:
        return f"{count:,} damaged, none of what holds now; `mmfeat index compact --keep 1` lets earlier generations go"
    if whole is not None:
        return f"{count:,} damaged; generation {whole} is whole: `mmfeat index rollback` goes back to it"
    return f"{count:,} damaged, and no generation is whole: restore these files from a copy, or build the index again"


def compact(
    index: Index,
    keep: Annotated[int, typer.Option("--keep", min=1, help="How many generations stay, the new one among them.")] = 2,
) -> None:
    """Merge segments and drop removed rows.

    Old generations go, but for the last ones.
    Searches answer as before. Who has an older generation open keeps it until closing it.
    """
    from mmfeat.indexes import open_index
    from mmfeat.pipelines.updating import compact_index

    before = open_index(index).info_dict()
    after = compact_index(index, keep).info_dict()
    typer.echo(
        f"{index}: {before['segments']:,} segments and {before['tombstones']:,} removed rows became {after['segments']:,} and "
        f"{after['tombstones']:,}; {before['bytes_on_disk']:,} bytes became {after['bytes_on_disk']:,}; generations "
        f"{after['generations_kept'][0]} to {after['generation']} are kept"
    )


def rollback(
    index: Index,
    to: Annotated[int | None, typer.Option("--to", help="The number of a generation that is kept.")] = None,
) -> None:
    """Go back to an earlier generation.

    To the last finished one before, to any that is kept, or to the newest whole one where the index is damaged.
    The state of that generation becomes a new one, so that a rollback can itself be taken back with --to.
    """
    from mmfeat.indexes import rollback as go_back
    from mmfeat.pipelines.building import was_finished

    held = go_back(index, to, lambda manifest: was_finished(index, manifest))
    restored = held.snapshot.manifest.restores
    typer.echo(f"{index}: generation {held.generation} equals generation {restored}; {len(held):,} indexed")


def export(
    index: Index,
    output: Annotated[Path, typer.Option("--output", "-o", help="The Parquet file.", show_default=False)],
    overwrite: Overwrite = False,
) -> None:
    """Write it all to a Parquet file.

    Ids, codes or vectors, labels and every other column, a row for each item.
    pandas, DuckDB and others read it; memory does not grow with the index.
    """
    from mmfeat.indexes import export as write
    from mmfeat.indexes import open_index

    count = write(open_index(index), output, overwrite)
    typer.echo(f"{output}: {count:,} rows")
