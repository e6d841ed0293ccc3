"""Settings to and from JSON, and assignments by dotted names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import hypothesis.strategies as st
import pytest
from hypothesis import given

from mmfeat import settings
from mmfeat.chain import Chain
from mmfeat.errors import SettingsError
from mmfeat.learner import Learner
from mmfeat.learners.lsh import Lsh
from mmfeat.pool import Pool
from mmfeat.settings import from_json, parse_assignments, replace_at, to_json


@dataclass(frozen=True)
class Every:
    """A field of every kind."""

    count: int = 3
    rate: float = 0.5
    on: bool = False
    name: str = "a"
    limit: float | None = None
    widths: tuple[int, ...] = (8, 4)
    grid: tuple[tuple[int, int], ...] = ((1, 1),)
    part: Lsh = Lsh(bits=4)  # noqa: RUF009 - frozen
    any_part: Learner = Lsh(bits=5)  # noqa: RUF009
    kind: Literal["max", "mean"] = "max"


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    named = settings.class_named
    monkeypatch.setattr(settings, "class_named", lambda name: Every if name == "every" else named(name))


def test_settings_come_back_equal_and_of_the_same_types() -> None:
    value = Chain(Pool(regions=((1, 1), (2, 2)), kind="max"), Lsh(bits=16), fit_rows=None)
    data = json.loads(json.dumps(to_json(value)))
    assert data["stages"][1] == {"type": "lsh", "bits": 16, "centre": True, "orthogonal": False}
    assert from_json(data) == value
    assert isinstance(from_json(data).stages[0].regions[1], tuple)


@given(
    st.builds(
        Every,
        count=st.integers(-(2**62), 2**62),
        rate=st.floats(allow_nan=False, allow_infinity=False),
        on=st.booleans(),
        name=st.text(),
        limit=st.none() | st.floats(0, 1),
        widths=st.lists(st.integers(0, 9)).map(tuple),
        part=st.builds(Lsh, bits=st.integers(1, 99)),
    )
)
def test_any_settings_come_back(value: Every) -> None:
    assert from_json(json.loads(json.dumps(to_json(value)))) == value


def test_what_is_no_setting_is_refused() -> None:
    with pytest.raises(SettingsError, match="settings are numbers"):
        to_json(object())
    with pytest.raises(SettingsError, match="lsh has the settings bits, centre, orthogonal; got bit"):
        from_json({"type": "lsh", "bit": 3})
    with pytest.raises(SettingsError, match=r"a name is one of .*lsh.*got hsl"):
        from_json({"type": "hsl"})


def test_assignments_are_json_or_plain_words() -> None:
    texts = ["bits=64", "learner.fit-rows=None", "name=x=y", "rate=1e-3", "on=True", "widths=[5,6]", " a = b "]
    wanted = {
        "bits": 64,
        "learner.fit_rows": None,
        "name": "x=y",
        "rate": 0.001,
        "on": True,
        "widths": (5, 6),
        "a": "b",
    }
    assert parse_assignments(texts) == wanted
    assert parse_assignments(["part={'no': json", 'part={"type": "lsh", "bits": 2}'])["part"] == Lsh(bits=2)
    for text in ("bits", "=3", " =3"):
        with pytest.raises(SettingsError, match="written name=value"):
            parse_assignments([text])


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("count", 4, 4),
        ("rate", 2, 2.0),
        ("on", True, True),
        ("limit", 1, 1.0),
        ("limit", None, None),
        ("widths", [1, 2, 3], (1, 2, 3)),
        ("widths.1", 9, (8, 9)),
        ("grid", [[2, 2], [3, 3]], ((2, 2), (3, 3))),
        ("part.bits", 7, Lsh(bits=7)),
        ("part", Lsh(bits=9), Lsh(bits=9)),
        ("any_part", "lsh", Lsh()),
        ("kind", "mean", "mean"),
    ],
)
def test_a_dotted_name_is_replaced(name: str, value: Any, wanted: Any) -> None:
    changed = replace_at(Every(), {name: value})
    field = name.partition(".")[0]
    assert getattr(changed, field) == wanted
    assert type(getattr(changed, field)) is type(wanted)
    assert replace_at(changed, {field: getattr(Every(), field)}) == Every()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("count", 2.5, r"count is int, like 3; got 2.5"),
        ("count", None, "count is int"),
        ("count", True, "count is int"),
        ("count", "many", "count is int"),
        ("rate", "NaN", "rate is float"),
        ("on", 1, "on is bool"),
        ("name", 3, "name is str"),
        ("limit", "x", r"limit is float \| None"),
        ("widths", 5, "widths is tuple"),
        ("widths", [1, 2.5], "widths is tuple"),
        ("grid", [[1, 2, 3]], "grid is tuple"),
        ("part.bits", "x", "part.bits is int, like 4"),
        ("part.bits", 0, "at least one bit"),
        ("part.bit", 1, "lsh has the settings bits, centre, orthogonal; got bit"),
        ("any_part", "no_such", "a name is one of"),
        ("count.deep", 1, "count.deep must name a setting"),
        ("widths.7", 1, "must name a setting"),
        ("nonsense", 1, "every has the settings count, rate"),
    ],
)
def test_a_value_that_cannot_stand_there_is_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        replace_at(Every(), {name: value})


def test_not_a_number_is_a_word() -> None:
    assert parse_assignments(["rate=NaN", "limit=Infinity"]) == {"rate": "NaN", "limit": "Infinity"}
