"""Conditions on metadata that is kept as a JSON object in a column `metadata`.

Each is SQL with its values; it is true or false, never NULL. A name is a key of the object itself, dots and all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..errors import QueryError

# Keys that a JSON path can name in every version of SQLite: others are looked for among all keys.
_PLAIN = re.compile(r"[ !#-\[\]-~]+\Z")
_COMPARISONS = ("<", "<=", ">", ">=")
LOWER = "vssnative_lower"  # str.lower, to be registered by whoever runs a condition that has it


class Condition(NamedTuple):
    """SQL over a row with a column `metadata`, and the values of its ``?``."""

    sql: str
    params: tuple[Any, ...] = ()


EVERY = Condition("1")
NONE = Condition("0")


def all_of(conditions: Iterable[Condition]) -> Condition:
    """True where all are; also where there is none."""
    return _joined([one for one in conditions if one != EVERY], " and ", EVERY)


def any_of(conditions: Iterable[Condition]) -> Condition:
    """True where one is."""
    parts = list(conditions)
    return EVERY if EVERY in parts else _joined(parts, " or ", NONE)


def negated(condition: Condition) -> Condition:
    """True where it is false."""
    return Condition(f"not ({condition.sql})", condition.params)


def exists(name: str) -> Condition:
    """The key is there, with whatever value, null included."""
    kind, params = _type_of(name)
    return Condition(f"{kind} is not null", params)


def is_null(name: str) -> Condition:
    """The value is null, or the key is not there."""
    kind, params = _type_of(name)
    return Condition(f"coalesce({kind}, 'null') = 'null'", params)


def equal(name: str, value: Any) -> Condition:
    """The value equals `value`: of the same kind (text, number, list, object); None is null or missing."""
    if value is None:
        return is_null(name)
    kind, kind_params = _type_of(name)
    item, item_params = _value_of(name)
    if isinstance(value, (list, tuple, dict)):
        wanted = "object" if isinstance(value, dict) else "array"
        return Condition(
            f"({kind} is '{wanted}' and {item} is json(?))", (*kind_params, *item_params, to_json(value))
        )
    return Condition(f"({_kinds(kind, value)} and {item} = ?)", (*kind_params, *item_params, value))


def compared(name: str, operator: str, value: Any) -> Condition:
    """The value is less than or greater than `value`, and of its kind: text by code points, or a number.

    Raises:
        QueryError: `value` is neither.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise QueryError(
            f"filter on {name!r}: {operator} expects a number or a text, got {type(value).__name__}"
        )
    assert operator in _COMPARISONS
    kind, kind_params = _type_of(name)
    item, item_params = _value_of(name)
    return Condition(f"({_kinds(kind, value)} and {item} {operator} ?)", (*kind_params, *item_params, value))


def is_in(name: str, values: Any) -> Condition:
    """The value equals one of `values`.

    Raises:
        QueryError: they are no list.
    """
    values = _list(name, "in", values)
    plain = [value for value in values if isinstance(value, (str, int, float))]
    conditions = [equal(name, value) for value in values if not isinstance(value, (str, int, float))]
    for kind in (str, (int, float)):
        some = [value for value in plain if isinstance(value, kind)]
        if some:
            type_sql, type_params = _type_of(name)
            item, item_params = _value_of(name)
            among = "(select value from json_each(?))"
            conditions.append(
                Condition(
                    f"({_kinds(type_sql, some[0])} and {item} in {among})",
                    (*type_params, *item_params, to_json(some)),
                )
            )
    return any_of(conditions)


def like(name: str, pattern: Any) -> Condition:
    """A text that matches SQL's LIKE: ``%`` any characters, ``_`` one; ASCII letters in either case.

    Raises:
        QueryError: the pattern is no text.
    """
    if not isinstance(pattern, str):
        raise QueryError(f"filter on {name!r}: like expects a text, got {type(pattern).__name__}")
    return _of_text(name, "{} like ?", pattern)


def contains(name: str, value: Any) -> Condition:
    """A list that has `value` as an item, or a text that has it as a part."""
    if value is None:
        return NONE
    in_list = has_item(name, [value])
    return any_of([in_list, has_part(name, value)]) if isinstance(value, str) else in_list


def has_item(name: str, values: Sequence[Any]) -> Condition:
    """A list of which one of `values` is an item: of the same kind (text, number, list, object, None)."""
    kind, kind_params = _type_of(name)
    each, each_params = _items_of(name)
    tests: list[Condition] = [NONE]
    for kinds, types in (
        ((str,), "type = 'text'"),
        ((int, float), "type in ('integer', 'real', 'true', 'false')"),
    ):
        if some := [value for value in values if isinstance(value, kinds)]:
            tests.append(
                Condition(f"({types} and value in (select value from json_each(?)))", (to_json(some),))
            )
    for value in values:
        if isinstance(value, (list, tuple, dict)):
            wanted = "object" if isinstance(value, dict) else "array"
            tests.append(Condition(f"(type = '{wanted}' and value = json(?))", (to_json(value),)))
    if None in values:
        tests.append(Condition("type = 'null'"))
    test = any_of(tests)
    return Condition(
        f"coalesce({kind} is 'array' and exists (select 1 from {each} where {test.sql}), 0)",
        (*kind_params, *each_params, *test.params),
    )


def has_part(name: str, part: Any, *, any_case: bool = False) -> Condition:
    """A text of which `part` is a part.

    Raises:
        QueryError: it is no text.
    """
    if not isinstance(part, str):
        raise QueryError(f"filter on {name!r}: a part of a text expects a text, got {type(part).__name__}")
    if part == "":
        return _of_text(name, "{} is not null or ?", "")
    return (
        _of_text(name, f"instr({LOWER}({{}}), ?) > 0", part.lower())
        if any_case
        else _of_text(name, "instr({}, ?) > 0", part)
    )


def is_part_of(name: str, whole: str) -> Condition:
    """A text that is a part of `whole`."""
    kind, kind_params = _type_of(name)
    item, item_params = _value_of(name)
    sql = f"({kind} is 'text' and ({item} = '' or instr(?, {item}) > 0))"
    return Condition(sql, (*kind_params, *item_params, whole, *item_params))


def is_empty(name: str) -> Condition:
    """Null, missing, an empty text or an empty list."""
    return any_of([is_null(name), equal(name, ""), equal(name, [])])


def to_json(value: Any) -> str:
    """As metadata is stored: SQLite reads no NaN, and compares keys as they are written.

    Raises:
        QueryError: no JSON: NaN, infinity, a value of another kind.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise QueryError(f"metadata: expected what JSON can hold, got {str(value)[:80]}: {error}") from None


def _joined(conditions: Sequence[Condition], word: str, otherwise: Condition) -> Condition:
    if not conditions:
        return otherwise
    if len(conditions) == 1:
        return conditions[0]
    return Condition(
        "(" + word.join(condition.sql for condition in conditions) + ")",
        tuple(value for condition in conditions for value in condition.params),
    )


def _of_text(name: str, test: str, value: str) -> Condition:
    kind, kind_params = _type_of(name)
    item, item_params = _value_of(name)
    return Condition(f"({kind} is 'text' and ({test.format(item)}))", (*kind_params, *item_params, value))


def _kinds(kind: str, value: Any) -> str:
    return (
        f"{kind} is 'text'"
        if isinstance(value, str)
        else f"coalesce({kind}, '') in ('integer', 'real', 'true', 'false')"
    )


def _path(name: str) -> str | None:
    return f'$."{name}"' if _PLAIN.match(name) else None


def _type_of(name: str) -> tuple[str, tuple[Any, ...]]:
    path = _path(name)
    if path is not None:
        return "json_type(metadata, ?)", (path,)
    return "(select type from json_each(metadata) where key = ?)", (name,)


def _value_of(name: str) -> tuple[str, tuple[Any, ...]]:
    path = _path(name)
    if path is not None:
        return "json_extract(metadata, ?)", (path,)
    return "(select value from json_each(metadata) where key = ?)", (name,)


def _items_of(name: str) -> tuple[str, tuple[Any, ...]]:
    path = _path(name)
    if path is not None:
        return "json_each(metadata, ?)", (path,)
    return "json_each((select value from json_each(metadata) where key = ?))", (name,)


def _list(name: str, operator: str, values: Any) -> list[Any]:
    if isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable):
        raise QueryError(f"filter on {name!r}: {operator} expects a list, got {type(values).__name__}")
    return list(values)
