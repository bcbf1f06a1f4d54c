"""The Python functions of the package sqlite-vss, for programs that were written for it.

``import sqlite_vss`` becomes ``from vssnative.compat import sqlite_vss``; nothing else needs to change.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from .. import _connection as connection
from .._connection import Connection, in_its_thread
from .._sql import quote_identifier
from ..errors import ConfigurationError

__all__ = [
    "Upgraded",
    "UpgradedColumn",
    "load",
    "load_vector",
    "load_vss",
    "old_tables",
    "upgrade",
    "vector_loadable_path",
    "vss_loadable_path",
]


def vss_loadable_path() -> str:
    """Absolute path of the extension that has vss0 and its functions, for ``conn.load_extension``."""
    return connection.loadable_path()


def vector_loadable_path() -> str:
    """Absolute path of the extension that has ``vector0`` and its functions: the same file. Loading it twice is harmless."""
    return connection.loadable_path()


def load(conn: Connection) -> None:
    """Load vss0 and vector0's functions; ``conn.enable_load_extension(True)`` is not needed.

    Raises:
        ConnectionSetupError: the connection is closed, belongs to another thread, or is of no known driver.
        ExtensionLoadError: vss0 could not be loaded; the message says what was tried and what to do.
    """
    connection.load(conn)


def load_vss(conn: Connection) -> None:
    """As `load`."""
    load(conn)


def load_vector(conn: Connection) -> None:
    """As `load`."""
    load(conn)


@dataclass(frozen=True)
class UpgradedColumn:
    """A vector column after its upgrade.

    Attributes:
        name: its name.
        vectors: how many it has.
        lossy: the file held codes (SQ, PQ, PCA, ...): vectors are those that the codes stand for.
        not_finite: rows whose vector had NaN or infinity in it, and is NULL now.
    """

    name: str
    vectors: int
    lossy: bool
    not_finite: int


@dataclass(frozen=True)
class Upgraded:
    """A table after its upgrade."""

    table: str
    rows: int
    columns: list[UpgradedColumn]


@in_its_thread
def old_tables(conn: Connection) -> list[str]:
    """Names of the tables in ``main`` that are as sqlite-vss 0.1.2 wrote them, in alphabetical order."""
    names = connection.execute(
        conn,
        "select name from main.sqlite_master where type = 'table' and sql like 'create virtual table%using%vss0%'"
        " order by name",
    )
    return [name for (name,) in names if _shadows(conn, name) == {"index", "data"}]


def _shadows(conn: Connection, table: str) -> set[str]:
    """Which of the tables that tell old from new are there."""
    return {
        suffix
        for suffix in ("index", "data", "config")
        if connection.execute(
            conn, "select 1 from main.sqlite_master where name = ? collate nocase", [f"{table}_{suffix}"]
        )
    }


@in_its_thread
def upgrade(
    conn: Connection, table: str, *, progress: Callable[[int, int], None] | None = None
) -> Upgraded | None:
    """Make this version's tables of one that sqlite-vss 0.1.2 wrote: in one transaction, compared when it is done.

    The first statement that writes to such a table does the same by itself. Where something fails, the file stays as it
    was.

    Args:
        conn: with vss0 loaded; inside a transaction of yours it becomes part of that.
        table: its name in ``main``.
        progress: hears of steps done, and of how many there are.

    Returns:
        What it became, or None if there was nothing to do.

    Raises:
        ConfigurationError: there is no such table.
        sqlite3.Error: the file is damaged, or is of a kind that does not hold its vectors; the message says which.
    """
    if not connection.execute(
        conn, "select 1 from main.sqlite_master where name = ? and sql like 'create virtual table%'", [table]
    ):
        raise ConfigurationError(f"there is no vss0 table {quote_identifier(table)}")
    function = None
    if progress is not None:
        function = "vssnative_upgrade_progress"
        connection.create_function(conn, function, progress)
    with connection.transaction(conn):
        [(text,)] = connection.execute(conn, "select vss_upgrade(?, 'main', ?)", [table, function])
    if text is None:
        return None
    told = json.loads(text)
    return Upgraded(table, told["rows"], [UpgradedColumn(**column) for column in told["columns"]])
