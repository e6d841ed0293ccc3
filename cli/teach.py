"""`mmfeat teach`: show an index a few examples; it ranks the whole archive by them and says what to label next."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from mmfeat.cli.options import Overwrite, Seed

if TYPE_CHECKING:
    from mmfeat.pipelines.label_file import LabelFile
    from mmfeat.pipelines.searching import Searcher
    from mmfeat.pipelines.teaching import Lesson

__all__ = ["Several", "teach"]

REST = "rest"
_SHOWN = 10  # lines of the ranking on the terminal
_KEPT = "a classifier of new pictures; mmfeat classify predict {} NEW -o answers.csv"


class Several(TyperCommand):
    """A command whose list options take several words at once: `--yes a.jpg b.jpg` is `--yes a.jpg --yes b.jpg`."""

    MANY = ("--yes", "--no", "--as")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Words after such an option, up to the next option, are each its own."""
        spread: list[str] = []
        current = ""
        for word in args:
            if word in self.MANY:
                current = word
            elif current and not (word.startswith("-") and len(word) > 1):
                spread += [current, word]
            else:
                current = ""
                spread.append(word)
        return super().parse_args(ctx, spread)


Items = "Items: ids of the index, or paths of files; numbers of the questions asked last, or the word rest."

LabelsKept = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="A CSV file that keeps the labels (id, label) and the questions: read, and written with what is new. "
        "Fill it in by hand if you like.",
    ),
]
Save = Annotated[
    Path | None,
    typer.Option("--save", metavar="MODEL", help="Keep what was learned as a classifier: `mmfeat classify predict`."),
]


def teach(
    index: Annotated[Path, typer.Argument(help="An index's folder.", show_default=False)],
    yes: Annotated[list[str] | None, typer.Option("--yes", metavar="ITEM...", help=f"What is wanted. {Items}")] = None,
    no: Annotated[list[str] | None, typer.Option("--no", metavar="ITEM...", help="What is not.")] = None,
    as_: Annotated[
        list[str] | None,
        typer.Option("--as", metavar="CLASS=ITEM...", help="Labels of several classes: --as cat=a.jpg dog=3."),
    ] = None,
    labels: LabelsKept = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with pictures.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the whole ranking, .csv or .parquet.")] = None,
    save: Save = None,
    ask: Annotated[int, typer.Option("--ask", min=0, max=200, help="How many items to list for labelling next.")] = 20,
    shown: Annotated[int, typer.Option("--shown", min=1, max=5000, help="Pictures of the ranking on the page.")] = 120,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Rank a whole index by a few examples, and list what to label next.

    A linear classifier on the stored vectors; one yes is enough to begin. Say then what the questions are, by their numbers:

    mmfeat teach photos.index --labels barns.csv --yes barn/a.jpg barn/b.jpg --html barns.html

    mmfeat teach photos.index --labels barns.csv --yes 3 5 11 --no rest --html barns.html

    Keep what was learned, for pictures that are not in the index:

    mmfeat teach photos.index --labels barns.csv --save barns.model

    mmfeat classify predict barns.model new/ -o answers.csv
    """
    from mmfeat.pipelines.label_file import LabelFile, read_label_file
    from mmfeat.pipelines.searching import open as open_searcher
    from mmfeat.pipelines.teaching import teach as learn

    _check(labels, html, out, bool(yes or no or as_))
    searcher = open_searcher(index)
    _check_save(searcher, save, overwrite)
    held = read_label_file(labels) if labels is not None else LabelFile({})
    said = _said(searcher, held, yes or [], no or [], as_ or [])
    held.answer(said)
    if not held.labels:
        raise _nothing(labels)
    lesson = learn(searcher, held.labels, ask=ask, seed=seed)
    _refuse_unknown(lesson, said)
    numbers = _keep(lesson, held, labels, bool(said))
    again = _command(index, labels, html, save, bool(numbers), lesson)
    if html is not None:
        _write(html, lesson.page(again, shown))
    if out is not None:
        lesson.write(out)
    if save is not None:
        lesson.model().save(save, overwrite)
    _tell(lesson, again, {html: "the pictures", out: "the whole ranking", save: _KEPT.format(save)})
    _tell_missing(lesson)
    raise typer.Exit(1 if lesson.missing else 0)


def _check(labels: Path | None, html: Path | None, out: Path | None, said: bool) -> None:
    """Say before anything is learned what cannot be written."""
    from mmfeat.errors import UsageError
    from mmfeat.files import check_writable

    for path in filter(None, (html, out, labels)):
        if path.is_dir():
            raise UsageError("a result is a file", f"the folder {path}", "name a file in it")
        check_writable(path.parent)
    if out is not None and out.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise UsageError("a ranking is written as .csv or .parquet", str(out), "end the name in one of these")
    if labels is not None and labels.suffix.lower() in (".parquet", ".pq") and said:
        raise UsageError("labels are kept in a CSV file", str(labels), "give --labels a name that ends in .csv")
    if labels is not None and not labels.exists() and not said:
        raise UsageError("labels are read from a file, or begun with --yes", f"no file {labels}", "add --yes ITEM")


def _check_save(searcher: Searcher, save: Path | None, overwrite: bool) -> None:
    """Say before anything is learned that a classifier cannot be kept, or not there."""
    from mmfeat.errors import UsageError
    from mmfeat.files import check_writable

    if save is None and overwrite:
        raise UsageError(
            "--overwrite is for the classifier of --save", "no --save", "leave it out, or add --save MODEL"
        )
    if save is None:
        return
    from mmfeat.model import check_place
    from mmfeat.pipelines.lesson_model import check_model

    check_model(searcher)
    check_place(save, overwrite)
    check_writable(save.parent)


def _said(searcher: Searcher, held: LabelFile, yes: list[str], no: list[str], named: list[str]) -> dict[str, str]:
    """Label by id or path, of what was said now. UsageError: an item is said twice, or a number was not asked."""
    from mmfeat.errors import UsageError
    from mmfeat.pipelines.teaching import NO, YES

    pairs = [(YES, item) for item in yes] + [(NO, item) for item in no]
    for text in named:
        name, sign, item = text.partition("=")
        if not (sign and name.strip() and item):
            raise UsageError("--as takes CLASS=ITEM", text, "for example --as cat=a.jpg dog=b.jpg")
        pairs.append((name.strip(), item))
    asked = _numbered(searcher, held.asked)
    found: dict[str, str] = {}
    for label, item in sorted(pairs, key=lambda pair: pair[1] == REST):
        for id in _meant(item, asked, found):
            if found.setdefault(id, label) != label:
                raise UsageError("an item has one label", f"{found[id]} and {label} for {id}", "leave one of them out")
    return found


def _numbered(searcher: Searcher, asked: dict[int, str]) -> dict[int, str]:
    """The questions by number, unless the index has ids that are numbers themselves."""
    clash = any(searcher.index.snapshot.row_named(str(number)) >= 0 for number in asked)
    return {} if clash else asked


def _meant(item: str, asked: dict[int, str], found: dict[str, str]) -> list[str]:
    """The ids that a word means: a question by its number, all questions that are left, or the word itself."""
    from mmfeat.errors import UsageError

    if item == REST and asked:
        return [id for id in asked.values() if id not in found]
    if item.isdecimal() and asked:
        if int(item) not in asked:
            raise UsageError(f"questions are numbered from 1 to {max(asked)}", item, "see them in the page or the file")
        return [asked[int(item)]]
    return [item]


def _nothing(labels: Path | None) -> Exception:
    from mmfeat.errors import UsageError

    where = f"none in {labels}" if labels is not None else "none"
    return UsageError("teaching begins with a few labels", where, "add --yes ITEM, an id or a path")


def _refuse_unknown(lesson: Lesson, said: dict[str, str]) -> None:
    """What was typed now and is nothing is a mistake of the call: nothing is written."""
    from mmfeat.errors import UsageError

    unknown = [name for name in lesson.missing if name in said]
    if unknown:
        raise UsageError(
            "a label names an item of the index, or a picture that exists", ", ".join(unknown[:3]),
            "check the path, or see the ids with `mmfeat search INDEX QUERY --json`",
        )  # fmt: skip


def _keep(lesson: Lesson, held: LabelFile, labels: Path | None, said: bool) -> bool:
    """Write the labels and the new questions to the file, where it is ours to write; whether questions have numbers."""
    if labels is None or not (said or held.kept) or labels.suffix.lower() in (".parquet", ".pq"):
        return False
    known = {name: lesson.searcher.index.ids_at([row])[0] for name, row in lesson.names.items()}
    known |= {name: os.path.abspath(name) for name in lesson.outside}
    held.rename(known)
    held.ask([one.id for one in lesson.questions])
    held.write(labels)
    return bool(_numbered(lesson.searcher, held.asked))


def _command(
    index: Path, labels: Path | None, html: Path | None, save: Path | None, numbers: bool, lesson: Lesson
) -> str:  # fmt: skip
    """What answers the questions, as a line to copy."""
    kept = labels if labels is not None else Path("labels.csv")
    words = ["mmfeat", "teach", str(index), "--labels", str(kept)]
    words += ["--html", str(html)] if html is not None else []
    words += ["--save", str(save), "--overwrite"] if save is not None else []
    line = " ".join(shlex.quote(word) for word in words)
    if lesson.classes[0] != "no" or len(lesson.classes) > 2:
        example = f"{lesson.classes[0]}={'1' if numbers else 'ITEM'}"
        return f"{line} --as {shlex.quote(example)} ..."
    return f"{line} --yes 1 2 --no rest" if numbers else f"{line} --yes ITEM ... --no ITEM ..."


def _write(path: Path, text: str) -> None:
    from mmfeat.files import write_bytes

    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())


def _tell(lesson: Lesson, again: str, written: dict[Path | None, str]) -> None:
    """The result on standard output. written: what each file holds."""
    from mmfeat.visualise.results import visible

    counts = ", ".join(f"{count:,} {visible(name)}" for name, count in lesson.counts().items())
    none = "no" if lesson.binary else "none of these"
    drawn = f", and {lesson.drawn:,} items drawn at random taken for {none}" if lesson.drawn else ""
    typer.echo(f"{len(lesson):,} items ranked after {counts}{drawn} ({lesson.seconds:.2f} s).")
    best: list[Any] = lesson.best(_SHOWN) if lesson.binary else []
    if best:
        typer.echo("\nMost likely, of those not labelled:")
    for rank, one in enumerate(best, 1):
        typer.echo(f"{rank:4}  {one.score:+.2f}  {visible(one.id)}")
    if lesson.questions:
        typer.echo("\nLabel these next:")
    for number, one in enumerate(lesson.questions, 1):
        guess = "" if lesson.binary else f"  {visible(one.answer)}, or {visible(one.second)}"
        typer.echo(f"{number:4}  {one.score:+.2f}  {visible(one.id)}{guess}")
    typer.echo(f"\nThen: {again}")
    for path, what in written.items():
        if path is not None:
            typer.echo(f"{path}: {what}")


def _tell_missing(lesson: Lesson) -> None:
    """Labels that name nothing, on standard error."""
    for name in lesson.missing[:5]:
        typer.echo(f"mmfeat: no item and no file: {name}", err=True)
    if len(lesson.missing) > 5:
        typer.echo(f"mmfeat: and {len(lesson.missing) - 5:,} more labels of nothing", err=True)
