"""The demonstration: the main job on pictures that come with scikit-learn, or on a folder of one's own.

Two photographs are cut into overlapping tiles, and one tile is searched among all of them; 1,797 digits get learned codes
beside random ones. Everything shown is computed when the command runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmfeat.files import write_bytes
from mmfeat.progress import Progress

if TYPE_CHECKING:
    from mmfeat.indexes.store import Index
    from mmfeat.model import Model

__all__ = ["demo_folder", "run_demo"]

TILE, STEP = 48, 12
QUERIES = (  # photograph, x, y of a tile, what it shows
    ("china.jpg", 180, 72, "a roof of the temple finds the roofs"),
    ("china.jpg", 408, 36, "open sky finds the sky"),
    ("flower.jpg", 240, 132, "a petal finds the petals"),
)
BITS = (8, 16, 32, 64)
Pages = list[tuple[Path, str]]


def run_demo(output: Path, report: Progress) -> Pages:
    """Both parts with the pictures that come along, on one page."""
    output.mkdir(parents=True, exist_ok=True)
    report.say("1 of 2: search inside photographs")
    heat, strip = _tiles(output, report)
    report.say("2 of 2: learned codes beside random ones")
    strips, chart = _digits(report)
    from mmfeat.visualise.pages import demo_page
    from mmfeat.visualise.sections import TextSection

    own = TextSection(
        "Your own pictures",
        "The same in one command each, for a folder of yours: learn, encode, index, check; then search.",
        [
            "mmfeat demo FOLDER",
            "mmfeat index build FOLDER -o photos.index",
            "mmfeat search photos.index QUERY.jpg --html out.html",
        ],
    )
    lead = "Features learned without labels, from these pictures alone, on this machine, while you waited."
    page = output / "index.html"
    write_bytes(page, demo_page([heat, strip, strips, chart, own], "mmfeat: what it does", lead).encode())
    return [
        (page, "search inside photographs; learned codes beside random ones"),
        (output / "tiles.index", "the tiles' index, to be searched"),
    ]


def _photographs(folder: Path) -> dict[str, np.ndarray]:
    """scikit-learn's two photographs, also written to `folder` so that the index's ids name files."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True, exist_ok=True)
    found = load_sample_images()
    photographs = {
        Path(str(name)).name: np.asarray(image) for name, image in zip(found.filenames, found.images, strict=True)
    }
    for name, pixels in photographs.items():
        Image.fromarray(pixels).save(folder / name, quality=95)
    return photographs


def _cut(photographs: dict[str, np.ndarray]) -> tuple[np.ndarray, list[str], np.ndarray]:
    """All tiles (n, TILE, TILE, 3), their ids and their boxes (n, 4)."""
    from mmfeat.media.ids import make_id

    tiles, ids, boxes = [], [], []
    for name, pixels in photographs.items():
        height, width = pixels.shape[:2]
        for y in range(0, height - TILE + 1, STEP):
            for x in range(0, width - TILE + 1, STEP):
                tiles.append(pixels[y : y + TILE, x : x + TILE])
                ids.append(make_id(name, xywh=(x, y, TILE, TILE)))
                boxes.append((x, y, TILE, TILE))
    return np.stack(tiles), ids, np.array(boxes)


def _tile_model(tiles: np.ndarray, report: Progress) -> Model:
    from mmfeat.chain import Chain
    from mmfeat.descriptors.patches import Patches
    from mmfeat.learners.itq import itq_hash
    from mmfeat.learners.kmeans import KMeans
    from mmfeat.learners.vlad import Vlad
    from mmfeat.learners.whitening import Pca
    from mmfeat.media.decode import Decode
    from mmfeat.pipelines.fitting import fit

    chain = Chain(Patches(8, stride=4), Pca(32, whiten=True), Vlad(KMeans(32)), itq_hash(128), fit_rows=65_536)
    return fit(chain, tiles, decode=Decode(size=(TILE, TILE), max_side=None), report=report)


def _tiles(output: Path, report: Progress) -> tuple[Any, Any]:
    """Learn from the tiles, index them, and search three of them: a section of heat maps and one of neighbours."""
    import tempfile

    from mmfeat.indexes import create
    from mmfeat.pipelines.pictures import view
    from mmfeat.pipelines.searching import Answer, Searcher
    from mmfeat.visualise.sections import HeatSection, StripSection

    photographs = _photographs(output / "photographs")
    tiles, ids, boxes = _cut(photographs)
    model = _tile_model(tiles, report)
    codes = model.encode_bits(tiles)
    info = {"root": str((output / "photographs").resolve()), "roots": []}
    index = create(output / "tiles.index", dim=128, model=model.sha256, info=info, overwrite=True)
    with tempfile.TemporaryDirectory() as folder:
        index.add(ids, codes, extras={"model": model.save(Path(folder) / "model")})
    searcher = Searcher(index)
    pairs, rows = [], []
    for name, x, y, what in QUERIES:
        item = f"{name}#xywh={x},{y},{TILE},{TILE}"
        pairs.append(_heat(index, photographs[name], name, item, ids, boxes, what))
        hits = searcher.index.search_ids([item], 400)
        apart = _apart(
            [n for n in searcher._neighbours(hits.distance[0], hits.row[0]) if n.id != item], boxes, ids, item
        )
        rows.append(view(Answer(item, tuple(apart[:8]), searcher.path_of(item))))
    text = (
        f"Two photographs were cut into {len(ids):,} overlapping tiles of {TILE} × {TILE} px. Each tile became a code of "
        "128 bits; nothing but the tiles themselves was learned from. One tile (outlined) is searched; the warmer a place, "
        "the nearer its code."
    )
    note = "The nearest tiles to the same queries that do not overlap them or each other, with the number of bits that differ."
    return HeatSection("Search inside a photograph", text, pairs), StripSection(
        "What the codes call near", note, rows, mark=False, unit="bits"
    )


def _heat(
    index: Index, photograph: np.ndarray, name: str, item: str, ids: list[str], boxes: np.ndarray, what: str
) -> Any:
    from mmfeat.visualise.heat import closeness, draw_heat, heat_map
    from mmfeat.visualise.sections import HeatPair
    from mmfeat.visualise.thumbnails import crop, thumbnail

    hits = index.search_ids([item], len(ids))
    distances = np.zeros(len(ids))
    distances[hits.row[0]] = hits.distance[0]
    scores = closeness(distances)
    here = np.array([one.startswith(f"{name}#") for one in ids])
    heat = heat_map(photograph.shape[:2], boxes[here], scores[here])
    box = tuple(int(one) for one in boxes[ids.index(item)])
    drawn = draw_heat(photograph, heat, box)  # type: ignore[arg-type]
    from PIL import Image

    return HeatPair(thumbnail(crop(Image.fromarray(photograph), box), 160), thumbnail(drawn, 900), what)  # type: ignore[arg-type]


def _apart(found: list[Any], boxes: np.ndarray, ids: list[str], item: str) -> list[Any]:
    """Those that overlap neither the query nor each other, nearest first."""
    place = {one: number for number, one in enumerate(ids)}
    taken = [place[item]]
    kept = []
    for one in found:
        number = place[one.id]
        same = [other for other in taken if ids[other].split("#")[0] == one.id.split("#")[0]]
        if all(np.abs(boxes[number, :2] - boxes[other, :2]).max() >= TILE for other in same):
            taken.append(number)
            kept.append(one)
    return kept


def _digits(report: Progress) -> tuple[Any, Any]:
    """Learned and random codes of scikit-learn's digits: strips of neighbours, and mAP by bits."""
    from sklearn.datasets import load_digits

    from mmfeat.learners.anchor_graph import AnchorGraph
    from mmfeat.learners.itq import itq_hash
    from mmfeat.learners.kmeans import KMeans
    from mmfeat.learners.lsh import Lsh
    from mmfeat.pipelines.fitting import fit
    from mmfeat.visualise.curves import line_chart
    from mmfeat.visualise.sections import ChartSection, StripSection

    digits = load_digits()
    rows, labels = (digits.data / 16).astype(np.float32), digits.target
    walked = fit(AnchorGraph(KMeans(400), steps=8), rows, report=report).encode(rows)
    makers: dict[str, tuple[Callable[[int], Any], Any]] = {
        "graph + ITQ": (itq_hash, walked),
        "PCA + ITQ": (itq_hash, rows),
        "random": (lambda bits: Lsh(bits=bits), rows),
    }
    scores: dict[str, list[float]] = {name: [] for name in makers}
    codes = {}
    for bits in BITS:
        for name, (maker, features) in makers.items():
            found = fit(maker(bits), features, report=report).encode_bits(features)
            scores[name].append(_map(found, labels))
            codes[name, bits] = found
    strips, names = _strips({name: codes[name, 32] for name in ("graph + ITQ", "random")}, digits.images, labels)
    text = "The same five digits asked with 32 learned bits and with 32 random ones. A neighbour of another digit is marked."
    told = (
        f"Every one of the {len(labels):,} digits asks for all others; relevant is the same digit. mAP over the whole "
        "ranking, ties counted at their expected value. Labels were used to score, never to learn; nobody said that there are "
        "ten digits. Learned bits keep the walk over an anchor graph of the data, or its principal components alone. "
        f"With 32 bits: {', '.join(f'{name} {values[2]:.2f}' for name, values in scores.items())}."
    )
    chart = line_chart(list(BITS), scores, "mean average precision by bits", "mAP", "bits")
    return StripSection("Learned bits, random bits", text, strips, names, unit="bits"), ChartSection(
        "How much the bits know", told, chart
    )


def _map(codes: np.ndarray, labels: np.ndarray) -> float:
    from mmfeat.evaluate.retrieval import drop_diagonal, hamming_distances, mean_average_precision

    same = labels[:, None] == labels[None, :]
    return mean_average_precision(drop_diagonal(hamming_distances(codes, codes)), drop_diagonal(same))


def _strips(codes: dict[str, np.ndarray], images: np.ndarray, labels: np.ndarray) -> tuple[list[Any], list[str]]:
    from mmfeat.evaluate.retrieval import hamming_distances
    from mmfeat.visualise.results import QueryResult, Thumb
    from mmfeat.visualise.thumbnails import thumbnail

    def thumb(place: int, distance: int | None = None) -> Thumb:
        pixels = np.kron((255 - images[place] * (255 / 16)).astype(np.uint8), np.ones((8, 8), np.uint8))
        return Thumb(thumbnail(pixels, 64), f"digit {place}", str(labels[place]), distance)

    rows, names = [], []
    for asked in np.random.default_rng(3).permutation(len(labels))[:5]:
        for name, found in codes.items():
            distances = hamming_distances(found[asked : asked + 1], found)[0].astype(np.int64)
            distances[asked] = np.iinfo(np.int64).max
            nearest = np.argsort(distances, kind="stable")[:10]
            rows.append(QueryResult(thumb(int(asked)), [thumb(int(one), int(distances[one])) for one in nearest]))
            names.append(name)
    return rows, names


def demo_folder(folder: Path, output: Path, report: Progress, overwrite: bool = False) -> Pages:
    """A folder of one's own: the page stands after the first 500 pictures and is renewed while the rest is indexed.

    An interruption is raised again when the page and the index hold what was finished.
    """
    from mmfeat.pipelines.building import build_index
    from mmfeat.pipelines.index_page import index_page

    page = output / "index.html"
    shown = [False]

    def after(index: Index, items: Any, complete: bool) -> None:
        write_bytes(page, index_page(index, items, complete).encode())
        if not shown[0]:
            report.say(f"{page}: the first {len(index):,} pictures; it is renewed while the rest is indexed")
            shown[0] = True

    index = output / "photos.index"
    build = build_index(folder, index, report=report, after=after, settings=dict(_QUICK), overwrite=overwrite)
    if not build.complete:
        raise KeyboardInterrupt
    return [
        (page, f"{build.done:,} pictures, {build.failed:,} failed: the whole folder"),
        (build.path, "the index, to be searched"),
    ]


_QUICK: tuple[tuple[str, Any], ...] = (("fit_rows", 65_536),)
