"""What the README shows works: its commands have the options it uses, its Python runs, its tables name what there is."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mmfeat
from mmfeat import registry

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [re.split(r"\s# ", line)[0].strip() for line in re.findall(r"^    (mmfeat .*)$", README, re.MULTILINE)]
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_a_command_has_what_it_is_shown_with(command: str) -> None:
    from typer.testing import CliRunner

    from mmfeat.cli.main import app

    words = shlex.split(command)[1:]
    groups = {"index", "evaluate", "classify"}
    path = words[:2] if words[0] in groups else words[:1]
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for word in words[len(path) :]:
        if word.startswith("-"):
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", shown.output), f"{word} is no option of {path}"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty pictures of random blocks in `photos/`, one of them as `query.jpg`, in the current folder."""
    from PIL import Image

    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(40):
        blocks = draw.integers(0, 256, (12, 16, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray(blocks).save(tmp_path / "photos" / f"{number:02}.jpg", quality=92)
    (tmp_path / "query.jpg").write_bytes((tmp_path / "photos" / "07.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


@pytest.mark.usefixtures("photos")
def test_the_chain_of_the_second_block_learns() -> None:
    found: dict[str, object] = {}
    exec(compile(BLOCKS[1], "README.md", "exec"), found)
    codes = found["model"].encode_bits("photos/")  # type: ignore[attr-defined]
    assert (codes.shape, codes.dtype) == ((40, 8), np.uint8)
    assert len(np.unique(codes, axis=0)) > 30


@pytest.mark.skipif(
    not os.environ.get("MMFEAT_CHECK_ALL"), reason="make check-all gives all commands one after another"
)
def test_the_commands_work_in_their_order(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On forty pictures and a thousand vectors; of the index types some small ones are compared."""
    from fixtures_command import run

    from mmfeat.pipelines import choosing

    kinds = [("float", "float-flat", 0), ("SQ8", "float:SQ8", 0), ("random", "float:LSH64r", 8)]
    monkeypatch.setattr(choosing, "contenders", lambda dim, sizes: kinds)
    for name in ("other", "large", "more"):
        (photos.parent / name).mkdir()
        for number in range(6):
            data = (photos / f"{number:02}.jpg").read_bytes()
            (photos.parent / name / f"{name} {number}.jpg").write_bytes(data)
    for name in ("train", "test"):
        for number in range(12):
            (photos.parent / name / f"{number % 2}").mkdir(parents=True, exist_ok=True)
            picture = photos.parent / name / f"{number % 2}" / f"{number}.jpg"
            picture.write_bytes((photos / f"{number:02}.jpg").read_bytes())
    for name in ("one.jpg", "two.jpg"):
        (photos.parent / name).write_bytes((photos / "09.jpg").read_bytes())
    np.save("vectors.npy", np.random.default_rng(0).normal(size=(1200, 128)).astype(np.float32))
    Path("ids.txt").write_text("".join(f"v{number}\n" for number in range(1200)))
    Path("labels.csv").write_text("id,label\n" + "".join(f"{number:02}.jpg,{number % 2}\n" for number in range(40)))
    for name, bits in (("short", 16), ("long", 32)):
        words = ("index", "build", "photos", "-o", f"{name}.index", "--recipe", "pixel-codes", "--set", f"bits={bits}")
        assert run(monkeypatch, capsys, *words)[0] == 0
    for command in COMMANDS:
        words = [word.replace("1/4", "1/1") for word in shlex.split(command)[1:]]
        if words[:2] in (["index", "build"], ["evaluate", "retrieval"]) and "photos.index" in words:
            words += ["--labels", "labels.csv"] + (["--overwrite"] if "-o" in words else [])
        code, _, err = run(monkeypatch, capsys, *words)
        assert code == 0, f"{command}: {err}"


@pytest.mark.skipif(not os.environ.get("MMFEAT_CHECK_ALL"), reason="make check-all runs the default recipe here")
@pytest.mark.usefixtures("photos")
def test_the_first_block_finds_the_query() -> None:
    """In a program of its own, with one device, as a user runs it."""
    home = str(Path(str(mmfeat.__file__)).resolve().parent.parent)
    build = "from mmfeat.pipelines.building import build_index; build_index(['photos'], 'photos.index')\n"
    ran = subprocess.run(
        [sys.executable, "-c", build + BLOCKS[0]],
        env={**os.environ, "PYTHONPATH": home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split()[-2:] == ["07.jpg", "0"]


def test_the_tables_name_what_there_is() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", README, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    named = {"ItqRotation" if name == "itq_hash" else name for name in named}
    assert named == {cls.__name__ for cls in registry.learners().values()}
    for kind, found in (("Descriptors", registry.descriptors()), ("Recipes", registry.recipes())):
        line = re.search(rf"{kind}: (.*?)\. ", README, re.DOTALL)
        assert line is not None
        known = {cls.__name__ for cls in found.values()} if kind == "Descriptors" else set(map(registry.hyphens, found))
        assert set(re.findall(r"`([\w-]+)`", line[1])) == known


def test_links_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text("utf-8")):
            assert (ROOT / target).exists(), f"{page} links to {target}"
