"""LangChain's filters on metadata: ``{"kind": "a", "year": {"$gte": 2020}, "$or": [...]}``.

Where the metadata has a list, a value equals it if it is one of its items, as in MongoDB's filters; a list equals the whole list,
or an item that is a list. True and False are no numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import QueryError
from .. import _metadata as metadata
from .._metadata import Condition


def condition_of(filter: Mapping[str, Any] | None) -> Condition:
    """A filter as a condition on metadata; several entries hold together. None and ``{}`` let everything in.

    Raises:
        QueryError: an operator that is not known, or a value that it cannot take.
    """
    if filter is None:
        return metadata.EVERY
    if not isinstance(filter, Mapping):
        raise QueryError(f"filter: expected a dict, got {type(filter).__name__}")
    return metadata.all_of([_entry(name, value) for name, value in filter.items()])


def _entry(name: Any, value: Any) -> Condition:
    if not isinstance(name, str):
        raise QueryError(f"filter: expected names as keys, got {name!r}")
    if name in ("$and", "$or"):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise QueryError(f"filter: {name} expects a list of filters, got {type(value).__name__}")
        parts = [condition_of(part) for part in value]
        return metadata.all_of(parts) if name == "$and" else metadata.any_of(parts)
    if name == "$not":
        # A list, as some stores have it: none of them.
        several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return metadata.negated(metadata.any_of([condition_of(one) for one in several]))
    if name.startswith("$"):
        raise QueryError(f"filter: expected $and, $or, $not or a name, got {name}")
    return _on(name, value)


def _on(name: str, value: Any) -> Condition:
    if not isinstance(value, Mapping) or not any(str(key).startswith("$") for key in value):
        return _equal(name, value)
    conditions = []
    for operator, operand in value.items():
        if operator == "$not":
            conditions.append(metadata.negated(_on(name, operand)))
        elif operator in ("$and", "$or"):
            if not isinstance(operand, Sequence) or isinstance(operand, str):
                raise QueryError(
                    f"filter on {name!r}: {operator} expects a list, got {type(operand).__name__}"
                )
            parts = [_on(name, part) for part in operand]
            conditions.append(metadata.all_of(parts) if operator == "$and" else metadata.any_of(parts))
        elif operator in _OPERATORS:
            conditions.append(_OPERATORS[operator](name, operand))
        else:
            raise QueryError(
                f"filter on {name!r}: expected one of {', '.join(_OPERATORS)}, $not, got {operator}"
            )
    return metadata.all_of(conditions)


def _equal(name: str, value: Any) -> Condition:
    same = metadata.equal(name, value)
    return same if value is None else metadata.any_of([same, metadata.has_item(name, [value])])


def _is_in(name: str, values: Any, operator: str = "$in") -> Condition:
    known = metadata.list_of(name, values, operator)
    among = metadata.is_in(name, known, operator)
    some = [value for value in known if value is not None]
    return metadata.any_of([among, metadata.has_item(name, some)]) if some else among


def _contains(name: str, value: Any) -> Condition:
    value = metadata.plain(name, value)
    if not isinstance(value, (str, int, float)):
        raise QueryError(
            f"filter on {name!r}: $contains expects a text or a number, got {type(value).__name__}; $all and $in take lists"
        )
    return metadata.contains(name, value, "$contains")


def _all(name: str, values: Any) -> Condition:
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)) or not values:
        raise QueryError(f"filter on {name!r}: $all expects a list of items, got {values!r}")
    return metadata.all_of([metadata.has_item(name, [value]) for value in values])


def _exists(name: str, wanted: Any) -> Condition:
    if not isinstance(wanted, bool):
        raise QueryError(f"filter on {name!r}: $exists expects True or False, got {wanted!r}")
    return metadata.exists(name) if wanted else metadata.negated(metadata.exists(name))


_OPERATORS: dict[str, Callable[[str, Any], Condition]] = {
    "$eq": _equal,
    "$ne": lambda name, value: metadata.negated(_equal(name, value)),
    "$in": _is_in,
    "$nin": lambda name, values: metadata.negated(_is_in(name, values, "$nin")),
    "$contains": _contains,
    "$all": _all,
    "$gt": lambda name, value: metadata.compared(name, ">", value, "$gt"),
    "$gte": lambda name, value: metadata.compared(name, ">=", value, "$gte"),
    "$lt": lambda name, value: metadata.compared(name, "<", value, "$lt"),
    "$lte": lambda name, value: metadata.compared(name, "<=", value, "$lte"),
    "$like": lambda name, pattern: metadata.like(name, pattern, "$like"),
    "$exists": _exists,
}
