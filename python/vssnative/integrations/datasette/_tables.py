"""Which tables of a database are inner ones of this package, and of which tables of the user's they are."""

from __future__ import annotations

import weakref
from typing import Any

from ..._catalog.records import load_embeddings
from ..._catalog.schema import installed_version
from ..._connection import execute

# SQL functions that change a table or the process: pages that show data must not offer them.
_CHANGING = (
    "vss_optimize",
    "vss_rebuild",
    "vss_relearn",
    "vss_repair",
    "vss_set_index",
    "vss_setting",
)

Owners = dict[str, tuple[str, ...]]


class InnerTables:
    """What is known of each Datasette's databases: inner tables with the tables that they are of, and those tables."""

    def __init__(self) -> None:
        self._of: weakref.WeakKeyDictionary[Any, dict[str, tuple[Owners, tuple[str, ...]]]] = (
            weakref.WeakKeyDictionary()
        )

    def of_all(self, datasette: Any) -> dict[str, list[str]]:
        """Inner tables by database, as they were when somebody last asked for a database."""
        return {name: list(owners) for name, (owners, _) in self._of.get(datasette, {}).items()}

    async def refresh(self, datasette: Any, database: str) -> tuple[Owners, tuple[str, ...]]:
        """Look into the database."""
        if database not in datasette.databases:
            return {}, ()
        found: tuple[Owners, tuple[str, ...]] = await datasette.get_database(database).execute_fn(
            inner_tables
        )
        self._of.setdefault(datasette, {})[database] = found
        return found

    async def owners(self, datasette: Any, database: str, table: str) -> tuple[str, ...]:
        """The tables that an inner table is of; none for any other table."""
        if not table.lower().startswith("vss"):
            return ()
        owners, _ = await self.refresh(datasette, database)
        return owners.get(table, ())

    async def sources(self, datasette: Any, database: str) -> tuple[str, ...]:
        """Tables that have embeddings."""
        return (await self.refresh(datasette, database))[1]


def inner_tables(conn: Any) -> tuple[Owners, tuple[str, ...]]:
    """Inner tables and views with the tables that they are of, and the tables that have embeddings.

    Records of all embeddings together are of all those tables. The tables of a vss0 table that has nothing to do with
    embeddings are inner ones of no table.
    """
    schema = execute(
        conn, "select name, coalesce(sql, '') from main.sqlite_master where type in ('table', 'view')"
    )
    owners: Owners = {}
    sources: tuple[str, ...] = ()
    if installed_version(conn, to_read=True):
        embeddings = load_embeddings(conn, to_read=True)
        sources = tuple(dict.fromkeys(one.source for one in embeddings))
        for name, _ in schema:
            if name.lower().startswith("vssnative_"):
                owners[name] = sources
        for one in embeddings:
            tables = [generation.vss_table for generation in one.generations]
            tables.append(one.full_text.table if one.full_text else None)
            if one.keyed:
                owners[one.key_table] = (one.source,)
            for table in filter(None, tables):
                owners[table] = (one.source,)
    # Shadow tables, by SQLite's naming of them.
    virtual = [name for name, sql in schema if "using vss0" in " ".join(sql.lower().split())]
    for name, sql in schema:
        for parent in {*virtual, *owners}:
            if name.startswith(f"{parent}_") and not sql.lower().startswith("create virtual"):
                owners.setdefault(name, owners.get(parent, ()))
    return owners, sources


def refuse_changes(conn: Any) -> None:
    """Functions that change something are errors on this connection."""
    for name in _CHANGING:
        counts = execute(conn, "select distinct narg from pragma_function_list where name = ?", (name,))
        for (count,) in counts:
            conn.create_function(name, count, _refuser(name))


def _refuser(name: str) -> Any:
    def refuse(*arguments: object) -> None:
        raise ValueError(f"{name} changes something, which Datasette's SQL must not")

    return refuse
