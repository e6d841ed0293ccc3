"""The laws of all learners, as functions that raise AssertionError. `test_contract.py` runs each on every learner it finds."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures_learning import (
    BATCH,
    CLASSES,
    ROWS,
    WIDTH,
    assert_bits,
    assert_near,
    batches,
    begun,
    example,
    fitted,
    form,
    items,
    learned,
    leaves,
    one_batch,
    one_device,
    rows,
    shrink,
    step,
)

from mmfeat import learner as training
from mmfeat.arrays import count_rows, take_rows
from mmfeat.checkpoint import restore, save
from mmfeat.errors import MismatchError, NotFittedError, SettingsError
from mmfeat.learner import Run, pick, start, train, transform
from mmfeat.mesh import default_mesh, make_mesh, on_host, put_state
from mmfeat.settings import from_json, to_json

__all__ = ["CLASSES", "LAWS", "WIDTH", "example", "rows", "shrink"]

Law = Callable[[Any], None]
LAWS: dict[str, Law] = {}


def law(function: Law) -> Law:
    """Enter a law under its name."""
    LAWS[function.__name__] = function
    return function


@law
def settings_are_values(learner: Any) -> None:
    """Default-constructible, frozen, hashable, to JSON and back, unknown keys refused."""
    for each in (type(learner)(), learner):
        assert each == dataclasses.replace(each), "a copy is not equal"
        assert hash(each) == hash(dataclasses.replace(each)), "a copy has another hash"
        assert is_frozen(each), f"{type(each).__name__} is not frozen"
        data = json.loads(json.dumps(to_json(each), allow_nan=False))
        assert from_json(data) == each, f"{data} does not come back"
        assert hash(from_json(data)) == hash(each), "what comes back has another hash"
        with pytest.raises(SettingsError, match="no_such_setting"):
            from_json(data | {"no_such_setting": 1})


def is_frozen(settings: Any) -> bool:
    """Whether no field can be set, nor a new attribute be added."""
    for name in [*(field.name for field in dataclasses.fields(settings)), "new_attribute"]:
        try:
            setattr(settings, name, None)
        except (dataclasses.FrozenInstanceError, AttributeError):
            continue
        return False
    return True


@law
def the_state_keeps_its_form(learner: Any) -> None:
    """A NamedTuple of arrays whose shapes, dtypes and shardings a step and a finish leave alone."""
    run = begun(learner)
    assert isinstance(run.state, tuple), "the state is a NamedTuple"
    before = form(put_state(run.state, default_mesh(), learner.split))
    x = one_batch(learner)
    after, _ = step(learner, run, x, np.ones(count_rows(x), np.float32))
    assert form(after.state) == before, "a step changes the form"
    ended = training._finish(learner, default_mesh(), run.key, after.state, np.uint32(0))
    assert form(ended) == before, "a finish changes the form"
    names = [str(leaf.dtype) for leaf in jax.tree.leaves(ended)]
    assert not any(name in ("float64", "int64") for name in names), "64-bit leaves"


@law
def ten_steps_compile_once(learner: Any) -> None:
    """Ten steps and two finishes compile one program each."""
    run, x = begun(learner), one_batch(learner)
    weight = np.ones(count_rows(x), np.float32)
    sizes = []
    for number in range(10):
        run, _ = step(learner, run, x, weight)
        if number % 5 == 4:
            ended = training._finish(learner, default_mesh(), run.key, run.state, np.uint32(run.passes))
            run = run._replace(state=ended, passes=run.passes + 1)
        sizes.append((compiled(training._step), compiled(training._finish)))
    assert sizes[0][0] == sizes[-1][0], "a later step compiled again"
    assert sizes[4][1] == sizes[-1][1], "a later finish compiled again"


def compiled(function: Any) -> int:
    """How many programs a jitted function has been compiled to."""
    return function._cache_size()


@law
def resumed_is_uninterrupted(learner: Any) -> None:
    """Stopped within a pass or at its end, and continued from memory or from a checkpoint: the same bits."""
    kept: list[Run] = []

    def keep(run: Run, metrics: Any) -> None:
        kept.append(run._replace(state=on_host(run.state)))

    whole = train(learner, begun(learner), batches(learner), after=keep)
    assert_bits(whole.state, fitted(learner).state, "looking on changes nothing")
    within = [run for run in kept if run.passes < learner.passes]
    stops = {run.step + run.passes: run for run in (within[:1] + within[len(within) // 2 :][:1] + within[-1:])}
    stops |= {run.step + run.passes: run for run in kept if run.passes == 1}
    for number, stop in stops.items():
        assert_bits(train(learner, stop, batches(learner)).state, whole.state, f"continued from {stop[:2]}")
        if number == min(stops, key=lambda each: abs(each - max(stops) // 2)):
            with tempfile.TemporaryDirectory() as folder:
                save(folder, learner, stop)
                again = train(learner, restore(folder, learner, example(learner)), batches(learner))
            assert (again.step, again.passes) == (whole.step, whole.passes)
            assert_bits(again.state, whole.state, f"restored at {stop[:2]}")


@law
def the_number_of_devices_does_not_matter(learner: Any) -> None:
    """Five steps on one device, on four, and with wide leaves split over two, end within 1e-5."""
    meshes = [one_device(), make_mesh(4)] + ([make_mesh(2, 2)] if learner.split else [])
    ends = []
    for mesh in meshes:
        run = begun(learner, mesh=mesh)
        for batch in list(batches(learner).read()) * (5 if learner.full_batch else 1):
            run, _ = step(learner, run, pick(learner, batch.x), batch.weight, mesh)
        ends.append(run.state)
    assert begun(learner).step == 0
    for mesh, end in zip(meshes[1:], ends[1:], strict=True):
        assert_near(ends[0], end, f"1 device and a mesh of {dict(mesh.shape)}")


@law
def padding_changes_nothing(learner: Any) -> None:
    """Rows of weight 0 may hold anything; without them the step is the same; a batch of them alone does no harm."""
    run, padded = begun(learner), one_batch(learner)
    count = count_rows(padded) * 3 // 4
    weight = (np.arange(count_rows(padded)) < count).astype(np.float32)
    clean, seen = step(learner, run, padded, weight)
    garbage, again = step(learner, run, spoil(padded, weight == 0), weight)
    assert_bits(clean.state, garbage.state, "garbage of weight 0")
    assert_bits(dict(seen), dict(again), "metrics with garbage of weight 0")
    bare, _ = step(learner, run, take_rows(padded, slice(count)), np.ones(count, np.float32))
    assert_near(bare.state, clean.state, "with and without padding")
    empty, _ = step(learner, run, padded, np.zeros_like(weight))
    ended = training._finish(learner, default_mesh(), run.key, clean.state, np.uint32(0))
    for leaf in leaves((empty.state, ended)):
        assert leaf.dtype.kind != "f" or np.isfinite(leaf).all(), "a batch of padding alone"


def spoil(x: Any, where: np.ndarray) -> Any:
    """Large numbers in these rows; in whole numbers, another one that is there."""

    def put(leaf: np.ndarray) -> np.ndarray:
        leaf = np.array(leaf)
        leaf[where] = 1e4 if leaf.dtype.kind == "f" else leaf.max() - leaf[where]
        return leaf

    return jax.tree.map(put, x)


@law
def codes_do_not_depend_on_company(learner: Any) -> None:
    """Reversed, or a few alone: every row has the same code, to the bit. On the NumPy path too."""
    run, data = fitted(learner), items(learner)
    count = count_rows(data)
    for mesh in (default_mesh(), one_device()) if hasattr(learner, "host_encode") else (default_mesh(),):
        whole = transform(learner, run, data, mesh, rows=64)
        back = transform(learner, run, take_rows(data, np.arange(count)[::-1]), mesh, rows=64)
        assert_bits(whole, back[::-1], "reversed")
        assert_bits(whole[5:8], transform(learner, run, take_rows(data, slice(5, 8)), mesh, rows=64), "three alone")


@law
def codes_are_rows_of_float32(learner: Any) -> None:
    """One finite row of float32 per row (or per item of Locals)."""
    codes = transform(learner, fitted(learner), items(learner))
    assert codes.ndim == 2, f"codes have shape {codes.shape}"
    assert codes.shape[0] == count_rows(items(learner))
    assert codes.shape[1] >= 1
    state = jax.tree.map(jnp.asarray, on_host(fitted(learner).state))
    direct = jax.eval_shape(learner.encode, state, items(learner))
    assert direct.dtype == jnp.float32, f"codes are {direct.dtype}"
    assert direct.shape == codes.shape
    assert np.isfinite(codes).all()
    assert np.ptp(codes, axis=0).max() > 0, "every row has the same code"


@law
def nothing_is_encoded_before_the_first_finish(learner: Any) -> None:
    """An error in words, unless nothing is learned."""
    if learner.passes == 0:
        return
    run, x = begun(learner), one_batch(learner)
    for each in (run, step(learner, run, x, np.ones(count_rows(x), np.float32))[0]):
        try:
            transform(learner, each, items(learner))
        except NotFittedError:
            continue
        raise AssertionError("a learner that has not finished a pass encoded")


@law
def checkpoints_keep_the_bits(learner: Any) -> None:
    """Saved and restored: the same bits; rows of another width are refused with the name of a leaf."""
    run = fitted(learner)
    with tempfile.TemporaryDirectory() as folder:
        save(folder, learner, run)
        back = restore(folder, learner, example(learner))
        assert_bits(run.state, back.state, "restored")
        assert type(back.state) is type(run.state)
        narrow = jax.tree.map(lambda leaf: leaf[:, :-4] if leaf.ndim == 2 else leaf, example(learner))
        try:
            other = shapes(start(learner, narrow).state)
        except (SettingsError, TypeError, ValueError):
            return  # the learner itself refuses that width
        if other == shapes(run.state):
            return
        with pytest.raises(MismatchError, match=r"leaf '.+' of the checkpoint"):
            restore(folder, learner, narrow)


def shapes(state: Any) -> list[Any]:
    """The shapes of the leaves."""
    return [leaf.shape for leaf in jax.tree.leaves(state)]


@law
def the_seed_decides(learner: Any) -> None:
    """The same seed, the same bits; another seed, other bits, if the learner draws. Nothing is kept between calls."""
    x, key = example(learner), jax.random.key(0)
    head = pick(learner, take_rows(x, slice(0, BATCH)))
    state, weight = fitted(learner).state, jnp.ones(BATCH, jnp.float32)
    for function, arguments in (
        (learner.init, (key, head)),
        (learner.step, (key, state, head, weight)),
        (learner.finish, (key, state)),
        (learner.encode, (state, items(learner))),
    ):
        assert program(function, *arguments) == program(function, *arguments), f"{function.__name__} keeps something"
    assert_bits(fitted(learner).state, learned(learner).state, "the same seed twice")
    first, other = begun(learner).state, begun(learner, seed=1).state
    if any((a != b).any() for a, b in zip(leaves(first), leaves(other), strict=True)):
        ends = leaves(fitted(learner).state), leaves(learned(learner, seed=1).state)
        assert any((a != b).any() for a, b in zip(*ends, strict=True)), "the seed changes the start but not the end"


def program(function: Any, *arguments: Any) -> str:
    """What a function computes, traced anew, with its constants: hidden state shows as another program."""
    traced = jax.make_jaxpr(lambda *these: function(*these))(*arguments)
    constants = [np.asarray(each).tobytes() for each in traced.consts]
    return re.sub("0x[0-9a-f]+", "", str(traced)) + str(constants)


@law
def unlabelled_rows_never_train(learner: Any) -> None:
    """Labels of -1 are padding to a learner of labels, and nothing at all to any other."""
    x = example(learner)
    if "y" not in learner.needs:
        parts = x if isinstance(x, Mapping) else {"x": x}
        labelled = dict(parts, y=np.full(ROWS, -1, np.int32))
        assert_bits(learned(learner).state, train(learner, begun(learner), batches(learner, labelled)).state, "y = -1")
        return
    hidden = np.arange(ROWS) % 4 == 0
    ends = []
    for values in (x["x"], spoil(x["x"], hidden)):
        data = x | {"x": values, "y": np.where(hidden, -1, x["y"]).astype(np.int32)}
        ends.append(train(learner, begun(learner), batches(learner, data)).state)
    assert_bits(ends[0], ends[1], "garbage in rows without a label")
    assert any((a != b).any() for a, b in zip(leaves(ends[0]), leaves(fitted(learner).state), strict=True))


@law
def metrics_are_finite_numbers(learner: Any) -> None:
    """Every step's metrics are finite scalars under the same names."""
    names: list[set[str]] = []

    def look(run: Run, metrics: Mapping[str, Any]) -> None:
        names.append(set(metrics))
        for name, value in metrics.items():
            assert np.ndim(value) == 0, f"{name} has shape {np.shape(value)}"
            assert np.isfinite(np.asarray(value, np.float64)), f"{name} is {value}"

    train(learner, begun(learner), batches(learner), after=look)
    assert len({frozenset(each) for each in names if each}) <= 1, "the names change"  # none at the end of a pass


@law
def the_numpy_path_agrees(learner: Any) -> None:
    """`host_step` and `host_encode` are the JAX functions within 1e-5; bits where |value| > 1e-4."""
    if hasattr(learner, "host_step"):
        mesh, run = one_device(), begun(learner, mesh=one_device())
        state = on_host(run.state)
        for batch in batches(learner).read():
            x = pick(learner, batch.x)
            state, metrics = learner.host_step(jax.random.fold_in(run.key, run.step), state, x, batch.weight)
            run, wanted = step(learner, run, x, batch.weight, mesh)
            assert_near(run.state, state, "host_step")
            assert set(metrics) == set(wanted)
    if hasattr(learner, "host_encode"):
        state, data = fitted(learner).state, items(learner)
        host = learner.host_encode(on_host(state), data)
        assert isinstance(host, np.ndarray)
        assert host.dtype == np.float32
        agree(learner, transform(learner, fitted(learner), data), host)


@law
def affine_is_encode(learner: Any) -> None:
    """A learner that says it is (x - mean) @ matrix is that."""
    if hasattr(learner, "affine"):
        mean, matrix = (np.asarray(part, np.float64) for part in learner.affine(fitted(learner).state))
        product = (rows().reshape(ROWS, -1) - mean) @ matrix
        agree(learner, transform(learner, fitted(learner), items(learner)), product)


def agree(learner: Any, jax_codes: np.ndarray, codes: np.ndarray) -> None:
    """Two ways to the same features."""
    assert_near(jax_codes, np.asarray(codes, np.float32), "features by two ways")
    if learner.hash:
        clear = np.abs(jax_codes) > 1e-4
        assert ((jax_codes > 0) == (codes > 0))[clear].all()
