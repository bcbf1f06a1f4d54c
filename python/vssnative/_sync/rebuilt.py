"""Triggers across a rebuild of the user's table by a tool that tells us: Alembic's batch mode, Django's schema editor.

Such tools copy the rows, drop the table and rename the copy; its triggers go with it. Put back at once, they see every
later change, so that nothing has to be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .._catalog import triggers
from .._catalog.enqueue import BACKFILL_PRIORITY, enqueue_all
from .._catalog.records import load_embedding, load_embeddings
from .._catalog.renames import record, renamed
from .._catalog.source import describe
from .._connection import Connection, execute, transaction
from .._sql import quote_identifier
from ..errors import MigrationError
from .health import mismatch_with


@dataclass(frozen=True)
class RebuiltTable:
    """A table before it is rebuilt.

    Attributes:
        table: its name, before and after.
        declared: by the name of embeddings whose triggers are as they must be: the declared types of what they watch.
    """

    table: str
    declared: dict[str, dict[str, str]]

    @classmethod
    def before(cls, conn: Connection, table: str) -> RebuiltTable:
        """To be called while the table is still there."""
        declared = {
            embedding.name: _declared(conn, table, embedding.watched)
            for embedding in load_embeddings(conn)
            if embedding.source.lower() == table.lower()
            and triggers.are_installed(conn, embedding, describe(conn, table))
        }
        return cls(table, declared)

    def put_back(
        self, conn: Connection, *, strict: bool = True, names: Mapping[str, str] | None = None
    ) -> None:
        """To be called when the new table has the name. In one transaction, or within the caller's.

        Args:
            names: columns that were renamed, see ``renamed``.
            strict: False leaves embeddings that do not fit the new table without triggers, for whoever mends them next.

        Raises:
            MigrationError: embeddings cannot go on with the new table; says why.
        """
        with transaction(conn):
            for name, declared in self.declared.items():
                before = load_embedding(conn, name)
                embedding = renamed(before, names or {})
                source = describe(conn, embedding.source)
                mismatch = mismatch_with(embedding, source)
                if mismatch is not None and not strict:
                    continue
                if mismatch is not None:
                    raise MigrationError(mismatch)
                if embedding != before:
                    record(conn, before, embedding)
                triggers.create_triggers(conn, embedding, source)
                types = {(names or {}).get(column, column).lower(): one for column, one in declared.items()}
                if _declared(conn, self.table, embedding.watched) != types:
                    # A value may have another form as a text now: sync compares.
                    enqueue_all(conn, embedding, BACKFILL_PRIORITY)


def check_columns(
    conn: Connection, table: str, columns: Iterable[str], names: Mapping[str, str] | None = None
) -> None:
    """That embeddings of a table can go on when it has these columns; asked before anything is rebuilt.

    Args:
        names: columns that are renamed, see ``renamed``.

    Raises:
        MigrationError: one that they are made of is missing.
    """
    there = {column.lower() for column in columns}
    for embedding in load_embeddings(conn):
        embedding = (
            renamed(embedding, names or {}) if embedding.source.lower() == table.lower() else embedding
        )
        gone = [column for column in embedding.watched if column.lower() not in there]
        if embedding.source.lower() == table.lower() and gone:
            raise MigrationError(
                f"{embedding.name}: table {embedding.source} would have no column {', '.join(gone)} any more, which is"
                f" embedded; drop_embeddings({embedding.name!r}) or change_model({embedding.name!r}, columns=[...]) and"
                " sync come first"
            )


def _declared(conn: Connection, table: str, columns: tuple[str, ...]) -> dict[str, str]:
    rows: list[Any] = execute(conn, f"pragma main.table_xinfo({quote_identifier(table)})")
    return {
        row[1].lower(): str(row[2]).upper() for row in rows if row[1].lower() in {c.lower() for c in columns}
    }
