"""Item ids: every name that a Unix file system can hold comes back as it was."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfeat.errors import UsageError
from mmfeat.media.ids import make_id, split_id

_NAME = st.binary(min_size=1, max_size=20).filter(
    lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b"..")
)
_PATH = st.lists(_NAME, min_size=1, max_size=3).map(b"/".join)
_SECONDS = st.floats(0, 1e6)


@given(_PATH)
def test_any_bytes_come_back(raw: bytes) -> None:
    id = make_id(raw)
    path, fragment = split_id(id)
    assert path.encode("utf-8", "surrogateescape") == raw
    assert fragment == {}
    assert len(id.splitlines()) == 1
    id.encode("utf-8")  # strict: no lone surrogates
    assert "#" not in id
    assert make_id(os.fsdecode(raw)) == id


@given(_PATH, _PATH)
def test_different_names_have_different_ids(one: bytes, other: bytes) -> None:
    assert (make_id(one) == make_id(other)) == (one == other)


@given(_PATH, st.tuples(_SECONDS, _SECONDS).map(sorted), st.tuples(*[st.integers(0, 10**6)] * 4), st.integers(0, 10**9))
def test_fragments_come_back(raw: bytes, span: list[float], box: tuple[int, ...], number: int) -> None:
    given_fragment = {"t": tuple(span), "xywh": box, "page": number, "row": number}
    path, fragment = split_id(make_id(raw, **given_fragment))
    assert path.encode("utf-8", "surrogateescape") == raw
    assert fragment == given_fragment


def test_the_forms_of_the_design() -> None:
    assert make_id("run.avi", t=(1.0, 2.5)) == "run.avi#t=1.0,2.5"
    assert make_id("slide.tif", xywh=(512, 0, 256, 256)) == "slide.tif#xywh=512,0,256,256"
    assert make_id("book.tif", page=3) == "book.tif#page=3"
    assert make_id(PurePosixPath("a/x.npy"), row=12) == "a/x.npy#row=12"
    assert make_id("100% #1\n.jpg") == "100%25 %231%0A.jpg"
    assert make_id(b"\xff.jpg") == "%FF.jpg"
    assert make_id("Grüße/日本.png") == "Grüße/日本.png"


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x.jpg", "a/../../x.jpg", "\ud800"])
def test_paths_out_of_the_root_are_refused(path: str) -> None:
    with pytest.raises(UsageError):
        make_id(path)


@pytest.mark.parametrize(
    "fragment",
    [{"t": (2.0, 1.0)}, {"t": (0.0, float("inf"))}, {"xywh": (1, 2, 3)}, {"page": -1}, {"page": 1.5}, {"chapter": 1}],
)
def test_wrong_fragments_are_refused(fragment: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        make_id("a", **fragment)


@pytest.mark.parametrize("id", ["a#t=1", "a#page=x", "a#", "a%ZZ", "a%2"])
def test_wrong_ids_are_refused(id: str) -> None:
    with pytest.raises(UsageError):
        split_id(id)
