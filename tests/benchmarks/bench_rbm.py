"""A pass of an RBM, 784-500 by CD-1 in batches of 100, beside its bare products, scikit-learn and a PyTorch loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, Timing, missing, side_by_side, speed, stated

_ROWS, _VISIBLE, _HIDDEN, _BATCH = 20_000, 784, 500, 100


def run(work: Path) -> Iterator[Row]:
    """The pass beside its five products, then beside the rivals by CPU time, and what one dispatch at a time costs."""
    import jax

    from mmfeat.learner import default_batches, start, train
    from mmfeat.learners import Rbm

    x = (np.random.default_rng(0).random((_ROWS, _VISIBLE)) < 0.13).astype(np.float32)
    learner = Rbm(hidden=_HIDDEN, passes=1, batch=_BATCH)
    begun, batches = start(learner, x), default_batches(learner, x)

    def ours() -> None:
        jax.block_until_ready(train(learner, begun, batches).state)

    products = _products(x)
    name = f"RBM {_VISIBLE}-{_HIDDEN}, batch {_BATCH}"
    yield speed(f"{name}: a pass beside its bare products", side_by_side(ours, products, 7), _ROWS, 0.85, "rows/s")
    yield speed(
        f"{name}: steps alone beside them", side_by_side(_steps(learner, begun, x), products, 7), _ROWS, 0.85, "rows/s"
    )
    note = "by CPU time; its BLAS threads spin while they wait"
    yield speed(
        f"{name}: beside scikit-learn as it comes", _by_cpu(ours, _scikit_learn(x)), _ROWS, 6, "rows/CPU s", note
    )
    note = "by CPU time"
    alone = _by_cpu(ours, _on_one_thread(_scikit_learn(x)))
    yield stated(f"{name}: beside scikit-learn on one BLAS thread", alone, _ROWS, "rows/CPU s", note)
    try:
        import torch
    except ImportError:
        yield missing(f"{name}: beside a PyTorch loop", "torch is not installed here")
        return
    yield speed(f"{name}: beside a PyTorch loop", side_by_side(ours, _torch(torch, x), 5), _ROWS, 2, "rows/s")


def _products(x: np.ndarray) -> Callable[[], Any]:
    """The five products of CD-1 and nothing else, in one program: a floor under any step made of them."""
    import jax
    import jax.numpy as jnp

    weights = jnp.full((_VISIBLE, _HIDDEN), 0.01, jnp.float32)
    batches = jnp.asarray(x.reshape(-1, _BATCH, _VISIBLE))

    def once(weights: Any, v: Any) -> tuple[Any, None]:
        h = v @ weights
        back = h @ weights.T
        return weights + 1e-9 * (v.T @ h - back.T @ (back @ weights)), None

    whole = jax.jit(lambda weights, batches: jax.lax.scan(once, weights, batches)[0])
    return lambda: jax.block_until_ready(whole(weights, batches))


def _steps(learner: Any, begun: Any, x: np.ndarray) -> Callable[[], Any]:
    """The learner's own steps in one program, without the loop that reads and dispatches batches."""
    import jax
    import jax.numpy as jnp

    batches, weight = jnp.asarray(x.reshape(-1, _BATCH, _VISIBLE)), jnp.ones(_BATCH, jnp.float32)

    def once(carry: Any, v: Any) -> tuple[Any, None]:
        state, number = carry
        return (learner.step(jax.random.fold_in(begun.key, number), state, v, weight)[0], number + 1), None

    whole = jax.jit(lambda state, batches: jax.lax.scan(once, (state, jnp.uint32(0)), batches)[0])
    return lambda: jax.block_until_ready(whole(begun.state, batches))


def _scikit_learn(x: np.ndarray) -> Callable[[], Any]:
    """BernoulliRBM: persistent chains, the nearest thing it has; one pass."""
    from sklearn.neural_network import BernoulliRBM

    return lambda: BernoulliRBM(_HIDDEN, learning_rate=0.1, batch_size=_BATCH, n_iter=1, random_state=0).fit(x)


def _on_one_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    from mmfeat.host import one_blas_thread

    def limited() -> None:
        with one_blas_thread():
            function()

    return limited


def _by_cpu(ours: Callable[[], Any], rival: Callable[[], Any], rounds: int = 3) -> Timing:
    """Seconds of CPU time, in turn: wall time would compare two cores with one."""
    ours(), rival()
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for place, function in enumerate((ours, rival)):
            began = time.process_time()
            function()
            times[place].append(time.process_time() - began)
    ratios = [b / a for a, b in zip(*times, strict=True)]
    return Timing(float(np.median(times[0])), float(np.median(times[1])), float(np.median(ratios)))


def _torch(torch: Any, x: np.ndarray) -> Callable[[], Any]:
    """The same step as everybody writes it."""
    rows = torch.from_numpy(x)

    def loop() -> None:
        W = torch.randn(_VISIBLE, _HIDDEN) * 0.1
        b, a = torch.zeros(_VISIBLE), torch.zeros(_HIDDEN)
        velocity = [torch.zeros_like(each) for each in (W, b, a)]
        order = torch.randperm(len(rows))
        for first in range(0, len(rows), _BATCH):
            v = rows[order[first : first + _BATCH]]
            h = torch.sigmoid(v @ W + a)
            back = torch.sigmoid(torch.bernoulli(h) @ W.T + b)
            again = torch.sigmoid(back @ W + a)
            slopes = ((v.T @ h - back.T @ again) / _BATCH - 2e-4 * W, (v - back).mean(0), (h - again).mean(0))
            for parameter, speed_of, slope in zip((W, b, a), velocity, slopes, strict=True):
                speed_of.mul_(0.5).add_(slope, alpha=0.1)
                parameter.add_(speed_of)

    return loop
