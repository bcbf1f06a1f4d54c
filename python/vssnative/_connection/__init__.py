"""Connections: opening them, loading vss0 into them, and the little that the other layers need of any driver.

This is the one package that knows SQLite drivers: the standard library's ``sqlite3`` and its relatives
(pysqlite3, sqlean, ...), and ``apsw``. Wrappers (SQLAlchemy, aiosqlite, Django, sqlite-utils) are unwrapped
to one of those.

    opening       connect, load
    loading       the two ways in which vss0 gets into a connection
    failures      SQLite's errors in words that help
    sqlite_errors what they mean: the table, with the wordings for Python and for the shell
    files         what can be seen of a file without SQLite
    entry         what public functions that take a connection begin with
    drivers       what a connection belongs to, and what is wrapped round it
    statements    statements, transactions and errors, the same for every driver
    shared        one connection for many threads, one call at a time
    pool          one connection for each thread, one writer at a time
    turns         the writers' queue
    cancellation  ending the work of another thread
"""

from __future__ import annotations

from .cancellation import Cancellation, Cancelled, check_cancelled, shielded, sleep
from .drivers import send_to_aiosqlite
from .entry import in_its_thread
from .failures import explained, explains, explanation_of, told_error
from .files import has_unread_log
from .loading import loadable_path
from .opening import check_synchronous, connect, connect_to_read, load, load_by, prepare
from .pool import Pool, is_in_memory, require_file
from .protocol import Connection
from .shared import SharedConnection
from .sqlite_errors import Explanation, is_busy, is_corrupt
from .statements import (
    begin,
    create_function,
    driver_error,
    exclusive,
    execute,
    execute_as_set,
    in_transaction,
    lists_arrive_whole,
    search_plainly,
    sqlite_version,
    transaction,
)

__all__ = [
    "Cancellation",
    "Cancelled",
    "Connection",
    "Explanation",
    "Pool",
    "SharedConnection",
    "begin",
    "check_cancelled",
    "check_synchronous",
    "connect",
    "connect_to_read",
    "create_function",
    "driver_error",
    "exclusive",
    "execute",
    "execute_as_set",
    "explained",
    "explains",
    "explanation_of",
    "has_unread_log",
    "in_its_thread",
    "in_transaction",
    "is_busy",
    "is_corrupt",
    "is_in_memory",
    "lists_arrive_whole",
    "load",
    "load_by",
    "loadable_path",
    "prepare",
    "require_file",
    "search_plainly",
    "send_to_aiosqlite",
    "shielded",
    "sleep",
    "sqlite_version",
    "told_error",
    "transaction",
]
