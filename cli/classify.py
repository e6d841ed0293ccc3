"""`mmfeat classify`: learn to tell classes apart, say which class files are of, and measure it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmfeat.cli.options import Labels, Overwrite, Pages, Quiet, Seed, Set, assignments, progress

if TYPE_CHECKING:
    from mmfeat.pipelines.classifying import Fitted

__all__ = ["app"]

app = typer.Typer(help="Tell classes apart: fit, predict, score.", no_args_is_help=True, rich_markup_mode=None)

Data = Annotated[
    list[Path],
    typer.Argument(
        help="Folders of pictures, tables of paths, arrays, tar shards or URLs; or a folder of features (`mmfeat extract`).",
        show_default=False,
    ),
]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A classifier's folder.", show_default=False)]
Split = Annotated[
    str | None,
    typer.Option("--split", help="Use the rows of this split, where the data name splits.", show_default=False),
]


@app.callback()
def _group() -> None:
    """Tell classes apart: fit, predict, score."""


@app.command("fit")
def fit(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="The model's folder.", show_default=False)],
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="How features are learned, without labels.", show_default="image-classification"),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", help="A model of features (`mmfeat fit`), or an index that keeps its model, instead of a recipe."
        ),
    ] = None,
    labels: Labels = None,
    classifier: Annotated[
        str | None,
        typer.Option("--classifier", help="linear-svm, softmax or averaged-sgd; otherwise what the recipe names."),
    ] = None,
    c: Annotated[
        str, typer.Option("--c", metavar="auto|NUMBER", help="C of linear-svm; auto chooses by cross-validation.")
    ] = "auto",
    set_: Set = None,
    split: Split = None,
    seed: Seed = 0,
    pages: Pages = "first",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Learn to tell classes apart, from pictures in one sub-folder a class, or from features that were extracted.

    Features are learned without labels, then a linear classifier with them. A table of paths may name label and split.
    Settings of the classifier are named after it: --set classifier.class_weight=balanced.

    The same command goes on after an interruption: what is finished is kept in OUTPUT.fit until the model is written.
    """
    from mmfeat.errors import UsageError
    from mmfeat.files import check_writable
    from mmfeat.model import check_place
    from mmfeat.pipelines.classifying import DEFAULT, fit_classifier
    from mmfeat.pipelines.finding_models import find_model
    from mmfeat.resume import forget

    if model is not None and recipe is not None:
        raise UsageError("features come from a recipe or from a model", "both", "leave one of them out")
    check_place(output, overwrite)
    check_writable(output.parent)
    kept_in = output.with_name(f"{output.name}.fit")
    with progress(quiet, lambda: _left(kept_in)) as shown:
        found = fit_classifier(
            list(data), recipe=recipe or DEFAULT, model=None if model is None else find_model(model), labels=labels,
            classifier=classifier, c=c, settings=assignments(set_), split=split, seed=seed, pages=pages, report=shown,
            kept_in=kept_in,
        )  # fmt: skip
        found.model.save(output, overwrite)
        forget(kept_in)
    _tell_fit(found, output)
    raise typer.Exit(found.exit_code)


def _left(kept_in: Path) -> str:
    """What an interrupted fit leaves behind."""
    from mmfeat.resume import something_kept

    kept = "; what is finished is kept, and the same command goes on from there" if something_kept(kept_in) else ""
    return f"no model was written{kept}"


def _tell_fit(found: Fitted, output: Path) -> None:
    """What was learned, on standard output."""
    classes = len(found.counts)
    typer.echo(f"{output}: {classes:,} classes learned from {found.done:,} items ({found.model.sha256[:12]})")
    if found.choice is not None:
        line = next(line for line in found.choice.table if line["c"] == found.choice.c)
        tried = f"the best of {len(found.choice.table)} values" if len(found.choice.table) > 1 else "as given"
        typer.echo(
            f"C = {found.choice.c:g}, {tried}: by cross-validation {line['accuracy']:.3f} are right, "
            f"{line['mean_per_class']:.3f} of a class on average"
        )
    for note in found.notes:
        typer.echo(note)
    _tell_failures(dict(found.failures))


def _tell_failures(failures: dict[str, str]) -> None:
    for id, why in list(failures.items())[:5]:
        typer.echo(f"mmfeat: {id}: {why}", err=True)
    if len(failures) > 5:
        typer.echo(f"mmfeat: and {len(failures) - 5:,} more files that could not be read", err=True)


@app.command("predict")
def predict(
    model: ModelPath,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="The table, .csv or .parquet.", show_default=False)],
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=1,
            help="So many likeliest classes of each file; all of up to 20 classes unless told.",
            show_default=False,
        ),
    ] = None,
    pages: Pages = "first",
    quiet: Quiet = False,
) -> None:
    """Say which class every file is of: a table with id, label and probabilities.

    A file that cannot be read has a row with its status and the reason.
    """
    from mmfeat.errors import UsageError
    from mmfeat.files import check_writable
    from mmfeat.pipelines.finding_models import find_classifier
    from mmfeat.pipelines.predicting import predict as blocks_of
    from mmfeat.pipelines.predicting import write_predictions

    if output.is_dir() or output.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise UsageError("predictions are written as .csv or .parquet", str(output), "end the name in one of these")
    check_writable(output.parent)
    held = find_classifier(model)
    with progress(quiet, lambda: "nothing was written") as shown:
        counts = write_predictions(output, blocks_of(held, list(data), pages=pages, report=shown), held.classes, top)
    typer.echo(f"{output}: {counts.done:,} done, {counts.failed:,} failed, {counts.skipped:,} skipped")
    raise typer.Exit(counts.exit_code)


@app.command("score")
def score(
    model: ModelPath,
    data: Data,
    labels: Labels = None,
    split: Split = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page: what is taken for what, the surest mistakes, every class."),
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers here.")] = None,
    seed: Seed = 0,
    pages: Pages = "first",
    quiet: Quiet = False,
) -> None:
    """Measure a classifier on labelled pictures: accuracy, its mean over classes, top-5, with intervals."""
    from mmfeat.errors import UsageError
    from mmfeat.files import check_writable, write_bytes
    from mmfeat.pipelines.finding_models import find_classifier
    from mmfeat.pipelines.predicting import score as measured
    from mmfeat.visualise.classification import measure_lines

    for path in filter(None, (html, json_)):
        if path.is_dir():
            raise UsageError("results are written to files", f"the folder {path}", "give a name in it")
        check_writable(path.parent)
    held = find_classifier(model)
    with progress(quiet, lambda: "nothing was written") as shown:
        found = measured(held, list(data), labels=labels, split=split, pages=pages, seed=seed, report=shown)
        if html is not None:
            found.save(html)
    if json_ is not None:
        numbers = {**found.measured.to_json(), "model": held.sha256, "notes": list(found.notes)}
        json_.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(json_, (json.dumps(numbers, indent=1, ensure_ascii=False) + "\n").encode())
    lines = measure_lines(found.measured)
    width = max(len(name) for name, *_ in lines)
    for name, value, low, high in lines:
        interval = "" if low is None else f"   (95 %: {low:.3f} to {high:.3f})"
        typer.echo(f"{name:{width}}  {value:.3f}{interval}")
    typer.echo(f"{found.measured.items:,} items of {len(held.classes):,} classes")
    for note in found.notes:
        typer.echo(note)
    _tell_failures(dict(found.failures))
    if html is not None:
        typer.echo(f"{html}: with the confusion matrix and the surest mistakes")
    raise typer.Exit(found.exit_code)
