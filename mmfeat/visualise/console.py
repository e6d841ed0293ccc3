"""Search results for the terminal: rank, distance, label, id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mmfeat.visualise.results import QueryResult, Thumb, format_distance, visible

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["plain_results", "result_table"]


def result_table(result: QueryResult, unit: str = "") -> Table:
    """One query's neighbours as a table of rich, to be printed on a terminal; ids are text there, never markup.

    unit: of the distances, such as «bits», written into the column's head.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    labelled = any(thumb.label is not None for thumb in result.neighbours)
    title = Text(visible(result.query.id) or "query", style="bold")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("rank", justify="right", style="dim", no_wrap=True)
    table.add_column(f"distance ({unit})" if unit else "distance", justify="right", no_wrap=True)
    if labelled:
        table.add_column("label", overflow="fold")
    table.add_column("id", overflow="fold")
    for cells in _rows(result.neighbours):
        rank, distance, label, item = (Text(cell) for cell in cells)
        table.add_row(rank, distance, *([label] if labelled else []), item)
    if not result.neighbours:
        table.caption = "no neighbours"
    return table


def plain_results(results: Iterable[QueryResult]) -> str:
    """The results as lines for files, pipes and logs: fields apart by tabs, a line for each neighbour.

    >>> nearest = Thumb(None, "a/b.jpg", distance=3)
    >>> print(plain_results([QueryResult(Thumb(None, "q.jpg"), [nearest])]).expandtabs(12))
    query       rank        distance    label       id
    q.jpg       1           3                       a/b.jpg
    """
    lines = ["query\trank\tdistance\tlabel\tid"]
    for result in results:
        lines += ["\t".join([visible(result.query.id), *cells]) for cells in _rows(result.neighbours)]
    return "\n".join(lines)


def _rows(neighbours: Iterable[Thumb]) -> Iterator[tuple[str, str, str, str]]:
    for rank, thumb in enumerate(neighbours, 1):
        yield str(rank), format_distance(thumb.distance), visible(thumb.label or ""), visible(thumb.id)
