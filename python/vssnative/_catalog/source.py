"""What a user's table is: its columns, what identifies a row for good, and which indexes can displace rows.

Vectors are kept under a 64-bit row number. Where the table has an INTEGER PRIMARY KEY that is the number itself.
Where it has any other primary key (also WITHOUT ROWID), a key table of ours hands out numbers, because SQLite's own
rowid of such a table is not for keeps: VACUUM may renumber it. A table without any primary key has nothing that
would recognize a row again, and is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._connection import Connection, execute
from .._sql import quote_identifier
from ..errors import MigrationError, UnknownNameError

_NAMES_SHOWN = 20


@dataclass(frozen=True)
class KeyColumn:
    """One column of a primary key; `declared` and `collation` make the key table compare as the table does."""

    name: str
    declared: str
    collation: str


@dataclass(frozen=True)
class Source:
    """A table of the user's.

    Attributes:
        table: its name as the schema spells it.
        columns: its columns, generated ones included.
        key: the primary key's columns, in key order.
        keyed: whether row numbers come from a key table of ours; else the only key column is the row number.
        unique: columns of each plain unique index beside the primary key.
        has_odd_unique: there are unique indexes on expressions or on part of the rows.
    """

    table: str
    columns: tuple[str, ...]
    key: tuple[KeyColumn, ...]
    keyed: bool
    unique: tuple[tuple[str, ...], ...]
    has_odd_unique: bool


def describe(conn: Connection, table: str) -> Source:
    """Look a table up in the main database.

    Raises:
        MigrationError: there is no such table, or it cannot carry embeddings; the message says why and the way out.
    """
    rows = execute(
        conn,
        "select type, name, coalesce(sql, '') from main.sqlite_master"
        " where type in ('table', 'view') and name = ? collate nocase",
        (table,),
    )
    if not rows:
        raise UnknownNameError(no_such_table(conn, table))
    kind, name, sql = rows[0]
    if kind == "view":
        raise MigrationError(
            f"{name} is a view, and SQLite has no triggers that see its rows change. Add the embeddings to the table"
            " below it; search then takes the view's condition as its where."
        )
    if _is_virtual(sql):
        raise MigrationError(
            f"{name} is a virtual table, and SQLite has no triggers on those. Keep the texts in an ordinary table and"
            " add the embeddings there."
        )
    if name.lower().startswith(("sqlite_", "vssnative_")):
        raise MigrationError(f"{name} is an internal table; embeddings belong on your own tables")
    owner = _virtual_owner(conn, name)
    if owner is not None:
        raise MigrationError(
            f"{name} belongs to the virtual table {owner}, which may rewrite it at any time; embeddings belong on your"
            " own tables"
        )
    info = execute(conn, f"pragma main.table_xinfo({quote_identifier(name)})")
    columns = tuple(row[1] for row in info if row[6] != 1)
    key_info = sorted((row for row in info if row[5] > 0), key=lambda row: row[5])
    if not key_info:
        raise MigrationError(
            f"{name} has no primary key: SQLite may renumber its rows at the next VACUUM, and vectors would then"
            f" belong to the wrong rows. Rebuild it with one: {_with_key(name, info)}"
        )
    indexes = execute(conn, f"pragma main.index_list({quote_identifier(name)})")
    key_index = next((row[1] for row in indexes if row[3] == "pk"), None)
    # "INTEGER PRIMARY KEY DESC" and the like have an index of their own, and are then no name for the rowid.
    keyed = key_index is not None or len(key_info) != 1 or str(key_info[0][2]).upper() != "INTEGER"
    collations = _collations(conn, key_index) if key_index is not None else {}
    types = _key_types(conn, name, key_info) if keyed else {row[1]: str(row[2]) for row in key_info}
    key = tuple(KeyColumn(row[1], types[row[1]], collations.get(row[1], "BINARY")) for row in key_info)
    unique: list[tuple[str, ...]] = []
    odd = False
    for row in indexes:
        if not row[2] or row[3] == "pk":
            continue
        parts = [
            part for part in execute(conn, f"pragma main.index_xinfo({quote_identifier(row[1])})") if part[5]
        ]
        if row[4] or any(part[1] < 0 for part in parts):
            odd = True
        else:
            unique.append(tuple(part[2] for part in parts))
    return Source(name, columns, key, keyed, tuple(unique), odd)


def column_of(source: Source, name: str) -> str:
    """The column as the table spells it.

    Raises:
        MigrationError: there is no such column.
    """
    for column in source.columns:
        if column.lower() == name.lower():
            return column
    raise UnknownNameError(f"{source.table} has no column {name!r}; it has {', '.join(source.columns)}")


def _key_types(conn: Connection, table: str, key_info: Sequence[tuple[Any, ...]]) -> dict[str, str]:
    """The types under which a key table stores keys as the table does.

    ANY keeps 5 and '5' apart in a STRICT table; elsewhere the same word means numbers.
    """
    types = {row[1]: str(row[2]) for row in key_info}
    if not any(declared.upper() == "ANY" for declared in types.values()):
        return types
    strict = execute(conn, "select strict from pragma_table_list(?) where schema = 'main'", (table,))
    if not strict or not strict[0][0]:
        return types
    return {name: "" if declared.upper() == "ANY" else declared for name, declared in types.items()}


def _collations(conn: Connection, index: str) -> dict[str, str]:
    parts = execute(conn, f"pragma main.index_xinfo({quote_identifier(index)})")
    return {part[2]: part[4] for part in parts if part[5] and part[2] is not None}


def no_such_table(conn: Connection, table: str) -> str:
    """What to say of a name that no table has: the nearest one, those that are there, or that it is another database's."""
    schema, _, inner = table.partition(".")
    if inner and any(schema.lower() == name.lower() for _, name, _ in execute(conn, "pragma database_list")):
        home = (
            " of the main database. Triggers cannot reach from an attached database into another, so its tables get their"
            f" embeddings in their own file: connect to the file of {schema!r} itself"
            if schema.lower() != "main"
            else ""
        )
        return f"there is no table {table!r}: expected the name alone, {inner!r}, of a table{home}"
    rows = execute(
        conn,
        "select name, coalesce(sql, '') from main.sqlite_master where type = 'table' and name not like 'sqlite@_%'"
        " escape '@' and name not like 'vssnative@_%' escape '@' order by name",
    )
    names = [name for name, sql in rows if not _is_virtual(sql) and _virtual_owner(conn, name) is None]
    near = difflib.get_close_matches(table, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    there = (
        ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "") if names else "none"
    )
    return f"there is no table {table!r} in the main database{hint or f'; tables there: {there}'}"


def _with_key(table: str, info: list[tuple[Any, ...]]) -> str:
    """Statements that rebuild a table with an integer primary key: its column id where it has one, else a new one.

    Indexes, constraints and defaults are the user's to add.
    """
    plain = [row for row in info if row[6] == 0]
    has_id = any(row[1].lower() == "id" for row in plain)
    declared = [] if has_id else ["id integer primary key"]
    for row in plain:
        kind = "integer primary key" if row[1].lower() == "id" else row[2]
        declared.append(f"{quote_identifier(row[1])} {kind}".rstrip())
    names = ", ".join(quote_identifier(row[1]) for row in plain)
    new, old = quote_identifier(f"{table}_new"), quote_identifier(table)
    into, select = (names, names) if has_id else (f"id, {names}", f"rowid, {names}")
    return (
        f"create table {new}({', '.join(declared)}); insert into {new}({into}) select {select} from {old};"
        f" drop table {old}; alter table {new} rename to {old};"
    )


def _is_virtual(sql: str) -> bool:
    return sql.lstrip()[:14].lower().startswith("create virtual")


def _virtual_owner(conn: Connection, name: str) -> str | None:
    """The virtual table whose own storage a table seems to be, by SQLite's naming of shadow tables."""
    owner, _, _ = name.rpartition("_")
    if not owner:
        return None
    rows = execute(
        conn,
        "select name, coalesce(sql, '') from main.sqlite_master where type = 'table' and name = ? collate nocase",
        (owner,),
    )
    return rows[0][0] if rows and _is_virtual(rows[0][1]) else None
