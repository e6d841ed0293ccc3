"""FAISS structures beside exact codes: built when a segment is written, opened when one is searched.

    segments/seg-000007/structure.faiss     what FAISS writes, over all rows of the segment in their order

A structure only proposes rows: `search` measures them again on the exact codes. Types without one, and segments of fewer
than `LEAST` rows, are scanned. Bytes depend on the codes, their order and FAISS's version alone: samples and k-means are
seeded, rows are added `ADDED` at a time.

References: inverted lists and product quantisation, Jégou et al. 2011; OPQ, Ge et al. 2013; HNSW, Malkov & Yashunin
2018; RaBitQ, Gao & Long 2024; FAISS, Douze et al. 2024.
"""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmfeat.errors import DamagedError, DataError, UsageError
from mmfeat.files import writing
from mmfeat.indexes.kinds import Kind, faiss_metric, resolve
from mmfeat.indexes.threads import library, one_thread

__all__ = ["FILE", "Effort", "Structure", "build", "check_kind", "code_bytes", "open_structure", "structure_of"]

FILE = "structure.faiss"
LEAST = 2048  # rows below which a scan is as quick
ADDED = 1 << 16  # rows added at once
SAMPLE = 1 << 16  # rows that train, or 256 for every inverted list
SEED = 1234


class Effort(NamedTuple):
    """How hard one search tries; None is the type's default. More is slower and finds more.

    nprobe: inverted lists that are visited (IVF). ef: length of the candidate list of a graph (HNSW).
    candidates: rows that are measured on the exact codes; at least k. rerank: False answers in the order and with the
    distances of the structure, which may be approximate. exact: scan everything.
    """

    nprobe: int | None = None
    ef: int | None = None
    candidates: int | None = None
    rerank: bool = True
    exact: bool = False


def structure_of(kind: Kind, metric: str) -> Callable[[Path], list[Path]]:
    """What `segments.write_blocks` calls with the folder of a new segment; it gives the files that were added."""
    return functools.partial(_write, kind, metric)


def _write(kind: Kind, metric: str, folder: Path) -> list[Path]:
    if kind.factory is None:
        return []
    index = build(kind, metric, np.load(folder / "codes.npy", mmap_mode="r", allow_pickle=False))
    if index is None:
        return []
    faiss = library()

    with writing(folder / FILE) as file:
        if kind.dtype is np.uint8:
            faiss.write_index_binary(index, faiss.PyCallbackIOWriter(file.write))
        else:
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
    return [folder / FILE]


def build(kind: Kind, metric: str, codes: np.ndarray) -> Any:
    """The FAISS index of codes (n, w), or None where n is too small to train it or to need it."""
    rows = len(codes)
    name, lists = resolve(str(kind.factory), rows)
    if rows < max(LEAST, lists):
        return None
    dim = codes.shape[1] * (8 if kind.dtype is np.uint8 else 1)
    with said(f"{kind.name} of {rows:,} rows"):
        index = make(kind, dim, name, metric)
        if not index.is_trained:
            count = min(rows, max(SAMPLE, 256 * lists))
            chosen = np.sort(np.random.default_rng(SEED).permutation(rows)[:count]) if count < rows else slice(None)
            index.train(np.ascontiguousarray(codes[chosen]))
        for start in range(0, rows, ADDED):
            index.add(np.ascontiguousarray(codes[start : start + ADDED]))
    return index


def make(kind: Kind, dim: int, name: str, metric: str) -> Any:
    """An empty FAISS index by its factory string, set to train quietly and without what is never used."""
    faiss = library()

    if kind.dtype is np.uint8:
        index = faiss.index_binary_factory(dim, name)
        if isinstance(index, faiss.IndexBinaryIVF):
            index.cp.min_points_per_centroid = 1
        return index
    index = faiss.index_factory(dim, name, faiss_metric(metric))
    _prepare(index)
    return index


def _prepare(index: Any) -> None:
    """Fewer warnings, no polysemous training (it takes most of the time and serves a search that is not offered)."""
    faiss = library()

    inner = faiss.downcast_index(index)
    if isinstance(inner, faiss.IndexPreTransform):
        for place in range(inner.chain.size()):
            step = faiss.downcast_VectorTransform(inner.chain.at(place))
            if isinstance(step, faiss.OPQMatrix):
                # Not 50: recall@10 is 0.696 instead of 0.710 (OPQ8,PQ8 of 64-d MNIST) in a sixth of the steps.
                step.niter = 8
                # Not 40 and 4: 0.627 instead of 0.618 (OPQ16,PQ16 of 10,000 made 196-d vectors), 8.0 s of CPU instead of 13.5.
                step.niter_pq_0, step.niter_pq = 10, 2
                quantizer = faiss.ProductQuantizer(step.d_out, step.M, 8)
                quantizer.cp.min_points_per_centroid = 1
                step.pq = quantizer
                index.referenced_objects = [quantizer]  # FAISS itself keeps a bare pointer to it
        _prepare(inner.index)
    for part in ("storage", "quantizer"):
        if getattr(inner, part, None) is not None:
            _prepare(getattr(inner, part))
    if hasattr(inner, "do_polysemous_training"):
        inner.do_polysemous_training = False
    for clustered in (inner, getattr(inner, "pq", None)):
        if clustered is not None and hasattr(clustered, "cp"):
            clustered.cp.min_points_per_centroid = 1


def check_kind(kind: Kind, dim: int, metric: str) -> None:
    """UsageError where FAISS cannot make such an index of this width."""
    if kind.factory is None:
        return
    name, _ = resolve(kind.factory, 1 << 16)
    try:
        make(kind, kind.width(dim) * 8 if kind.dtype is np.uint8 else dim, name, metric)
    except (RuntimeError, AssertionError) as error:
        words = _words(error)
        if "could not parse" in words:
            raise UsageError(
                "float: stands before a factory string of FAISS",
                f"{kind.factory}, which FAISS cannot read",
                "write for example float:IVF,Flat or float:PQ16 (FAISS's wiki, «The index factory»), or choose float-flat",
            ) from error
        raise UsageError(
            f"a type fits vectors of {dim} dimensions that are compared by {metric}",
            f"{kind.name}, of which FAISS says: {words.rstrip('.')}",
            "choose other numbers (FAISS's wiki, «The index factory»), or float-flat",
        ) from error


@contextlib.contextmanager
def said(what: str) -> Iterator[None]:
    """FAISS's errors in the block as a sentence."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        raise DataError(
            f"FAISS must be able to make and search {what}", _words(error), "choose another type, or more rows"
        ) from error


def _words(error: Exception) -> str:
    """What FAISS said, without where in its sources; its bare assertions say nothing."""
    text = str(error).rpartition("Error: ")[2] if "Error: " in str(error) else str(error).rpartition("\n")[2]
    text = re.sub(r"^Error in .* at \S+:\d+: ", "", text)
    text = re.sub(r"^'.*' failed: (?=\S)", "", text)
    return " ".join(text.split()) or f"{type(error).__name__} without a reason"


def open_structure(folder: Path, kind: Kind, metric: str) -> Structure | None:
    """The structure of a segment, mapped now and read when it is first searched; None where it has none."""
    path = folder / FILE
    if kind.factory is None or not path.exists():
        return None
    return Structure(np.memmap(path, np.uint8, "r"), kind, metric, str(path))


class Structure:
    """An opened structure; searches from several threads are safe, nothing of it is ever set."""

    def __init__(self, data: np.ndarray, kind: Kind, metric: str, name: str) -> None:
        self.data, self.kind, self.metric, self.name = data, kind, metric, name
        self._lock = threading.Lock()
        self._index: Any = None
        self._selects: bool | None = None

    @classmethod
    def of(cls, index: Any, kind: Kind, metric: str) -> Structure:
        """The structure of a FAISS index that is in memory."""
        made = cls(np.empty(0, np.uint8), kind, metric, kind.name)
        made._index = index
        return made

    @property
    def index(self) -> Any:
        """The FAISS index. DamagedError where the bytes are none (their sha256 was checked before)."""
        with self._lock:
            if self._index is None:
                faiss = library()

                try:
                    reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(self.data), self.data.nbytes)
                    binary = self.kind.dtype is np.uint8
                    self._index = (faiss.read_index_binary if binary else faiss.read_index)(reader)
                except (RuntimeError, AssertionError, MemoryError) as error:
                    raise DamagedError(
                        f"{self.name} must hold a FAISS index", _words(error), "restore it or compact the index"
                    ) from error
            return self._index

    def search(
        self, queries: np.ndarray, width: int, effort: Effort, keep: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """FAISS's distance and row, both (q, width), of rows proposed for queries (q, w); row -1 where there are fewer.

        keep: (n,) bool, which rows may be proposed, or None for all.
        """
        with said(self.kind.name), one_thread(len(queries) == 1):
            if keep is None:
                near, row = self.index.search(queries, width, params=self._parameters(effort, None, 1.0))
                return near, row
            share = max(np.count_nonzero(keep) / len(keep), 1e-6)
            if self.selects:
                chosen = self._parameters(effort, _bitmap(keep), share)
                near, row = self.index.search(queries, width, params=chosen)
                return near, row
            more = min(len(keep), int(1.3 * width / share) + 16)
            near, row = self.index.search(queries, more, params=self._parameters(effort, None, share))
        out = (row < 0) | ~keep[row]
        order = np.argsort(out, axis=1, kind="stable")[:, :width]
        row = np.where(np.take_along_axis(out, order, axis=1), -1, np.take_along_axis(row, order, axis=1))
        return np.take_along_axis(near, order, axis=1), row

    @property
    def lossless(self) -> bool:
        """Whether it measures the codes as they are: its order is exact, as far as it looks."""
        return self.kind.dtype is np.uint8 or re.search(r"PQ|SQ|LSH|RaBitQ|PCA|RQ|LSQ|ZnLattice", self.factory) is None

    @property
    def factory(self) -> str:
        """The factory string of the type."""
        return str(self.kind.factory)

    def as_distance(self, near: np.ndarray) -> np.ndarray:
        """FAISS's values as distances of the metric, smaller is nearer; approximate where the structure is."""
        if self.kind.dtype is np.uint8 or "LSH" in self.factory:
            return near
        if self.metric == "l2":
            return np.sqrt(np.maximum(near, 0))
        return (1.0 if self.metric == "cosine" else 0.0) - near

    @property
    def selects(self) -> bool:
        """Whether FAISS filters in this type: asked once, with a search that may propose the first row only."""
        if self._selects is None:
            index = self.index
            try:
                one = np.zeros((1, self.kind.width(index.d)), self.kind.dtype)
                keep = np.zeros(index.ntotal, bool)
                keep[0] = True
                index.search(one, 1, params=self._parameters(Effort(nprobe=1), _bitmap(keep), 1.0))
                self._selects = True
            except (RuntimeError, AssertionError):
                self._selects = False
        return self._selects

    def _parameters(self, effort: Effort, selector: Any, share: float) -> Any:
        """FAISS's search parameters; filters that leave a `share` of the rows look at more lists and longer queues."""
        return _parameters(self.index, effort, selector, min(1 / share, 16.0))


def code_bytes(index: Any) -> int:
    """Bytes that a FAISS index keeps of each row, lists and links left out."""
    faiss = library()

    inner = faiss.downcast_index(index)
    while isinstance(inner, faiss.IndexPreTransform):
        inner = faiss.downcast_index(inner.index)
    if isinstance(inner, faiss.IndexHNSW):
        inner = faiss.downcast_index(inner.storage)
    return int(inner.code_size)


def _bitmap(keep: np.ndarray) -> Any:
    faiss = library()

    return faiss.IDSelectorBitmap(np.packbits(keep, bitorder="little"))


def _parameters(index: Any, effort: Effort, selector: Any, more: float) -> Any:
    faiss = library()

    binary = isinstance(index, faiss.IndexBinary)
    inner = faiss.downcast_IndexBinary(index) if binary else faiss.downcast_index(index)
    chosen = {} if selector is None else {"sel": selector}
    if isinstance(inner, faiss.IndexPreTransform):
        below = _parameters(inner.index, effort, selector, more)
        return None if below is None else faiss.SearchParametersPreTransform(index_params=below)
    if isinstance(inner, faiss.IndexIVF | faiss.IndexBinaryIVF):
        probes = effort.nprobe or max(1, inner.nlist // 16, min(8, inner.nlist))
        chosen["nprobe"] = min(inner.nlist, int(np.ceil(probes * more)))
        rabitq = isinstance(inner, faiss.IndexIVFRaBitQ)
        return faiss.IVFRaBitQSearchParameters(**chosen) if rabitq else faiss.SearchParametersIVF(**chosen)
    if isinstance(inner, faiss.IndexHNSW | faiss.IndexBinaryHNSW):
        return faiss.SearchParametersHNSW(efSearch=int(np.ceil((effort.ef or 64) * more)), **chosen)
    if isinstance(inner, faiss.IndexRaBitQ):
        return faiss.RaBitQSearchParameters(**chosen) if chosen else None
    return faiss.SearchParameters(**chosen) if chosen else None
