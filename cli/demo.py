"""`mmfeat demo`: the main job on real pictures, in about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmfeat.cli.options import Quiet, progress

__all__ = ["demo"]


def demo(
    folder: Annotated[
        Path | None, typer.Argument(help="Your own pictures; without it, pictures that come along.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where pages and indexes go.")] = Path("demo-output"),
    quiet: Quiet = False,
) -> None:
    """Show what mmfeat does: search inside photographs, learned codes beside random ones; or your own folder."""
    from mmfeat.pipelines.demo import demo_folder, run_demo

    with progress(quiet, lambda: "the pages show what was finished") as shown:
        pages = run_demo(output, shown) if folder is None else demo_folder(folder, output, shown)
    for page, what in pages:
        typer.echo(f"{page}: {what}")
