"""A `Model` is a fitted chain, how its input was decoded, and where it came from: what is saved, indexed and searched with.

On disk a model is a folder: `model.json` (settings, shapes, provenance), `model.safetensors` (the states' arrays), `card.md`, and
`log.jsonl`, what its learners measured while they learned.
Nothing in it is executed when it is read.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

import mmfeat
from mmfeat.arrays import Images, Locals
from mmfeat.chain import Chain, Join, takes_images
from mmfeat.encoder import Encoder
from mmfeat.errors import DamagedError, DataError, MismatchError, ShapeError, UsageError
from mmfeat.files import canonical_json, new_folder, read_json, sha256_bytes, write_bytes, write_json
from mmfeat.log import as_lines, read_log
from mmfeat.mesh import default_mesh, leaf_names
from mmfeat.settings import from_json, to_json
from mmfeat.stages import encode_source
from mmfeat.stream import ArraySource, Source

__all__ = ["Model", "check_place", "load"]

FORMAT = "mmfeat model 1"


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A fitted chain.

    chain: the stages with their settings.
    states: one state per stage, () for a fixed map.
    forms: per stage, the row shapes and dtypes its `init` saw (None for a fixed map): enough to rebuild the states' structure.
    decode: how pictures become pixels; None for a model of plain arrays.
    classes: the names behind the labels, sorted.
    provenance: what it was learned from, with which versions; plain JSON.
    log: what the learners measured in each pass (`mmfeat.log`); only for looking.
    """

    chain: Chain
    states: tuple[Any, ...]
    forms: tuple[Any, ...]
    decode: Any = None
    classes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    mesh: Mesh | None = None
    log: tuple[Mapping[str, Any], ...] = ()

    @cached_property
    def encoder(self) -> Encoder:
        """The compiled encoder of the whole chain."""
        return Encoder(self.chain.stages, self.states, self.mesh or default_mesh())

    @property
    def hash(self) -> bool:
        """Whether the features are bits (value > 0) or plain floats."""
        return self.chain.hash

    def source(self, data: Any) -> Source:
        """What can be encoded, as a source.

        Rows (n, d) as wide as those it learned from; `Locals`; pictures (n, h, w[, c]); a path, a picture, or a list of
        them; a source.
        """
        if hasattr(data, "read") and hasattr(data, "groups"):
            return data
        if isinstance(data, Images | Locals | Mapping):
            return self._checked(ArraySource(data))
        pictures = self.decode is not None and takes_images(self.chain.stages[0])
        if not pictures:
            return self._checked(ArraySource(np.asarray(data, np.float32)))
        return _pictures(data, self.decode)

    def _checked(self, source: ArraySource) -> ArraySource:
        """The source, if its rows have as many values as those the first learner saw: others could be spread silently."""
        form = self.forms[0] if isinstance(self.forms[0], Mapping) else None
        x = source.x["x"] if isinstance(source.x, Mapping) else source.x
        shape = x.values.shape[2:] if isinstance(x, Locals) else () if isinstance(x, Images) else x.shape[1:]
        if form is not None and np.prod(shape) != np.prod(form["x"][0]):
            raise ShapeError(
                f"this model takes rows of shape {tuple(form['x'][0])}",
                f"an array {getattr(x, 'shape', type(x).__name__)}",
                "give one row per item, (n, d)",
            )
        return source

    def stream(self, source: Source, small: bool = False) -> Iterator[tuple[np.ndarray, Any, np.ndarray]]:
        """Batches of (rows (r,), features of those rows, read (r,) bool), as they come. `small` is the shape for single queries."""
        return encode_source(self.encoder, source, small)

    def encode(self, data: Any, small: bool = False) -> np.ndarray:
        """Features (n, k) float32 in the order given; for a hash one float per bit (bit = value > 0). Unreadable rows are NaN."""
        source = self.source(data)
        out: np.ndarray | None = None
        for rows, features, read in self.stream(source, small):
            if isinstance(features, Locals):
                raise UsageError(
                    "a model gives one row per item",
                    "local descriptors",
                    "end the chain with Pool() or a learner of Locals",
                )
            out = np.full((len(source), *features.shape[1:]), np.nan, np.float32) if out is None else out
            out[rows[read]] = features[read]
        if out is None:
            raise DataError("there must be something to encode", "nothing", "check the path or the array")
        return out

    def encode_bits(self, data: Any, small: bool = False) -> np.ndarray:
        """Packed codes (n, ceil(bits / 8)) uint8; every row must be readable."""
        if not self.hash:
            last = type(self.chain.stages[-1]).__name__
            raise UsageError("bits come from a chain that ends in a hash", f"one that ends in {last}", "use encode()")
        source = self.source(data)
        out: np.ndarray | None = None
        good = np.zeros(len(source), bool)
        for rows, packed, read in encode_source(self._packer, source, small):
            out = np.zeros((len(source), packed.codes.shape[1]), np.uint8) if out is None else out
            out[rows], good[rows] = packed.codes, read & packed.finite
        if out is None or not good.all():
            bad = np.flatnonzero(~good)
            raise DataError(
                "every row must be readable to become bits",
                f"{len(bad)} that are not (first: {bad[:1]})",
                "leave them out",
            )
        return out

    @cached_property
    def _packer(self) -> Encoder:
        return Encoder(self.chain.stages, self.states, self.mesh or default_mesh(), packed=True)

    @cached_property
    def tensors(self) -> dict[str, np.ndarray]:
        """The states' arrays by name ("2.mean"), without what only training needs."""
        return {name: leaf for name, leaf, scratch in _leaves(self.chain, self.states) if not scratch}

    @cached_property
    def sha256(self) -> str:
        """The identity of the model: of its settings, decoding, classes and arrays, not of when or where it was made."""
        return sha256_bytes(canonical_json({**self._settings(), "tensors": sha256_bytes(_safetensors(self.tensors))}))

    def _settings(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "chain": to_json(self.chain),
            "decode": to_json(self.decode) if self.decode is not None else None,
            "classes": list(self.classes),
            "forms": _forms_to_json(self.forms),
        }

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the model as a folder; it appears whole or not at all. `overwrite` replaces a model, never anything else."""
        check_place(path, overwrite)
        data = _safetensors(self.tensors)
        described = {
            **self._settings(),
            "sha256": self.sha256,
            "tensors": {"file": "model.safetensors", "bytes": len(data), "sha256": sha256_bytes(data)},
            "host": list(self.encoder.host),
            "provenance": dict(self.provenance),
        }
        with new_folder(path, overwrite) as folder:
            write_bytes(folder / "model.safetensors", data)
            write_json(folder / "model.json", {**described, "checksum": sha256_bytes(canonical_json(described))})
            write_bytes(folder / "card.md", _card(self).encode())
            if self.log:
                write_bytes(folder / "log.jsonl", as_lines(self.log))
        return Path(path)


def check_place(path: str | os.PathLike[str], overwrite: bool) -> None:
    """UsageError where a model may not be saved: something is there, and it is no model or is not to be replaced."""
    if not Path(path).exists():
        return
    if not overwrite:
        raise UsageError(
            "what exists is never overwritten unasked", str(path), "choose another name or pass --overwrite"
        )
    if not (Path(path) / "model.json").is_file():
        raise UsageError(
            "only a model is overwritten by a model", f"{path}, which holds something else", "choose another name"
        )


def load(path: str | os.PathLike[str], mesh: Mesh | None = None) -> Model:
    """Read a model folder; a damaged or foreign file is named."""
    folder = Path(path)
    if not (folder / "model.json").is_file():
        raise UsageError(
            "a model is a folder with model.json", str(path), "check the path, or fit one with `mmfeat fit`"
        )
    described = _described(folder / "model.json")
    data = _checked(folder / described["tensors"]["file"], described["tensors"]["sha256"])
    from safetensors.numpy import load as load_tensors

    chain, forms = from_json(described["chain"]), _forms_from_json(described["forms"])
    return Model(
        chain,
        _states(chain, forms, load_tensors(data), folder),
        forms,
        from_json(described["decode"]),
        tuple(described["classes"]),
        described["provenance"],
        mesh,
        read_log(folder / "log.jsonl"),
    )


def _described(path: Path) -> dict[str, Any]:
    """model.json, checked: of this format, and as it was written."""
    found = read_json(path)
    rest = {key: value for key, value in found.items() if key != "checksum"} if isinstance(found, dict) else {}
    if rest.get("format") != FORMAT:
        raise MismatchError(
            f'this version reads "{FORMAT}"', repr(rest.get("format")), "use the mmfeat that wrote it, or fit again"
        )
    if found.get("checksum") != sha256_bytes(canonical_json(rest)):
        raise DamagedError(f"{path} must match its checksum", "another content", "restore it from a copy, or fit again")
    return rest


def _checked(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(f"{path} must be there", "no such file", "restore it from a copy, or fit again") from error
    if sha256_bytes(data) != sha256:
        raise DamagedError(f"{path} must match its checksum", "other bytes", "restore it from a copy, or fit again")
    return data


def _leaves(chain: Chain, states: Sequence[Any], before: str = "") -> list[tuple[str, np.ndarray, bool]]:
    """(name, array, whether only training needs it) of every leaf; the branches of a Join are numbered like stages."""
    found: list[tuple[str, np.ndarray, bool]] = []
    for number, (stage, state) in enumerate(zip(chain.stages, states, strict=True)):
        if isinstance(stage, Join):
            for which, (branch, some) in enumerate(zip(stage.branches, state, strict=True)):
                found += _leaves(branch, some, f"{before}{number}.{which}.")
            continue
        patterns = getattr(stage, "scratch", ())
        for name, leaf in zip(leaf_names(state), jax.tree.leaves(state), strict=True):
            scratch = any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
            found.append((f"{before}{number}.{name}", leaf, scratch))
    return found


def _states(chain: Chain, forms: Sequence[Any], tensors: Mapping[str, np.ndarray], folder: Path) -> tuple[Any, ...]:
    """The states rebuilt: structure from the learners, arrays from the file, zeros for what only training needs."""
    shapes = tuple(_shape_of(stage, form) for stage, form in zip(chain.stages, forms, strict=True))
    leaves = []
    expected = _leaves(chain, shapes)
    for name, leaf, scratch in expected:
        if scratch:
            leaves.append(np.zeros(leaf.shape, leaf.dtype))
            continue
        found = tensors.get(name)
        if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
            came = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise ShapeError(
                f"{folder}: {name} is {leaf.dtype} {leaf.shape}", came, "the file and the settings are of two models"
            )
        leaves.append(found)
    extra = sorted(set(tensors) - {name for name, _, _ in expected})
    if extra:
        raise ShapeError(
            f"{folder}: every array belongs to a stage",
            ", ".join(extra[:3]),
            "the file and the settings are of two models",
        )
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _shape_of(stage: Any, form: Any) -> Any:
    if isinstance(stage, Join):
        pairs = zip(stage.branches, form, strict=True)
        return tuple(tuple(map(_shape_of, branch.stages, some)) for branch, some in pairs)
    if form is None:
        return ()
    rows = {name: jax.ShapeDtypeStruct((stage.init_rows, *shape), dtype) for name, (shape, dtype) in form.items()}
    return jax.eval_shape(stage.init, jax.random.key(0), rows["x"] if stage.needs == ("x",) else rows)


def _forms_to_json(forms: Sequence[Any]) -> list[Any]:
    """A form as a dict, None for a fixed map, a list of lists for the branches of a Join."""
    return [_forms_to_json(form) if isinstance(form, tuple) else _form_to_json(form) for form in forms]


def _form_to_json(form: Any) -> Any:
    return form and {name: [list(shape), dtype] for name, (shape, dtype) in form.items()}


def _forms_from_json(data: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(_forms_from_json(form) if isinstance(form, list) else _form_from_json(form) for form in data)


def _form_from_json(form: Any) -> Any:
    return form and {name: (tuple(shape), dtype) for name, (shape, dtype) in form.items()}


def _safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save({name: np.asarray(tensors[name], order="C") for name in sorted(tensors)})


def _pictures(data: Any, decode: Any) -> Source:
    """Pictures in whatever form a person has them: arrays, PIL images, paths, a folder."""
    from mmfeat.media.decode import decode as decode_file
    from mmfeat.media.source import ArrayImages, ImageSource
    from mmfeat.media.walk import walk

    if isinstance(data, str | os.PathLike):
        items = walk(Path(data))
        return ImageSource(items, decode, rows=items.images)
    if not isinstance(data, Sequence | np.ndarray) or (isinstance(data, np.ndarray) and data.ndim == 2):
        data = [data]
    if len(data) and isinstance(data[0], str | os.PathLike):
        data = [decode_file(path, decode) for path in data]
    return ArrayImages(list(data), decode)


def _card(model: Model) -> str:
    """A page for people: what the model is, what it learned from, how to use it."""
    stages = "\n".join(f"- `{stage!r}`" for stage in model.chain.stages)
    facts = "\n".join(f"- {key}: {value}" for key, value in sorted(model.provenance.items()))
    kind = "bits" if model.hash else "floats"
    return (
        f"# A model of mmfeat {mmfeat.__version__}\n\n"
        f"It gives {kind} and was learned without labels unless classes are named below.\n\n"
        f"## Stages\n\n{stages}\n\n## Pictures are decoded as\n\n- `{model.decode!r}`\n\n"
        f"## Learned from\n\n{facts or '- (not recorded)'}\n\n"
        f"## Classes\n\n{', '.join(model.classes) or 'none'}\n\n## Use\n\n"
        "```python\nimport mmfeat\n\nmodel = mmfeat.load('this folder')\nfeatures = model.encode('a folder of pictures')\n```\n"
    )
