"""Extended local coordinate coding: the codes of `Lcc`, and where the row lies in the tangent plane of each anchor.

K. Yu, T. Zhang, "Improved local coordinate coding using local tangents", ICML 2010.

    f(x) ≈ Σ_v γ_v (f(v) + ½ ∇f(v)ᵀ (x - v)),    ∇f(v) ≈ U_v g_v       is linear in       [s γ_v,  γ_v (x - v)ᵀ U_v]_v

What is here: γ are the codes of `Lcc` as they are (the paper's own bound weighs them by ‖v - x‖³, p = 2). U_v (d, c) are the c
leading principal axes, about v, of the rows whose nearest anchor is v, by orthogonal iteration: every pass after the coder's is
U_v ← qr(Σ_x (x - v) (x - v)ᵀ U_v). s weighs the codes against the tangent coordinates in a classifier's penalty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmfeat.errors import SettingsError
from mmfeat.learner import Metrics, rows_of
from mmfeat.learners.codewords import in_blocks
from mmfeat.learners.codewords_host import Csr
from mmfeat.learners.composed import Composed
from mmfeat.learners.kmeans import KMeans, nearest, sum_by
from mmfeat.learners.lcc import Lcc, LccState

__all__ = ["ExtendedLcc", "ExtendedLccState"]

Array = Any
_EXACT = jax.lax.Precision.HIGHEST
_BLOCK = 2**22  # numbers of the tangents that a block of rows takes
_LOOKED_UP = 1024  # codes whose tangents the host looks up at once


class ExtendedLccState(NamedTuple):
    """coder: the anchors. tangents (K, d, c): U_v, orthonormal; 0 where its rows span no more. sums (K, d, c): of this pass."""

    coder: LccState
    tangents: Array
    sums: Array
    passes: Array


@dataclass(frozen=True)
class ExtendedLcc(Composed):
    """Local coordinates and local tangent coordinates, (1 + c) K of them.

    coder: the `Lcc`; its passes come first. tangents: c, no more than the rows have columns. scale: s.
    rounds: passes of the orthogonal iteration; the first axes are right after a few.
    Metrics: those of the coder.

    >>> import jax, numpy as np
    >>> learner = ExtendedLcc(Lcc(KMeans(3), neighbours=2), tangents=2)
    >>> state = learner.init(jax.random.key(0), np.eye(3, dtype=np.float32))
    >>> learner.encode(state, np.eye(3, dtype=np.float32)).shape
    (3, 9)
    """

    made_of: ClassVar[str] = "coder"
    shuffle: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = (*(f"coder.{name}" for name in Lcc.scratch), "sums", "passes")
    small: ClassVar[Mapping[str, Any]] = {"coder": Lcc(KMeans(5, 2, 32), neighbours=3), "tangents": 2, "rounds": 2}
    coder: Lcc = Lcc(KMeans(512))  # noqa: RUF009 - it is frozen
    tangents: int = 16
    scale: float = 1.0
    rounds: int = 4

    def __post_init__(self) -> None:
        if not (self.tangents >= 1 and self.rounds >= 1 and 0 < self.scale < float("inf")):
            raise SettingsError(
                "there is a tangent, a round and a scale above 0",
                f"tangents={self.tangents}, rounds={self.rounds}, scale={self.scale}",
                "16, 4 and 1 are usual; without tangents it is Lcc",
            )

    @property
    def passes(self) -> int:  # type: ignore[override]
        """Passes over the data: the coder's, and one a round."""
        return self.coder.passes + self.rounds

    def init(self, key: Array, x: Array) -> ExtendedLccState:
        """The first anchors, from rows (n, d), and random tangents, the same at all of them."""
        coder, columns = self.coder.init(key, x), rows_of(x).shape[1]
        if self.tangents > columns:
            raise SettingsError(
                "rows have a column for each tangent", f"tangents={self.tangents} of {columns}", "give fewer tangents"
            )
        draw = jax.random.normal(jax.random.fold_in(key, 1), (columns, self.tangents), jnp.float32)
        shape = (coder.codebook.means.shape[0], columns, self.tangents)
        tangents = jnp.broadcast_to(jnp.linalg.qr(draw)[0], shape)
        return ExtendedLccState(coder, tangents, jnp.zeros(shape, jnp.float32), jnp.int32(0))

    def step(self, key: Array, state: ExtendedLccState, x: Array, weight: Array) -> tuple[ExtendedLccState, Metrics]:
        """A batch (n, d): for the coder, or after its passes for the tangents."""
        x = jnp.where(weight[:, None] > 0, rows_of(x), jnp.float32(0))

        def learn(state: ExtendedLccState) -> tuple[ExtendedLccState, Metrics]:
            coder, metrics = self.coder.step(key, state.coder, x, weight)
            return state._replace(coder=coder), {name: jnp.float32(value) for name, value in metrics.items()}

        def gather(state: ExtendedLccState) -> tuple[ExtendedLccState, Metrics]:
            metrics = {name: jnp.float32(0) for name in ("distortion", "objective")}
            return state._replace(sums=state.sums + self._products(state, x, weight)), metrics

        return jax.lax.cond(state.passes < self.coder.passes, learn, gather, state)

    def _products(self, state: ExtendedLccState, x: Array, weight: Array) -> Array:
        """Σ w (x - v) (x - v)ᵀ U_v over the rows of each anchor, (K, d, c), block by block."""
        means, (clusters, columns, c) = state.coder.codebook.means, state.tangents.shape
        rows, blocks = x.shape[0], 1
        while rows % (2 * blocks) == 0 and rows // blocks * columns * c > _BLOCK:
            blocks *= 2
        owner = nearest(means, x)[0]
        parts = tuple(part.reshape(rows // blocks, blocks, *part.shape[1:]) for part in (owner, x, weight))

        def add(j: Array, sums: Array) -> Array:
            owner, x, weight = (jax.lax.dynamic_index_in_dim(part, j, axis=1, keepdims=False) for part in parts)
            rest = x - means[owner]
            places = jnp.einsum("nd,ndc->nc", rest, state.tangents[owner], precision=_EXACT)
            products = (rest[:, :, None] * places[:, None, :]).reshape(-1, columns * c)
            return sums + sum_by(owner, products, weight, clusters)

        sums = jax.lax.fori_loop(0, blocks, add, jnp.zeros((clusters, columns * c), jnp.float32))
        return sums.reshape(clusters, columns, c)

    def finish(self, key: Array, state: ExtendedLccState) -> ExtendedLccState:
        """The coder's end of a pass, or the tangents' next turn."""

        def learned(state: ExtendedLccState) -> ExtendedLccState:
            return state._replace(coder=self.coder.finish(key, state.coder))

        def turned(state: ExtendedLccState) -> ExtendedLccState:
            axes, upper = jnp.linalg.qr(state.sums)
            size = jnp.abs(jnp.diagonal(upper, axis1=1, axis2=2))
            real = size > 1e-5 * size.max(axis=1, keepdims=True)  # what few rows span has fewer axes
            return state._replace(tangents=jnp.where(real[:, None, :], axes, 0.0), sums=jnp.zeros_like(state.sums))

        state = jax.lax.cond(state.passes < self.coder.passes, learned, turned, state)
        return state._replace(passes=state.passes + 1)

    def prototypes(self, state: ExtendedLccState) -> Array:
        """The anchors (K, d)."""
        return self.coder.prototypes(state.coder)

    def encode(self, state: ExtendedLccState, x: Array) -> Array:
        """Rows (n, d) to (n, K (1 + c)) float32, anchor by anchor: s γ_v, then γ_v (x - v)ᵀ U_v."""
        means, (clusters, columns, c) = state.coder.codebook.means, state.tangents.shape
        origin = means.mean(axis=0)[None, :]  # differences do not care, and float32 keeps more of their digits
        table = jnp.swapaxes(state.tangents, 0, 1).reshape(columns, clusters * c)
        own = jnp.einsum("kd,kdc->kc", means - origin, state.tangents, precision=_EXACT)[None, :, :]

        def code(part: Array) -> Array:
            codes = self.coder.encode(state.coder, part)[:, :, None]
            places = jnp.matmul(part - origin, table, precision=_EXACT).reshape(-1, clusters, c) - own
            return jnp.concatenate([self.scale * codes, codes * places], axis=2).reshape(part.shape[0], -1)

        return in_blocks(code, rows_of(x), clusters * (1 + c))

    def host_sparse(self, state: ExtendedLccState, x: np.ndarray) -> Csr:
        """The non-zeros of `encode` (CSR), on the host: tangents are looked up where a code is not 0, and nowhere else."""
        x, tangents = np.asarray(x, np.float32).reshape(len(x), -1), np.asarray(state.tangents)
        starts, anchor, code = self.coder.host_sparse(state.coder, x)
        rest = np.repeat(x, np.diff(starts), axis=0) - np.asarray(state.coder.codebook.means)[anchor]
        width, value = 1 + tangents.shape[2], np.empty((len(anchor), 1 + tangents.shape[2]), np.float32)
        value[:, 0] = self.scale * code
        for first in range(0, len(anchor), _LOOKED_UP):
            part = slice(first, first + _LOOKED_UP)
            value[part, 1:] = code[part, None] * np.einsum("md,mdc->mc", rest[part], tangents[anchor[part]])
        index = anchor[:, None].astype(np.int32) * np.int32(width) + np.arange(width, dtype=np.int32)
        return starts * width, index.ravel(), value.ravel()
