"""The Python functions of the package sqlite-vss, for programs that were written for it.

``import sqlite_vss`` becomes ``from vssnative.compat import sqlite_vss``; nothing else needs to change.
"""

from __future__ import annotations

from .. import connection
from ..connection import Connection

__all__ = ["load", "load_vector", "load_vss", "vector_loadable_path", "vss_loadable_path"]


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
