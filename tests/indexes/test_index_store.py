"""What holds on disk: generations, extras, damage, killed writers, two writers, readers that stay."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fixtures_index import make

from mmfeat.errors import BusyError, DamagedError, ShapeError, UsageError
from mmfeat.files import hold_lock
from mmfeat.indexes import create, open_index, verify_index


def test_round_trip(tmp_path: Path) -> None:
    made = make(tmp_path / "Überblick.index")
    index = open_index(tmp_path / "Überblick.index")
    assert (index.kind, index.dim, index.metric, index.generation) == ("binary-flat", 12, "hamming", 4)
    assert (index.model, index.info) == ("ab" * 32, {"recipe": "tiny"})
    assert index.ids.to_pylist() == made.ids.to_pylist() == [f"f/{i}.jpg" for i in (0, *range(3, 10), 1)] + ["g.jpg"]
    assert index.parts_at([11, 3]).to_pylist() == [
        {"id": "g.jpg", "w": None, "t0": 1.5},
        {"id": "f/3.jpg", "w": 3, "t0": None},
    ]
    assert index.extras == ("model", "page.html")
    assert index.extra("page.html").read_bytes() == b"new"
    assert (index.extra("model") / "sub" / "weights").read_bytes() == bytes(range(100))
    info = index.info_dict()
    assert json.loads(json.dumps(info)) == info
    assert (info["count"], info["rows"], info["tombstones"], info["segments"]) == (10, 12, 2, 2)
    disk = sum(p.stat().st_size for p in index.path.rglob("*") if p.is_file())
    assert info["bytes_on_disk"] == disk > info["bytes"]
    assert index.verify() == []
    with pytest.raises(UsageError, match=r"no extra 'x'; got model, page\.html"):
        index.extra("x")
    with index:
        assert "10 rows" in repr(index)
    with pytest.raises(UsageError, match="closed"):
        index.search(np.zeros((1, 2), np.uint8))


def test_adding_writes_little(tmp_path: Path) -> None:
    index = create(tmp_path / "x.index", dim=64)
    index.add([str(i) for i in range(50_000)], np.zeros((50_000, 8), np.uint8))
    before = index.info_dict()["bytes_on_disk"]
    index.add(["new", "7"], np.zeros((2, 8), np.uint8))
    index.remove(["8"])
    assert index.info_dict()["bytes_on_disk"] - before < 8000


def test_attach_replaces_by_name_and_writes_equal_contents_once(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")
    index.attach({"model": tmp_path / "model", "page.html": b"new"})
    assert index.generation == 4  # nothing is new
    index.attach({"page.html": b"newest", "model": tmp_path / "model"})
    assert index.generation == 5
    assert open_index(index.path).extra("page.html").read_bytes() == b"newest"
    assert len(list((index.path / "extras").glob("*-model"))) == 1
    for name in ("../x", "a/b", "", ".hidden"):
        with pytest.raises(UsageError, match="plain file name"):
            index.attach({name: b""})
    (index.path / "extras" / index.extra("page.html").name).unlink()
    with pytest.raises(DamagedError, match="no such file"):
        index.extra("page.html")
    with pytest.raises(UsageError, match="must exist"):
        index.attach({"page": tmp_path / "nowhere"})


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "a"], "twice or more: 'a'"),
        ("abc", "one string 'abc'"),
        ([1, 2, 3], "strings"),
        (["a", None, "c"], "1 without one"),
        (["a", "\ud800", "c"], "strings"),
    ],
)
def test_wrong_ids(tmp_path: Path, ids: list, message: str) -> None:
    index = create(tmp_path / "x.index", dim=8)
    with pytest.raises(UsageError, match=message):
        index.add(ids, np.zeros((3, 1), np.uint8))
    assert index.generation == 1


def test_parts_must_fit(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")
    code = np.zeros((1, 2), np.uint8)
    with pytest.raises(ShapeError, match="2 rows and 1 ids"):
        index.add(["n"], code, pa.table({"w": [1, 2]}))
    with pytest.raises(UsageError, match="keeps its type"):
        index.add(["n"], code, pa.table({"w": ["wide"]}))
    with pytest.raises(UsageError, match="column id"):
        index.add(["n"], code, pa.table({"id": ["m"]}))
    assert index.generation == 4
    index.add(["n"], code, pa.table({"w": [1.5], "id": ["n"]}))
    assert index.parts_at([index.row_of("n"), 0])["w"].to_pylist() == [1.5, 0.0]
    assert index.verify() == []


def test_remove_is_all_or_nothing(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")
    with pytest.raises(UsageError, match=r"4 that are not: 'f/2\.jpg', 'p', 'q' and 1 more"):
        index.remove(["f/0.jpg", "f/2.jpg", "p", "q", "r"])
    assert len(index) == 10
    assert index.remove([]) == 0
    assert index.generation == 4


def test_create_refuses_and_overwrites(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")
    reader = open_index(index.path)
    with pytest.raises(UsageError, match="never overwritten"):
        create(index.path, dim=8)
    new = create(index.path, kind="float-flat", dim=3, overwrite=True)
    assert (new.kind, len(new), new.extras, new.verify()) == ("float-flat", 0, (), [])
    assert {p.name for p in index.path.iterdir()} == {
        "current.json",
        "lock",
        "generations",
        "segments",
        "tombstones",
        "extras",
    }
    assert [p.name for p in index.path.glob("*/*")] == ["gen-000005.json"]
    assert reader.ids_at(reader.search(np.zeros((1, 2), np.uint8), 2).row[0]) == ["f/0.jpg", "f/8.jpg"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("!")
    for path in (tmp_path / "mine", tmp_path / "mine" / "thesis.tex"):
        with pytest.raises(UsageError, match="in place of an index"):
            create(path, dim=8, overwrite=True)
    for wrong in ({"kind": "ivf"}, {"metric": "l2"}, {"dim": 0}, {"info": {"x": np.ones(2)}}):
        with pytest.raises(UsageError):
            create(tmp_path / "y.index", **{"dim": 8, **wrong})
    assert not (tmp_path / "y.index").exists()
    with pytest.raises(UsageError, match=r"current\.json"):
        open_index(tmp_path / "mine")


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")
    from mmfeat.files import canonical_json, sha256_bytes

    value = json.loads((index.path / "current.json").read_bytes())
    value.pop("check")
    value["format"] = 3
    value["check"] = sha256_bytes(canonical_json(value))
    (index.path / "current.json").write_bytes(canonical_json(value))
    with pytest.raises(UsageError, match="Update mmfeat"):
        open_index(index.path)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.parametrize("harm", [flip, cut, lengthen, Path.unlink])
def test_verify_and_open_name_every_damaged_file(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    index = make(tmp_path / "x.index")
    files = sorted(p.relative_to(index.path).as_posix() for p in index.path.rglob("*") if p.is_file())
    files.remove("lock")
    assert len(files) == 15  # current, 4 manifests, 2 · 2 of segments, 2 of tombstones, 2 pages, 2 of the model
    old = {"generations/gen-00000" + str(i) + ".json" for i in (1, 2, 3)}
    for number, name in enumerate(files):
        copy = tmp_path / f"copy{number}.index"
        shutil.copytree(index.path, copy)
        assert open_index(copy).generation == 4
        harm(copy / name)
        problems = verify_index(copy)
        assert [problem.split(":")[0] for problem in problems] == [name]
        if name in old or (name.endswith("page.html") and b"old" in (index.path / name).read_bytes()):
            assert open_index(copy).generation == 4  # nothing that holds now is harmed
        elif name.startswith("extras/") and harm is flip:
            opened = open_index(copy)
            with pytest.raises(DamagedError, match=name.split("/")[-1]):
                opened.extra("page.html" if name.endswith("page.html") else "model")
        else:
            with pytest.raises(DamagedError, match=name.split("/")[-1]):
                open_index(copy)


def test_verify_goes_on_after_the_first(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")
    names = [p for p in index.path.rglob("*") if p.is_file() and p.parent.name not in ("generations", "x.index")]
    for path in names:
        flip(path)
    assert len(index.verify()) == len(names) == 10


def test_contents_seen_in_order_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmfeat.indexes import verify

    index = make(tmp_path / "x.index")
    read: list[str] = []
    real = verify.sha256_file
    monkeypatch.setattr(verify, "sha256_file", lambda path: read.append(Path(path).name) or real(path))
    open_index(index.path)
    assert len(read) == 6
    open_index(index.path)
    assert len(read) == 6
    codes = index.path / "segments" / "seg-000002" / "codes.npy"
    os.utime(codes, ns=(1, 1))
    open_index(index.path)
    assert read[6:] == ["codes.npy"]
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)  # a cache that cannot be written costs time only
    open_index(index.path)
    assert len(read) == 13


def test_two_writers(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")
    other = open_index(index.path)
    code = np.zeros((1, 2), np.uint8)
    with hold_lock(index.path / "lock"):
        for write in (
            lambda: index.add(["a"], code),
            lambda: index.remove(["g.jpg"]),
            lambda: index.attach({"a": b""}),
            lambda: create(index.path, dim=8, overwrite=True),
        ):
            with pytest.raises(BusyError):
                write()
        assert len(open_index(index.path)) == 10
    index.add(["a"], code)
    other.add(["b"], code)  # goes on from the generation that holds, not from the one it opened
    assert other.generation == 6
    assert open_index(index.path).ids.to_pylist()[-2:] == ["a", "b"]
    assert len(index) == 11


def test_readers_keep_what_they_opened(tmp_path: Path) -> None:
    index = make(tmp_path / "x.index")
    reader = open_index(index.path)
    asked = reader.codes_at([0])
    index.remove(["f/0.jpg"])
    index.add(["f/3.jpg"], asked)
    assert reader.ids_at(reader.search(asked, 1).row[0]) == ["f/0.jpg"]
    assert "f/0.jpg" not in index.ids_at(index.search(asked, 100).row[0])
    assert len(reader.ids) == 10
    assert reader.generation == 4


def test_many_small_segments_search_as_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (60, 2), dtype=np.uint8)
    index = create(tmp_path / "x.index", dim=16)
    for i, code in enumerate(codes):
        index.add([str(i)], code[None])
    index = open_index(index.path)
    whole = create(tmp_path / "y.index", dim=16)
    whole.add([str(i) for i in range(60)], codes)
    np.testing.assert_array_equal(index.search(codes, 9).row, whole.search(codes, 9).row)
    assert index.ids_at([59, 3]) == ["59", "3"]


def test_importing_is_light(tmp_path: Path) -> None:
    code = (
        "import sys, mmfeat.indexes as i; dir(i); "
        "print([m for m in ('numpy', 'pyarrow', 'faiss', 'jax') if m in sys.modules]); "
        f"c = i.create({str(tmp_path / 'x.index')!r}, dim=8); print('faiss' in sys.modules, 'jax' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split("\n")[:2] == ["[]", "False False"]


def test_an_index_of_the_first_format_is_read(tmp_path: Path) -> None:
    """Its manifests had no check, no `restores` and no `oldest`."""
    from mmfeat.files import canonical_json, sha256_bytes

    index = make(tmp_path / "x.index")
    parent = None
    for number in range(1, 5):
        path = index.path / "generations" / f"gen-{number:06d}.json"
        value = json.loads(path.read_bytes())
        for name in ("check", "restores", "oldest"):
            del value[name]
        value |= {"format": 1, "parent": parent}
        path.write_bytes(canonical_json(value))
        parent = {"generation": number, "sha256": sha256_bytes(canonical_json(value))}
    current = {"format": 1, "manifest": "generations/gen-000004.json", **(parent or {})}
    current["check"] = sha256_bytes(canonical_json(current))
    (index.path / "current.json").write_bytes(canonical_json(current))
    old = open_index(index.path)
    assert (len(old), old.verify()) == (10, [])
    old.add(["more"], np.zeros((1, 2), np.uint8))
    assert open_index(index.path).verify() == []
    flip(index.path / "generations" / "gen-000003.json")
    assert [problem.split(":")[0] for problem in verify_index(index.path)] == ["generations/gen-000003.json"]
