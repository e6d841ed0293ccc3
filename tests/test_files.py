"""Writing leaves the old file or the new one, whatever happens; damage is named; one process writes at a time."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

import mmfeat
from mmfeat import files
from mmfeat.errors import BusyError, DamagedError, UsageError

HOME = str(Path(str(mmfeat.__file__)).parents[1])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def child(code: str, *arguments: Any) -> subprocess.Popen[str]:
    """Another process, which has said that it is ready."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": HOME})
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Kill it as a power cut would."""
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=20)
    assert process.stdout is not None
    process.stdout.close()


def test_a_file_is_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a"
    digest = files.write_bytes(path, b"abc")
    assert digest == hashlib.sha256(b"abc").hexdigest() == files.sha256_file(path) == files.sha256_bytes(b"abc")
    files.write_bytes(path, memoryview(b"de"))
    assert path.read_bytes() == b"de"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_has_the_users_rights(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        files.write_bytes(tmp_path / "a", b"")
        with files.new_folder(tmp_path / "f"):
            pass
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o750


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), files.writing(path) as file:
        file.writelines([b"new", "no bytes"])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    code = """
import sys, time
from mmfeat.files import writing
with writing(sys.argv[1]) as file:
    file.write(b"new" * 100000)
    file.flush()
    print("ready", flush=True)
    time.sleep(60)
"""
    end(child(code, path))
    assert path.read_bytes() == b"old"


def test_whoever_reads_sees_a_whole_file(tmp_path: Path) -> None:
    """A killed writer that writes over and over: at every instant the file holds one of its versions."""
    path = tmp_path / "a"
    code = """
import sys
from mmfeat.files import write_bytes
write_bytes(sys.argv[1], b"0" * 50000)
print("ready", flush=True)
while True:
    for digit in b"123456789":
        write_bytes(sys.argv[1], bytes([digit]) * 50000)
"""
    process = child(code, path)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        assert len(path.read_bytes()) == 50000
    end(process)
    data = path.read_bytes()
    assert len(data) == 50000
    assert len(set(data)) == 1


@given(JSON)
def test_json_is_canonical(value: Any) -> None:
    data = files.canonical_json(value)
    assert json.loads(data) == value
    assert files.canonical_json(json.loads(data)) == data
    assert data.endswith(b"\n")


def test_json_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    assert files.canonical_json({"b": 1, "a": [1, "é"]}) == files.canonical_json({"a": [1, "é"], "b": 1})
    assert "é".encode() in files.canonical_json("é")
    with pytest.raises(ValueError, match="JSON compliant"):
        files.canonical_json({"a": float("nan")})
    files.write_json(tmp_path / "a.json", {"b": 1})
    assert files.read_json(tmp_path / "a.json") == {"b": 1}


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b""])
def test_damaged_json_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(DamagedError, match=r"a\.json must hold JSON"):
        files.read_json(tmp_path / "a.json")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "f"
    with files.new_folder(path) as folder:
        (folder / "a").write_text("1")
        assert not path.exists()
    assert (path / "a").read_text() == "1"
    with pytest.raises(UsageError, match="never overwritten unasked"), files.new_folder(path):
        raise AssertionError("not reached")
    with pytest.raises(TypeError), files.new_folder(path, overwrite=True) as folder:
        (folder / "b").write_text(2)  # type: ignore[arg-type]
    assert os.listdir(path) == ["a"]
    with files.new_folder(path, overwrite=True) as folder:
        (folder / "b").write_text("2")
    assert os.listdir(path) == ["b"]
    assert os.listdir(path.parent) == ["f"]


def test_a_file_may_be_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a file")
    with files.new_folder(tmp_path / "f", overwrite=True) as folder:
        (folder / "a").write_text("1")
    assert os.listdir(tmp_path) == ["f"]
    assert os.listdir(tmp_path / "f") == ["a"]


@pytest.mark.parametrize("what", ["full", "empty", "file", "link"])
def test_what_appeared_meanwhile_is_not_replaced(what: str, tmp_path: Path) -> None:
    path = tmp_path / "f"

    def appear(folder: Path) -> None:
        (folder / "a").write_text("mine")
        if what in ("full", "empty"):
            path.mkdir()
        if what == "full":
            (path / "b").write_text("theirs")
        if what == "file":
            path.write_text("theirs")
        if what == "link":
            path.symlink_to("nowhere")

    with pytest.raises(UsageError, match="never overwritten unasked"), files.new_folder(path) as folder:
        appear(folder)
    assert os.listdir(tmp_path) == ["f"]
    assert not (path / "a").exists()
    if what == "full":
        assert (path / "b").read_text() == "theirs"


def test_a_folder_that_appears_between_the_look_and_the_rename_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """POSIX refuses to rename a folder onto one that is not empty: that is a sentence, not a loss."""
    path, rename = tmp_path / "f", os.rename

    def late(source: Path, target: Path) -> None:
        path.mkdir()
        (path / "b").write_text("theirs")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(UsageError, match="never overwritten unasked"), files.new_folder(path) as folder:
        (folder / "a").write_text("mine")
    assert os.listdir(tmp_path) == ["f"]
    assert os.listdir(path) == ["b"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "f").symlink_to(tmp_path / "real")
    with files.new_folder(tmp_path / "f", overwrite=True) as folder:
        (folder / "a").write_text("1")
    assert sorted(os.listdir(tmp_path)) == ["f", "real"]
    assert os.listdir(tmp_path / "f") == ["a"]
    assert os.listdir(tmp_path / "real") == []


def test_a_lock_is_held_by_one_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = """
import sys, time
from mmfeat.files import hold_lock
with hold_lock(sys.argv[1]):
    print("ready", flush=True)
    time.sleep(60)
"""
    process = child(code, path)
    with pytest.raises(BusyError, match="one process writes at a time"), files.hold_lock(path):
        raise AssertionError("not reached")
    end(process)
    with files.hold_lock(path), pytest.raises(BusyError), files.hold_lock(path):
        raise AssertionError("not reached")
    with files.hold_lock(path):
        pass


def test_names_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    files.write_bytes(path, b"a")
    assert path.read_bytes() == b"a"


def test_where_nothing_can_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    files.check_writable(tmp_path)
    files.check_writable(tmp_path / "new" / "newer")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match=r"into a folder that may be written; got .*file: Not a directory"):
            files.check_writable(place)
