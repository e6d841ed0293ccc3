"""Chains: descriptors, pools and learners one after another; joins: chains side by side.

    Images -> descriptor -> Locals -> learners row by row -> Pool or a learner of whole Locals -> rows -> learners -> features

A stage is a fixed map (a frozen dataclass called as `stage(x)`: descriptors and `Pool`; one that has `check(images)` sees every
batch on the host first, and may refuse it) or a learner. The states of a chain are a
tuple with one entry per stage, () for a fixed map. A `Join` is a stage whose state is a tuple of the states of its branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from mmfeat.arrays import Images, Locals
from mmfeat.errors import SettingsError, ShapeError

__all__ = ["Chain", "Join", "apply_stage", "is_fixed", "needs_of", "takes_images"]

Array = Any


def is_fixed(stage: Any) -> bool:
    """Whether a stage is a fixed map (a descriptor, a pool): nothing in it is learned."""
    return callable(stage)


@dataclass(frozen=True)
class Chain:
    """Stages applied one after another.

    stages: descriptors, pools and learners, or chains (which are laid flat); one or more.
    fit_rows: each learner trains on at most so many seeded rows of the stage before; None streams everything in every pass.

    >>> from mmfeat.learners.lsh import Lsh
    >>> len(Chain(Chain(Lsh(bits=16)), Lsh(bits=8)).stages)
    2
    """

    stages: tuple[Any, ...]
    fit_rows: int | None = 131_072

    def __init__(self, *stages: Any, fit_rows: int | None = 131_072, **named: Any) -> None:
        """`Chain(a, b, c)`; also `Chain(stages=(a, b, c))`, as its JSON says it."""
        given = stages or tuple(named.pop("stages", ()))
        if len(given) == 1 and isinstance(given[0], tuple):
            given = given[0]
        flat = tuple(part for stage in given for part in (stage.stages if isinstance(stage, Chain) else (stage,)))
        if named or not flat:
            raise SettingsError(
                "a chain has one stage or more, and fit_rows", f"{len(flat)} stages, {sorted(named)}", "add a stage"
            )
        if fit_rows is not None and fit_rows < 1:
            raise SettingsError("fit_rows is at least 1, or None for all rows", f"{fit_rows}", "give a positive number")
        for stage in flat:
            if not (is_fixed(stage) or hasattr(stage, "encode")):
                raise SettingsError(
                    "a stage is a descriptor, a pool, a Join or a learner", repr(stage), "see `mmfeat recipes`"
                )
        object.__setattr__(self, "stages", flat)
        object.__setattr__(self, "fit_rows", fit_rows)

    @property
    def hash(self) -> bool:
        """Whether the chain ends in bits."""
        return bool(getattr(self.stages[-1], "hash", False))


@dataclass(frozen=True)
class Join:
    """Branches side by side: each gets the same input, and their rows are joined, one after another, into one.

    branches: chains, or single stages; two or more. Each is fitted by itself, in this order, as if it stood alone at this place
        (with its own `fit_rows`). All give rows, or all give Locals of one grid: then the values of each place are joined, and
        a place counts if it does in every branch.
    weights: what each branch is multiplied by; () is 1 for all. End branches in `Normalise()` or `Scale()`, so that none
        drowns the others.

    The state is a tuple with the states of each branch.

    >>> from mmfeat.learners.lsh import Lsh
    >>> [type(branch.stages[-1]).__name__ for branch in Join(Lsh(bits=16), Lsh(bits=8)).branches]
    ['Lsh', 'Lsh']
    """

    branches: tuple[Any, ...]
    weights: tuple[float, ...] = ()
    locals: ClassVar[bool] = True  # its branches decide what they do with Locals
    needs: ClassVar[tuple[str, ...]] = ("x",)

    def __init__(self, *branches: Any, weights: tuple[float, ...] = (), **named: Any) -> None:
        """`Join(a, b)`; also `Join(branches=(a, b))`, as its JSON says it."""
        given = branches or tuple(named.pop("branches", ()))
        if len(given) == 1 and isinstance(given[0], tuple):
            given = given[0]
        if named or len(given) < 2 or len(weights) not in (0, len(given)):
            raise SettingsError(
                "a Join has two branches or more, and one weight for each or none",
                f"{len(given)} branches, {len(weights)} weights, {sorted(named)}",
                "add a branch, or leave the Join out",
            )
        object.__setattr__(self, "branches", tuple(b if isinstance(b, Chain) else Chain(b) for b in given))
        object.__setattr__(self, "weights", tuple(weights))

    @property
    def hash(self) -> bool:
        """Whether all branches end in bits."""
        return all(branch.hash for branch in self.branches)

    def encode(self, state: tuple[tuple[Any, ...], ...], x: Any) -> Any:
        """Images, Locals or rows through every branch, joined: rows (n, Σ k) or Locals (B, L, Σ d)."""
        outs = []
        for branch, states in zip(self.branches, state, strict=True):
            out = x
            for stage, one in zip(branch.stages, states, strict=True):
                out = apply_stage(stage, one, out)
            outs.append(out)
        return self.joined(outs)

    def joined(self, outs: Sequence[Any]) -> Any:
        """What the branches gave, as one."""
        kinds = {type(out).__name__ if isinstance(out, Locals | Images) else "rows" for out in outs}
        if kinds == {"Locals"} and len({out.values.shape[:2] for out in outs}) == 1:
            weight = outs[0].weight
            for out in outs[1:]:
                weight = weight * jnp.where(jnp.asarray(out.weight) > 0, jnp.float32(1), jnp.float32(0))
            values = self._weighted([out.values for out in outs])
            return Locals(jnp.concatenate(values, axis=-1), outs[0].where, weight)
        if kinds != {"rows"}:
            raise ShapeError(
                "branches of a Join all give rows, or all Locals of one grid",
                ", ".join(f"{out.values.shape[:2]} Locals" if isinstance(out, Locals) else "rows" for out in outs),
                "end the branches with Pool(), or set the descriptors to one size and step",
            )
        return jnp.concatenate(self._weighted([out.reshape(out.shape[0], -1) for out in outs]), axis=-1)

    def _weighted(self, parts: Sequence[Array]) -> list[Array]:
        parts = [jnp.asarray(part, jnp.float32) for part in parts]
        return [part * jnp.float32(w) for part, w in zip(parts, self.weights, strict=True)] if self.weights else parts


def needs_of(chain: Chain) -> set[str]:
    """What the learners of a chain need, those of its branches too: "x", and "y" where one learns from labels."""
    found: set[str] = set()
    for stage in chain.stages:
        inside = [needs_of(branch) for branch in stage.branches] if isinstance(stage, Join) else []
        found = found.union(getattr(stage, "needs", ()), *inside)
    return found


def takes_images(stage: Any) -> bool:
    """Whether a chain that begins with this stage may be given pictures: a descriptor, or a Join with one."""
    if isinstance(stage, Join):
        return any(takes_images(branch.stages[0]) for branch in stage.branches)
    return is_fixed(stage)


def apply_stage(stage: Any, state: Any, x: Any, encode: str = "encode") -> Any:
    """One stage on whatever flows: Images, Locals or rows. A row-wise learner encodes the rows of Locals, padding included."""
    if is_fixed(stage):
        return stage(x)
    function = getattr(stage, encode)
    if isinstance(x, Locals) and not stage.locals:
        items, count = x.values.shape[:2]
        rows = function(state, x.values.reshape(items * count, *x.values.shape[2:]))
        return x._replace(values=rows.reshape(items, count, *rows.shape[1:]))
    if isinstance(x, Images) and not isinstance(stage, Join):
        raise ShapeError(
            f"{type(stage).__name__} learns from rows", "pictures", "put a descriptor such as Pixels() before it"
        )
    return function(state, x)
