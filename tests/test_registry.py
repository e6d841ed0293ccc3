"""Names and what is found under them."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from mmfeat import registry
from mmfeat.chain import Chain
from mmfeat.errors import SettingsError
from mmfeat.learners.lsh import Lsh
from mmfeat.pool import Pool


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("KMeans", "kmeans"), ("Lsh", "lsh"), ("PcaHash", "pca_hash"), ("ItqRotation", "itq_rotation"), ("Vq2", "vq2")],
)
def test_a_name_is_the_class_in_snake_case(name: str, wanted: str) -> None:
    assert registry.name_of(type(name, (), {})) == wanted


def test_learners_are_found_by_listing_their_folder() -> None:
    found = registry.learners()
    assert found["lsh"] is Lsh
    assert list(found) == sorted(found)
    for name, cls in found.items():
        assert registry.name_of(cls) == name
        assert registry.class_named(name) is cls
        assert registry.class_named(registry.hyphens(name)) is cls
    found.clear()
    assert registry.learners(), "a caller cannot empty the registry"


def test_what_is_no_learner_is_not_listed() -> None:
    for kind in (registry.learners, registry.descriptors, registry.recipes):
        assert all(isinstance(cls, type) and not cls.__name__.startswith("_") for cls in kind().values())
    assert "chain" not in registry.learners()
    assert not registry.learners().keys() & registry.descriptors().keys()


def test_chains_and_pools_have_names_too() -> None:
    assert registry.class_named("chain") is Chain
    assert registry.class_named("pool") is Pool
    assert registry.class_named("decode").__name__ == "Decode"
    with pytest.raises(SettingsError, match=r"a name is one of .*lsh.*; got no_such"):
        registry.class_named("no-such")


def test_a_package_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("one", "no_such_package.one:One", "mmfeat.descriptors")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point])
    registry._found.cache_clear()
    try:
        with pytest.raises(SettingsError, match=r"ModuleNotFoundError: .* from no_such_package\.one:One"):
            registry.descriptors()
    finally:
        registry._found.cache_clear()


def test_a_known_name_imports_its_own_module_alone() -> None:
    """In a process of its own: here all learners are imported already."""
    code = (
        "import sys; from mmfeat.registry import class_named; "
        "assert class_named('kmeans').__name__ == 'KMeans'; "
        "print([name for name in sys.modules if name.startswith(('mmfeat.learners.', 'mmfeat.pipelines.'))])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "['mmfeat.learners.kmeans']"


def test_names_read_from_the_sources_are_those_of_the_classes() -> None:
    """Everything that listing and importing finds is found without, and as the same class."""
    for kind in registry._FOLDERS:
        for name, cls in registry._own(kind).items():
            module, attribute = registry._places(kind)[name]
            assert (module, attribute) == (cls.__module__, cls.__name__)


def test_a_foreign_name_is_found_beside_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign(Lsh):
        pass

    point = metadata.EntryPoint("foreign", "mmfeat.learners.lsh:Lsh", "mmfeat.learners")
    monkeypatch.setattr(registry, "_load", lambda kind, point: Foreign)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point] if group == "mmfeat.learners" else [])
    registry._found.cache_clear()
    try:
        assert registry.class_named("foreign") is Foreign
        assert registry.class_named("lsh") is Lsh
    finally:
        registry._found.cache_clear()
