"""`make soak`: jobs are killed (SIGKILL) at random instants, 200 times, and 600 bits are flipped; nothing may be lost.
At the end 2,000 damaged pictures are decoded, in a process of their own.

After each kill the index must open, hold one of the states it went through, and be whole to `verify`; the same job again must
end with the same bytes as one that was never disturbed. The seed is printed: the instants differ from run to run.

No process may end otherwise than well or killed: one that aborts by itself (SIGABRT, SIGSEGV) ends the soak.

    python tests/soak.py [--kills 200] [--flips 600] [--damaged 2000] [--seed N] [--folder WORK]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent)]

from fixtures_faults import tree  # noqa: E402 - after the path
from fixtures_pictures import crops, write_folder  # noqa: E402

from mmfeat.indexes import Index, create, open_index, verify_index  # noqa: E402

CHANGES = int(os.environ.get("SOAK_CHANGES", "25"))
UNREAD = ("card.md", "log.jsonl")  # of a model outside an index: for people, nothing is read from them


def changes(path: Path) -> None:
    """Many small changes of one index, from where it stands: generation g is always made by change g."""
    index = open_index(path) if (path / "current.json").exists() else create(path, dim=16)
    while index.generation <= CHANGES:
        one_change(index)


def one_change(index: Index) -> None:
    rng = np.random.default_rng(index.generation)
    if index.generation % 7 == 0:
        index.compact(4)
        return
    there = index.ids.to_pylist()
    ids = [f"n{i}" for i in rng.choice(40, 8, replace=False)]
    gone = [one for one in there if one not in ids and rng.random() < 0.2]
    page = {"page": rng.bytes(2000)}
    index.change(ids, rng.integers(0, 256, (8, 2), dtype=np.uint8), remove=gone, extras=page)


def build(path: Path) -> None:
    """Index the pictures beside `path` with the model beside it."""
    from mmfeat.model import load
    from mmfeat.pipelines import building

    building.FIRST = 8
    building.build_index(path.parent / "photos", path, model=load(path.parent / "model"))


def update(path: Path) -> None:
    """Bring an index up to its folder, which has changed."""
    from mmfeat.pipelines import building
    from mmfeat.pipelines.updating import update_index

    building.FIRST = 4
    update_index(path)


def compact(path: Path) -> None:
    """Merge what an update left, and forget everything else."""
    from mmfeat.pipelines.updating import compact_index

    compact_index(path, 1)


def extract(path: Path) -> None:
    """Write the features of the pictures."""
    from mmfeat.media.walk import walk
    from mmfeat.model import load
    from mmfeat.pipelines import extracting

    extracting.PART = 8
    extracting.extract(load(path.parent / "model"), walk(path.parent / "photos"), path)


JOBS: dict[str, Callable[[Path], None]] = {
    "changes": changes, "build": build, "update": update, "compact": compact, "extract": extract,
}  # fmt: skip


def work(job: str, path: Path) -> None:
    """What a process that may be killed does: get ready, say so, wait for a line, do the job."""
    if job != "changes":
        import mmfeat.model
        import mmfeat.pipelines.extracting
        import mmfeat.pipelines.updating  # noqa: F401
    print("ready", flush=True)
    sys.stdin.readline()
    JOBS[job](path)
    print("done", flush=True)


def start(job: str, path: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    words = [sys.executable, str(HERE / "soak.py"), "--work", job, "--folder", str(path)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def essence(path: Path) -> dict[str, object]:
    """All that a folder says, in bytes, whatever numbers its generations have."""
    if not (path / "current.json").exists():
        return dict(tree(path))
    index = open_index(path)
    ids = index.ids.to_pylist()
    rows = [index.row_of(one) for one in ids]
    segments = [
        (path / name).read_bytes() for piece in index.snapshot.manifest.segments for name in sorted(piece.files)
    ]
    extras = {
        name: tree(index.extra(name)) or index.extra(name).read_bytes() for name in index.extras if "items-" not in name
    }
    return {"ids": ids, "codes": index.codes_at(rows).tobytes(), "extras": extras, "segments": segments}


class Soak:
    """One job, prepared once: where it starts, how long it takes, what it leads to."""

    def __init__(self, job: str, folder: Path) -> None:
        self.job, self.folder = job, folder
        self.begin = folder / f"begin {job}"
        self.run(folder / f"whole {job}")  # compiles what is kept compiled
        shutil.rmtree(folder / f"whole {job}")
        self.seconds = self.run(folder / f"whole {job}")
        self.expected = essence(folder / f"whole {job}")
        self.states = self.all_states() if job == "changes" else {}

    def copy(self, path: Path) -> Path:
        return shutil.copytree(self.begin, path) if self.begin.exists() else path

    def run(self, path: Path) -> float:
        """Undisturbed, in a process of its own; how long it took."""
        with start(self.job, self.copy(path)) as process:
            begun = time.monotonic()
            go(process)
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
            seconds = time.monotonic() - begun
        assert process.returncode == 0, f"{self.job} ended with {process.returncode}"
        return seconds

    def all_states(self) -> dict[int, object]:
        index, states = create(self.folder / "steps", dim=16), {}
        while index.generation <= CHANGES:
            states[index.generation] = essence(index.path)
            one_change(index)
        return {**states, index.generation: essence(index.path)}

    def kill(self, rng: np.random.Generator) -> str:
        """Kill it once, look, do it again; says what was found."""
        path = self.copy(self.folder / f"killed {self.job}")
        with start(self.job, path) as process:
            go(process)
            time.sleep(rng.random() * self.seconds * 1.05)
            process.kill()
        assert process.returncode in (0, -signal.SIGKILL), f"{self.job} ended by itself with {process.returncode}"
        found = "nothing yet"
        if path.exists() and tree(path):
            whole = self.job == "extract" or (path / "current.json").exists()  # an index without it is begun again
            found = "done" if whole and essence(path) == self.expected else "part of it"
        if (path / "current.json").exists():
            assert verify_index(path) == []
            assert not self.states or essence(path) == self.states[open_index(path).generation]
        if found != "done":
            JOBS[self.job](path)
        assert essence(path) == self.expected
        assert self.job == "extract" or verify_index(path) == []
        shutil.rmtree(path)
        return found


def prepare(folder: Path) -> None:
    """A model, pictures, an index of them, and the pictures changed."""
    import mmfeat
    from mmfeat.pipelines.updating import update_index

    photos = write_folder(folder / "photos", 30, side=48)
    mmfeat.fit("pixel-codes", photos, settings={"side": 8, "bits": 24}).save(folder / "model")
    build(folder / "begin update")
    for number, (_, pixels) in enumerate(crops(12, side=48, seed=5)):
        from PIL import Image

        Image.fromarray(pixels).save(photos / "china" / f"crop {2 * number:03}.jpg")
    (photos / "flower" / "crop 001.jpg").unlink()
    shutil.copytree(folder / "begin update", folder / "begin compact")
    update_index(folder / "begin compact")


def flip(
    root: Path, count: int, rng: np.random.Generator, named: Callable[[Path], bool], but: tuple[str, ...] = ()
) -> int:
    """Flip single bits of the files below a folder; how many were not named."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size and path.name not in but)
    missed = 0
    for _ in range(count):
        path = files[rng.integers(len(files))]
        whole = path.read_bytes()
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        if not named(path):
            missed += 1
            print(f"not named: {path.relative_to(root)}", flush=True)
        path.write_bytes(whole)
    return missed


def named_by_verify(root: Path, path: Path) -> bool:
    return [problem.split(":")[0] for problem in verify_index(root)] == [path.relative_to(root).as_posix()]


def named_by_load(root: Path, path: Path) -> bool:
    from mmfeat.errors import MmfeatError
    from mmfeat.model import load

    try:
        load(root)
    except MmfeatError as error:
        return path.name in str(error) or path.name == "model.json"  # its first words may be what is damaged
    return False


def main() -> None:
    """Run it all; exit 1 where something was lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=600)
    parser.add_argument("--damaged", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--work")
    given = parser.parse_args()
    if given.work:
        work(given.work, given.folder)
        return
    with tempfile.TemporaryDirectory(prefix="mmfeat-soak-", dir=given.folder) as name:
        os.environ["XDG_CACHE_HOME"] = str(Path(name) / "cache")
        soak(Path(name), given.kills, given.flips, given.damaged, given.seed)


def decode_damaged(count: int, seed: int) -> bool:
    """Whether so many damaged pictures each ended as done or failed, none by half, in a process that lived."""
    words = [sys.executable, str(HERE / "fixtures_damage.py"), str(count), str(seed % 1000)]
    ended = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    said = ended.stdout.strip().rpartition("\n")[2]
    print(f"{count} damaged pictures: exit code {ended.returncode}, {said}", flush=True)
    return ended.returncode == 0 and json.loads(said)["odd"] == []


def soak(folder: Path, kills: int, flips: int, damaged: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    print(f"seed {seed}", flush=True)
    prepare(folder)
    for number, job in enumerate(JOBS):
        prepared, found = Soak(job, folder), Counter[str]()
        for _ in range(kills * (number + 1) // len(JOBS) - kills * number // len(JOBS)):
            found[prepared.kill(rng)] += 1
        said = ", ".join(f"{count} left {what}" for what, count in sorted(found.items()))
        print(f"{job}: {sum(found.values())} kills within {prepared.seconds:.2f} s: {said}; nothing lost", flush=True)
    index = folder / "whole update"
    model = folder / "model"
    missed = flip(index, flips // 2, rng, lambda path: named_by_verify(index, path))
    missed += flip(model, flips - flips // 2, rng, lambda path: named_by_load(model, path), UNREAD)
    print(f"{flips} bits flipped in an index and a model: {flips - missed} named", flush=True)
    well = decode_damaged(damaged, seed)
    sys.exit(1 if missed or not well else 0)


if __name__ == "__main__":
    main()
