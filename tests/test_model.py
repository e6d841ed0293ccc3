"""Models on disk: the same bits back, damage and strangers named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmfeat.chain import Chain
from mmfeat.errors import DamagedError, MismatchError, MmfeatError, ShapeError, UsageError
from mmfeat.files import canonical_json, sha256_bytes
from mmfeat.learners import Lsh, Pca
from mmfeat.model import Model, load
from mmfeat.stages import fit_chain

ROWS = np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    fitted = fit_chain(Chain(Pca(6), Lsh(bits=13)), ROWS, seed=2)
    return Model(fitted.chain, fitted.states, fitted.forms, provenance={"data": "noise"})


def test_what_comes_back_encodes_to_the_bit(model: Model, tmp_path: Path) -> None:
    back = load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(back.encode(ROWS), model.encode(ROWS))
    np.testing.assert_array_equal(back.encode_bits(ROWS), model.encode_bits(ROWS))
    assert back.encode_bits(ROWS).shape == (300, 2)
    assert back.sha256 == model.sha256
    assert back.chain == model.chain
    assert back.provenance == {"data": "noise"}


def test_the_same_model_has_the_same_bytes_in_every_process(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "a")
    code = f"from mmfeat.model import load; load({str(tmp_path / 'a')!r}).save({str(tmp_path / 'b')!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=_environment())
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def _environment() -> dict[str, str]:
    import os

    import mmfeat

    return {**os.environ, "PYTHONPATH": str(Path(mmfeat.__file__).parent.parent), "MMFEAT_COMPILE_CACHE": "0"}


def test_what_only_training_needs_is_left_out(model: Model) -> None:
    assert "1.planes" in model.tensors
    assert not [name for name in model.tensors if name in ("1.total", "1.count")]


def test_identity_is_settings_and_arrays_not_provenance(model: Model) -> None:
    other = Model(model.chain, model.states, model.forms, provenance={"data": "elsewhere"})
    assert other.sha256 == model.sha256
    third = fit_chain(model.chain, ROWS, seed=3)
    assert Model(third.chain, third.states, third.forms).sha256 != model.sha256


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_flipped_bit_is_named(model: Model, tmp_path: Path, name: str) -> None:
    model.save(tmp_path / "m")
    path = tmp_path / "m" / name
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), max(len(data) // 25, 1)):
        damaged = bytearray(data)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        if json_of(damaged) == json_of(data):
            continue  # white space between the values
        with pytest.raises(MmfeatError, match=name if name.endswith("json") else "safetensors"):
            load(tmp_path / "m")


def json_of(data: bytes | bytearray) -> object:
    """What the bytes say as JSON; the bytes themselves where they say nothing."""
    try:
        return json.loads(bytes(data))
    except ValueError:
        return bytes(data)


def test_a_missing_file_and_a_foreign_folder_are_named(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a model is a folder"):
        load(tmp_path)
    model.save(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(DamagedError, match="must be there"):
        load(tmp_path / "m")
    (tmp_path / "m" / "model.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(MismatchError, match="this version reads"):
        load(tmp_path / "m")


def test_a_wrong_shape_is_named(model: Model, tmp_path: Path) -> None:
    """Settings of one model with the arrays of another."""
    fitted = fit_chain(Chain(Pca(6), Lsh(bits=14)), ROWS)
    other = Model(fitted.chain, fitted.states, fitted.forms)
    other.save(tmp_path / "other")
    described = json.loads((other.save(tmp_path / "m") / "model.json").read_text())
    described["chain"]["stages"][1]["bits"] = 13
    del described["checksum"]
    (tmp_path / "m" / "model.json").write_bytes(
        canonical_json({**described, "checksum": sha256_bytes(canonical_json(described))})
    )
    with pytest.raises(ShapeError, match=r"1\.planes is float32 \(6, 13\); got float32 \(6, 14\)"):
        load(tmp_path / "m")


def test_nothing_is_overwritten_unasked(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    with pytest.raises(UsageError, match="never overwritten unasked"):
        model.save(tmp_path / "m")
    model.save(tmp_path / "m", overwrite=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "only copy.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="only a model is overwritten by a model"):
        model.save(tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "only copy.jpg").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "photos"]


@pytest.mark.parametrize("shape", [(5, 11), (5, 1), (12,), (5, 3, 3), ()])
def test_rows_of_another_width_are_refused(model: Model, shape: tuple[int, ...]) -> None:
    """A single column, or a vector, would be spread over all columns."""
    for call in (model.encode, model.encode_bits):
        with pytest.raises(ShapeError, match=r"takes rows of shape \(12,\)|one leading axis"):
            call(np.ones(shape))
    np.testing.assert_array_equal(model.encode(ROWS.reshape(300, 3, 4)), model.encode(ROWS))


def test_floats_are_not_bits(model: Model) -> None:
    fitted = fit_chain(Chain(Pca(6)), ROWS)
    with pytest.raises(UsageError, match="ends in a hash"):
        Model(fitted.chain, fitted.states, fitted.forms).encode_bits(ROWS)
    broken = ROWS.copy()
    broken[7] = np.nan
    with pytest.raises(MmfeatError, match=r"first: \[7\]"):
        model.encode_bits(broken)
