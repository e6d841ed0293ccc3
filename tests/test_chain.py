"""Chains, pools, and the encoder that folds affine neighbours and runs NumPy paths between compiled parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given

from mmfeat.arrays import Images, Locals
from mmfeat.chain import Chain, apply_stage, is_fixed
from mmfeat.encoder import Encoder
from mmfeat.errors import SettingsError, ShapeError
from mmfeat.learner import Learner
from mmfeat.learners.autoencoder import Autoencoder
from mmfeat.learners.lsh import Lsh, LshState
from mmfeat.mesh import make_mesh, on_host
from mmfeat.pool import Pool

DRAW = np.random.default_rng(0)


class Line(NamedTuple):
    """mean (d,), matrix (d, k)."""

    mean: Any
    matrix: Any


class Given(Learner):
    """Never trained: its state is given."""

    def init(self, key: Any, x: Any) -> Any:
        return ()

    def step(self, key: Any, state: Any, x: Any, weight: Any) -> Any:
        return state, {}


@dataclass(frozen=True)
class Affine(Given):
    """(x - mean) @ matrix."""

    hash: ClassVar[bool] = False

    def encode(self, state: Line, x: Any) -> Any:
        return (x.reshape(x.shape[0], -1) - state.mean[None, :]) @ state.matrix

    def affine(self, state: Line) -> Line:
        return state


@dataclass(frozen=True)
class Bits(Affine):
    """The same as a hash."""

    hash: ClassVar[bool] = True


@dataclass(frozen=True)
class Square(Given):
    """Not affine; doubles what it is on NumPy, to show where it ran."""

    def encode(self, state: Any, x: Any) -> Any:
        return x * x

    def host_encode(self, state: Any, x: Any) -> Any:
        assert isinstance(x, np.ndarray)
        return 2 * x * x


def line(d: int, k: int) -> Line:
    return Line(DRAW.normal(size=d).astype(np.float32), DRAW.normal(size=(d, k)).astype(np.float32))


def some_locals(items: int = 4, places: int = 6, width: int = 3) -> Locals:
    where = DRAW.uniform(size=(items, places, 2)).astype(np.float32)
    weight = (DRAW.uniform(size=(items, places)) > 0.3).astype(np.float32)
    return Locals(DRAW.normal(size=(items, places, width)).astype(np.float32), where, weight)


def test_chains_lie_flat_and_compare_by_what_they_hold() -> None:
    one = Chain(Chain(Lsh(8), Pool()), Lsh(4), fit_rows=7)
    assert one.stages == (Lsh(8), Pool(), Lsh(4))
    assert one == Chain((Lsh(8), Pool(), Lsh(4)), fit_rows=7) == Chain(stages=(Lsh(8), Pool(), Lsh(4)), fit_rows=7)
    assert hash(one) == hash(Chain(Lsh(8), Pool(), Lsh(4), fit_rows=7))
    assert one != Chain(Lsh(8), Pool(), Lsh(4))
    assert one.hash
    assert not Chain(Lsh(8), Pool()).hash
    assert [is_fixed(stage) for stage in one.stages] == [False, True, False]


@pytest.mark.parametrize(("arguments", "named"), [((), {}), (((),), {}), ((Lsh(),), {"rows": 3}), ((), {"stages": ()})])
def test_a_chain_of_nothing_is_refused(arguments: Any, named: Any) -> None:
    with pytest.raises(SettingsError, match="one stage or more"):
        Chain(*arguments, **named)


def test_a_chain_learns_from_one_row_at_least() -> None:
    with pytest.raises(SettingsError, match="fit_rows is at least 1, or None"):
        Chain(Lsh(), fit_rows=0)


def test_what_is_no_stage_is_refused() -> None:
    with pytest.raises(SettingsError, match="a descriptor, a pool, a Join or a learner; got 3"):
        Chain(Lsh(), 3)
    with pytest.raises(SettingsError, match=r"Pool\.kind"):
        Pool(kind="median")
    with pytest.raises(ShapeError, match="Put a descriptor before it"):
        Pool()(np.zeros((2, 3)))  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="Affine learns from rows"):
        apply_stage(Affine(), line(3, 2), Images(np.zeros((1, 2, 2, 1)), np.zeros((1, 2))))


@given(
    hnp.arrays(np.float32, (2, 5, 2), elements=st.floats(-4, 4, width=16)),
    hnp.arrays(np.float32, (2, 5, 2), elements=st.floats(0, 1, width=16)),
    hnp.arrays(np.float32, (2, 5), elements=st.sampled_from([0.0, 1.0])),
    st.sampled_from(["max", "mean", "sum"]),
)
def test_pooling_is_a_loop_over_regions(values: Any, where: Any, weight: Any, kind: str) -> None:
    regions = ((1, 1), (2, 3))
    pooled = np.asarray(Pool(regions, kind)(Locals(values, where, weight)))
    for item in range(2):
        wanted: list[Any] = []
        for rows, columns in regions:
            for number in range(rows * columns):
                down, across = divmod(number, columns)
                inside = [
                    values[item, place]
                    for place in range(5)
                    if weight[item, place]
                    and min(int(where[item, place, 0] * columns), columns - 1) == across
                    and min(int(where[item, place, 1] * rows), rows - 1) == down
                ]
                wanted.append(getattr(np.array(inside), kind)(axis=0) if inside else np.zeros(2))
        np.testing.assert_allclose(pooled[item], np.concatenate(wanted), atol=1e-5)


def test_times_are_pooled_in_columns() -> None:
    values = np.arange(4, dtype=np.float32).reshape(1, 4, 1)
    where = np.array([[[0.0], [0.3], [0.6], [1.0]]], np.float32)
    pooled = Pool(((1, 2),), "sum")(Locals(values, where, np.ones((1, 4), np.float32)))
    np.testing.assert_array_equal(pooled, [[1, 5]])


def test_seconds_are_pooled_as_shares_of_the_last() -> None:
    """Frames, and cuboids with their x cut into rows; padding has no say."""
    values = np.arange(4, dtype=np.float32).reshape(1, 4, 1)
    frames = Locals(
        values, np.array([[[0.0], [3.0], [11.0], [90.0]]], np.float32), np.array([[1, 1, 1, 0]], np.float32)
    )
    np.testing.assert_array_equal(Pool(((1, 2),), "sum")(frames), [[1, 2]])
    where = np.array([[[0, 0.1, 0], [3, 0.9, 0], [11, 0.2, 0], [90, 0, 0]]], np.float32)
    np.testing.assert_array_equal(Pool(((2, 2),), "sum")(frames._replace(where=where)), [[0, 2, 1, 0]])


def test_pooling_hides_no_nan() -> None:
    values = np.array([[[np.nan], [2]], [[1], [2]]], np.float32)
    x = Locals(values, np.zeros((2, 2, 2), np.float32), np.ones((2, 2), np.float32))
    for kind in ("max", "mean", "sum"):
        assert np.isnan(Pool(kind=kind)(x)).ravel().tolist() == [True, False]


def test_a_learner_of_rows_encodes_the_rows_of_locals() -> None:
    x, state = some_locals(), line(3, 5)
    out = apply_stage(Affine(), state, x)
    np.testing.assert_allclose(out.values, (x.values - state.mean) @ state.matrix, rtol=1e-5, atol=1e-5)
    assert out.where is x.where
    assert out.weight is x.weight


@pytest.mark.parametrize("count", [1, 2, 3])
def test_affine_neighbours_are_one_product(count: int) -> None:
    widths = [7, 6, 5, 4]
    states = tuple(line(widths[i], widths[i + 1]) for i in range(count))
    stages = (*(Affine() for _ in range(count - 1)), Bits())
    encoder = Encoder(stages, states)
    assert [len(part[1]) for part in encoder.parts] == [1], "one stage is left"
    assert encoder.parts[0][1][0].hash
    x = DRAW.normal(size=(8, 7)).astype(np.float32)
    wanted = x.astype(np.float64)
    for state in states:
        wanted = (wanted - state.mean) @ state.matrix
    np.testing.assert_allclose(encoder(x), wanted, rtol=1e-4, atol=1e-4)


def test_a_large_mean_costs_no_digits_when_folded() -> None:
    states = (line(7, 6), line(6, 5))
    x = (DRAW.normal(size=(8, 7)) + 1e5).astype(np.float32)
    first = states[0]._replace(mean=np.full(7, 1e5, np.float32))
    wanted = ((x.astype(np.float64) - first.mean) @ first.matrix - states[1].mean) @ states[1].matrix
    np.testing.assert_allclose(Encoder((Affine(), Affine()), (first, states[1]))(x), wanted, rtol=1e-4, atol=1e-4)


def test_a_fold_that_would_be_more_work_is_left_out() -> None:
    """A narrow middle: 40 x 40 is more than 40 x 2 and 2 x 40."""
    encoder = Encoder((Affine(), Affine()), (line(40, 2), line(2, 40)))
    assert [len(part[1]) for part in encoder.parts] == [2]


def test_products_of_a_chain_are_exact_on_accelerators() -> None:
    """By default they would be rounded to 10 bits there, and bits would differ from the CPU's."""
    x = some_locals(8)
    for stages, states in (((Affine(), Affine()), (line(3, 3), line(3, 2))), ((Pool(),), ((),))):
        ((_, folded, kept),) = Encoder(stages, states).parts
        program = str(jax.make_jaxpr(lambda x, f=folded, k=kept: apply_stage(f[0], k[0], x))(x))
        assert "Precision.HIGHEST" in program


def test_what_is_not_affine_is_not_folded() -> None:
    encoder = Encoder((Affine(), Square(), Affine()), (line(7, 6), (), line(6, 2)))
    assert [len(part[1]) for part in encoder.parts] == [3]
    assert encoder.host == ()


def test_a_hash_in_the_middle_keeps_its_own_result() -> None:
    """Lsh is affine too, and a chain is what its stages are one after another."""
    first = LshState(line(7, 6).matrix, np.ones(7, np.float32), np.zeros(7, np.float32), np.float32(0))
    second = line(6, 2)
    x = DRAW.normal(size=(8, 7)).astype(np.float32)
    wanted = (np.asarray((x - 1) @ first.planes) - second.mean) @ second.matrix
    np.testing.assert_allclose(Encoder((Lsh(6), Affine()), (first, second))(x), wanted, rtol=1e-4, atol=1e-4)


def test_numpy_paths_run_between_compiled_parts(one_device_mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stages, states = (Affine(), Square(), Pool(), Affine()), (line(3, 3), (), (), line(3, 2))
    x = some_locals()
    one = Encoder(stages, states, one_device_mesh)
    assert one.host == ("Square",)
    assert [part[0] for part in one.parts] == ["device", "host", "device"]
    four = Encoder(stages, states, make_mesh(4))
    assert four.host == ()
    assert len(four.parts) == 1
    first, last = states[0], states[3]
    squares = ((x.values - first.mean) @ first.matrix) ** 2
    mean = np.einsum("bld,bl->bd", squares, x.weight) / np.maximum(x.weight.sum(1), 1)[:, None]
    np.testing.assert_allclose(four(x), (mean - last.mean) @ last.matrix, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one(x), (2 * mean - last.mean) @ last.matrix, rtol=1e-4, atol=1e-4)
    monkeypatch.setenv("MMFEAT_HOST", "0")
    assert Encoder(stages, states, one_device_mesh).host == ()


def test_an_encoder_of_nothing_gives_back_what_it_gets() -> None:
    x = DRAW.normal(size=(8, 7)).astype(np.float32)
    np.testing.assert_array_equal(Encoder((), ())(x), x)


def test_wide_states_are_split_over_the_devices_that_encode() -> None:
    learner, x = Autoencoder(hidden=(8,), code=4), DRAW.normal(size=(8, 6)).astype(np.float32)
    state = on_host(learner.init(jax.random.key(0), x))
    wide = Encoder((learner,), (state,), make_mesh(2, 2))
    kernel = wide.parts[0][2][0].params["encoder"]["layer0"]["kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(6, 4)}
    np.testing.assert_allclose(wide(x), Encoder((learner,), (state,), make_mesh(4))(x), rtol=1e-5, atol=1e-6)
