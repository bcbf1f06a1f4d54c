"""Datasette: vss0 in every connection, so that ``match`` and the vss functions work in its SQL pages and canned queries.

A plugin, found by Datasette through the package's entry point.
"""

from __future__ import annotations

from typing import Any

from datasette import hookimpl

from .._connection import load


@hookimpl  # type: ignore[untyped-decorator,unused-ignore]
def prepare_connection(conn: Any) -> None:
    """Called by Datasette with each new connection."""
    load(conn)
