"""The page of an index: what it holds, how its self-check went, some items with their neighbours, what became of every file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.pipelines.pictures import fragment_of
from mmfeat.pipelines.searching import Answer, Searcher

if TYPE_CHECKING:
    from mmfeat.indexes.store import Index
    from mmfeat.media.items import Items
    from mmfeat.visualise.report import BuildReport, Measure

__all__ = ["index_page", "measures", "stored_page"]


def measures(check: dict[str, Any]) -> list[Measure]:
    """The self-check of `mmfeat.pipelines.self_check` as the page shows it."""
    from mmfeat.visualise.report import check_measures

    if not check.get("items"):
        return []
    return check_measures(
        check["rank1"],
        check["items"],
        check["found_at_rank_1"],
        kept=check.get("float_top10"),
        bits=check.get("bits"),
        dead=check.get("dead_bits"),
    )


def index_page(index: Index, items: Items, complete: bool = True, shown: int = 8, seed: int = 0) -> str:
    """The page as HTML. While the build goes on (`complete` False) a browser renews it by itself."""
    from mmfeat.visualise.pages import build_page

    return build_page(
        _report(index, items, complete, shown, seed),
        unit="bits" if index.metric == "hamming" else "",
        refresh=None if complete else 5,
    )


def stored_page(index: Index) -> str:
    """The page of an index as it lies there, with the table of files that is kept in it. UsageError for one of vectors."""
    from mmfeat.errors import UsageError
    from mmfeat.media.items import Items
    from mmfeat.pipelines.changes import known_items

    if "items.parquet" not in index.extras:
        raise UsageError(
            "a page shows a finished index of pictures", f"{index.path}", "leave --html out, or finish the build"
        )
    roots = tuple((name, Path(place)) for name, place in index.info.get("roots", []))
    items = Items(Path(index.info["root"]), known_items(index), roots)
    built = json.loads(index.extra("build.json").read_bytes()) if "build.json" in index.extras else {"complete": True}
    return index_page(index, items, built["complete"])


def _report(index: Index, items: Items, complete: bool, shown: int, seed: int) -> BuildReport:
    from mmfeat.visualise.report import BuildReport

    searcher = Searcher(index)
    check = json.loads(index.extra("self-check.json").read_bytes()) if "self-check.json" in index.extras else {}
    found = len(items.images) + items.count("done")
    example = next(iter(index.ids.to_pylist()), "picture.jpg")
    file = searcher.path_of(example)
    asked = file if isinstance(file, Path) and file.is_file() and not fragment_of(example) else example
    return BuildReport(
        title=f"Index of {os.path.basename(str(items.root)) or items.root}",
        facts=searcher.facts,
        check=measures(check),
        outcomes=_outcomes(items),
        mosaic=_mosaic(searcher, shown, seed),
        progress=None if complete else (len(index), found),
        commands=[f"mmfeat search {index.path} {_quoted(str(asked))} --html out.html"],
    )


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _outcomes(items: Items) -> list[Any]:
    from mmfeat.visualise.report import Outcome

    table = items.table.select(["id", "status", "reason"]).to_pydict()
    outcomes = []
    for status in ("done", "failed", "skipped", "found"):
        places = [place for place, one in enumerate(table["status"]) if one == status]
        reasons = (
            [(table["id"][place], table["reason"][place] or "") for place in places[:6]]
            if status in ("failed", "skipped")
            else []
        )
        if places:
            outcomes.append(Outcome(status if status != "found" else "waiting", len(places), reasons))
    return outcomes


def _mosaic(searcher: Searcher, shown: int, seed: int) -> list[Any]:
    """Items drawn at random with their five nearest neighbours, themselves left out."""
    from mmfeat.pipelines.pictures import view

    ids = searcher.index.ids.to_pylist()
    if len(ids) < 2:
        return []
    chosen = [ids[place] for place in np.random.default_rng(seed).permutation(len(ids))[:shown]]
    hits = searcher.index.search_ids(chosen, 6)
    results = []
    for item, distances, rows in zip(chosen, hits.distance, hits.row, strict=True):
        neighbours = [one for one in searcher._neighbours(distances, rows) if one.id != item][:5]
        results.append(view(Answer(item, tuple(neighbours), searcher.path_of(item))))
    return results
