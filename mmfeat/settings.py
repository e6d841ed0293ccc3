"""Settings as text: learners, descriptors and recipes to and from JSON, and `--set a.b=value` on any of them.

Every settings object is a frozen dataclass of numbers, strings, booleans, None, tuples and other settings objects.
JSON carries the name of each (`{"type": "kmeans", "clusters": 1024}`); tuples come back as tuples; unknown keys are refused.
"""

from __future__ import annotations

import dataclasses
import json
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any

from mmfeat.errors import SettingsError
from mmfeat.registry import class_named, name_of

__all__ = ["from_json", "parse_assignments", "replace_at", "to_json"]


def to_json(value: Any) -> Any:
    """A settings object (or a tuple of them, or a plain value) as JSON-able data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {"type": name_of(type(value)), **fields}
    if isinstance(value, tuple):
        return [to_json(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise SettingsError(
        "settings are numbers, strings, booleans, None, tuples and settings", repr(value), "use one of these"
    )


def from_json(data: Any) -> Any:
    """The inverse of `to_json`. Names are looked up in the registry."""
    if isinstance(data, list):
        return tuple(from_json(part) for part in data)
    if not isinstance(data, Mapping):
        return data
    cls = class_named(str(data.get("type")))
    return build(cls, {key: from_json(value) for key, value in data.items() if key != "type"})


def build(cls: type, values: Mapping[str, Any]) -> Any:
    """`cls(**values)`, refusing names it does not have with a list of those it has."""
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise SettingsError(
            f"{name_of(cls)} has the settings {', '.join(names) or 'none'}", ", ".join(unknown), "use one of these"
        )
    return cls(**values)


def parse_assignments(texts: list[str]) -> dict[str, Any]:
    """`["bits=64", "learner.passes=5"]` as {"bits": 64, "learner.passes": 5}. Values are JSON, or plain strings."""
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise SettingsError("a setting is written name=value", text, "for example --set bits=64")
        try:
            parsed = json.loads(value, parse_constant=_no_number)
        except ValueError:
            parsed = {"None": None, "True": True, "False": False}.get(value.strip(), value.strip())
        found[name.strip().replace("-", "_")] = from_json(parsed) if isinstance(parsed, list | dict) else parsed
    return found


def _no_number(text: str) -> Any:
    raise ValueError(text)  # NaN and infinity are no settings


def replace_at(settings: Any, assignments: Mapping[str, Any]) -> Any:
    """A copy with the dotted names replaced: `replace_at(recipe, {"codebook.clusters": 64})`. Tuples take a number as a name."""
    for name, value in assignments.items():
        settings = _replace(settings, name.split("."), value, name)
    return settings


def _replace(settings: Any, names: list[str], value: Any, whole: str) -> Any:
    head, *rest = names
    if isinstance(settings, tuple) and head.isdigit() and int(head) < len(settings):
        new = value if not rest else _replace(settings[int(head)], rest, value, whole)
        return (*settings[: int(head)], new, *settings[int(head) + 1 :])
    if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
        raise SettingsError(f"{whole} must name a setting", f"{head!r} inside {settings!r}", "check the dotted name")
    names_here = [field.name for field in dataclasses.fields(settings) if field.init]
    if head not in names_here:
        raise SettingsError(
            f"{name_of(type(settings))} has the settings {', '.join(names_here)}", head, "use one of these"
        )
    old = getattr(settings, head)
    new = _typed(type(settings), head, old, value, whole) if not rest else _replace(old, rest, value, whole)
    return dataclasses.replace(settings, **{head: new})


def _typed(cls: type, field: str, old: Any, value: Any, name: str) -> Any:
    """The value, if the field's annotation allows it: a whole number may stand for a float, a name for a settings object."""
    try:
        hint = typing.get_type_hints(cls).get(field, Any)
    except NameError:  # annotations that only a type checker can resolve
        hint = Any if old is None else type(old)
    found = _fit(hint, value)
    if found is _MISFIT:
        kind = getattr(hint, "__name__", "") if isinstance(hint, type) else str(hint)
        raise SettingsError(f"{name} is {kind}, like {old!r}", repr(value), "give a value of that kind")
    return found


_MISFIT = object()


def _fit(hint: Any, value: Any) -> Any:
    """The value as an annotation wants it, or _MISFIT."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found = (_fit(each, value) for each in arguments)
        return next((each for each in found if each is not _MISFIT), _MISFIT)
    if tuple in (hint, origin):
        return _fit_tuple(arguments, value)
    if hint in (None, type(None)):
        return None if value is None else _MISFIT
    if hint is bool:
        return value if isinstance(value, bool) else _MISFIT
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        return hint(value) if isinstance(value, kind) and not isinstance(value, bool) else _MISFIT
    if hint is str:
        return value if isinstance(value, str) else _MISFIT
    if value is None:
        return None if hint is Any else _MISFIT
    if isinstance(value, str) and (dataclasses.is_dataclass(hint) or getattr(hint, "_is_protocol", False)):
        return from_json({"type": value})
    return value


def _fit_tuple(arguments: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, tuple | list):
        return _MISFIT
    if not arguments:
        return tuple(value)
    hints = arguments[:1] * len(value) if arguments[-1] is ... else arguments
    found = tuple(_fit(hint, each) for hint, each in zip(hints, value, strict=False))
    return _MISFIT if len(hints) != len(value) or any(each is _MISFIT for each in found) else found
