"""Options that several commands share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mmfeat.progress import Progress

__all__ = [
    "ASKED",
    "Data",
    "Devices",
    "Interrupted",
    "Labels",
    "Overwrite",
    "Pages",
    "Quiet",
    "Seed",
    "Set",
    "assignments",
    "prepare_devices",
    "progress",
]

ASKED = threading.Event()  # somebody wants the run to end
Data = Annotated[
    list[Path],
    typer.Argument(
        help="Folders of pictures, tables of paths, arrays, tar shards or URLs; one or several.", show_default=False
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="A CSV or Parquet file with the columns id and label; otherwise the names of sub-folders are the labels.",
    ),
]
Pages = Annotated[str, typer.Option("--pages", help="first, or all: every page of a TIFF is a picture.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Replace a setting of the recipe; may be repeated."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Devices = Annotated[int | None, typer.Option("--devices", help="Simulate so many devices on the CPU.")]


def assignments(texts: list[str] | None) -> dict[str, Any]:
    """`--set` options as a dict."""
    from mmfeat.settings import parse_assignments

    return parse_assignments(texts or [])


class Interrupted(Exception):  # noqa: N818 - an ending, not an error
    """Somebody pressed Ctrl-C: the words say what is left behind."""


@contextlib.contextmanager
def progress(quiet: bool, left: Callable[[], str]) -> Iterator[Progress]:
    """Progress on standard error. left: says what an interruption in the block has left behind."""
    with Progress(quiet=quiet, stop=ASKED.is_set) as shown:
        try:
            yield shown
        except KeyboardInterrupt as interrupt:
            raise Interrupted(left()) from interrupt


def prepare_devices(count: int | None) -> None:
    """Simulate devices; must come before the first use of JAX."""
    if count is None:
        return
    from mmfeat.errors import UsageError

    if not 1 <= count <= 256:
        raise UsageError("from 1 to 256 devices can be simulated", f"--devices {count}", "give another number")
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", count)
