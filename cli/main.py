"""`mmfeat`: the command line. One file a command; this one joins them and turns errors into sentences.

Exit codes: 0 ok, 1 some items newly failed, 2 a wrong call, 3 nothing worked, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from mmfeat import __version__
from mmfeat.cli import demo, extract, fit, index, recipes, search
from mmfeat.errors import MmfeatError

__all__ = ["app", "main"]

app = typer.Typer(
    name="mmfeat",
    help="Learn features from your own pictures without labels; search them with compact codes; classify them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("fit")(fit.fit)
app.command("extract")(extract.extract)
app.add_typer(index.app, name="index")
app.command("search")(search.search)
app.command("recipes")(recipes.recipes)
app.command("demo")(demo.demo)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmfeat {__version__}")
        raise typer.Exit


@app.callback()
def _start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Learn features from your own pictures without labels; search them with compact codes; classify them."""


def main() -> None:
    """Run the command line; ends the process with the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA's own remarks are not for people
    try:
        app()
    except MmfeatError as error:
        sys.exit(_end(str(error), error.exit_code))
    except KeyboardInterrupt:
        sys.exit(_end("interrupted; what was finished is kept", 130))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        sys.exit(_end(f"the system refused: {error.strerror or error} ({error.filename or 'no file named'})", 3))
    except MemoryError:
        sys.exit(
            _end("memory ran out; use smaller pictures (--set max_side=...) or fewer rows (--set fit_rows=...)", 3)
        )
    except Exception as error:
        if os.environ.get("MMFEAT_DEBUG"):
            raise
        sys.exit(_end(f"unexpected: {type(error).__name__}: {error} (MMFEAT_DEBUG=1 shows where; please report it)", 3))


def _end(text: str, code: int) -> int:
    print(f"mmfeat: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
