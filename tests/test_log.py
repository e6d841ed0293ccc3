"""The log of a training: means of a pass's metrics, kept with the model, and no part of what the model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import mmfeat
from mmfeat.errors import DamagedError
from mmfeat.learner import default_batches, start, train
from mmfeat.learners import KMeans, Pca
from mmfeat.log import PassLog, as_lines, read_log
from mmfeat.model import load

ROWS = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
CHAIN = mmfeat.Chain(Pca(4), KMeans(5, passes=3, batch=128))


def test_a_pass_is_the_mean_of_its_steps() -> None:
    log = PassLog(2, "Some")
    for done, values in ((1, (1, 2.0)), (4, (2, 4.0)), (4, None), (5, (7, 0.5)), (5, None)):
        log.add({} if values is None else {"a": jnp.float32(values[0]), "b": values[1]}, done)
    assert [(row["pass"], row["steps"], row["metrics"]) for row in log.rows] == [
        (1, 4, {"a": 1.75, "b": 3.5}),  # the second metrics are means of three steps
        (2, 1, {"a": 7.0, "b": 0.5}),
    ]


def test_a_learner_without_metrics_and_numbers_that_are_none_leave_nothing() -> None:
    log = PassLog(0, "Pca")
    log.add({}, 0)
    assert log.rows == []
    log.add({"gap": float("nan"), "loss": 1.0}, 1)
    log.add({}, 1)
    assert log.rows[0]["metrics"] == {"loss": 1.0}


def test_fitting_keeps_what_training_measured() -> None:
    model = mmfeat.fit(CHAIN, ROWS)
    assert [(row["stage"], row["learner"], row["pass"], row["steps"]) for row in model.log] == [
        (1, "KMeans", number, 3) for number in (1, 2, 3)
    ]
    seen: list[Any] = []
    rows = mmfeat.Model(mmfeat.Chain(CHAIN.stages[0]), model.states[:1], model.forms[:1]).encode(ROWS)
    learner = CHAIN.stages[1]
    run = start(learner, rows)
    train(learner, run, default_batches(learner, rows), after=lambda run, metrics: seen.append(metrics))
    steps = [float(each["distortion"]) for each in seen if each]
    found = [row["metrics"]["distortion"] for row in model.log]
    np.testing.assert_allclose(found, np.reshape(steps, (3, 3)).mean(axis=1), rtol=0.02)
    assert found[2] < found[0]


def test_a_model_keeps_its_log_and_is_the_same_without(tmp_path: Path) -> None:
    model = mmfeat.fit(CHAIN, ROWS)
    folder = model.save(tmp_path / "model")
    back = load(folder)
    assert back.log == model.log
    back.save(tmp_path / "again")
    assert (tmp_path / "again" / "log.jsonl").read_bytes() == (folder / "log.jsonl").read_bytes()
    (folder / "log.jsonl").unlink()
    assert load(folder).log == ()
    assert load(folder).sha256 == model.sha256
    assert not (mmfeat.fit(Pca(2), ROWS).save(tmp_path / "pca") / "log.jsonl").exists()


@pytest.mark.parametrize(
    "line", ["{", "[]", "3", '{"stage": 1, "pass": 1}', '{"stage": 1, "pass": 1, "metrics": {"a": "x"}}']
)
def test_a_damaged_log_is_named(tmp_path: Path, line: str) -> None:
    row = {"learner": "KMeans", "metrics": {"distortion": 1.0}, "pass": 1, "stage": 0, "steps": 2}
    path = tmp_path / "log.jsonl"
    path.write_bytes(as_lines([row]) + line.encode())
    with pytest.raises(DamagedError, match="line 2"):
        read_log(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DamagedError, match=r"log\.jsonl"):
        read_log(path)
