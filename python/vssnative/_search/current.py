"""What a search looks at, as the file has it now: the embeddings and their table, under the names that they have today."""

from __future__ import annotations

from dataclasses import dataclass

from .._catalog.records import EmbeddingConfig, load_embedding
from .._catalog.renames import followed
from .._connection import Connection, execute
from .._sql import quote_identifier
from ..errors import QueryError

_UNCOUNTED = 10_000
# Triggers that every embedding has. Tools that drop and make a table again lose them without a word.
_TRIGGERS = ("insert", "delete", "update", "move")


@dataclass(frozen=True)
class Column:
    """A column of the user's table: its name, its declared type, and ``hidden`` as SQLite's ``table_xinfo`` gives it."""

    name: str
    declared: str
    hidden: int


@dataclass(frozen=True)
class Current:
    """Embeddings, and their table in the same snapshot.

    Attributes:
        embedding: by new names where its table or columns were renamed since the last sync.
        columns: of the user's table.
        has_vectors: its vss0 table is there, or it needs none.
        watched: its triggers are on the table, so that edits are noted.
    """

    embedding: EmbeddingConfig
    columns: tuple[Column, ...]
    has_vectors: bool
    watched: bool


def current(conn: Connection, table: str) -> Current:
    """The embeddings of that name, or of that table.

    Raises:
        MigrationError: there are none, or several of that table.
        QueryError: the table or a column that they need is gone. It is named here, rather than left to SQLite's words
            about a statement of ours.
    """
    embedding = load_embedding(conn, table, to_read=True)
    found = _looked_up(conn, embedding)
    missing = _missing(found)
    if missing:
        found = _looked_up(conn, followed(conn, embedding, labels=False))
        missing = _missing(found)
    if missing:
        raise QueryError(f"search of {embedding.name}: {missing}")
    return found


def check_vectors(now: Current) -> None:
    """Refuse to search vectors whose table is gone.

    Raises:
        QueryError: it is.
    """
    if not now.has_vectors:
        raise QueryError(
            f"search of {now.embedding.name}: its table of vectors {now.embedding.active.vss_table} is gone; the next sync"
            " builds it anew"
        )


def at_most(conn: Connection, embedding: EmbeddingConfig, rows: int) -> int:
    """`rows`, or as many as there are: room for them is taken before the search."""
    if rows <= _UNCOUNTED:
        return rows
    [(there,)] = execute(conn, f"select count(*) from main.{quote_identifier(embedding.source)}")
    return max(1, min(rows, int(there) + 1))


def _looked_up(conn: Connection, embedding: EmbeddingConfig) -> Current:
    vectors = embedding.active.vss_table
    triggers = ", ".join(f"'vssnative_{embedding.id}_{kind}'" for kind in _TRIGGERS)
    rows = execute(
        conn,
        "select name, type, hidden,"
        " exists(select 1 from main.sqlite_master where type = 'table' and name = ?1 collate nocase),"
        f" (select count(*) from main.sqlite_master where type = 'trigger' and name in ({triggers})"
        " and tbl_name = ?2 collate nocase)"
        " from pragma_table_xinfo(?2, 'main')",
        (vectors, embedding.source),
    )
    return Current(
        embedding,
        tuple(Column(row[0], str(row[1]), row[2]) for row in rows),
        vectors is None or any(row[3] for row in rows),
        any(row[4] == len(_TRIGGERS) for row in rows),
    )


def _missing(now: Current) -> str | None:
    source = now.embedding.source
    if not now.columns:
        return f"its table {source} is gone"
    there = {column.name.lower() for column in now.columns}
    names = (*now.embedding.key_columns, *now.embedding.watched)
    gone = [name for name in names if name.lower() not in there]
    return f"table {source} has no column {', '.join(gone)} any more" if gone else None
