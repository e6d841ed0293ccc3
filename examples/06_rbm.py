"""A restricted Boltzmann machine of 16 hidden units is small enough to be known exactly: the likelihood of unseen digits in nats.

Contrastive divergence beside persistent chains. On these coarse digits they are alike; on MNIST the chains are far ahead
(`mmfeat reproduce rbm-likelihood`). Then samples.

Run it:  python examples/06_rbm.py
"""

import jax
import numpy as np
from sklearn.datasets import load_digits

from mmfeat.evaluate.likelihood import annealed, log_likelihood, log_partition
from mmfeat.learner import default_batches, start, train
from mmfeat.learners import Rbm


def picture(row):
    """An 8 x 8 picture as text."""
    return ["".join(" .:*#"[min(int(value * 5), 4)] * 2 for value in line) for line in row.reshape(8, 8)]


if __name__ == "__main__":
    bits = (load_digits().data > 7.5).astype(np.float32)
    rows, unseen = bits[:1500], bits[1500:]
    for name, settings in (("CD-1", {}), ("CD-5", {"steps": 5}), ("PCD", {"negative": "pcd"})):
        learner = Rbm(16, passes=25, batch=50, learning_rate=0.1, momentum=(0.5, 0.5), schedule="linear", **settings)
        run = train(learner, start(learner, rows, seed=0), default_batches(learner, rows))
        log_z = log_partition(learner, run.state)  # a sum of 2^16 terms
        likelihood = log_likelihood(learner, run.state, unseen, log_z).mean()
        estimate = annealed(learner, run.state, temperatures=300, rows=rows).log_z
        print(
            f"{name:5} {likelihood:7.2f} nats a digit;  log Z {log_z:.2f}, by annealed importance sampling {estimate:.2f}"
        )
    made = np.asarray(learner.generate(jax.random.key(0), run.state, count=5, steps=2000))
    print("\n".join("  ".join(lines) for lines in zip(*map(picture, made), strict=True)))
