"""Damaged pictures: each is done with the whole picture or failed with a reason, in bounded time and memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import fixtures_damage
import pytest
from PIL import Image

from mmfeat.errors import MediaError
from mmfeat.media.decode import Decode, decode
from mmfeat.media.source import _Budget

BYTES_A_PIXEL, SECONDS = 40, 10  # what mmfeat/media/source.py states, and a time that nobody calls a hang


def run(*words: object) -> dict[str, Any]:
    """What the program says, run with a limit of its address space: Python and its libraries, and the bound."""
    limited = f'ulimit -v {4 << 20} && exec "$@"'  # KiB; a function between fork and exec would run in a copy of JAX's threads
    done = subprocess.run(
        ["/bin/sh", "-c", limited, "sh", sys.executable, fixtures_damage.__file__, *map(str, words)],
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


def holds(said: dict[str, Any], count: int) -> None:
    assert said["odd"] == []
    assert said["done"] + said["failed"] == count
    assert said["seconds"] < SECONDS, said["slowest"]
    assert said["bytes"] < BYTES_A_PIXEL * fixtures_damage.LIMIT + (64 << 20)


def test_three_hundred_damaged_pictures() -> None:
    """Two thousand: python tests/fixtures_damage.py 2000."""
    said = run(300)
    holds(said, 300)
    assert said["failed"] > 100
    assert said["done"] > 50


def test_the_folder_of_odd_files(data_folder: Path) -> None:
    folder = data_folder / "odd_media"
    holds(run(folder), sum(path.is_file() for path in folder.rglob("*")))


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.98])
def test_a_download_that_was_cut_off_and_filled_up_with_zeros(format: str, share: float, tmp_path: Path) -> None:
    for name, extension, data in fixtures_damage.files():
        if name != format:
            continue
        cut = data[: int(len(data) * share)]
        filled = cut + bytes(len(data) - len(cut))
        (tmp_path / f"a{extension}").write_bytes(filled)
        for source in (cut, filled, tmp_path / f"a{extension}"):
            with pytest.raises(MediaError):
                decode(source, Decode(size=(8, 8)))


def test_what_may_stand_in_a_whole_jpeg() -> None:
    """A thumbnail with an end of its own before the scan, fill bytes, and a trailer behind the end."""
    file = io.BytesIO()
    fixtures_damage.picture("RGB").save(file, "JPEG", exif=b"Exif\0\0" + b"\xff\xd8 thumbnail \xff\xd9")
    data = file.getvalue()
    wanted = decode(data)
    scan = data.rfind(b"\xff\xda")
    assert (decode(data[:scan] + b"\xff\xff" + data[scan:]) == wanted).all()
    assert (decode(data + b"a trailer") == wanted).all()
    with pytest.raises(MediaError):
        decode(data[:-2] + b"\0\0")


def test_threads_share_a_budget_of_pixels() -> None:
    budget, most, now = _Budget(10), [0], [0]
    seeing = threading.Lock()

    def work(pixels: int) -> None:
        for _ in range(50):
            with budget.taking(pixels):
                with seeing:
                    now[0] += min(pixels, 10)
                    most[0] = max(most[0], now[0])
                with seeing:
                    now[0] -= min(pixels, 10)

    threads = [threading.Thread(target=work, args=(pixels,)) for pixels in (1, 3, 4, 9, 50)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(timeout=60)
    assert not any(one.is_alive() for one in threads)
    assert most[0] <= 10
    assert budget.left == 10


def test_the_limit_that_follows_from_the_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.new("L", (20, 10)).save(file, "PNG")
    monkeypatch.setattr("mmfeat.media.decode.machine_pixel_limit", lambda: 150)
    with pytest.raises(MediaError, match="at most 150 pixels; got 20 x 10 = 200"):
        decode(file.getvalue())
    assert decode(file.getvalue(), Decode(pixel_limit=200)).shape == (10, 20, 3)


def test_a_jpeg_of_thousands_of_scans_is_not_begun() -> None:
    file = io.BytesIO()
    fixtures_damage.picture("L", 64, 64).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rfind(b"\xff\xda")
    assert decode(data[:-2] + data[last:-2] * 20 + b"\xff\xd9").shape == (64, 64, 3)  # odd, but soon done
    with pytest.raises(MediaError, match="at most 500 scans"):
        decode(data[:-2] + data[last:-2] * 2_000 + b"\xff\xd9")
