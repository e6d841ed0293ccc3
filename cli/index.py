"""`mmfeat index`: build an index, and look at one; `upkeep` has the commands that keep it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mmfeat.cli import upkeep
from mmfeat.cli.options import Interrupted, Labels, Overwrite, Pages, Quiet, Seed, Set, assignments, progress

__all__ = ["app"]

app = typer.Typer(
    help="Build search indexes, look at them, and keep them.", no_args_is_help=True, rich_markup_mode=None
)


Data = Annotated[
    list[Path],
    typer.Argument(
        help="Folders of pictures, tables of paths, arrays of pictures, tar shards or URLs; one or several. Or vectors: "
        "one .npy file with two axes.",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="The index's folder.", show_default=False)]
OfModel = Annotated[
    Path | None,
    typer.Option("--model", help="Encode with this model, or with that of another index, instead of learning one."),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="What to learn; see `mmfeat recipes`. auto tries several on a sample and takes the one that finds "
        "changed pictures again best. "
        "Unless told: image-retrieval for 50 or more pictures of 24 px or more, contrastive-codes for 2,000 or more "
        "smaller ones, patch-codes for others; vectors are kept as they are.",
    ),
]
Type = Annotated[
    str | None,
    typer.Option(
        "--type",
        help="How codes are searched; an exact scan unless told. Bits: binary-flat, binary-ivf, binary-hnsw. Floats: "
        "float-flat, or float: and a factory string of FAISS (float:IVF,PQ16). auto measures types on a sample.",
    ),
]
Ids = Annotated[Path | None, typer.Option("--ids", help="For vectors: a text file with one id a line.")]
Metric = Annotated[
    str | None, typer.Option("--metric", help="For vectors kept as floats: l2 (the default), cosine or ip.")
]
Html = Annotated[Path | None, typer.Option("--html", help="Write a page of the index, renewed while it grows.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit 1 for any failed file, not only for new ones.")]


@app.command("build")
def build(
    data: Data,
    output: Output,
    model: OfModel = None,
    recipe: Recipe = None,
    set_: Set = None,
    seed: Seed = 0,
    labels: Labels = None,
    pages: Pages = "first",
    kind: Type = None,
    ids: Ids = None,
    metric: Metric = None,
    html: Html = None,
    strict: Strict = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Learn, encode, index and check.

    The same command goes on with a build that was interrupted.
    """
    from mmfeat.pipelines.building import build_index
    from mmfeat.pipelines.building_vectors import build_from_vectors

    settings = assignments(set_)
    given = {"--model": model, "--labels": labels, "--html": html, "--ids": ids, "--metric": metric}
    given["--pages"] = None if pages == "first" else pages
    of_vectors = _of_vectors(data, given, recipe, settings)
    with progress(quiet, lambda: _left(output)) as shown:
        if of_vectors:
            result = build_from_vectors(
                data[0], output, ids=ids, recipe=recipe, settings=settings, metric=metric or "l2", kind=kind, seed=seed,
                overwrite=overwrite, report=shown,
            )  # fmt: skip
        else:
            from mmfeat.pipelines.finding_models import find_model

            result = build_index(
                list(data), output, model=find_model(model) if model else None, recipe=recipe, settings=settings, kind=kind,
                labels=labels, pages=pages, seed=seed, overwrite=overwrite, report=shown, after=_page(html),
            )  # fmt: skip
    _end(result, strict)


def _end(result: Any, strict: bool) -> None:
    """Say what a build ended in, and end with its exit code."""
    from mmfeat.pipelines.self_check import describe

    typer.echo(f"{result.path}: {result.done:,} indexed, {result.failed:,} failed, {result.skipped:,} skipped")
    if result.why:
        typer.echo(f"  failed: {result.why}")
    for line in describe(result.check) if result.check else []:
        typer.echo(f"  {line}")
    if not result.complete:
        raise Interrupted("what is indexed can be searched; the same command goes on from there")
    raise typer.Exit(1 if strict and result.failed and result.exit_code == 0 else result.exit_code)


def _page(html: Path | None) -> Any:
    """What writes the page whenever a segment has been added; None where no page is wanted."""
    if html is None:
        return None
    from mmfeat.files import check_writable, write_bytes
    from mmfeat.pipelines.index_page import index_page

    check_writable(html.parent)
    return lambda index, items, complete: write_bytes(html, index_page(index, items, complete).encode())


def _of_vectors(data: list[Path], given: dict[str, Any], recipe: str | None, settings: dict[str, Any]) -> bool:
    """Whether vectors are indexed, not pictures. UsageError for an option that does not go with what is."""
    from mmfeat.errors import UsageError

    if given["--model"] is not None and (recipe is not None or settings):
        raise UsageError(
            "a model is used as it is, or one is learned", "--model with --recipe or --set", "leave one of them out"
        )
    vectors = any(_holds_vectors(path) for path in data)
    for name, value in given.items():
        for_vectors = name in ("--ids", "--metric")
        if value is not None and (for_vectors != vectors or (name == "--metric" and recipe is not None)):
            kind = "pictures" if not for_vectors else "vectors" if name == "--ids" else "vectors kept as floats"
            raise UsageError(f"{name} is for {kind}", ", ".join(map(str, data)), f"leave {name} out")
    if vectors and len(data) > 1:
        raise UsageError("vectors come in one .npy file", f"{len(data)} paths", "join them with numpy.concatenate")
    if vectors and recipe is None and settings:
        raise UsageError("--set is for a recipe", "vectors that are kept as they are", "add --recipe vector-codes")
    return vectors


def _holds_vectors(path: Path) -> bool:
    """Whether an .npy file holds vectors: all but arrays of pictures, which have three or four axes."""
    import numpy as np

    from mmfeat.media.remote import as_url

    if path.suffix != ".npy" or path.is_dir() or as_url(path) is not None:
        return False
    try:
        return bool(np.load(path, mmap_mode="r", allow_pickle=False).ndim not in (3, 4))
    except (OSError, ValueError, EOFError):
        return True  # it is read as vectors, and then said to be damaged


def _left(output: Path) -> str:
    """What an interrupted build leaves behind."""
    begun = (output / "current.json").exists()
    return "what was begun is kept; the same command goes on from there" if begun else "nothing was indexed yet"


@app.command("info")
def info(
    index: Annotated[Path, typer.Argument(help="An index's folder.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page: the check, examples, every status.")
    ] = None,
) -> None:
    """Show what an index holds and how good it is."""
    from mmfeat.indexes import open_index
    from mmfeat.pipelines.self_check import describe

    held = open_index(index)
    if html is not None:
        from mmfeat.files import write_bytes
        from mmfeat.pipelines.index_page import stored_page

        write_bytes(html, stored_page(held).encode())
    facts = held.info_dict()
    check = _json(held, "self-check.json", None)
    facts["complete"] = len(held) > 0 and _json(held, "build.json", {"complete": True})["complete"]
    if as_json:
        typer.echo(json.dumps({**facts, "self_check": check}, indent=1, default=str))
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        typer.echo(f"{name.replace('_', ' '):<{width}}  {_text(value)}")
    if not facts["complete"]:
        typer.echo("It is not finished: the same `mmfeat index build` goes on from there.")
    for line in describe(check) if check else ["no self-check is kept with it"]:
        typer.echo(f"{'':<{width}}  {line}")


def _json(index: Any, name: str, other: Any) -> Any:
    """What an extra of the index says, or something else where it has none of that name."""
    return json.loads(index.extra(name).read_bytes()) if name in index.extras else other


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(inner)}" for key, inner in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


for _command in (
    upkeep.add,
    upkeep.update,
    upkeep.move,
    upkeep.remove,
    upkeep.verify,
    upkeep.compact,
    upkeep.rollback,
    upkeep.export,
):
    app.command(_command.__name__)(_command)
