"""What a call says is done or named: knobs a type has not, types that cannot be made, queries that cannot be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures_command import run
from fixtures_sources import png

import mmfeat
from mmfeat.errors import SettingsError, UsageError
from mmfeat.indexes import create
from mmfeat.indexes.filters import parse
from mmfeat.learners import itq_hash, spectral_hash

Say = Callable[..., tuple[int, str, str]]
SMALL = ("--recipe", "pixel-codes", "--set", "side=6", "--set", "bits=24", "-q")


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    return lambda *words: run(monkeypatch, capsys, *words)


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32))
    return tmp_path / "v.npy"


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("float-flat", ("--nprobe", 4), "type float-flat is scanned and has nothing to set; got nprobe"),
        ("float-flat", ("--candidates", 50), "got candidates"),
        ("float:HNSW8", ("--nprobe", 4), "type float:HNSW8 takes ef and candidates; got nprobe"),
        ("float:IVF2,Flat", ("--ef", 9), "type float:IVF2,Flat takes nprobe and candidates; got ef"),
        ("float:IVF2,Flat", ("--nprobe", 2, "--within", 3), "all items within a distance are found exactly"),
        ("float:IVF2,Flat", ("--nprobe", 2, "--like-all"), "several examples are found exactly"),
        ("float:HNSW8", ("--ef", 20, "--candidates", 50), None),
        ("float-flat", ("--exact",), None),
    ],
)
def test_a_knob_that_a_type_has_not_is_named(
    kind: str, words: tuple[object, ...], said: str | None, say: Say, vectors: Path, tmp_path: Path
) -> None:
    say("index", "build", vectors, "-o", tmp_path / "i", "--type", kind, "-q")
    code, out, err = say("search", tmp_path / "i", "v.npy#row=3", *words)
    assert (code, said or "") == (2 if said else 0, said if said and said in err else "")
    assert len(err.splitlines()) == (1 if said else 0)
    assert ("v.npy#row=3\t1\t0.00" in out) is (said is None)


def test_the_first_of_two_stages_takes_what_its_type_has(say: Say, vectors: Path, tmp_path: Path) -> None:
    for name, kind in (("short", "float:HNSW8"), ("long", "float-flat")):
        say("index", "build", vectors, "-o", tmp_path / name, "--type", kind, "-q")
    words = ("--rerank", tmp_path / "long", "--candidates", 30)
    assert say("search", tmp_path / "short", "v.npy#row=3", "--ef", 30, *words)[0] == 0
    assert say("search", tmp_path / "long", "v.npy#row=3", *words)[0] == 0  # candidates are those of the second stage
    code, _, err = say("search", tmp_path / "short", "v.npy#row=3", "--nprobe", 3, *words)
    assert (code, "takes ef and candidates; got nprobe" in err) == (2, True)


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("NOPE", "float: stands before a factory string of FAISS; got NOPE, which FAISS cannot read"),
        (
            "PQ7",
            "vectors of 8 dimensions that are compared by l2; got float:PQ7, of which FAISS says: The dimension of",
        ),
    ],
)
def test_a_type_that_faiss_cannot_make_is_a_sentence(
    factory: str, said: str, say: Say, vectors: Path, tmp_path: Path
) -> None:
    code, _, err = say("index", "build", vectors, "-o", tmp_path / "i", "--type", f"float:{factory}")
    assert code == 2
    assert said in err
    assert len(err.splitlines()) == 1
    assert "std::" not in err
    assert ".cpp" not in err


def test_a_type_of_too_few_items_says_what_it_needs(say: Say, vectors: Path, tmp_path: Path) -> None:
    """39 for each of the 1,000 lists of `IVF1000`, as FAISS holds; from 2,048 on there is a structure at all."""
    code, _, err = say("index", "build", vectors, "-o", tmp_path / "i", "--type", "float:IVF1000,PQ4")
    assert code == 0
    assert "float:IVF1000,PQ4 needs 2,048 items or more; these 60 are scanned exactly" in err
    np.save(vectors, np.random.default_rng(0).normal(size=(2100, 8)).astype(np.float32))
    said = say("index", "build", vectors, "-o", tmp_path / "j", "--type", "float:IVF1000,PQ4")[2]
    assert "trained well by 39,000 items or more, 39 for each centroid; these are 2,100" in said
    assert say("index", "build", vectors, "-o", tmp_path / "k", "--type", "float:HNSW8")[2] == ""


def test_vectors_without_a_direction_are_named(say: Say, vectors: Path, tmp_path: Path) -> None:
    rows = np.load(vectors)
    rows[[3, 7]] = 0
    np.save(tmp_path / "z.npy", rows)
    for words in (("build", tmp_path / "z.npy", "-o", tmp_path / "i"), ("choose", tmp_path / "z.npy")):
        code, _, err = say("index", *words, "--metric", "cosine")
        assert (code, "2 of zeros alone: 'z.npy#row=3', 'z.npy#row=7'" in err) == (3, True)
    assert say("index", "build", tmp_path / "z.npy", "-o", tmp_path / "l2")[0] == 0  # zeros have distances by l2
    say("index", "build", vectors, "-o", tmp_path / "cosine", "--metric", "cosine")
    code, _, err = say("index", "add", tmp_path / "cosine", tmp_path / "z.npy")
    assert (code, "2 of zeros alone" in err) == (3, True)
    with pytest.raises(UsageError, match="a vector has a direction"):
        mmfeat.open(tmp_path / "cosine").search(np.zeros(8, np.float32))


def test_all_queries_that_cannot_be_asked_are_named(say: Say, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(png(number))
    say("index", "build", folder, "-o", tmp_path / "i", *SMALL)
    broken = [tmp_path / f"broken{number}.jpg" for number in range(5)]
    for path in broken:
        path.write_bytes(b"\xff\xd8 nothing")
    code, _, err = say("search", tmp_path / "i", *broken)
    assert code == 2
    assert [f"{path}:" in err for path in broken] == [True, True, True, False, False]
    assert "; and 2 more. Leave them out." in err
    assert len(err.splitlines()) == 1
    code, _, err = say("search", tmp_path / "i", broken[0], "nowhere.png")
    assert (code, "nowhere.png (a query is a picture that exists" in err) == (2, True)
    code, _, err = say("search", tmp_path / "i", "")
    assert (code, "got an empty text" in err) == (2, True)


def test_a_page_is_made_of_a_model(say: Say, vectors: Path, tmp_path: Path) -> None:
    say("index", "build", vectors, "-o", tmp_path / "i")
    code, _, err = say("show", tmp_path / "i")
    assert (code, "a model is a folder of its own, or kept by an index; got" in err) == (2, True)


def test_a_long_condition_is_not_echoed_whole() -> None:
    for text in ("label = '" + "x" * 3000 + "' and", "x" * 3000 + " = = 3", "a = 1 " + "b" * 3000):
        with pytest.raises(UsageError) as error:
            parse(text)
        assert len(str(error.value)) < 400
    with pytest.raises(UsageError, match=r"got label → 'cat'\."):
        parse("label 'cat'")


def test_a_long_column_is_not_echoed_whole(tmp_path: Path) -> None:
    index = create(tmp_path / "i", dim=8)
    index.add(["a"], np.zeros((1, 1), np.uint8))
    with pytest.raises(UsageError) as error:
        index.search(np.zeros((1, 1), np.uint8), where="x" * 3000 + " = 3")
    assert len(str(error.value)) < 400


def test_auto_and_no_bits_are_named_as_they_were_given() -> None:
    with pytest.raises(UsageError, match=r"folders of pictures; got an array of shape \(20, 4\)"):
        mmfeat.fit("auto", np.zeros((20, 4), np.float32))
    for make in (itq_hash, spectral_hash):
        with pytest.raises(SettingsError, match="got bits=0"):
            make(bits=0)
