"""Errors say the rule, what came, and what to do."""

from __future__ import annotations

import pickle

import pytest

from mmfeat import errors


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("k is 1 or more", "k=0", "ask for one"), "k is 1 or more; got k=0. Ask for one."),
        (("k is 1 or more", "", "ask for one."), "k is 1 or more. Ask for one."),
        (("k is 1 or more", "k=0", ""), "k is 1 or more; got k=0."),
        (("k is 1 or more", "", ""), "k is 1 or more."),
    ],
)
def test_the_sentence(arguments: tuple[str, str, str], wanted: str) -> None:
    error = errors.MmfeatError(*arguments)
    assert str(error) == wanted
    assert (error.rule, error.came, error.do) == arguments


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_an_exit_code_and_crosses_processes(name: str) -> None:
    cls = getattr(errors, name)
    assert issubclass(cls, errors.MmfeatError)
    assert cls.exit_code == (2 if issubclass(cls, errors.UsageError) else 3)
    again = pickle.loads(pickle.dumps(cls("rule", "came", "do")))  # as a worker process hands it back
    assert type(again) is cls
    assert str(again) == "rule; got came. Do."
