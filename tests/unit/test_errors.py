"""The tree of exceptions: one root, everything documented, everything reachable from the package."""

from __future__ import annotations

import inspect

import pytest

import vssnative
from vssnative import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_descends_from_the_root_and_says_what_it_is(cls: type[Exception]) -> None:
    assert issubclass(cls, errors.VssError) != issubclass(cls, UserWarning)
    assert cls.__doc__
    assert cls.__name__ in (errors.__doc__ or "")
    assert getattr(vssnative, cls.__name__) is cls


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.ConfigurationError, ValueError),
        (errors.InvalidVectorError, ValueError),
        (errors.QueryError, ValueError),
        (errors.MissingDependencyError, ImportError),
    ],
)
def test_errors_are_also_what_python_would_raise(cls: type[Exception], builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="words"):
        raise cls("words")


def test_errors_carry_what_a_program_may_ask() -> None:
    load = errors.ExtensionLoadError("no", ("first", "second"))
    assert (str(load), load.tried) == ("no", ("first", "second"))
    provider = errors.ProviderError("slow down", status=429, retry_after=1.5, transient=True)
    assert (provider.status, provider.retry_after, provider.transient) == (429, 1.5, True)
