"""``vssnative.load``: vss0, and what else a connection is to have."""

from __future__ import annotations

from . import _connection
from ._connection import Connection


def load(conn: Connection, *, embed: bool = False) -> None:
    """Make vss0 and its SQL functions available on an open connection. Loading again is harmless.

    Nothing else of the connection changes: no transaction begins or ends, extension loading is left as it was.

    Args:
        conn: a connection of ``sqlite3``, ``pysqlite3``, ``sqlean`` or ``apsw``, also inside a SQLAlchemy
            connection or session, an aiosqlite connection, Django's connection, or a sqlite-utils database.
        embed: also the SQL function ``vss_embed('text' [, table or model])``, the text's vector: searches by words in views,
            Datasette, the shell. Whoever writes SQL on this connection can then call the model.

    Raises:
        ConnectionSetupError: the connection is closed, belongs to another thread, or is of no known driver.
        ExtensionLoadError: vss0 could not be loaded; the message says what was tried and what to do.
    """
    _connection.load(conn)
    if embed:
        from ._catalog.sql_function import register

        register(conn)
