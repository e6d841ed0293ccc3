"""`mmfeat index add | update | remove | verify | compact | rollback | export`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures_command import run
from fixtures_pictures import write_folder

import mmfeat
from mmfeat.model import Model
from mmfeat.pipelines.building import build_index


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    photos = write_folder(tmp_path_factory.mktemp("pictures"), 12)
    return mmfeat.fit("pixel-codes", photos, settings={"side": 8, "bits": 24})


def test_an_index_one_lives_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Model
) -> None:
    photos = write_folder(tmp_path / "photos", 12)
    index = build_index(photos, tmp_path / "i", model=model).path

    def say(*words: object) -> tuple[int, str, str]:
        return run(monkeypatch, capsys, "index", *words)

    assert say("update", index) == (0, f"{index}: 12 same; 12 indexed, generation 4\n", "")
    (photos / "china" / "crop 000.jpg").unlink()
    shutil.copy(photos / "china" / "crop 002.jpg", photos / "china" / "copy.jpg")
    (photos / "china" / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    code, out, _ = say("update", index, "-q", "--json")
    said = json.loads(out)
    assert (code, said["new"], said["deleted"], said["failed"], said["same"], said["indexed"]) == (1, 1, 1, 1, 11, 12)
    assert "bad.jpg" in said["why"]
    assert say("info", index, "--html", tmp_path / "page.html")[0] == 0
    assert "bad.jpg" in (tmp_path / "page.html").read_text()
    more = write_folder(tmp_path / "more", 2)
    assert "2 new; 14 indexed" in say("add", index, more, "-q")[1]
    assert "1 removed, the first is more/china/crop 000.jpg" in say("remove", index, "more/china/crop 000.jpg")[1]
    assert "6 removed" in say("remove", index, "--where", "label = 'china'")[1]
    assert say("verify", index)[:2] == (0, f"{index}: every byte is as it was written\n")
    code, out, _ = say("compact", index, "--keep", 3)
    assert code == 0
    assert "generations 7 to 9 are kept" in out or "are kept" in out
    assert say("export", index, "-o", tmp_path / "x.parquet")[1] == f"{tmp_path / 'x.parquet'}: 7 rows\n"
    assert pq.read_table(tmp_path / "x.parquet")["label"].to_pylist() == ["flower"] * 6 + ["more"]
    code, out, _ = say("rollback", index)
    assert code == 0
    assert "7 indexed" in out
    assert "13 indexed" in say("rollback", index)[1]
    assert say("rollback", index, "--to", 1)[0] == 2
    info = json.loads(say("info", index, "--json")[1])
    assert info["count"] == 13
    assert info["generations_kept"][1] == info["generation"]


def test_damage_is_named_and_a_way_back_is_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    index = tmp_path / "i"
    np.save(tmp_path / "v.npy", np.eye(6))
    np.save(tmp_path / "w.npy", np.eye(6) + 1)
    assert run(monkeypatch, capsys, "index", "build", tmp_path / "v.npy", "-o", index, "-q")[0] == 0
    code, out, _ = run(monkeypatch, capsys, "index", "add", index, tmp_path / "w.npy")
    assert (code, out) == (0, f"{index}: 6 new; 12 indexed, generation 3\n")
    assert "6 changed; 12 indexed" in run(monkeypatch, capsys, "index", "add", index, tmp_path / "v.npy")[1]
    path = index / "segments" / "seg-000004" / "codes.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    code, out, _ = run(monkeypatch, capsys, "index", "verify", index)
    assert code == 3
    assert out.startswith("segments/seg-000004/codes.npy: contents changed")
    assert "generation 3 is whole" in out
    said = json.loads(run(monkeypatch, capsys, "index", "verify", index, "--json")[1])
    assert (len(said["damaged"]), said["whole_generation"], said["holds"]) == (1, 3, False)
    code, _, err = run(monkeypatch, capsys, "search", index, "v.npy#row=0")
    assert code == 3
    assert "mmfeat index rollback" in err
    assert "12 indexed" in run(monkeypatch, capsys, "index", "rollback", index)[1]
    assert run(monkeypatch, capsys, "search", index, "v.npy#row=0")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("remove", "i"), "neither an ID nor --where"),
        (("remove", "i", "nobody"), "'nobody'"),
        (("update", "i"), "one of vectors"),
        (("add", "i", "v.npy", "v.npy"), "in one .npy file"),
        (("compact", "i", "--keep", "0"), "--keep"),
        (("rollback", "i", "--to", "7"), "a generation that is kept; got 7"),
        (("export", "i", "-o", "v.npy"), "never overwritten"),
        (("verify", "nowhere"), "an index is a folder"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", np.eye(6))
    run(monkeypatch, capsys, "index", "build", "v.npy", "-o", "i", "-q")
    code, out, err = run(monkeypatch, capsys, "index", *words)
    assert (code, out) == (2, "")
    assert said in err
