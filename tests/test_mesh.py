"""Where arrays live: meshes, shardings, copies."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from mmfeat.errors import UsageError
from mmfeat.mesh import default_mesh, leaf_names, make_mesh, on_host, put_batch, put_state, state_shardings, strong


class State(NamedTuple):
    """Leaves of three depths."""

    weights: Any
    layers: Any
    count: Any


STATE = State(
    np.ones((6, 8), np.float32), {"a": (np.zeros(4, np.float32), np.zeros((3, 8), np.float32))}, np.float32(2)
)


def test_meshes() -> None:
    assert dict(make_mesh().shape) == {"data": 4, "model": 1} == dict(default_mesh().shape)
    assert dict(make_mesh(model=2).shape) == {"data": 2, "model": 2}
    assert dict(make_mesh(1, devices=jax.devices()[2:]).shape) == {"data": 1, "model": 1}
    assert make_mesh(1, devices=jax.devices()[2:]).devices.item() == jax.devices()[2]
    for data, model in ((5, 1), (2, 3), (0, 1), (1, 0), (-1, 1)):
        with pytest.raises(UsageError, match=rf"a mesh of {data} x {model} needs"):
            make_mesh(data, model)


def test_leaves_have_dotted_names_in_order() -> None:
    assert leaf_names(STATE) == ["weights", "layers.a.0", "layers.a.1", "count"]
    assert leaf_names(()) == []


def test_a_state_is_replicated_but_for_what_its_learner_splits() -> None:
    specs = state_shardings(STATE, make_mesh(2, 2), {"weights": 1, "layers.*": 0, "count": 0})
    assert [each.spec for each in jax.tree.leaves(specs)] == [
        PartitionSpec(None, "model"),
        PartitionSpec("model"),
        PartitionSpec(),  # 3 rows do not divide by 2: whole
        PartitionSpec(),  # a scalar has no axis
    ]
    whole = state_shardings(STATE, make_mesh(4), {"weights": 1})
    assert all(each.spec == PartitionSpec() for each in jax.tree.leaves(whole))


def test_a_state_is_copied_and_strong() -> None:
    weak = jnp.asarray(2.0)
    assert weak.weak_type
    state = STATE._replace(count=weak)
    put = put_state(state, make_mesh(2, 2), {"weights": 1})
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(put))
    assert put.weights.sharding.spec == PartitionSpec(None, "model")
    assert {shard.data.shape for shard in put.weights.addressable_shards} == {(6, 4)}
    again = put_state(put, make_mesh(2, 2), {"weights": 1})
    jax.tree.map(lambda leaf: leaf.delete(), again)
    np.testing.assert_array_equal(put.weights, 1)
    assert not strong({"a": weak})["a"].weak_type


def test_a_batch_lies_over_the_data_axis() -> None:
    x = {"x": np.arange(8, dtype=np.float32).reshape(8, 1), "y": np.arange(8)}
    put = put_batch(x, make_mesh(2, 2))
    assert {shard.data.shape for shard in put["x"].addressable_shards} == {(4, 1)}
    np.testing.assert_array_equal(put["x"], x["x"])
    with pytest.raises(ValueError, match="evenly divide"):
        put_batch(np.zeros((6, 1)), make_mesh(4))


def test_on_host_gives_copies() -> None:
    x = np.ones(3, np.float32)
    copy = on_host({"a": x, "b": jnp.float32(2)})
    x[:] = 0
    np.testing.assert_array_equal(copy["a"], 1)
    assert isinstance(copy["b"], np.ndarray)
    put = put_state(STATE, make_mesh(2, 2), {"weights": 1})
    for one, two in zip(jax.tree.leaves(on_host(put)), jax.tree.leaves(STATE), strict=True):
        np.testing.assert_array_equal(one, two)
