"""Anchor graphs against a plain loop in float64, and on groups that no straight line parts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.datasets import make_moons

from mmfeat.errors import SettingsError
from mmfeat.learner import Run, default_batches, start, train, transform
from mmfeat.learners.anchor_graph import AnchorGraph
from mmfeat.learners.kmeans import KMeans
from mmfeat.mesh import on_host

SMALL = AnchorGraph(KMeans(12, passes=4, batch=64), neighbours=3, steps=5)


def learned(learner: AnchorGraph, x: np.ndarray) -> Run:
    """The learner after its passes over the rows x."""
    return train(learner, start(learner, x, seed=1), default_batches(learner, x, seed=1))


def shares(x: np.ndarray, anchors: np.ndarray, neighbours: int, spread: float) -> np.ndarray:
    """Z, row by row."""
    z = np.zeros((len(x), len(anchors)))
    for i, row in enumerate(x.astype(np.float64)):
        distance = ((row - anchors) ** 2).sum(axis=1)
        for k in np.argsort(distance)[:neighbours]:
            z[i, k] = np.exp(-distance[k] / (2 * spread))
    return z / z.sum(axis=1, keepdims=True)


def test_it_is_the_walk_of_the_papers() -> None:
    x = np.random.default_rng(0).normal(size=(150, 4)).astype(np.float32) + 2
    run = learned(SMALL, x)
    state = on_host(run.state)
    anchors = state.codebook.means.astype(np.float64)
    z = shares(x, anchors, 3, float(state.spread))
    places = anchors
    for _ in range(5):  # one step: from each anchor to the data by Z's columns, and on to anchors by its rows
        there = z / z.sum(axis=0)[None, :]
        places = np.array([sum(there[i, k] * (z[i] @ places) for i in range(150)) for k in range(12)])
    np.testing.assert_allclose(state.places, places, atol=1e-5)
    np.testing.assert_allclose(transform(SMALL, run, x), z @ places, atol=1e-5)
    new = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32) + 2
    np.testing.assert_allclose(
        transform(SMALL, run, new), shares(new, anchors, 3, float(state.spread)) @ places, atol=1e-5
    )


def test_the_scale_is_the_distance_to_the_nearest_anchor() -> None:
    x = np.random.default_rng(2).normal(size=(200, 3)).astype(np.float32)
    before = learned(dataclasses.replace(SMALL.codebook, passes=3), x)  # the last pass measured by these means
    distance = ((x[:, None] - on_host(before.state).means[None]) ** 2).sum(axis=2).min(axis=1)
    assert float(learned(SMALL, x).state.spread) == pytest.approx(distance.mean(), rel=0.2)


def test_without_steps_rows_are_where_their_anchors_are() -> None:
    x = np.random.default_rng(3).normal(size=(100, 3)).astype(np.float32)
    one = AnchorGraph(KMeans(8, passes=3), neighbours=1, steps=0)
    run = learned(one, x)
    means = on_host(run.state).codebook.means
    nearest = ((x[:, None] - means[None]) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_allclose(transform(one, run, x), means[nearest], atol=1e-6)


def test_moons_contract_and_part() -> None:
    x, moon = make_moons(600, noise=0.05, random_state=0)
    walk = AnchorGraph(KMeans(60, passes=8), neighbours=3, steps=1024)
    x = x.astype(np.float32)
    new, truth = make_moons(200, noise=0.05, random_state=1)
    codes = transform(walk, learned(walk, x), new.astype(np.float32))

    def apart(rows: np.ndarray) -> float:
        middle = [rows[truth == kind].mean(axis=0) for kind in (0, 1)]
        within = np.sqrt(sum(((rows[truth == kind] - middle[kind]) ** 2).sum() for kind in (0, 1)) / len(rows))
        return float(np.linalg.norm(middle[0] - middle[1]) / within)

    assert moon.sum() == 300
    assert apart(codes) > 3 * apart(new)
    plane = (codes - codes.mean(axis=0)) @ np.linalg.svd(codes - codes.mean(axis=0))[2][0]
    agree = ((plane > 0) == (truth == 1)).mean()
    assert max(agree, 1 - agree) > 0.99  # the sign of one component tells the moons apart


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"neighbours": 0}, {"neighbours": 13}, {"steps": -1}, {"width": 0.0}):
        with pytest.raises(SettingsError, match="neighbour"):
            dataclasses.replace(SMALL, **wrong)


def test_something_of_the_row_may_be_kept() -> None:
    x = np.random.default_rng(0).normal(size=(150, 4)).astype(np.float32) + 2
    run = learned(SMALL, x)
    walked = transform(SMALL, run, x)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, walked)]
    np.testing.assert_allclose(
        transform(dataclasses.replace(SMALL, keep=0.5), run, x), 0.5 * unit[0] + unit[1], atol=1e-5
    )
