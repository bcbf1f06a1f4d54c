"""Values for a statement's ``?``, as SQLite stores them.

A driver binds whatever has a buffer as a blob, also a numpy integer, which then equals no integer of a table. So
every value that is none of SQLite's own types is converted here, or refused in a sentence.
"""

from __future__ import annotations

import datetime
import enum
import os
from collections.abc import Mapping, Sequence, Set
from types import ModuleType
from typing import Any

from ..errors import QueryError

__all__ = ["bound_values"]

_OWN_TYPES = frozenset({int, float, str, bytes, type(None), bool})
_LEAST, _MOST = -(2**63), 2**63 - 1
# Element types of vector columns, whose bytes are a vector as it is stored.
_VECTOR_DTYPES = ("float32", "float16", "bfloat16", "int8", "uint8")


def bound_values(params: Sequence[Any] | Mapping[str, Any], driver: ModuleType) -> Any:
    """`params` with every value as an int, float, str, bytes or None, or as the driver's user said.

    numpy and pandas scalars become Python's, dates and times text in ISO form as sqlite3's own adapters write them,
    paths text. An adapter that was registered with the driver goes before all of this.

    Args:
        params: values for ``?``, or a mapping for ``:name``.
        driver: the C module of the driver, which knows the adapters.

    Raises:
        QueryError: a value that has no one form in SQLite (a list, Decimal, UUID, Enum), or does not fit.
    """
    if type(params) is not tuple and isinstance(params, Mapping):
        return {name: _bound(value, repr(name), driver) for name, value in params.items()}
    for value in params:
        if type(value) not in _OWN_TYPES or (type(value) is int and not _LEAST <= value <= _MOST):
            break
    else:
        return params
    return tuple(_bound(value, str(i), driver) for i, value in enumerate(params))


def _bound(value: Any, name: str, driver: ModuleType) -> Any:
    if type(value) is int and not _LEAST <= value <= _MOST:
        raise QueryError(f"params[{name}]: {_shown(value)} does not fit into SQLite's 64-bit integers")
    if type(value) in _OWN_TYPES or _has_adapter(value, driver):
        return value
    import decimal  # not before there is need: a connection comes without them
    import uuid

    import numpy as np

    if isinstance(value, (np.generic, np.ndarray)):
        return _from_numpy(value, name, driver)
    if isinstance(value, enum.Enum) and not isinstance(value, (int, str)):
        raise QueryError(f"params[{name}]: {value!r}: give its .value or its .name, as the column stores it")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):  # IntEnum
        return _bound(int(value), name, driver)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):  # StrEnum, whose str() need not be its text
        return str.__str__(value)
    if isinstance(value, datetime.datetime):
        return None if value != value else value.isoformat(" ")  # pandas.NaT is no time
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, decimal.Decimal):
        raise QueryError(
            f"params[{name}]: {value!r}: give float(value) or str(value), as the column stores it"
        )
    if isinstance(value, uuid.UUID):
        raise QueryError(
            f"params[{name}]: {value!r}: give str(value), value.hex or value.bytes, as the column stores it"
        )
    if isinstance(value, (list, tuple, Set, Mapping)):
        raise QueryError(
            f"params[{name}]: expected one value, got a {type(value).__name__}; for a list write"
            ' "in (select value from json_each(?))" and give json.dumps(list(...))'
        )
    return value  # bytearray, memoryview, what the driver knows; it refuses the rest itself


def _from_numpy(value: Any, name: str, driver: ModuleType) -> Any:
    import numpy as np

    if value.ndim > 0:
        if value.ndim == 1 and value.dtype.name in _VECTOR_DTYPES and value.dtype.isnative:
            return value.tobytes()
        raise QueryError(
            f"params[{name}]: expected one value, or a vector of float32, got an array of {value.dtype} of shape"
            f" {value.shape}"
        )

    scalar = value[()] if isinstance(value, np.ndarray) else value
    kind = scalar.dtype.kind if isinstance(scalar, np.generic) else "O"
    if kind == "M":
        if np.isnat(scalar):
            return None
        unit = np.datetime_data(scalar.dtype)[0]
        if unit in ("Y", "M", "W", "D"):
            return str(scalar.astype("datetime64[D]"))
        exact = scalar.astype("datetime64[us]")
        if exact != scalar or not isinstance(exact.item(), datetime.datetime):
            raise QueryError(f"params[{name}]: {value!r}: give it as text, as the column stores it")
        return exact.item().isoformat(" ")
    if kind not in "biufSUO":
        raise QueryError(f"params[{name}]: {value!r} has no form in SQLite; give a number or text")
    item = scalar.item() if isinstance(scalar, np.generic) else scalar
    if kind == "f" and isinstance(item, np.generic):  # longdouble
        if not np.isnan(item) and np.longdouble(float(item)) != item:
            raise QueryError(f"params[{name}]: {value!r} is no 64-bit float; give float(value)")
        return float(item)
    return _bound(item, name, driver)


def _has_adapter(value: Any, driver: ModuleType) -> bool:
    """Whether the user told the driver what to do with such a value."""
    if hasattr(value, "__conform__"):
        return True
    adapters = getattr(driver, "adapters", None)
    protocol = getattr(driver, "PrepareProtocol", None)
    if not isinstance(adapters, dict) or protocol is None:
        return False
    adapter = adapters.get((type(value), protocol))
    # sqlite3's own adapters of date and datetime do what is done here, but warn from Python 3.12 on.
    return adapter is not None and not str(getattr(adapter, "__module__", "")).endswith(".dbapi2")


def _shown(value: int) -> str:
    return str(value) if -(10**40) < value < 10**40 else f"an integer of {value.bit_length()} bits"
