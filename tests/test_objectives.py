"""Losses and penalties against float64 NumPy, finite differences, brute-force Jacobians and score matching."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from scipy.special import expit, log_softmax
from sklearn.datasets import load_digits

from mmfeat.learner import default_batches, start, train
from mmfeat.learners.autoencoder import Autoencoder, AutoencoderState
from mmfeat.mesh import make_mesh, on_host

KEY = jax.random.key(0)
ONE_LAYER: dict[str, Any] = {"hidden": (), "code": 3, "passes": 1}


def first(learner: Autoencoder, x: np.ndarray) -> AutoencoderState:
    return jax.jit(learner.init)(KEY, x)


def fit(learner: Autoencoder, x: np.ndarray) -> AutoencoderState:
    mesh = make_mesh(1, devices=jax.devices()[:1])
    return train(learner, start(learner, x, mesh), default_batches(learner, x, mesh=mesh), mesh).state


def rows(count: int = 40, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


LOSSES = {
    "absolute": lambda x, z: np.abs(x - z),
    "cross_entropy": lambda x, z: -x * np.log(expit(z)) - (1 - x) * np.log(1 - expit(z)),
    "huber": lambda x, z: np.where(np.abs(x - z) < 1, np.square(x - z) / 2, np.abs(x - z) - 0.5),
    "logistic": lambda x, z: np.log1p(np.exp(-x * z)),
    "softmax": lambda x, z: -x / x.sum(1, keepdims=True) * log_softmax(z, axis=1),
    "squared": lambda x, z: np.square(x - z),
}


def by_numpy(learner: Autoencoder, params: Any, x: np.ndarray, weight: np.ndarray) -> float:
    """The objective of a tanh net with a sigmoid code, in float64, written down once more."""
    contraction = learner.contraction and learner.contraction * float(weight @ steepness(learner, params, x))
    encoder, decoder, last = params["encoder"], params["decoder"], len(learner.hidden)
    h = x
    for i in range(last + 1):
        h = h @ encoder[f"layer{i}"]["kernel"] + encoder[f"layer{i}"]["bias"]
        h = np.tanh(h) if i < last else expit(h)
    activity = np.abs(h).sum(1)
    if learner.sparse == "kl":
        share, mean = learner.target, weight @ h / weight.sum()
        activity = (share * np.log(share / mean) + (1 - share) * np.log((1 - share) / (1 - mean))).sum()
    for i in range(last + 1):
        kernel = encoder[f"layer{last - i}"]["kernel"].T if learner.tied else decoder[f"layer{i}"]["kernel"]
        h = h @ kernel + decoder[f"layer{i}"]["bias"]
        h = np.tanh(h) if i < last else h
    loss = LOSSES[learner.loss](x, h).sum(1)
    return float(weight @ (loss + learner.sparsity * activity) + contraction) / float(weight.sum())


def steepness(learner: Autoencoder, params: Any, x: np.ndarray) -> np.ndarray:
    """‖∂h/∂x‖² of every row by the chain rule, layer after layer, in float64."""
    h, jacobian = x, np.broadcast_to(np.eye(x.shape[1]), (len(x), x.shape[1], x.shape[1]))
    for i in range(len(learner.hidden) + 1):
        layer = params["encoder"][f"layer{i}"]
        h = h @ layer["kernel"] + layer["bias"]
        h = np.tanh(h) if i < len(learner.hidden) else expit(h)
        slope = 1 - h**2 if i < len(learner.hidden) else h * (1 - h)
        jacobian = slope[:, :, None] * np.einsum("ij,njd->nid", layer["kernel"].T, jacobian)
    return np.square(jacobian).sum((1, 2))


CASES: dict[str, dict[str, Any]] = {
    "sparse": {"sparsity": 0.3},
    "tied": {"sparsity": 0.3, "tied": True},
    "active as often as asked": {"sparsity": 0.7, "sparse": "kl", "target": 0.2},
    "contractive": {"hidden": (), "contraction": 0.4},
    **{loss: {"loss": loss} for loss in ("absolute", "cross_entropy", "huber", "logistic", "softmax")},
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_the_finite_difference(case: str) -> None:
    learner = Autoencoder(**{"hidden": (4,), "code": 3, "kind": "sigmoid", "activation": "tanh", **CASES[case]})
    x, weight = rows(6), np.array([1, 1, 0, 2, 1, 0], np.float32)
    x = {"logistic": np.sign(x), "softmax": np.abs(x), "cross_entropy": expit(x)}.get(learner.loss, x)
    params = on_host(first(learner, x).params)
    value, slope = jax.jit(jax.value_and_grad(lambda p: learner.objective(p, KEY, x, weight)[0]))(params)
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
    assert float(value) == pytest.approx(by_numpy(learner, params, x, weight), rel=1e-5)
    for leaf, found in zip(jax.tree.leaves(params), jax.tree.leaves(slope), strict=True):
        for place in np.ndindex(leaf.shape):
            kept, sides = leaf[place], []
            for shift in (1e-5, -1e-5):
                leaf[place] = kept + shift
                sides.append(by_numpy(learner, params, x, weight))
            leaf[place] = kept
            assert float(found[place]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-3, abs=1e-4)


LINKS = {
    "cross_entropy": expit,
    "logistic": lambda z: 2 * expit(z) - 1,
    "softmax": lambda z: np.exp(log_softmax(z, axis=1)),
}


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_and_link_is_its_formula(loss: str) -> None:
    learner = Autoencoder(loss=loss, **ONE_LAYER)
    x = {"logistic": np.sign(rows()), "softmax": np.abs(rows())}.get(loss, np.clip(rows(), 0, 1) * 3)
    x = np.clip(x, 0, 1) if loss == "cross_entropy" else x
    state = first(learner, x)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) * 3, state.params)
    z = x @ params["encoder"]["layer0"]["kernel"] @ params["decoder"]["layer0"]["kernel"]
    state = state._replace(params=jax.tree.map(lambda leaf: leaf.astype(np.float32), params))
    value = learner.objective(state.params, KEY, x, np.ones(len(x), np.float32))[0]
    assert float(value) == pytest.approx(LOSSES[loss](x, z).sum(1).mean(), rel=1e-5)
    np.testing.assert_allclose(jax.jit(learner.reconstruct)(state, x), LINKS.get(loss, lambda z: z)(z), atol=2e-5)


def test_cross_entropy_survives_certainty_and_rows_beyond_its_range() -> None:
    learner = Autoencoder(loss="cross_entropy", **ONE_LAYER)
    x = 1e4 * rows()
    value, slope = jax.value_and_grad(lambda p: learner.objective(p, KEY, x, np.ones(len(x), np.float32))[0])(
        first(learner, x).params
    )
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_the_jacobians_norm_is_that_of_brute_force() -> None:
    x, weight = rows(20), np.full(20, 2, np.float32)
    for hidden, kind, draws in (((), "sigmoid", 1), ((), "linear", 1), ((6, 4), "sigmoid", 2000)):
        learner = Autoencoder(hidden, 3, kind, "tanh", contraction=2.0)
        state = first(learner, x)
        jacobian = jax.vmap(jax.jacfwd(lambda row: learner.encode(state, row[None])[0]))(x)  # noqa: B023 - called here
        exact = float(np.square(np.asarray(jacobian, np.float64)).sum((1, 2)).mean())
        one = jax.jit(jax.vmap(lambda key: learner.objective(state.params, key, x, weight), 0))  # noqa: B023
        values, (_, _, parts) = one(jax.random.split(KEY, draws))
        seen = np.asarray(parts["steepness"], np.float64)
        error = 4 * seen.std() / draws**0.5
        assert seen.mean() == pytest.approx(exact, rel=1e-5, abs=error)
        assert 0 <= error < 0.05 * exact
        np.testing.assert_allclose(values, parts["loss"] + 2 * parts["steepness"], rtol=1e-5)


def test_more_contraction_is_a_flatter_code() -> None:
    x = load_digits().data.astype(np.float32) / 16
    look, ends = Autoencoder((), 16, "sigmoid", contraction=1.0), []
    for weight in (0.0, 3.0):
        learner = Autoencoder((), 16, "sigmoid", learning_rate=1e-2, passes=4, batch=300, contraction=weight)
        state = fit(learner, x)
        ends.append(float(look.objective(state.params, KEY, x, np.ones(len(x), np.float32))[1][2]["steepness"]))
    assert ends == sorted(ends, reverse=True), ends
    assert ends[-1] < 0.5 * ends[0]


def test_sparse_kl_brings_units_to_their_target() -> None:
    x = load_digits().data.astype(np.float32) / 16
    learner = Autoencoder((), 16, "sigmoid", sparsity=20.0, sparse="kl", target=0.1, passes=15, batch=50)
    np.testing.assert_allclose(np.asarray(jax.jit(learner.encode)(fit(learner, x), x)).mean(0), 0.1, atol=0.05)


def test_the_denoising_gradient_is_that_of_score_matching() -> None:
    # Vincent 2011: p(x) ~ exp(-E), E = [|x|²/2 - <c, x> - Σ_j softplus(<w_j, x> + b_j)] / s²; the score of noisy rows, -∂E/∂x,
    # is matched to that of the noise, (clean - noisy) / s²: pair by pair, s⁴ times that is half the denoising loss.
    deviation, learner = 0.7, Autoencoder((), 3, "sigmoid", tied=True, corruption=0.7, corrupt="gaussian", passes=1)
    x = rows(30)
    noisy = x + deviation * jax.random.normal(jax.random.fold_in(KEY, 0), x.shape)
    params = jax.tree.map(lambda leaf: leaf + 0.1, first(learner, x).params)

    def score(params: Any, row: Any) -> Any:
        def energy(row: Any) -> Any:
            hidden = row @ params["encoder"]["layer0"]["kernel"] + params["encoder"]["layer0"]["bias"]
            visible = row @ row / 2 - row @ params["decoder"]["layer0"]["bias"]
            return (visible - jax.nn.softplus(hidden).sum()) / deviation**2

        return -jax.grad(energy)(row)

    def matching(params: Any) -> Any:
        scores = jax.vmap(lambda row: score(params, row))(noisy)
        return 0.5 * jax.numpy.square(scores - (x - noisy) / deviation**2).sum(1).mean()

    def implicit(params: Any, points: Any) -> Any:  # Hyvärinen 2005: nothing but the model's score
        def one(row: Any) -> Any:
            found = score(params, row)
            return 0.5 * found @ found + jax.numpy.trace(jax.jacfwd(lambda row: score(params, row))(row))

        return jax.vmap(one)(points).mean()

    denoising = jax.jit(jax.grad(lambda p, x: learner.objective(p, KEY, x, np.ones(len(x), np.float32))[0]))
    flat = lambda tree, scale: scale * np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])  # noqa: E731
    factor = 1 / (2 * deviation**4)
    np.testing.assert_allclose(
        flat(denoising(params, x), factor), flat(jax.jit(jax.grad(matching))(params), 1), rtol=1e-4, atol=1e-5
    )
    # and in expectation over the noise it is score matching of the data's density, smoothed by the noise
    many = np.repeat(x[:4], 40_000, axis=0)
    points = many + deviation * np.random.default_rng(0).normal(size=many.shape).astype(np.float32)
    one, two = flat(denoising(params, many), factor), flat(jax.jit(jax.grad(implicit))(params, points), 1)
    assert np.linalg.norm(one - two) < 0.02 * np.linalg.norm(two)
