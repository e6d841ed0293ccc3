"""`mmfeat fit`: learn a model from pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmfeat.cli.options import (
    Data,
    Devices,
    Labels,
    Overwrite,
    Pages,
    Quiet,
    Seed,
    Set,
    assignments,
    prepare_devices,
    progress,
)

__all__ = ["fit"]


def fit(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe (see `mmfeat recipes`), or auto: the one that finds changed pictures of a sample again best.",
            show_default=False,
        ),
    ],
    data: Data,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The model's folder; needed without --plan.", show_default=False),
    ] = None,
    set_: Set = None,
    seed: Seed = 0,
    labels: Labels = None,
    pages: Pages = "first",
    plan: Annotated[
        bool, typer.Option("--plan", help="Show memory, operations, steps and time; learn nothing.")
    ] = False,
    devices: Devices = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Learn a model from pictures, without labels.

    The same command goes on with a fit that was interrupted: finished passes are kept in OUTPUT.fit until the model is written.
    """
    from mmfeat.errors import UsageError
    from mmfeat.files import check_writable
    from mmfeat.model import check_place
    from mmfeat.pipelines.fitting import prepare
    from mmfeat.plan import describe_plan, plan_chain

    prepare_devices(devices)
    if output is None and not plan:
        raise UsageError(
            "a model is written to a folder", "no --output", "add -o MODEL, or --plan to learn nothing yet"
        )
    if output is not None and not plan:
        check_place(output, overwrite)
        check_writable(output.parent)
    if plan and recipe == "auto":
        raise UsageError(
            "a plan is that of one recipe", "auto, which learns to choose", "name a recipe, or leave --plan out"
        )
    kept_in = None if output is None else output.with_name(f"{output.name}.fit")
    with progress(quiet, lambda: _left(kept_in)) as shown:
        job = prepare(
            recipe, list(data), labels=labels, settings=assignments(set_), report=shown, pages=pages, seed=seed
        )
        if plan or output is None:
            lines = describe_plan(plan_chain(job.chain, job.source, len(job.classes)))
        else:
            model = _learned(job, output, kept_in, seed, overwrite, shown)
            lines = [f"{output}: a model learned from {job.facts['data']} ({model.sha256[:12]})"]
    for line in lines:
        typer.echo(line)


def _learned(job: Any, output: Path, kept_in: Path | None, seed: int, overwrite: bool, report: Any) -> Any:
    """The model, saved; what was kept of its passes goes when it is."""
    from mmfeat.pipelines.fitting import fit_job, identity_of
    from mmfeat.resume import keeping

    with keeping(kept_in, identity_of(job, seed)) as kept:
        model = fit_job(job, seed=seed, report=report, kept=kept)
        model.save(output, overwrite)
        if kept is not None:
            kept.clear()
    return model


def _left(kept_in: Path | None) -> str:
    """What an interrupted fit leaves behind."""
    kept = kept_in is not None and any(kept_in.glob("*.kept"))
    return "no model was written" + ("; the same command goes on after the last pass that was kept" if kept else "")
