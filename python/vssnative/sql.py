"""Identifiers in SQL, quoted in one place. Values are never written into SQL: they are bound."""

from __future__ import annotations

from .errors import ConfigurationError


def quote_identifier(name: str) -> str:
    """`name` as an SQL identifier in double quotes, safe whatever it contains.

    Raises:
        ConfigurationError: `name` is no string, is empty, or holds a NUL, which no SQLite statement can carry.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigurationError(f"expected the name of a table or column, got {name!r}")
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """`value` as an SQL text literal, for the bodies of triggers and views, where nothing can be bound.

    Raises:
        ConfigurationError: `value` holds a NUL.
    """
    if "\0" in value:
        raise ConfigurationError(f"text in a trigger cannot hold a NUL: {value!r}")
    return "'" + value.replace("'", "''") + "'"
