"""A fit that goes on where it was killed: the last finished pass of every learner of a chain, kept until the model is written.

    folder/identity.json    what is learned, from what, and with what: another identity begins anew
    folder/learner-3.kept   the third learner that is trained: a sha256, then safetensors: the leaves of its state by name,
                            the steps and passes done, the rows of its log
    folder/features.model   of a longer job: the model whose learners these were, whole; and
    folder/features/        what it has encoded, in parts (`mmfeat.pipelines.kept_features`)

Samples are read and encoded again, learning goes on at the pass after the last that was kept; the law that a run continued
anywhere ends in the same bits (`mmfeat.learner.train`) makes the model the same to the bit. Every file is written whole or not
at all; one that is damaged counts as absent. Runs of several processes keep nothing: `mmfeat.checkpoint` is for these.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmfeat.errors import UsageError
from mmfeat.files import canonical_json, hold_lock, sha256_bytes, write_bytes
from mmfeat.learner import Run
from mmfeat.log import PassLog
from mmfeat.mesh import leaf_names, on_host

__all__ = ["FEATURES", "MODEL", "Kept", "forget", "keeping", "something_kept"]

IDENTITY, MODEL, FEATURES = "identity.json", "features.model", "features"
_SECONDS = 20.0  # between two passes of a learner that are kept; its last one always is


@contextmanager
def keeping(folder: str | os.PathLike[str] | None, identity: Mapping[str, Any]) -> Iterator[Kept | None]:
    """What a fit keeps in this folder while the block runs; None keeps nothing.

    `Kept.clear`, or `forget` after the block, takes the folder away when the model is written; where nothing was kept it goes by
    itself.

    identity: JSON of all that the result depends on. UsageError: the folder is none of a fit. BusyError: another fit is there.
    """
    if folder is None or jax.process_count() > 1:
        yield None
        return
    root = Path(folder)
    if root.exists() and (not root.is_dir() or not _ours(root)):
        raise UsageError(
            "a fit keeps its passes in a folder of its own", f"{root}, which holds something else", "move it"
        )
    root.mkdir(parents=True, exist_ok=True)
    with hold_lock(root / "lock"):
        data = canonical_json(identity)
        there = root / IDENTITY
        if not there.is_file() or there.read_bytes() != data:
            _empty(root)
            write_bytes(there, data)
        try:
            yield Kept(root)
        finally:
            if not something_kept(root):
                shutil.rmtree(root, ignore_errors=True)  # nothing came of it


def something_kept(root: Path) -> bool:
    """Whether the same command would go on from what is in this folder."""
    return any(root.glob("*.kept")) or any((root / name).exists() for name in (MODEL, FEATURES))


def forget(folder: str | os.PathLike[str]) -> None:
    """The model is written: what was kept in this folder goes, if it is one of a fit."""
    root = Path(folder)
    if root.is_dir() and _ours(root):
        shutil.rmtree(root, ignore_errors=True)


def _empty(root: Path) -> None:
    """Take away what was kept for another identity."""
    for path in root.glob("*.kept"):
        path.unlink()
    for name in (MODEL, FEATURES):
        if (root / name).exists():
            shutil.rmtree(root / name)


def _ours(root: Path) -> bool:
    names = (IDENTITY, "lock", MODEL, FEATURES)
    return all(path.name in names or path.suffix in (".kept", ".tmp") for path in root.iterdir())


class Kept:
    """The learners of one fit, by the order in which they are trained."""

    def __init__(self, root: Path, seconds: float = _SECONDS) -> None:
        self.root, self.seconds, self.number = root, seconds, 0
        self._time = time.monotonic()

    def next(self, run: Run, passes: PassLog) -> Run:
        """The next learner begins: its new run, or the one that was kept, and `passes` as it was then."""
        self.number += 1
        self._time = time.monotonic()
        found = self._read()
        if found is None:
            return run
        note, tensors = found
        names, leaves = leaf_names(run.state), jax.tree.leaves(run.state)
        forms = {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in zip(names, leaves, strict=True)}
        if forms != {name: (leaf.shape, str(leaf.dtype)) for name, leaf in tensors.items()}:
            return run
        passes.resume(note["rows"], note["step"])
        state = jax.tree.unflatten(jax.tree.structure(run.state), [tensors[name] for name in names])
        return run._replace(step=note["step"], passes=note["passes"], state=state)

    def pass_done(self, run: Run, passes: PassLog, last: int) -> None:
        """A pass has ended: keep it if it is the learner's `last`, or if the last that was kept is long ago."""
        if run.passes < last and time.monotonic() - self._time < self.seconds:
            return
        from safetensors.numpy import save

        leaves = jax.tree.leaves(on_host(run.state))
        tensors = {name: np.asarray(leaf, order="C") for name, leaf in zip(leaf_names(run.state), leaves, strict=True)}
        note = {"step": run.step, "passes": run.passes, "rows": list(passes.rows)}
        data = save(tensors, metadata={"note": json.dumps(note)})
        write_bytes(self._path, sha256_bytes(data).encode() + b"\n" + data)
        self._time = time.monotonic()

    def clear(self) -> None:
        """The model is written: what was kept goes."""
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def _path(self) -> Path:
        return self.root / f"learner-{self.number}.kept"

    def _read(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """The note and the leaves that were kept of this learner; None where nothing is, or nothing whole."""
        try:
            checksum, _, data = self._path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        if sha256_bytes(data).encode() != checksum:
            return None
        from safetensors.numpy import load

        size = int.from_bytes(data[:8], "little")
        return json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["note"]), load(data)
