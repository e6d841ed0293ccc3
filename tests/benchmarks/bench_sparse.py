"""Sparse codes of 12 x 12 patches and dictionary learning, beside SPAMS in float32, at equal objective."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, missing, side_by_side, speed

_SIDE, _CODED, _LEARNED, _BATCH = 12, 20_000, 100_000, 1024
_LAM = 1.2 / _SIDE


def run(work: Path) -> Iterator[Row]:
    """Codes for 256 and 1,024 atoms, then learning 256 atoms per second of CPU time."""
    x = _patches(_LEARNED)
    spams = _spams()
    if spams is None:
        yield missing("sparse codes, dictionary learning", "SPAMS is not installed (pip install spams-bin)")
        return
    for atoms in (256, 1024):
        yield _codes(spams, x, atoms)
    yield _learning(spams, x)


def _spams() -> Any:
    try:
        import spams
    except ImportError:
        return None
    return spams


def _patches(count: int) -> np.ndarray:
    """Patches (count, 144) float32 of scikit-learn's two photographs: mean 0, length 1 unless they are flat."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    pictures = [picture.mean(axis=2) for picture in load_sample_images().images]
    windows = [np.lib.stride_tricks.sliding_window_view(picture, (_SIDE, _SIDE)) for picture in pictures]
    parts = []
    for window in windows:
        places = (rng.integers(size, size=count // 2) for size in window.shape[:2])
        parts.append(window[tuple(places)].reshape(count // 2, -1))
    x = np.concatenate(parts)[rng.permutation(count // 2 * 2)].astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 10)


def _atoms(x: np.ndarray, count: int) -> np.ndarray:
    """A dictionary learned a little."""
    import jax

    from mmfeat.learner import default_batches, start, train
    from mmfeat.learners import Dictionary

    learner = Dictionary(count, lam=_LAM, passes=1, batch=_BATCH)
    run = train(learner, start(learner, x), default_batches(learner, x))
    return np.asarray(jax.device_get(run.state.phi))


def _codes(spams: Any, x: np.ndarray, atoms: int) -> Row:
    from mmfeat.learners.dictionary import Dictionary, DictionaryState

    phi, some = _atoms(x[:20_000], atoms), x[:_CODED]
    state = DictionaryState(phi, np.zeros((0, 0)), np.zeros((0, 0)), np.int32(0))
    learner, threads = Dictionary(atoms, lam=_LAM), os.cpu_count() or 1
    columns, dictionary = np.asfortranarray(some.T), np.asfortranarray(phi.T)

    def theirs() -> Any:
        return spams.lasso(columns, D=dictionary, lambda1=_LAM, mode=2, numThreads=threads)

    ours = _dense(learner.host_sparse(state, some), atoms)
    one, two = _value(some, phi, ours), _value(some, phi, np.nan_to_num(theirs().toarray().T))
    timing = side_by_side(lambda: learner.host_sparse(state, some), theirs, 5)
    note = f"objective {one:.6f} (SPAMS {two:.6f}), {(ours != 0).sum(1).mean():.0f} codes a patch"
    row = speed(f"LASSO codes, 144-d, {atoms} atoms", timing, len(some), 4, "patches/s", note)
    return dataclasses.replace(row, reached=bool(row.reached and one <= two * (1 + 1e-4)))


def _dense(sparse: tuple[np.ndarray, np.ndarray, np.ndarray], atoms: int) -> np.ndarray:
    starts, index, value = sparse
    codes = np.zeros((len(starts) - 1, atoms), np.float32)
    codes[np.repeat(np.arange(len(codes)), np.diff(starts)), index] = value
    return codes


def _value(x: np.ndarray, phi: np.ndarray, codes: np.ndarray) -> float:
    return float((0.5 * ((x - codes @ phi) ** 2).sum(1) + _LAM * np.abs(codes).sum(1)).mean())


def _learning(spams: Any, x: np.ndarray) -> Row:
    """SPAMS passes over the data as often as it takes to come to our objective, four passes at the most."""
    from mmfeat.learners.dictionary import Dictionary, DictionaryState

    new, judge, columns = _patches(4000), Dictionary(256, lam=_LAM), np.asfortranarray(x.T)

    def value(phi: np.ndarray) -> float:
        state = DictionaryState(phi, np.zeros((0, 0)), np.zeros((0, 0)), np.int32(0))
        return _value(new, phi, _dense(judge.host_sparse(state, new), 256))

    _atoms(x[:4096], 256)
    ours, phi = _cpu(lambda: _atoms(x, 256))
    aim = value(phi)
    for passes in (1, 2, 3, 4):
        steps, start = passes * len(x) // 512, np.asfortranarray(x[:256].T)
        theirs, found = _cpu(
            lambda steps=steps, start=start: spams.trainDL(
                columns, D=start, lambda1=_LAM, mode=2, iter=steps, batchsize=512, numThreads=1, verbose=False
            )
        )
        reached = value(np.asarray(found, np.float32).T)
        if reached <= aim * 1.001:
            break
    note = f"objective on other patches {aim:.5f} (SPAMS {reached:.5f} after {passes} passes); seconds of CPU time"
    good = theirs / ours >= 6 and aim <= reached * 1.001
    return Row("dictionary, 100k patches, 256 atoms", ours, theirs, theirs / ours, "≥ 6 ×", bool(good), "s", note)


def _cpu(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of CPU time of all threads, and the result."""
    began = time.process_time()
    result = function()
    return time.process_time() - began, result
