"""`mmfeat`: the command line. One file a command; this one joins them and turns errors into sentences.

Exit codes: 0 ok, 1 some items newly failed, 2 a wrong call, 3 nothing worked, 130 interrupted
(143 by SIGTERM).
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Annotated, Any

import typer

from mmfeat import __version__
from mmfeat.cli import (
    choose,
    classify,
    demo,
    duplicates,
    evaluate,
    extract,
    fit,
    index,
    recipes,
    reproduce,
    search,
    show,
    teach,
)
from mmfeat.cli.options import ASKED, Interrupted
from mmfeat.errors import MmfeatError
from mmfeat.host import keep_memory, program_cache

__all__ = ["app", "main"]

app = typer.Typer(
    name="mmfeat",
    help="Learn features from your own pictures without labels; search them with compact codes; classify them.",
    epilog="Exit codes: 0 all well, 1 some files newly failed, 2 a wrong call, 3 nothing worked, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("fit")(fit.fit)
app.command("extract")(extract.extract)
index.app.command("choose")(choose.choose)
app.add_typer(index.app, name="index")
app.command("search")(search.search)
app.command("duplicates")(duplicates.duplicates)
app.command("teach", cls=teach.Several)(teach.teach)
app.command("show")(show.show)
app.add_typer(classify.app, name="classify")
app.add_typer(evaluate.app, name="evaluate")
app.command("recipes")(recipes.recipes)
app.command("demo")(demo.demo)
app.command("reproduce")(reproduce.reproduce)


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
    _hush()
    _settle()
    for stream in (sys.stdout, sys.stderr):  # names of files may be bytes that no encoding has
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with _signals() as ended:
        try:
            code = app(prog_name="mmfeat", standalone_mode=False) or 0
            sys.exit(_end("interrupted", ended[0]) if code == 130 else code)
        except MmfeatError as error:
            sys.exit(_end(str(error), error.exit_code))
        except (Interrupted, KeyboardInterrupt, typer.Abort) as error:
            sys.exit(_end(f"interrupted; {error}" if isinstance(error, Interrupted) else "interrupted", ended[0]))
        except SystemExit as error:
            if not isinstance(error.__context__, BrokenPipeError):
                raise
            _leave_the_pipe()
        except BrokenPipeError:
            _leave_the_pipe()
        except OSError as error:
            sys.exit(_end(_of_system(error), 3))
        except MemoryError:
            sys.exit(
                _end("memory ran out; use smaller pictures (--set max_side=...) or fewer rows (--set fit_rows=...)", 3)
            )
        except Exception as error:  # noqa: BLE001 - nobody is to see a stack trace
            sys.exit(_of_typer(error) if hasattr(error, "format_message") else _unexpected(error))


def _settle() -> None:
    """How a process of ours uses memory and keeps compiled programs; JAX reads its settings when it is imported."""
    keep_memory()
    for name, value in program_cache().items():
        os.environ.setdefault(name.upper(), str(value))


def _hush() -> None:
    """What libraries say to programmers (logs, warnings) is not for people; MMFEAT_DEBUG=1 lets it through."""
    if os.environ.get("MMFEAT_DEBUG"):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA's own remarks
    logging.getLogger().addHandler(logging.NullHandler())  # without any handler warnings would go to standard error
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM end a run in order; the list holds the exit code: 130 after Ctrl-C, 143 after SIGTERM.

    Libraries crash or forget when they are interrupted while they are imported, and Python forgets what is raised in a
    callback of the garbage collection: it is noted too, and the next report of progress raises it.
    """
    ended = [130]
    if threading.current_thread() is not threading.main_thread():
        yield ended
        return

    def end(number: int, frame: FrameType | None) -> None:
        ended[0] = 143 if number == signal.SIGTERM else 130
        again = ASKED.is_set()
        ASKED.set()
        if again or not _importing(frame):
            raise KeyboardInterrupt

    def lost(error: sys.UnraisableHookArgs) -> None:
        if not issubclass(error.exc_type, KeyboardInterrupt):
            hook(error)

    ASKED.clear()
    before, hook = {one: signal.signal(one, end) for one in (signal.SIGINT, signal.SIGTERM)}, sys.unraisablehook
    sys.unraisablehook = lost
    try:
        yield ended
    finally:
        for (
            one,
            handler,
        ) in before.items():  # a run that ends is not interrupted again: libraries would print stack traces
            signal.signal(one, signal.SIG_IGN if ASKED.is_set() else handler)
        sys.unraisablehook = hook


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _leave_the_pipe() -> None:
    """Whoever read what is printed (`| head`) has seen enough: that is no failure."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at the end
    sys.exit(0)


def _of_typer(error: Any) -> int:
    """A call that does not fit the command's arguments, in one sentence; the help where nothing was asked."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    context = getattr(error, "ctx", None)
    hint = f" See `{context.command_path} --help`." if context is not None else ""
    if type(error).__name__ == "NoSuchOption":
        hint += " A name that begins with - is written after -- ."
    return _end(error.format_message().rstrip(".") + "." + hint, int(error.exit_code))


def _of_system(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; what was finished is kept. Make room and give the same command again."
    return f"the system refused: {error.strerror or error} ({error.filename or 'no file named'})"


def _unexpected(error: Exception) -> int:
    if os.environ.get("MMFEAT_DEBUG"):
        raise error
    return _end(f"unexpected: {type(error).__name__}: {error} (MMFEAT_DEBUG=1 shows where; please report it)", 3)


def _end(text: str, code: int) -> int:
    print(f"mmfeat: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
