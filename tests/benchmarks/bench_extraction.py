"""From files to features, beside decoding the same files and nothing else.

The rival is Pillow in a pool of threads, one per core: open, reduce while decoding, convert, resize. Its pixels are those
that mmfeat gives.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, missing, side_by_side, speed, stated
from pictures import real_or_made

_FILES, _LEARNED, _SIDE, _ROUNDS = 4000, 400, 64, 5


def run(work: Path) -> Iterator[Row]:
    """A cheap feature against decoding (the aim), the whole command, another decoder, and the default recipe."""
    import mmfeat
    from mmfeat.descriptors.pixels import Pixels
    from mmfeat.learners import Lsh
    from mmfeat.media.decode import Decode
    from mmfeat.media.source import ImageSource
    from mmfeat.media.walk import walk

    folder, few = real_or_made(work / "pictures", _FILES), real_or_made(work / "few", _LEARNED)
    files = sorted(folder.iterdir())
    decode = Decode(size=(_SIDE, _SIDE))
    model = mmfeat.fit(mmfeat.Chain(Pixels(), Lsh(bits=64)), few, decode=decode)
    items = walk(folder)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rival = _decoding(pool, files, lambda path: _pillow(path, (_SIDE, _SIDE)))
        note = f"rival: Pillow alone, {_SIDE} px, {os.cpu_count()} threads; pixels {_compared(files[0], decode)}"
        timing = side_by_side(lambda: _drain(model, ImageSource(items, decode)), rival, _ROUNDS)
        yield speed("extraction, pixels and LSH", timing, _FILES, 0.9, "files/s", note)
        timing = side_by_side(lambda: _extracted(model, folder, work / "features"), rival, _ROUNDS)
        yield stated("the same with the walk and the files written", timing, _FILES, "files/s", "rival: the same")
        yield _against_simplejpeg(model, items, decode, pool, files)
        yield _default_recipe(few, folder, files, pool)


def _drain(model: Any, source: Any) -> None:
    for _ in model.stream(source):
        pass


def _extracted(model: Any, folder: Path, out: Path) -> None:
    from mmfeat.media.walk import walk
    from mmfeat.pipelines.extracting import extract

    shutil.rmtree(out, ignore_errors=True)
    extract(model, walk(folder), out)


def _decoding(pool: ThreadPoolExecutor, files: list[Path], one: Callable[[Path], Any]) -> Callable[[], None]:
    def work() -> None:
        for _ in pool.map(one, files, chunksize=1):
            pass

    return work


def _pillow(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Pixels (h, w, 3) of a JPEG, size (width, height)."""
    from PIL import Image

    with Image.open(path) as image:
        drafted = image.draft(None, (2 * size[0], 2 * size[1]))
        flat = image if image.mode == "RGB" else image.convert("RGB")
        box = None if drafted is None else drafted[1]
        return np.asarray(flat.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))


def _compared(path: Path, decode: Any) -> str:
    from mmfeat.media.decode import decode as decoded

    return "equal" if np.array_equal(decoded(path, decode), _pillow(path, (_SIDE, _SIDE))) else "DIFFER"


def _against_simplejpeg(model: Any, items: Any, decode: Any, pool: ThreadPoolExecutor, files: list[Path]) -> Row:
    name = "extraction, pixels and LSH, beside another decoder"
    try:
        import simplejpeg
    except ImportError:
        return missing(name, "simplejpeg is not installed here")
    from mmfeat.media.source import ImageSource

    def one(path: Path) -> np.ndarray:
        return simplejpeg.decode_jpeg(path.read_bytes(), min_height=_SIDE, min_width=_SIDE, fastdct=True)

    timing = side_by_side(lambda: _drain(model, ImageSource(items, decode)), _decoding(pool, files, one), _ROUNDS)
    return stated(name, timing, _FILES, "files/s", "rival: simplejpeg at its nearest reduced scale, without the resize")


def _default_recipe(few: Path, folder: Path, files: list[Path], pool: ThreadPoolExecutor) -> Row:
    import mmfeat
    from mmfeat.media.decode import output_size
    from mmfeat.media.source import ImageSource
    from mmfeat.media.walk import walk

    model = mmfeat.fit("image-retrieval", few)
    items = walk(folder)
    some = items.images[: len(files) // 4]
    paths = files[: len(some)]

    def one(path: Path) -> np.ndarray:
        from PIL import Image

        with Image.open(path) as image:
            height, width = output_size(*image.size, model.decode)
        return _pillow(path, (width, height))

    timing = side_by_side(
        lambda: _drain(model, ImageSource(items, model.decode, rows=some)), _decoding(pool, paths, one), 3
    )
    return stated("extraction, default recipe", timing, len(some), "files/s", "rival: Pillow alone at the same size")
