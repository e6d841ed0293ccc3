"""The self-check of an index: is it any good on these data? It needs no labels.

Some two hundred items are changed as the world changes pictures (a crop, strong JPEG, a smaller size, more light), encoded again as
a query would be, and looked up. Kept in the index as `self-check.json` and said in words:

    found at rank 1   how often the changed picture finds its own original before anything else; k items at the same distance as the
                      original share the first place, each with 1/k
    float top-10      how many of an item's ten nearest by the floats behind the bits are among its ten nearest by bits
    dead bits         bits that are the same for 99.5 % of the items and tell nothing
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.arrays import pack_bits, unpack_bits

if TYPE_CHECKING:
    from PIL import Image

    from mmfeat.indexes.store import Index
    from mmfeat.media.items import Items
    from mmfeat.model import Model
    from mmfeat.stages import Report

__all__ = ["CHANGES", "describe", "self_check"]

CHANGES = ("crop", "jpeg", "resize", "brightness")
_FEW = 50  # items below which shares say little
_DEEP = 64  # neighbours looked at for the original


def self_check(
    index: Index,
    model: Model,
    items: Items,
    floats: np.ndarray,
    *,
    count: int = 200,
    seed: int = 0,
    report: Report | None = None,
) -> dict[str, Any]:
    """Check an index of whole pictures against its own files.

    floats: (m, k) float32, the features of a sample of its items, before they became bits.

    Returns JSON-able numbers: items, and per change in `CHANGES` the share found at rank 1; `rank1` their mean; for a hash `bits`,
    `dead_bits`, `float_top10`; `distinct` codes among `living`. Files that cannot be read any more are left out.
    """
    rows, ids = _chosen(items, count, seed), items.ids
    found: dict[str, list[float]] = {change: [] for change in CHANGES}
    for first in range(0, len(rows), 25):
        originals = [(row, picture) for row in rows[first : first + 25] if (picture := _open(items, row)) is not None]
        for change in CHANGES:
            changed = [_changed(picture, change, model.decode) for _, picture in originals]
            if changed:
                found[change] += _found_first(index, _codes(model, changed), [ids[row] for row, _ in originals])
        if report:
            report("checking", min(first + 25, len(rows)), len(rows), {})
    result: dict[str, Any] = {
        "items": len(found["crop"]),
        "found_at_rank_1": {change: _mean(values) for change, values in found.items()},
        "rank1": _mean([value for values in found.values() for value in values]),
        "living": len(index),
    }
    return {**result, **_bits(index, floats)} if model.hash and len(floats) else result


def describe(check: Mapping[str, Any]) -> list[str]:
    """The self-check in sentences."""
    if not check.get("items"):
        return ["no item could be read again, so nothing was checked"]
    if check["living"] < 2:
        return ["one item alone: there is nothing to compare it with"]
    found = check["found_at_rank_1"]  # as read from a file its names are sorted
    each = ", ".join(f"{change} {found[change]:.0%}" for change in CHANGES)
    lines = [f"found at rank 1: {check['rank1']:.0%} of {check['items']} changed pictures ({each})"]
    if check.get("distinct") == 1:
        lines.append(f"all {check['sampled']:,} items have the same code: they look alike to this model")
    elif "bits" in check:
        lines.append(f"{check['bits']}-bit codes keep {check['float_top10']:.0%} of the float top-10")
        dead = check["dead_bits"]
        lines.append("no bit is dead" if not dead else f"{dead} bit is dead" if dead == 1 else f"{dead} bits are dead")
        lines.append(f"{check['distinct']:,} distinct codes among {check['sampled']:,} items")
    if check["living"] < _FEW and check.get("distinct") != 1:
        lines.append(f"{check['living']} items are too few to tell how good the codes are")
    return lines


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if len(values) else 0.0


def _chosen(items: Items, count: int, seed: int) -> list[int]:
    """Rows of the table that were encoded, a seeded sample in their order."""
    done = np.flatnonzero(np.asarray(items.table["status"].to_pylist(), object) == "done")
    order = np.random.default_rng(seed).permutation(len(done))[:count]
    return [int(row) for row in np.sort(done[order])]


def _open(items: Items, row: int) -> Image.Image | None:
    """The picture at its full size, upright; None if it cannot be read any more."""
    from PIL import Image, ImageOps

    from mmfeat.errors import MmfeatError
    from mmfeat.media.contents import open_content, read_content
    from mmfeat.media.decode import decode_array
    from mmfeat.media.opening import quiet

    place, fragment = items.place_of(row)
    try:
        if "row" in fragment:
            return Image.fromarray(_rgb(decode_array(read_content(place, fragment))))
        with quiet(), open_content(place) as file, Image.open(file) as image:
            image.seek(fragment.get("page", 0))
            image.draft("RGB", (1024, 1024))
            upright = ImageOps.exif_transpose(image)
            return (
                upright.convert("RGB") if upright.mode in ("L", "RGB") else Image.fromarray(_rgb(decode_array(upright)))
            )
    except (OSError, ValueError, SyntaxError, MmfeatError, Image.DecompressionBombError):
        return None


def _rgb(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels if pixels.dtype == np.uint8 else (pixels * 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _changed(picture: Image.Image, change: str, decode: Any) -> np.ndarray:
    """The picture after a change, decoded as the model wants it: (h, w, c)."""
    from PIL import Image, ImageEnhance

    from mmfeat.media.decode import decode as decode_bytes
    from mmfeat.media.decode import decode_array

    width, height = picture.size
    if change == "jpeg":
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=20)
        return decode_bytes(data.getvalue(), decode)
    if change == "crop":  # a tenth off every side
        picture = picture.crop((width // 10, height // 10, width - width // 10, height - height // 10))
    elif change == "resize":
        picture = picture.resize((max(width // 2, 1), max(height // 2, 1)), Image.Resampling.BICUBIC)
    else:
        picture = ImageEnhance.Brightness(picture).enhance(1.3)
    return decode_array(picture, decode)


def _codes(model: Model, pictures: list[np.ndarray]) -> np.ndarray:
    from mmfeat.media.source import ArrayImages

    values = model.encode(ArrayImages(pictures, model.decode))
    return pack_bits(values) if model.hash else values


def _found_first(index: Index, codes: np.ndarray, ids: Sequence[str]) -> list[float]:
    """Per query, the chance that its original comes first when equals are ordered at random."""
    hits = index.search(codes, _DEEP)
    shares = []
    for distances, rows, item in zip(hits.distance, hits.row, ids, strict=True):
        place = np.flatnonzero(rows == index.row_of(item))
        first = place.size and distances[place[0]] == distances[0]
        shares.append(1.0 / float((distances == distances[0]).sum()) if first else 0.0)
    return shares


def _bits(index: Index, floats: np.ndarray) -> dict[str, Any]:
    """What only a hash has: dead bits, distinct codes, and how well the bits keep the floats behind them."""
    codes = pack_bits(floats)
    share = unpack_bits(codes, index.dim).mean(axis=0)
    return {
        "bits": index.dim,
        "dead_bits": int(np.sum((share < 0.005) | (share > 0.995))),
        "distinct": len(np.unique(codes, axis=0)),
        "sampled": len(floats),
        "float_top10": _float_overlap(floats, 200),
    }


def _float_overlap(floats: np.ndarray, queries: int) -> float:
    """Of each item's ten nearest by bits (expected over ties), the share that is as near as the tenth by floats (L2)."""
    from mmfeat.evaluate.retrieval import hamming_distances

    count, k = len(floats), min(10, len(floats) - 1)
    if k < 1:
        return 1.0
    codes = pack_bits(floats)
    shares = []
    for place in range(min(queries, count)):
        by_float = ((floats - floats[place]) ** 2).sum(axis=1)
        by_float[place] = np.inf
        near = by_float <= np.partition(by_float, k - 1)[k - 1]  # those as near as the tenth count as well
        by_bits = hamming_distances(codes[place : place + 1], codes)[0].astype(np.int64)
        by_bits[place] = np.iinfo(np.int64).max
        limit = np.partition(by_bits, k - 1)[k - 1]
        inside, tied = int((by_bits < limit).sum()), int((by_bits == limit).sum())
        shares.append((near[by_bits < limit].sum() + near[by_bits == limit].sum() * (k - inside) / tied) / k)
    return _mean(shares)
