"""Conditions in SQL that callers give over their own table, and the values in them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from .._advice import Advice
from .._connection import Connection, driver_error, execute
from .._sql import quote_identifier
from ..errors import QueryError
from .records import EmbeddingConfig

# What SQLite says of a condition that ends too early, and quotes from what we put behind it.
_UNCLOSED = re.compile(r"""unrecognized token: "(['"`\[])""")
_NEAR_ITS_END = 'near ")": syntax error'
# What may hold a ? that is none: texts, quoted names, comments. Then ?1, :name, @name and $name, then ? itself.
_TOKENS = re.compile(
    r"""'(?:[^']|'')*'|"(?P<quoted>(?:[^"]|"")*)"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)"""
    r"""|(?P<number>\?\d+)|(?P<name>(?<![\w$])[:@$]\w+)|(?P<mark>\?)""",
    re.DOTALL,
)
# Longer lists are bound as one value: SQLite before 3.32 takes 999 in a statement.
_LONGEST_LIST = 200

_VALUES = Advice("params holds them", "-p VALUE gives one")
_NAMED = Advice("params must be a mapping then", "write ? instead, and -p VALUE gives its value")


@dataclass(frozen=True)
class Condition:
    """SQL over the user's table, with a ``?`` for each of `params`."""

    sql: str
    params: tuple[Any, ...]


def condition_of(where: Any, params: Sequence[Any] | Mapping[str, Any] | None = ()) -> Condition | None:
    """What a caller's ``where`` and ``params`` ask for; None where there is no condition.

    Values are ``?`` with a sequence, ``?1`` with a sequence, or ``:name`` (``@name``, ``$name``) with a mapping. A
    list for one of them is written out, ``company in ?``. A SQLAlchemy expression stands for SQL with its values.

    Raises:
        QueryError: it is neither, or the values are not those that it needs.
    """
    if where is not None and not isinstance(where, str):
        if not hasattr(where, "compile") or not hasattr(where, "self_group"):
            hint = (
                " (a Django Q: vssnative.integrations.django.search takes it)"
                if type(where).__module__.startswith("django.")
                else ""
            )
            raise QueryError(f"where: expected SQL as a text, got a {type(where).__name__}{hint}")
        if params:
            raise QueryError("where: a SQLAlchemy expression brings its values, leave params out")
        where, params = _from_sqlalchemy(where)
    if params is None:
        params = ()
    if isinstance(params, (str, bytes)) or not isinstance(params, (Sequence, Mapping)):
        raise QueryError(
            f"params: expected a list of values or a mapping of names, got a {type(params).__name__}"
        )
    if where is None or not where.strip():
        if params:
            raise QueryError("there are values, and where has no place for them")
        return None
    return _bound(where, params)


def check_condition(
    conn: Connection, embedding: EmbeddingConfig, condition: Condition, hidden: Sequence[str] = ()
) -> None:
    """Let SQLite read a condition by itself: within our statements its names could mean columns of ours.

    Args:
        hidden: names of such columns.

    Raises:
        QueryError: SQLite refuses it.
    """
    _run(conn, embedding, condition, hidden, "select 1 from vssnative_matching limit 0")


def matching_ids(
    conn: Connection, embedding: EmbeddingConfig, condition: Condition, hidden: Sequence[str] = ()
) -> str:
    """The row numbers for which a condition holds, as a JSON array.

    Args:
        hidden: as for ``check_condition``.

    Raises:
        QueryError: SQLite refuses it.
    """
    [(ids,)] = _run(conn, embedding, condition, hidden, "select json_group_array(id) from vssnative_matching")
    return str(ids)


def _run(
    conn: Connection, embedding: EmbeddingConfig, condition: Condition, hidden: Sequence[str], select: str
) -> list[tuple[Any, ...]]:
    try:
        found = execute(
            conn,
            f"with vssnative_matching(id) as ({embedding.matching_sql(condition.sql)}) {select}",
            condition.params,
        )
        # A name in double quotes that is no column is a text to SQLite, where it stands by itself.
        quoted = {token["quoted"].lower() for token in _TOKENS.finditer(condition.sql) if token["quoted"]}
        if quoted:
            info = execute(conn, f"pragma main.table_xinfo({quote_identifier(embedding.source)})")
            for name in hidden:
                if name.lower() in quoted - {row[1].lower() for row in info}:
                    raise QueryError(
                        f"{embedding.name}, where={condition.sql!r}: no such column: {name};"
                        " a text is written in single quotes"
                    )
        return found
    except driver_error(conn) as error:
        message = _about_condition(str(error), condition.sql)
        raise QueryError(f"{embedding.name}, where={condition.sql!r}: {message}") from error


def _about_condition(message: str, where: str) -> str:
    """SQLite's message about our statement. If it quotes what follows the condition, it says "incomplete input" instead."""
    if unclosed := _UNCLOSED.search(message):
        return f"incomplete input, {unclosed[1]} begins what nothing ends"
    if _NEAR_ITS_END in message and where.count(")") <= where.count("("):
        return message.replace(_NEAR_ITS_END, "incomplete input")
    return message


def _bound(where: str, params: Sequence[Any] | Mapping[str, Any]) -> Condition:
    values: list[Any] = []
    used: set[Any] = set()
    marks = sum(1 for token in _TOKENS.finditer(where) if token["mark"])
    numbers = [int(token["number"][1:]) for token in _TOKENS.finditer(where) if token["number"]]
    names = [token["name"] for token in _TOKENS.finditer(where) if token["name"]]
    if sum(map(bool, (marks, numbers, names))) > 1:
        raise QueryError(f"where: write either ?, or ?1, or :name for the values, not several: {where!r}")
    if isinstance(params, Mapping):
        if marks or numbers:
            raise QueryError(f"where: its values are ?, so params must be a list, not a mapping: {where!r}")
    elif names:
        raise QueryError(f"where: it names {names[0]}: {where!r}", advice=_NAMED)
    elif numbers:
        if max(numbers) != len(params) or min(numbers) < 1:
            raise QueryError(
                f"where: expected {max(numbers)} values, got {len(params)}: {where!r}", advice=_VALUES
            )
    elif marks != len(params):
        raise QueryError(
            f"expected a value for each of the {marks} ? of where, got {len(params)}: {where!r}",
            advice=_VALUES,
        )
    parts: list[str] = []
    end = 0
    for token in _TOKENS.finditer(where):
        place: Any = None
        if token["mark"]:
            place = len(used)
        elif token["number"]:
            place = int(token["number"][1:]) - 1
        elif token["name"]:
            place = _key(token["name"], params, where)
        else:
            continue
        used.add(place)
        parts.append(where[end : token.start()])
        end = token.end()
        inside = where[: token.start()].rstrip().endswith("(") and where[end:].lstrip().startswith(")")
        parts.append(_mark(params[place], values, inside=inside))
    parts.append(where[end:])
    if isinstance(params, Mapping) and set(params) - used:
        raise QueryError(
            f"params: where has no {', '.join(sorted(f':{n}' for n in set(params) - used))}: {where!r}"
        )
    return Condition("".join(parts), tuple(values))


def _key(token: str, params: Any, where: str) -> Any:
    for name in (token[1:], token):
        if name in params:
            return name
    raise QueryError(f"params: there is no value for {token}: {where!r}")


def _mark(value: Any, values: list[Any], *, inside: bool) -> str:
    """The SQL that stands for a value, which goes to `values`; for a list, one that follows ``in``."""
    if isinstance(value, (list, tuple, Set)) or (
        getattr(value, "ndim", None) == 1 and getattr(value.dtype, "kind", "O") in "iuUO"
    ):
        items = [item.item() if hasattr(item, "item") else item for item in value]
        plain = all(type(item) in (int, str) for item in items)
        if len(items) > _LONGEST_LIST and plain:
            values.append(json.dumps(items))
            sql = "select value from json_each(?)"
        else:
            values.extend(items)
            sql = ", ".join("?" * len(items))
        return sql if inside else f"({sql})"
    values.append(value)
    return "?"


def _from_sqlalchemy(expression: Any) -> tuple[str, list[Any]]:
    from sqlalchemy.dialects import sqlite

    dialect = sqlite.dialect()  # type: ignore[no-untyped-call,unused-ignore]
    compiled = expression.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    values: dict[str, Any] = dict(compiled.params)
    for parameter, name in compiled.bind_names.items():
        process = parameter.type.dialect_impl(dialect).bind_processor(dialect)
        for one in [name] if name in values else [n for n in values if n.startswith(f"{name}_")]:
            if process is not None and not isinstance(values[one], (list, tuple)):
                values[one] = process(values[one])
    return str(compiled), [values[name] for name in compiled.positiontup or ()]
