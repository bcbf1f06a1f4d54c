"""Conditions on metadata that is kept as a JSON object in a column `metadata`.

Each is SQL with its values; it is true or false, never NULL. A name is a key of the object itself, dots and all. Values are
compared with those of their kind alone: text, number, true and false; `true_is_one` makes the latter two numbers, as Python has it.
Errors name the `operator` as the caller's world calls it.
"""

from __future__ import annotations

import datetime
import decimal
import json
import re
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

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


def equal(name: str, value: Any, *, true_is_one: bool = False) -> Condition:
    """The value equals `value`: of the same kind (text, number, true or false, list, object); None is null or missing.

    Raises:
        QueryError: `value` is nothing that JSON can hold.
    """
    value = plain(name, value)
    if value is None:
        return is_null(name)
    kind, kind_params = _type_of(name)
    item, item_params = _value_of(name)
    if isinstance(value, (list, tuple, dict)):
        return Condition(
            f"({kind} is '{_container(value)}' and {item} is json(?))",
            (*kind_params, *item_params, to_json(value)),
        )
    kinds = _kinds(kind, _types_of(value, true_is_one))
    return Condition(f"({kinds} and {item} = ?)", (*kind_params, *item_params, value))


def compared(
    name: str, comparison: str, value: Any, operator: str, *, true_is_one: bool = False
) -> Condition:
    """The value is less than or greater than `value`, and of its kind: text by code points, or a number.

    Args:
        comparison: ``<``, ``<=``, ``>`` or ``>=``.

    Raises:
        QueryError: `value` is neither.
    """
    value = plain(name, value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _unexpected(name, operator, "a number or a text", value)
    assert comparison in _COMPARISONS
    kind, kind_params = _type_of(name)
    item, item_params = _value_of(name)
    kinds = _kinds(kind, _types_of(value, true_is_one))
    return Condition(f"({kinds} and {item} {comparison} ?)", (*kind_params, *item_params, value))


def is_in(name: str, values: Any, operator: str, *, true_is_one: bool = False) -> Condition:
    """The value equals one of `values`.

    Raises:
        QueryError: they are no list.
    """
    values = [plain(name, value) for value in list_of(name, values, operator)]
    single, others = _by_types(values, true_is_one)
    conditions = [equal(name, value) for value in others]
    for types, some in single.items():
        kind, kind_params = _type_of(name)
        item, item_params = _value_of(name)
        among = "(select value from json_each(?))"
        conditions.append(
            Condition(
                f"({_kinds(kind, types)} and {item} in {among})", (*kind_params, *item_params, to_json(some))
            )
        )
    return any_of(conditions)


def like(name: str, pattern: Any, operator: str) -> Condition:
    """A text that matches SQL's LIKE: ``%`` any characters, ``_`` one; ASCII letters in either case.

    Raises:
        QueryError: the pattern is no text.
    """
    if not isinstance(pattern, str):
        raise _unexpected(name, operator, "a text", pattern)
    return _of_text(name, "{} like ?", pattern)


def contains(name: str, value: Any, operator: str, *, true_is_one: bool = False) -> Condition:
    """A list that has `value` as an item, or a text that has it as a part."""
    if value is None:
        return NONE
    in_list = has_item(name, [value], true_is_one=true_is_one)
    return any_of([in_list, has_part(name, value, operator)]) if isinstance(value, str) else in_list


def has_item(name: str, values: Sequence[Any], *, true_is_one: bool = False) -> Condition:
    """A list of which one of `values` is an item: of the same kind (text, number, true or false, list, object, None)."""
    values = [plain(name, value) for value in values]
    kind, kind_params = _type_of(name)
    each, each_params = _items_of(name)
    single, others = _by_types(values, true_is_one)
    tests = [NONE]
    for types, some in single.items():
        sql = f"({_kinds('type', types)} and value in (select value from json_each(?)))"
        tests.append(Condition(sql, (to_json(some),)))
    for value in others:
        if value is None:
            tests.append(Condition("type = 'null'"))
        else:
            tests.append(Condition(f"(type = '{_container(value)}' and value = json(?))", (to_json(value),)))
    test = any_of(tests)
    return Condition(
        f"coalesce({kind} is 'array' and exists (select 1 from {each} where {test.sql}), 0)",
        (*kind_params, *each_params, *test.params),
    )


def has_part(name: str, part: Any, operator: str, *, any_case: bool = False) -> Condition:
    """A text of which `part` is a part.

    Raises:
        QueryError: it is no text.
    """
    if not isinstance(part, str):
        raise _unexpected(name, operator, "a text", part)
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
    """As metadata is stored: SQLite reads no NaN, and compares keys as they are written. Numbers of numpy are numbers.

    Raises:
        QueryError: no JSON: NaN, infinity, a value of another kind.
    """
    try:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_number_of_numpy
        )
    except (TypeError, ValueError) as error:
        raise QueryError(f"metadata: {_refusal(value, error)}") from None


def plain(name: str, value: Any) -> Any:
    """A value of a filter, as JSON knows it.

    Raises:
        QueryError: JSON has none of its kind.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, (str, int, float, list, tuple, dict)):
        return value
    raise QueryError(f"filter on {name!r}: {_expectation(value)}")


def _number_of_numpy(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(_expectation(value))


def _refusal(value: Any, error: Exception) -> str:
    """Which entry of metadata is no JSON, and why."""
    for name, one in value.items() if isinstance(value, dict) else ():
        try:
            json.dumps({name: one}, allow_nan=False, default=_number_of_numpy)
        except (TypeError, ValueError) as cause:
            why = str(cause) if isinstance(cause, TypeError) else f"expected what JSON can hold, got {one!r}"
            return f"{name!r}: {why}"
    return f"expected what JSON can hold, got {str(value)[:80]}: {error}"


def _expectation(value: Any) -> str:
    hint = next((text for kinds, text in _INSTEAD if isinstance(value, kinds)), "")
    return (
        "expected what JSON can hold (text, number, True, False, None, list, dict), got"
        f" {type(value).__name__} {str(value)[:80]}{hint}"
    )


_INSTEAD: tuple[tuple[Any, str], ...] = (
    ((datetime.date, datetime.time), "; give value.isoformat(), which sorts by time, or a number"),
    ((uuid.UUID,), "; give str(value)"),
    ((decimal.Decimal,), "; give float(value) or str(value)"),
    ((set, frozenset), "; give sorted(value)"),
)


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


def _types_of(value: Any, true_is_one: bool) -> tuple[str, ...]:
    """JSON's types of what a value is compared with."""
    if isinstance(value, str):
        return ("text",)
    if true_is_one:
        return ("integer", "real", "true", "false")
    return ("true", "false") if isinstance(value, bool) else ("integer", "real")


def _by_types(values: Iterable[Any], true_is_one: bool) -> tuple[dict[tuple[str, ...], list[Any]], list[Any]]:
    """Texts, numbers and booleans by the types that they are compared with; and the other values."""
    plain: dict[tuple[str, ...], list[Any]] = {}
    others = []
    for value in values:
        if isinstance(value, (str, int, float)):
            plain.setdefault(_types_of(value, true_is_one), []).append(value)
        else:
            others.append(value)
    return plain, others


def _kinds(kind: str, types: tuple[str, ...]) -> str:
    return f"coalesce({kind}, '') in ({', '.join(map(repr, types))})"


def _container(value: Any) -> str:
    return "object" if isinstance(value, dict) else "array"


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


def list_of(name: str, values: Any, operator: str) -> list[Any]:
    """The operand of an operator that takes several values.

    Raises:
        QueryError: it is no list.
    """
    if isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable):
        raise _unexpected(name, operator, "a list", values)
    return list(values)


def _unexpected(name: str, operator: str, expected: str, value: Any) -> QueryError:
    return QueryError(f"filter on {name!r}: {operator} expects {expected}, got {type(value).__name__}")
