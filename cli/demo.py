"""`mmfeat demo`: the main job on real pictures, in about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmfeat.cli.options import Overwrite, Quiet, progress

__all__ = ["demo"]


def demo(
    folder: Annotated[
        Path | None, typer.Argument(help="Your own pictures; without it, pictures that come along.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where pages and indexes go.")] = Path("demo-output"),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Show on a page what mmfeat does.

    Without a folder: search inside photographs, and learned codes beside random ones. With one: its index, on a page that stands
    after 500 pictures and is renewed while the rest is indexed; the same command goes on with an interrupted one.
    """
    from mmfeat.pipelines.demo import demo_folder, run_demo

    with progress(quiet, lambda: _left(output)) as shown:
        pages = run_demo(output, shown) if folder is None else demo_folder(folder, output, shown, overwrite)
    for page, what in pages:
        typer.echo(f"{page}: {what}")


def _left(output: Path) -> str:
    """What an interrupted demonstration leaves behind."""
    if not (output / "index.html").exists():
        return "there is nothing to see yet"
    return f"{output / 'index.html'} shows what was finished; the same command goes on from there"
