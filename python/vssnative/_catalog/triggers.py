"""The triggers that note changed rows: plain SQL, so that any program may write the table.

They put (embedding, row) in the queue within the writer's own transaction. Traps that shape them:

- Under ``INSERT OR REPLACE`` and the like, the outer statement's conflict policy replaces those of statements inside
  triggers, except for UPSERT clauses; hence ``ON CONFLICT DO UPDATE``, never ``INSERT OR REPLACE``.
- ``REPLACE`` deletes the rows in its way without firing delete triggers (unless recursive_triggers is on). A row with
  the same key comes back through the insert trigger; rows that gave way for another unique column are found
  beforehand, by BEFORE triggers, one lookup per unique index.
- ``UPDATE OR REPLACE`` that moves a row onto another's key needs nothing more: that key is requeued by the move.
- ``UPDATE OF column`` does not see ``set rowid = ...``, nor generated columns; hence no OF, but a WHEN.
- ``IS NOT`` compares by the column's collation and takes 1 for 1.0; hence COLLATE BINARY, and typeof.
"""

from __future__ import annotations

from .._connection import Connection, execute
from .._sql import quote_identifier
from . import full_text
from .enqueue import BACKFILL_PRIORITY
from .records import EmbeddingConfig
from .source import Source

_NOW = "(julianday('now') - 2440587.5) * 86400"


def trigger_statements(embedding: EmbeddingConfig, source: Source) -> dict[str, str]:
    """Name and ``CREATE TRIGGER`` statement of each trigger that the embedding needs."""
    table = quote_identifier(source.table)
    key = [quote_identifier(column.name) for column in source.key]
    same_key = " and ".join(f"OLD.{k} IS NEW.{k}" for k in key)
    key_changed = " or ".join(_differs(k) for k in key)
    changed = " or ".join(_differs(quote_identifier(column)) for column in embedding.watched)
    new, old = _enqueue(embedding, key, "NEW", 1), _enqueue(embedding, key, "OLD", 1)
    put, take = full_text.trigger_steps(
        embedding,
        {row: _number_of(embedding, key, row) for row in ("NEW", "OLD")},
        {row: " and ".join(f"t.{k} = {row}.{k}" for k in key) for row in ("NEW", "OLD")},
    )
    bodies = {
        "insert": f"after insert on {table} begin {_number(embedding, key)}{put}{new} end",
        "delete": f"after delete on {table} begin {take}{old} end",
        "update": f"after update on {table} when ({same_key}) and ({changed})"
        f" begin {_enqueue(embedding, key, 'NEW', 0)} end",
        "move": f"after update on {table} when {key_changed}"
        f" begin {take}{old} {_number(embedding, key)}{put}{new} end",
    }
    if embedding.full_text is not None:
        reworded = " or ".join(_differs(quote_identifier(column)) for column in embedding.full_text.columns)
        bodies["text"] = f"after update on {table} when ({same_key}) and ({reworded}) begin {put}end"
    for number, columns in enumerate(source.unique):
        displaced = _enqueue_displaced(embedding, source, columns)
        touched = " or ".join(_differs(quote_identifier(column)) for column in columns)
        bodies[f"replace_insert_{number}"] = f"before insert on {table} begin {displaced} end"
        bodies[f"replace_update_{number}"] = f"before update on {table} when {touched} begin {displaced} end"
    return {
        f"vssnative_{embedding.id}_{kind}": f'CREATE TRIGGER "vssnative_{embedding.id}_{kind}" {body}'
        for kind, body in bodies.items()
    }


def installed_triggers(conn: Connection, embedding: EmbeddingConfig) -> dict[str, tuple[str, str]]:
    """Name to (table, SQL) of the embedding's triggers that the file has now."""
    rows = execute(
        conn,
        "select name, tbl_name, sql from main.sqlite_master where type = 'trigger' and name glob ?",
        (f"vssnative_{embedding.id}_*",),
    )
    return {name: (table, sql) for name, table, sql in rows}


def are_installed(conn: Connection, embedding: EmbeddingConfig, source: Source) -> bool:
    """Whether the embedding's triggers are as they must be."""
    present = {name: sql for name, (_, sql) in installed_triggers(conn, embedding).items()}
    return present == trigger_statements(embedding, source)


def create_triggers(conn: Connection, embedding: EmbeddingConfig, source: Source) -> bool:
    """Bring the embedding's triggers to what they must be; False if they were so already."""
    if are_installed(conn, embedding, source):
        return False
    drop_triggers(conn, embedding)
    for statement in trigger_statements(embedding, source).values():
        execute(conn, in_main(statement))
    return True


def in_main(statement: str) -> str:
    """A CREATE TRIGGER that means the main database's table, also where a temporary one has its name.

    SQLite keeps the statement without the schema.
    """
    return statement.replace("CREATE TRIGGER ", "CREATE TRIGGER main.", 1)


def drop_triggers(conn: Connection, embedding: EmbeddingConfig) -> None:
    for name in installed_triggers(conn, embedding):
        execute(conn, f"drop trigger main.{quote_identifier(name)}")


def _differs(column: str) -> str:
    return (
        f"typeof(OLD.{column}) IS NOT typeof(NEW.{column}) or OLD.{column} COLLATE BINARY IS NOT NEW.{column}"
    )


def _number(embedding: EmbeddingConfig, key: list[str]) -> str:
    """Give a new row its number, where numbers are ours to give. A key with a NULL identifies nothing."""
    if not embedding.keyed:
        return ""
    into = ", ".join(f"k{number}" for number in range(len(key)))
    values = ", ".join(f"NEW.{k}" for k in key)
    there = " and ".join(f"NEW.{k} is not null" for k in key)
    return f"insert into {embedding.key_table}({into}) select {values} where {there} on conflict do nothing; "


def _number_of(embedding: EmbeddingConfig, key: list[str], row: str) -> str:
    if not embedding.keyed:
        return f"{row}.{key[0]}"
    match = " and ".join(f"k{number} = {row}.{k}" for number, k in enumerate(key))
    return f"(select id from {embedding.key_table} where {match})"


def _enqueue(embedding: EmbeddingConfig, key: list[str], row: str, gone: int) -> str:
    if embedding.keyed:
        match = " and ".join(f"k{number} = {row}.{k}" for number, k in enumerate(key))
        rows = f"select {embedding.id}, id, {gone}, {_NOW} from {embedding.key_table} where {match}"
    else:
        rows = f"values({embedding.id}, {row}.{key[0]}, {gone}, {_NOW})"
    return f"{_insert_into_queue()} {rows} {_on_conflict(gone)};"


def _enqueue_displaced(embedding: EmbeddingConfig, source: Source, columns: tuple[str, ...]) -> str:
    """Queue the rows that hold the values which the new row claims: REPLACE may delete them without a trigger.

    They count as neither gone nor changed: where the statement fails or is ignored, nothing happened to them. Leases
    end, so that no worker stores what such a row was.
    """
    match = " and ".join(
        f"d.{quote_identifier(column)} = NEW.{quote_identifier(column)}" for column in columns
    )
    return (
        "insert into vssnative_queue(embedding, row_id, priority, queued_at)"
        f" select {embedding.id}, {embedding.row_id_sql('d')}, {BACKFILL_PRIORITY}, {_NOW}"
        f" from {embedding.rows_sql('d', schema='')} where {match}"
        " on conflict(embedding, row_id) do update set generation = generation + 1, ready_at = 0, lease = null;"
    )


def _insert_into_queue() -> str:
    return "insert into vssnative_queue(embedding, row_id, gone, queued_at)"


def _on_conflict(gone: int) -> str:
    mark = ", gone = 1" if gone else ""
    return (
        "on conflict(embedding, row_id) do update set generation = generation + 1, priority = 0, attempts = 0,"
        f" ready_at = 0, lease = null{mark}"
    )
