"""sqlite-utils: vss0 in every connection of its command line and of ``Database(...)``.

A plugin, found by sqlite-utils through the package's entry point. The functions of this package take a
``sqlite_utils.Database`` wherever they take a connection.
"""

from __future__ import annotations

from typing import Any

from sqlite_utils import hookimpl

from .._connection import load


@hookimpl  # type: ignore[untyped-decorator,unused-ignore]
def prepare_connection(conn: Any) -> None:
    """Called by sqlite-utils with each new connection."""
    load(conn)
