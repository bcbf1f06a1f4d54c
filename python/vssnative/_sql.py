"""Identifiers in SQL, quoted in one place. Values are never written into SQL: they are bound."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ._advice import Advice
from .errors import ConfigurationError, QueryError

# What may hold a ? that is none: texts, quoted names, comments. Then ?1, :name, @name and $name, then ? itself.
# Compiled when first used, which re remembers: importing the package should take no time.
_TOKENS = (
    r"""(?s)'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)"""
    r"""|(?P<named>\?\d+|(?<![\w$])[:@$]\w+)|(?P<mark>\?)"""
)

_VALUES = Advice("params holds them", "-p VALUE gives one")


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


def check_params(where: str | None, params: Sequence[object]) -> None:
    """That a caller's condition gets one value for each of its ``?``: a driver would count those of our statement.

    Raises:
        QueryError: too few or too many, or a condition that names its values (``?1``, ``:name``).
    """
    if where is None and not len(params):
        return
    tokens = [token for token in re.finditer(_TOKENS, where or "") if token.lastgroup]
    named = next((token.group() for token in tokens if token.lastgroup == "named"), None)
    if named is not None:
        raise QueryError(f"where: write ? for each value, in the order of params, not {named}: {where!r}")
    if len(tokens) != len(params):
        raise QueryError(
            f"expected a value for each of the {len(tokens)} ? of where, got {len(params)}: {where!r}",
            advice=_VALUES,
        )


def is_list_of_rowids(where: str) -> bool:
    """Whether a condition is ``rowid in (select ...)`` and nothing else: a search takes such a list as it is."""
    start = re.match(r"\s*rowid\s+in\s*(?=\(\s*(?:select|with|values)\b)", where, re.IGNORECASE)
    depth = 0
    for token in re.finditer(_PARENTHESES, where[start.end() :] if start else ""):
        depth += (token.group() == "(") - (token.group() == ")")
        if depth <= 0:
            return token.group() == ")" and not token.string[token.end() :].strip()
    return False


def question_marks(sql: str, params: Sequence[object]) -> str:
    """SQL with ``%s`` for its values, as Django has it, as SQL with ``?``; SQL without any as it is.

    Where there is a ``%s``, ``%%`` stands for one ``%``.

    Raises:
        QueryError: there is another number of values.
    """
    if not any(token.group() == "%s" for token in re.finditer(_PERCENTS, sql)):
        return sql
    try:
        return sql % (("?",) * len(params))
    except (TypeError, ValueError) as error:
        raise QueryError(f"where: {error}, with {len(params)} values in params: {sql!r}") from error


# What may hold a %s that is none, then %s itself.
_PERCENTS = r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|%%|%s"

# What may hold a parenthesis that is none, then parentheses themselves.
_PARENTHESES = (
    r"""(?s)'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)|[()]"""
)
