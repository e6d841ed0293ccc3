"""An index of pictures from every kind of source: built, checked by itself, and every picture finds itself."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from fixtures_pictures import crops, write_folder
from PIL import Image

import mmfeat
from mmfeat.pipelines.building import build_index


@pytest.mark.parametrize("form", ["tar", "npy", "csv", "memory"])
def test_an_index_of_any_source(form: str, tmp_path: Path) -> None:
    data: object = tmp_path / f"x.{form}"
    root = write_folder(tmp_path / "pictures", 24, side=48)
    files = sorted(root.rglob("*.jpg"))
    if form == "tar":
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            for path in files:
                archive.add(path, str(path.relative_to(root)))
    elif form == "npy":
        np.save(
            tmp_path / "x.npy",
            np.stack([np.asarray(Image.fromarray(one).resize((48, 48))) for _, one in crops(24, 48)]),
        )
    elif form == "csv":
        (tmp_path / "x.csv").write_text("path\n" + "\n".join(str(path.relative_to(tmp_path)) for path in files))
    else:
        store = pytest.importorskip("fsspec", reason="the extra `remote` is not installed").filesystem("memory")
        store.pipe({f"/building/{path.relative_to(root).as_posix()}": path.read_bytes() for path in files})
        data = "memory://building"
    result = build_index(data, tmp_path / "i", recipe="pixel-codes", settings={"side": 8, "bits": 64})
    assert (result.done, result.failed) == (24, 0)
    assert result.check["items"] == 24  # every original could be opened again
    assert result.check["rank1"] > 0.4
    searcher = mmfeat.open(tmp_path / "i")
    item = searcher.index.ids.to_pylist()[5]
    assert searcher.search(item, k=1)[0].neighbours[0].distance == 0
