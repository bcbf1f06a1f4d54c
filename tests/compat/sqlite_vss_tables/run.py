"""Runs one script of scripts.py and gives what each statement answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any


def answers_of(
    driver: ModuleType,
    statements: list[str],
    path: str,
    load: Callable[[Any], None],
    left_out: frozenset[int] = frozenset(),
) -> Iterator[dict[str, Any]]:
    """`driver`: sqlite3 or pysqlite3; `left_out`: statements that are not run, by position."""
    connection = opened(driver, path, load)
    try:
        for at, sql in enumerate(statements):
            if at in left_out:
                yield {"crash": True}
            elif sql == ".reopen":
                connection.close()
                connection = opened(driver, path, load)
                yield {"columns": [], "rows": []}
            else:
                yield answer(driver, connection, sql)
    finally:
        connection.close()


def opened(driver: ModuleType, path: str, load: Callable[[Any], None]) -> Any:
    connection = driver.connect(path, isolation_level=None)
    load(connection)
    return connection


def answer(driver: ModuleType, connection: Any, sql: str) -> dict[str, Any]:
    try:
        cursor = connection.execute(sql)
        rows = [[plain(value) for value in row] for row in cursor]
    except driver.Error as error:
        return {"error": str(error)}
    return {"columns": [column[0] for column in cursor.description or ()], "rows": rows}


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"blob": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
