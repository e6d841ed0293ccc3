"""A page of groups of pictures: one to keep, the others beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmfeat.visualise.pages import _facts, _render
from mmfeat.visualise.results import QueryResult
from mmfeat.visualise.views import row_view

__all__ = ["groups_page"]


def groups_page(
    groups: Sequence[QueryResult], sizes: Sequence[str], title: str, info: Mapping[str, object], more: int = 0
) -> str:
    """The page of near-duplicates.

    groups: the picture to keep as the query, those to drop as its neighbours. sizes: of the pictures to keep, as text.
    info: facts, in the order they are shown. more: groups that are not shown.
    """
    drop = sum(len(group.neighbours) for group in groups)
    lead = (
        f"{len(groups):,} {'group' if len(groups) == 1 else 'groups'}: {len(groups):,} to keep, {drop:,} to drop. "
        "Nothing was deleted."
    )
    return _render(
        "groups.html",
        title=title,
        lead=lead,
        rows=[(row_view(group), size) for group, size in zip(groups, sizes, strict=True)],
        info=_facts(info),
        more=f"{more:,}" if more else "",
    )
