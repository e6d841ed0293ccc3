"""`mmfeat index build` and `fit` of every kind of source, of pages, as every type, with the recipe that is chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures_command import run
from fixtures_pictures import write_folder
from fixtures_sources import png, write_tar
from PIL import Image

import mmfeat
from mmfeat.indexes import search as searching
from mmfeat.indexes import structures
from mmfeat.pipelines import choosing

Say = Callable[..., tuple[int, str, str]]
SMALL = ("--recipe", "pixel-codes", "--set", "side=6", "--set", "bits=24", "-q")


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    return lambda *words: run(monkeypatch, capsys, *words)


def pictures(count: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def write(form: str, folder: Path) -> Path:
    """A source of eight pictures."""
    place = folder / f"pictures.{form}"
    if form == "npy":
        np.save(place, pictures(8))
    elif form == "npz":
        np.savez(place, images=pictures(8), labels=np.arange(8) % 2)
    elif form == "tar":
        write_tar(place, {f"{number}.png": png(number) for number in range(8)})
    else:
        for number in range(8):
            (folder / f"{number}.png").write_bytes(png(number))
        place.write_text("path,label\n" + "".join(f"{number}.png,{number % 2}\n" for number in range(8)))
    return place


@pytest.mark.parametrize("form", ["npy", "npz", "tar", "csv"])
def test_every_source_is_built_from_the_command_line(form: str, say: Say, tmp_path: Path) -> None:
    code, out, err = say("index", "build", write(form, tmp_path), "-o", tmp_path / "i", *SMALL)
    assert (code, err) == (0, "")
    assert "8 indexed, 0 failed, 0 skipped" in out
    index = mmfeat.open(tmp_path / "i").index
    item = index.ids.to_pylist()[5]
    code, out, err = say("search", tmp_path / "i", item, "-k", 1, "--html", tmp_path / "page.html")
    assert (code, err) == (0, "")
    assert (tmp_path / "page.html").read_text().count("data:image/") == 2
    if form in ("npz", "csv"):
        found = json.loads(say("search", tmp_path / "i", item, "-k", 8, "--where", "label = '1'", "--json")[1])
        assert len(found["results"][0]["neighbours"]) == 4


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(5, np.float32), "shape (n, d)"),
        (np.zeros((2, 3, 4, 5, 6), np.float32), "shape (n, d)"),
        (np.zeros((4, 9, 9, 7), np.uint8), "an array of pictures is (n, h, w)"),
        (np.zeros((0, 9, 9), np.uint8), "an array of pictures is (n, h, w)"),
    ],
)
def test_arrays_that_are_neither_are_a_sentence(array: np.ndarray, said: str, say: Say, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    code, _, err = say("index", "build", tmp_path / "x.npy", "-o", tmp_path / "i", "-q")
    assert code in (2, 3)
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("name", ["x.npz", "x.tar", "x.csv", "x.parquet"])
def test_damaged_sources_are_a_sentence(name: str, say: Say, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\0nothing of the kind")
    code, _, err = say("index", "build", tmp_path / name, "-o", tmp_path / "i", "-q")
    assert code in (2, 3)
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_pages_are_pictures_where_that_is_asked(say: Say, tmp_path: Path) -> None:
    folder = tmp_path / "books"
    folder.mkdir()
    first, *more = [Image.fromarray(one) for one in pictures(5)]
    first.save(folder / "book.tif", save_all=True, append_images=more)
    first.save(folder / "leaf.tif")
    assert "2 indexed" in say("index", "build", folder, "-o", tmp_path / "first", *SMALL)[1]
    assert "6 indexed" in say("index", "build", folder, "-o", tmp_path / "all", "--pages", "all", *SMALL)[1]
    names = [*(f"book.tif#page={page}" for page in range(5)), "leaf.tif"]
    assert mmfeat.open(tmp_path / "all").index.ids.to_pylist() == names
    assert "6 same; 6 indexed" in say("index", "update", tmp_path / "all", "-q")[1]
    Image.fromarray(pictures(7)[6]).save(folder / "leaf.tif", save_all=True, append_images=more[:1])
    said = say("index", "update", tmp_path / "all", "-q")[1]
    assert "2 new" in said
    assert "7 indexed" in said  # leaf.tif has become two pages
    code, out, _ = say("fit", "pixel-codes", folder, "-o", tmp_path / "m", "--pages", "all", "--set", "bits=8", "-q")
    assert code == 0
    assert "7 pictures" in out
    code, _, err = say("fit", "pixel-codes", folder, "-o", tmp_path / "n", "--pages", "some")
    assert code == 2
    assert 'pages are "first" or "all"' in err
    np.save(tmp_path / "v.npy", np.eye(4))
    code, _, err = say("index", "build", tmp_path / "v.npy", "-o", tmp_path / "v", "--pages", "all")
    assert code == 2
    assert "--pages is for pictures" in err


def test_a_build_that_goes_on_with_other_pages_is_updated_with_these(say: Say, tmp_path: Path) -> None:
    from mmfeat.indexes import open_index
    from mmfeat.pipelines.building import build_index

    folder = tmp_path / "books"
    folder.mkdir()
    first, *more = [Image.fromarray(one) for one in pictures(5)]
    first.save(folder / "book.tif", save_all=True, append_images=more)
    more[0].save(folder / "leaf.png")

    def stop(what: str, done: int, total: int, metrics: object) -> None:
        if what == "checking":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index([folder], tmp_path / "i", recipe="pixel-codes", settings={"side": 6, "bits": 8}, report=stop)
    assert len(open_index(tmp_path / "i")) == 2
    assert "6 indexed" in say("index", "build", folder, "-o", tmp_path / "i", "--pages", "all", *SMALL[:2], "-q")[1]
    assert "6 same; 6 indexed" in say("index", "update", tmp_path / "i", "-q")[1]


@pytest.mark.parametrize("kind", ["binary-ivf", "binary-hnsw:8"])
def test_codes_of_pictures_are_kept_as_the_type_that_is_asked(kind: str, say: Say, tmp_path: Path) -> None:
    place = write("npy", tmp_path)
    code, _, err = say("index", "build", place, "-o", tmp_path / "i", "--type", kind, *SMALL)
    assert (code, err) == (0, "")
    assert mmfeat.open(tmp_path / "i").index.kind == kind


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("{x}", "--recipe", "pixel-codes", "--type", "float-flat"),
            "codes of bits have a type binary-…; got float-flat",
        ),
        (("{x}", "--recipe", "pixel-features", "--type", "binary-ivf"), "floats have a type float-flat or float:…"),
        (("{x}", "--type", "best"), "an index kind is one of"),
        (("{v}", "--type", "binary-flat"), "floats have a type float-flat or float:…"),
        (("{v}", "--recipe", "vector-codes", "--set", "bits=2", "--type", "float:HNSW8"), "codes of bits have a type"),
        (("{v}", "--recipe", "auto"), "recipes are tried on folders of pictures"),
        (("{x}", "--recipe", "auto", "--set", "bits=8"), "auto chooses a recipe and its settings; got bits"),
    ],
)
def test_a_wrong_pair_is_a_sentence(words: tuple[str, ...], said: str, say: Say, tmp_path: Path) -> None:
    places = {"x": str(write("npy", tmp_path)), "v": str(tmp_path / "v.npy")}
    np.save(places["v"], np.random.default_rng(0).normal(size=(20, 4)))
    code, _, err = say("index", "build", *(word.format(**places) for word in words), "-o", tmp_path / "i", "-q")
    assert code == 2
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "i").exists()


def test_the_type_is_measured_and_the_table_is_said(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the kinds that are tried here SQ8 keeps nearly all neighbours in a fourth of the bytes."""
    kinds = [("float", "float-flat", 0), ("SQ8", "float:SQ8", 0), ("random", "float:LSH8r", 1)]
    monkeypatch.setattr(choosing, "contenders", lambda dim, sizes: kinds)
    monkeypatch.setattr(structures, "LEAST", 300)  # as if a sample of a thousand were large
    monkeypatch.setattr(searching, "FEW", 100)
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(1200, 6)))
    code, out, err = say("index", "build", tmp_path / "v.npy", "-o", tmp_path / "v", "--type", "auto")
    assert (code, "1,200 indexed" in out) == (0, True)
    assert "recall@10" in err
    assert "type: float:SQ8 (measured with 120 queries on 1,080 vectors, l2)" in err
    assert mmfeat.open(tmp_path / "v").index.kind == "float:SQ8"
    np.save(tmp_path / "x.npy", pictures(1100, 8))
    words = ("--recipe", "pixel-features", "--set", "side=5", "--type", "auto")
    code, _, err = say("index", "build", tmp_path / "x.npy", "-o", tmp_path / "x", *words)
    assert code == 0
    assert "type: float:SQ8 (measured with 110 queries on 990 vectors, l2)" in err
    assert mmfeat.open(tmp_path / "x").index.kind == "float:SQ8"


def test_few_vectors_and_bits_are_scanned(say: Say, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(6))
    code, _, err = say("index", "build", tmp_path / "v.npy", "-o", tmp_path / "v", "--type", "auto")
    assert code == 0
    assert "type: float-flat (types are compared on 4,397 vectors or more, these are 6)" in err
    code, _, err = say("index", "build", write("npy", tmp_path), "-o", tmp_path / "i", "--type", "auto", *SMALL[:-1])
    assert code == 0
    assert "type: binary-flat (an exact scan is quick for 8 codes of bits; the limit is 20,000,000)" in err
    assert mmfeat.open(tmp_path / "i").index.kind == "binary-flat"


def test_the_recipe_is_chosen_and_the_table_is_said(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmfeat.pipelines import recommending
    from mmfeat.pipelines.recommending import Candidate

    tried = [Candidate("pixel-codes", {"side": 2, "bits": 2}), Candidate("pixel-codes", {"side": 12, "bits": 48})]
    monkeypatch.setattr(recommending, "candidates", lambda items, rows: tried)
    folder = write_folder(tmp_path / "photos", 24, side=48)
    code, out, err = say("index", "build", folder, "-o", tmp_path / "i", "--recipe", "auto")
    assert (code, "24 indexed" in out) == (0, True)
    assert "found again" in err
    assert "recipe: pixel-codes --set side=12 --set bits=48 (by 24 pictures; learned from all)" in err
    assert mmfeat.open(tmp_path / "i").index.dim == 48
    code, out, err = say("fit", "auto", folder, "-o", tmp_path / "m")
    assert (code, "24 pictures" in out) == (0, True)
    assert mmfeat.load(tmp_path / "m").sha256 == mmfeat.open(tmp_path / "i").index.model
    code, _, err = say("fit", "auto", folder, "--plan")
    assert (code, "a plan is that of one recipe" in err) == (2, True)


def test_pages_of_what_is_added_are_pictures_where_that_is_asked(say: Say, tmp_path: Path) -> None:
    first, *more = [Image.fromarray(one) for one in pictures(5)]
    for name in ("books", "atlas"):
        (tmp_path / name).mkdir()
        first.save(tmp_path / name / "book.tif", save_all=True, append_images=more)
    index = tmp_path / "i"
    say("index", "build", tmp_path / "books", "-o", index, *SMALL)
    code, out, _ = say("index", "add", index, tmp_path / "atlas", "--pages", "all", "-q")
    assert (code, "5 new" in out, "6 indexed" in out) == (0, True, True)
    assert mmfeat.open(index).index.ids.to_pylist() == [
        "book.tif",
        *(f"atlas/book.tif#page={page}" for page in range(5)),
    ]
    assert "6 same; 6 indexed" in say("index", "update", index, "-q")[1]  # each folder with its own pages
    assert "5 same" in say("index", "add", index, tmp_path / "atlas", "--pages", "all", "-q")[1]
    for place, pages, said in (("atlas", "first", "with its all pages"), ("books", "all", "with its first pages")):
        code, _, err = say("index", "add", index, tmp_path / place, "--pages", pages, "-q")
        assert (code, said in err) == (2, True)
    code, _, err = say("index", "add", index, tmp_path / "books", "--pages", "some", "-q")
    assert (code, 'pages are "first" or "all"' in err) == (2, True)
