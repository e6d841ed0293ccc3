"""One process of a training run: `python fixtures_worker.py NUMBER PROCESSES PORT FOLDER`. Started by test_two_processes.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

ROWS, WIDTH, BATCH, DEVICES = (
    130,
    12,
    32,
    2,
)  # the last batch of a pass has 2 rows: the second process gets padding alone


def learners() -> dict[str, Any]:
    """Sums, closed form, a network with draws, a full batch."""
    from mmfeat.learners import Autoencoder, ItqRotation, Lsh, Pca

    network = Autoencoder(hidden=(6,), code=4, corruption=0.2, passes=3)
    return {"lsh": Lsh(6), "pca": Pca(5), "itq": ItqRotation(passes=12), "autoencoder": network}


def data() -> np.ndarray:
    """Rows (ROWS, WIDTH) float32, the same in every process."""
    draw = np.random.default_rng(3)
    return draw.uniform(0.2, 0.8, (ROWS, WIDTH)).astype(np.float32)


def main(number: int, processes: int, port: int, folder: Path) -> None:
    """Train every learner, and a chain, and write their states and codes."""
    import jax

    jax.config.update("jax_num_cpu_devices", DEVICES // processes)
    from mmfeat.chain import Chain
    from mmfeat.checkpoint import Checkpointer
    from mmfeat.learner import default_batches, start, train, transform
    from mmfeat.learners import ItqRotation, Pca
    from mmfeat.mesh import connect, leaf_names, make_mesh, on_host
    from mmfeat.model import Model
    from mmfeat.stages import fit_chain
    from mmfeat.stream import Batches

    if processes > 1:
        connect(f"127.0.0.1:{port}", processes, number)
    assert (jax.process_count(), jax.process_index(), jax.device_count()) == (processes, number, DEVICES)
    mesh = make_mesh()
    for name, learner in learners().items():
        batches = default_batches(learner, data(), mesh=mesh)
        assert batches.share == (number, processes)
        if not learner.full_batch:
            batches = Batches(batches.source, BATCH, batches.seed, batches.share)
        run = start(learner, data(), mesh, seed=4)
        with Checkpointer(folder / f"{name}-{processes}", learner, steps=4) as after:
            run = train(learner, run, batches, mesh, after)
        leaves = dict(zip(leaf_names(run.state), jax.tree.leaves(on_host(run.state)), strict=True))
        leaves |= {"run.step": np.asarray(run.step), "codes": transform(learner, run, data(), mesh)}
        np.savez(folder / f"{name}-{processes}-{number}.npz", **leaves)
    fitted = fit_chain(Chain(Pca(6), ItqRotation(passes=3), fit_rows=100), data(), seed=4, mesh=mesh)
    codes = Model(fitted.chain, fitted.states, fitted.forms, mesh=mesh).encode(data())
    np.savez(folder / f"chain-{processes}-{number}.npz", codes, *jax.tree.leaves(fitted.states))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
