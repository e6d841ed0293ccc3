"""Fitting: from pictures or arrays, and a recipe or a chain, to a `Model`."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat import __version__
from mmfeat.errors import DataError, SettingsError, ShapeError, UsageError
from mmfeat.files import canonical_json, sha256_bytes

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from mmfeat.chain import Chain
    from mmfeat.model import Model
    from mmfeat.resume import Kept
    from mmfeat.stages import Report
    from mmfeat.stream import Source

__all__ = ["Job", "find_recipe", "fit", "fit_job", "identity_of", "is_items", "prepare", "some_reasons", "versions"]
__all__ += ["walk_items"]

AUTO = "auto"


def find_recipe(name: str, assignments: Mapping[str, Any] | None = None) -> Any:
    """The recipe of this name (hyphens or underscores) with settings replaced by dotted names.

    A learner's name is a recipe too: that learner on pixels, its settings under "learner." .
    """
    from mmfeat import registry
    from mmfeat.settings import replace_at

    key, recipes = name.replace("-", "_"), registry.recipes()
    if key in recipes:
        return replace_at(recipes[key](), assignments or {})
    learners = registry.learners()
    if key not in learners:
        known = ", ".join(registry.hyphens(known) for known in (*recipes, *learners))
        raise UsageError(f"a recipe is one of {known}", name, "see `mmfeat recipes`")
    from mmfeat.pipelines.pixel_features import PixelFeatures

    return replace_at(PixelFeatures(learner=learners[key]()), assignments or {})


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """All that fitting needs: the unfitted chain, its data, and what will be written down about them.

    items: the table of files, None for arrays. labels: (n,) int32 into `classes` per row of the source, -1 where there is none.
    """

    chain: Chain
    source: Source
    decode: Any
    items: Any
    labels: np.ndarray | None
    classes: tuple[str, ...]
    facts: Mapping[str, Any]


def fit(
    what: Any,
    data: Any,
    *,
    seed: int = 0,
    decode: Any = None,
    labels: Any = None,
    mesh: Mesh | None = None,
    report: Report | None = None,
    settings: Mapping[str, Any] | None = None,
    pages: str = "first",
) -> Model:
    """Learn features.

    what: a `Chain`, one learner, a recipe, or a recipe's name ("image-retrieval"); `settings` replaces some of its settings.
        "auto": the recipe that does best on a sample of the pictures (`recommending`).
    data: a folder of pictures (or several), pictures in memory (n, h, w) or (n, h, w, c), rows (n, d), or a source.
    decode: how pictures become pixels; a recipe brings its own.
    labels: for classifiers: a label per row (strings or numbers; None or -1 where there is none), or a file of labels for a folder.
        Folders give their sub-folders' names otherwise.
    pages: "first", or "all": every page of a TIFF is a picture.

    >>> import numpy as np
    >>> from mmfeat.learners import Lsh
    >>> model = fit(Lsh(bits=8), np.random.default_rng(0).normal(size=(50, 4)))
    >>> model.encode(np.zeros((1, 4))).shape
    (1, 8)
    """
    return fit_job(
        prepare(what, data, decode=decode, labels=labels, settings=settings, report=report, pages=pages, seed=seed),
        seed=seed,
        mesh=mesh,
        report=report,
    )


def prepare(
    what: Any,
    data: Any,
    *,
    decode: Any = None,
    labels: Any = None,
    settings: Mapping[str, Any] | None = None,
    report: Report | None = None,
    pages: str = "first",
    seed: int = 0,
) -> Job:
    """Bring data and recipe together without learning anything yet. `seed` is for "auto", which tries recipes on a sample."""
    from mmfeat.arrays import Images, Locals
    from mmfeat.chain import Chain, takes_images

    if isinstance(what, str) and what != AUTO:
        what = find_recipe(what, settings)
    elif not isinstance(what, str):
        what = _with(what, settings)
    items, facts = None, {}
    if is_items(data) or _are_paths(data):
        items = data if is_items(data) else walk_items(data, labels, report, pages)
        what = _recommended(items, settings, seed, report) if isinstance(what, str) else what
        facts = {"data": f"{len(items.images)} pictures", "data_sha256": _fingerprint(items)}
        decode = decode or _ask(what, "decode", items)
        if decode is None and hasattr(type(what), "chain"):
            raise UsageError("this recipe learns from vectors", "pictures", "choose a recipe for pictures")
        source: Any = _picture_source(items, decode)
        names: Any = items.table["label"].take(items.images).to_pylist()
    elif isinstance(what, str):
        came = f"an array of shape {data.shape}" if isinstance(data, np.ndarray) else f"a {type(data).__name__}"
        raise UsageError("recipes are tried on folders of pictures", came, "name a recipe; vector-codes is for vectors")
    else:
        decode = decode or _ask(what, "decode", data)
        pictures = (
            isinstance(what, Chain) and takes_images(what.stages[0]) and not isinstance(data, Mapping | Images | Locals)
        )
        if decode is None and pictures:
            decode = _decode_for(data)
        source = _array_source(data, decode)
        facts = {"data": f"{len(source)} rows"}
        names = data["y"] if labels is None and isinstance(data, Mapping) and "y" in data else labels
    chain = _as_chain(_ask(what, "chain", items if items is not None else data) or what)
    numbers, classes = _classes(names, len(source))
    if hasattr(type(what), "chain"):
        from mmfeat.registry import hyphens, name_of

        facts["recipe"] = hyphens(name_of(type(what)))
    return Job(chain, source, decode, items, numbers, classes, facts)


def fit_job(
    job: Job, *, seed: int = 0, mesh: Mesh | None = None, report: Report | None = None, kept: Kept | None = None
) -> Model:
    """Fit what `prepare` brought together. seed: from 0 to 2^63 - 1. kept: what `keeping` opened, for a fit that may be killed."""
    if not 0 <= seed < 2**63:
        raise SettingsError("a seed is a whole number from 0 to 2^63 - 1", str(seed), "choose another")
    from mmfeat.chain import needs_of
    from mmfeat.mesh import use_compile_cache
    from mmfeat.model import Model
    from mmfeat.settings import to_json
    from mmfeat.stages import fit_chain

    use_compile_cache()
    supervised = "y" in needs_of(job.chain)
    if supervised and (job.labels is None or len(job.classes) < 2):
        raise DataError(
            "a classifier needs two classes or more",
            f"{len(job.classes)}",
            "give labels, or use sub-folders as classes",
        )
    labels = job.labels if supervised else None
    try:
        fitted = fit_chain(
            job.chain, job.source, labels=labels, classes=len(job.classes), seed=seed, mesh=mesh, report=report, kept=kept
        )  # fmt: skip
    except DataError as error:
        failures = getattr(job.source, "failures", {})
        if job.items is None or not failures:
            raise
        raise DataError(
            error.rule, f"{error.came}: {some_reasons(job.items, failures)}", "name another folder"
        ) from error
    facts = {
        **job.facts,
        "seed": seed,
        "versions": versions(),
        "unfitted": sha256_bytes(canonical_json(to_json(job.chain))),
    }
    classes = job.classes if supervised else ()
    return Model(fitted.chain, fitted.states, fitted.forms, job.decode, classes, facts, mesh, fitted.log)


def identity_of(job: Job, seed: int) -> dict[str, Any]:
    """All that a model of pictures depends on: a fit that was killed goes on where this is the same (`mmfeat.resume`)."""
    import jax

    from mmfeat.settings import to_json

    table = job.items.table.select(["id", "bytes", "mtime_ns"]).take(job.items.images)
    return {
        "chain": to_json(job.chain),
        "fit_rows": job.chain.fit_rows,
        "decode": to_json(job.decode),
        "seed": seed,
        "items": sha256_bytes(canonical_json([column.to_pylist() for column in table.columns])),
        "labels": None if job.labels is None else sha256_bytes(job.labels.tobytes()),
        "classes": list(job.classes),
        "devices": len(jax.devices()),
        "versions": versions(),
    }


def some_reasons(items: Any, failures: Mapping[int, str] | None = None, count: int = 2) -> str:
    """Why files are not used: the first reasons of a table, or of these rows of it."""
    why = failures or {row: text for row, text in enumerate(items.table["reason"].to_pylist()) if text}
    some = [f"{items.table['id'][row].as_py()}: {why[row].rstrip('.')}" for row in sorted(why)[:count]]
    return "; ".join(some) + (f"; and {len(why) - count:,} more" if len(why) > count else "")


def versions() -> dict[str, str]:
    """The versions of what the numbers depend on."""
    from importlib.metadata import version

    names = ("jax", "jaxlib", "numpy", "faiss-cpu", "pillow")
    return {"mmfeat": __version__, "python": platform.python_version(), **{name: version(name) for name in names}}


def _recommended(items: Any, settings: Mapping[str, Any] | None, seed: int, report: Report | None) -> Any:
    """The recipe for "auto"."""
    from mmfeat.pipelines.recommending import choose_recipe

    if settings:
        raise UsageError("auto chooses a recipe and its settings", ", ".join(settings), "name a recipe to set these")
    chosen = choose_recipe(items, seed=seed, report=report)
    return find_recipe(chosen.recipe, chosen.settings)


def _with(what: Any, settings: Mapping[str, Any] | None) -> Any:
    from mmfeat.settings import replace_at

    return replace_at(what, settings) if settings else what


def _ask(what: Any, method: str, data: Any) -> Any:
    """What a recipe says about its chain or its decoding; None where `what` is a chain or a learner."""
    found = getattr(what, method, None)
    return found(data) if hasattr(type(what), "chain") and callable(found) else None


def _as_chain(what: Any) -> Chain:
    from mmfeat.chain import Chain

    if isinstance(what, Chain):
        return what
    if isinstance(what, type):
        raise SettingsError("a learner is given with its settings", what.__name__, f"write {what.__name__}()")
    return Chain(what)


def is_items(data: Any) -> bool:
    """Whether this is a table of items already."""
    return hasattr(data, "table") and hasattr(data, "images")


def _are_paths(data: Any) -> bool:
    if isinstance(data, str | os.PathLike):
        return True
    return isinstance(data, Sequence) and len(data) > 0 and all(isinstance(part, str | os.PathLike) for part in data)


def walk_items(
    data: Any, labels: Any = None, report: Report | None = None, pages: str = "first", known: Any = None
) -> Any:
    """The table of items of one place or several, with progress; see `mmfeat.media.walk`."""
    from mmfeat.media.walk import walk

    def progress(done: int, total: int) -> None:
        if report:
            report("looking at files", done, total, {})

    roots = [Path(data)] if isinstance(data, str | os.PathLike) else [Path(part) for part in data]
    return walk(roots, labels=labels, pages=pages, progress=progress, known=known)


def _fingerprint(items: Any) -> str:
    """One number for the pictures a model learned from: their ids and sizes."""
    table = items.table.select(["id", "bytes"]).take(items.images)
    return sha256_bytes(canonical_json([table["id"].to_pylist(), table["bytes"].to_pylist()]))


def _picture_source(items: Any, decode: Any) -> Any:
    from mmfeat.media.decode import Decode
    from mmfeat.media.source import ImageSource

    return ImageSource(items, decode or Decode())


def _array_source(data: Any, decode: Any) -> Any:
    """Arrays as a source: pictures where they are to be decoded, rows otherwise."""
    from mmfeat.arrays import Images, Locals
    from mmfeat.media.source import ArrayImages
    from mmfeat.stream import ArraySource, as_source

    if isinstance(data, Mapping):  # the same numbers make the same model, whatever their dtype was
        floats = {key: np.asarray(value) for key, value in data.items()}
        return ArraySource(
            {key: part.astype(np.float32) if part.dtype == np.float64 else part for key, part in floats.items()}
        )
    if isinstance(data, Images | Locals) or (hasattr(data, "read") and hasattr(data, "groups")):
        return as_source(data)
    if decode is not None:
        return ArrayImages(data, decode)
    rows = np.asarray(data)
    if rows.dtype == object or rows.ndim < 2:
        raise ShapeError("rows are one array (n, d)", f"{rows.dtype} {rows.shape}", "stack the rows")
    return ArraySource(np.asarray(rows, np.float32))


def _decode_for(data: Any) -> Any:
    """How pictures in memory are taken when nobody says: at their own size if it is one, else at most 256 px on a side."""
    from mmfeat.media.decode import Decode

    if isinstance(data, np.ndarray) and data.ndim in (3, 4):
        grey = data.ndim == 3 or data.shape[3] == 1
        return Decode(color="grey" if grey else "rgb", size=data.shape[1:3], max_side=None)
    return Decode()


def _classes(names: Any, rows: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels as numbers into their sorted names; None, "" and -1 mean unlabelled."""
    if names is None:
        return None, ()
    texts = [None if name is None or name in ("", -1) or name != name else str(name) for name in list(names)]
    if len(texts) != rows:
        raise ShapeError(
            "there is one label per row", f"{len(texts)} labels for {rows} rows", "give None where there is no label"
        )
    classes = tuple(sorted({text for text in texts if text is not None}))
    number = {name: place for place, name in enumerate(classes)}
    return np.array([-1 if text is None else number[text] for text in texts], np.int32), classes
