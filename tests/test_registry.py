"""Names and what is found under them."""

from __future__ import annotations

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
