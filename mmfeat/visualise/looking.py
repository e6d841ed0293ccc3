"""What a fitted stage shows of itself, and the way back from its rows to pixels.

A learner may offer any of these for looking, and none must:

    filters(state)               rows (k, d) whose products with x it computes; or pictures (k, h, w, c), as of a convolution
    prototypes(state)            rows (k, d) like x itself: centroids
    atoms(state)                 rows (k, d) of which x is a weighted sum: a dictionary
    decode(state, codes)         rows (n, d) that codes (n, k) stand for
    reconstruct(state, x)        rows (n, d): what is left of x after encoding
    generate(key, state, count)  rows (count, d) drawn from what was learned

x, and all rows here, are what the stage is given. Where the stages before are affine, y = (x - m) M, a filter f of y is the filter
M f of x (the products are the same but for a constant), an atom a is a M⁺, and a row y is m + y M⁺, the shortest x that gives it;
M⁺ is the pseudo-inverse. Through a stage with `decode` only rows have a way back. So everything can be drawn in pixels that stands
behind whitening or principal components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmfeat.visualise.filters import rows_as_pictures

__all__ = ["PixelSpace", "atoms_of", "filters_of", "has_way_back", "prototypes_of", "undo"]

Shape = tuple[int, int, int]


def filters_of(stage: Any, state: Any) -> np.ndarray | None:
    """The filters of a stage, (k, d) or (k, h, w, c) float32; also those of learners that have weights but no `filters`."""
    if hasattr(stage, "filters"):
        return np.asarray(stage.filters(state), np.float32)
    if hasattr(stage, "affine"):
        return np.asarray(stage.affine(state)[1], np.float32).T
    if hasattr(state, "weights") and hasattr(
        state, "visible"
    ):  # a Boltzmann machine; of real rows, in units of their deviations
        deviation = np.exp(np.asarray(getattr(state, "deviation", 0.0), np.float32))
        return np.asarray(state.weights, np.float32).T / deviation
    return _first_kernel(state.params) if hasattr(state, "params") else None


def _first_kernel(params: Any) -> np.ndarray | None:
    """The filters of a network's first layer: of an autoencoder its encoder's, of a convolution those over grey or colour."""
    import jax

    encoder = params.get("encoder", {}) if isinstance(params, dict) else {}
    if "kernel" in encoder.get("layer0", {}):
        return np.asarray(encoder["layer0"]["kernel"], np.float32).T
    for leaf in jax.tree.leaves(params):
        if np.ndim(leaf) == 4 and leaf.shape[2] in (1, 3):
            return np.moveaxis(np.asarray(leaf, np.float32), 3, 0)
    return None


def prototypes_of(stage: Any, state: Any) -> np.ndarray | None:
    """The prototypes (k, d) float32 of a stage; the means of anything that has `means`."""
    if hasattr(stage, "prototypes"):
        return np.asarray(stage.prototypes(state), np.float32)
    return np.asarray(state.means, np.float32) if hasattr(state, "means") else None


def atoms_of(stage: Any, state: Any) -> np.ndarray | None:
    """The atoms (k, d) float32 of a stage."""
    return np.asarray(stage.atoms(state), np.float32) if hasattr(stage, "atoms") else None


def has_way_back(stage: Any) -> bool:
    """Whether rows can be made of this stage's codes."""
    return any(hasattr(stage, name) for name in ("decode", "affine", "visible_mean"))


def undo(stage: Any, state: Any, codes: np.ndarray) -> np.ndarray:
    """The rows (n, d) float32 that codes (n, k) of a stage stand for; it `has_way_back`."""
    codes = np.asarray(codes, np.float32)
    if hasattr(stage, "decode"):
        return np.asarray(stage.decode(state, codes), np.float32)
    if hasattr(stage, "affine"):
        mean, matrix = (np.asarray(part, np.float64) for part in stage.affine(state))
        return (mean[None, :] + _through(codes, matrix)).astype(np.float32)
    return np.asarray(stage.visible_mean(state, codes), np.float32)


def _through(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Rows (n, k) times M⁺ of M (d, k): by the smaller of the two normal equations, by SVD where those are singular."""
    d, k = matrix.shape
    rows = rows.astype(np.float64)
    try:
        if k <= d:
            return np.linalg.solve(matrix.T @ matrix, rows.T).T @ matrix.T
        return np.linalg.solve(matrix @ matrix.T, (rows @ matrix.T).T).T
    except np.linalg.LinAlgError:
        return rows @ np.linalg.pinv(matrix)


@dataclass(frozen=True, eq=False)
class PixelSpace:
    """The rows that a stage is given, as pictures.

    shape: (h, w, c) of the pictures. natural: their pixels are in [0, 1]; otherwise they lie around 0.
    steps: the learners between the pixels and these rows, first to last, with their states.
    """

    shape: Shape
    natural: bool
    steps: tuple[tuple[Any, Any], ...] = ()

    def after(self, stage: Any, state: Any) -> PixelSpace | None:
        """The space of what a stage gives; None where there is no way back."""
        if getattr(stage, "locals", False) or not has_way_back(stage):
            return None
        return PixelSpace(self.shape, self.natural, (*self.steps, (stage, state)))

    @property
    def linear(self) -> bool:
        """Whether every step is affine: filters and atoms have a way back too."""
        return all(hasattr(stage, "affine") for stage, _ in self.steps)

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """Rows like those of this space as pictures (n, h, w, c)."""
        for stage, state in reversed(self.steps):
            rows = undo(stage, state, rows)
        return rows_as_pictures(rows, self.shape)

    def of_filters(self, filters: np.ndarray) -> np.ndarray:
        """Filters of this space as pictures (n, h, w, c); the space is `linear`."""
        for stage, state in reversed(self.steps):
            filters = filters @ np.asarray(stage.affine(state)[1], np.float32).T
        return rows_as_pictures(filters, self.shape)

    def of_atoms(self, atoms: np.ndarray) -> np.ndarray:
        """Atoms of this space as pictures (n, h, w, c), without the mean; the space is `linear`."""
        for stage, state in reversed(self.steps):
            atoms = _through(atoms, np.asarray(stage.affine(state)[1], np.float64)).astype(np.float32)
        return rows_as_pictures(atoms, self.shape)
