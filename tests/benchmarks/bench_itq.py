"""ITQ, 256 columns to 64 bits, beside FAISS's "ITQ64,LSH": learning on the same rows, and making packed codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, side_by_side, speed

_ROWS, _COLUMNS, _BITS, _ENCODED = 50_000, 256, 64, 200_000


def run(work: Path) -> Iterator[Row]:
    """One row for learning, one for applying and packing."""
    import mmfeat
    from mmfeat.learners.itq import itq_hash

    rng = np.random.default_rng(0)
    mix = rng.normal(size=(_COLUMNS, _COLUMNS)) * np.exp(-np.arange(_COLUMNS) / 40)[:, None]
    x = (rng.normal(size=(_ENCODED, _COLUMNS)) @ mix + rng.normal(size=_COLUMNS)).astype(np.float32)
    learned = x[:_ROWS]
    chain = mmfeat.Chain(itq_hash(_BITS), fit_rows=_ROWS)
    model, index = mmfeat.fit(chain, learned), _faiss(learned)
    ours, rival = _lost(model.encode(x)), _lost(_projected(index, x))
    note = f"quantisation error {ours:.4f} (FAISS {rival:.4f})"
    timing = side_by_side(lambda: mmfeat.fit(chain, learned), lambda: _faiss(learned), 7)
    row = speed(f"ITQ {_COLUMNS} → {_BITS}, learning", timing, _ROWS, 4, "rows/s", f"{note}, all rows used by both")
    yield dataclasses.replace(row, reached=bool(row.reached and ours <= 1.01 * rival))
    timing = side_by_side(lambda: model.encode_bits(x), lambda: index.sa_encode(x), 9)
    yield speed(f"ITQ {_COLUMNS} → {_BITS}, codes and packing", timing, _ENCODED, 6, "rows/s", note)


def _faiss(x: np.ndarray) -> Any:
    """FAISS's ITQ learned from all rows; as it comes it takes ten rows per dimension."""
    import faiss

    index: Any = faiss.index_factory(_COLUMNS, f"ITQ{_BITS},LSH")
    transform: Any = faiss.downcast_VectorTransform(index.chain.at(0))
    transform.max_train_per_dim = _ROWS
    index.train(x)
    return index


def _projected(index: Any, x: np.ndarray) -> np.ndarray:
    import faiss

    return faiss.downcast_VectorTransform(index.chain.at(0)).apply_py(x)


def _lost(values: np.ndarray) -> float:
    """The quantisation error on rows that were not all learned from, whatever the scale: 1 - mean of (Σ|v|)² / (k Σ v²).

    It is min over c of |v - c sign(v)|² / |v|², averaged over the rows.
    """
    return float(1 - np.mean(np.abs(values).sum(1) ** 2 / (values.shape[1] * (values**2).sum(1))))
