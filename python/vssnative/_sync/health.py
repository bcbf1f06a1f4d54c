"""Triggers and tables that were lost, and what may have happened meanwhile.

Tools that rebuild a table (Alembic's batch mode, Django, SQLite's own recipe) copy its rows, drop it, and rename the
copy: its triggers are gone without a word. They are put back, and all rows are compared by hash.
"""

from __future__ import annotations

import time

from .._catalog import full_text, triggers
from .._catalog.enqueue import BACKFILL_PRIORITY, enqueue_all
from .._catalog.generations import create_vss_statement, switch_if_complete
from .._catalog.records import EmbeddingConfig, Generation, load_embedding
from .._catalog.renames import follow, followed
from .._catalog.schema import SCHEMA_VERSION, ensure_schema, installed_version
from .._catalog.source import Source, describe
from .._connection import Connection, execute
from ..errors import MigrationError
from .events import Listener, emit
from .locking import write


def problem_with(conn: Connection, embedding: EmbeddingConfig) -> str | None:
    """A sentence where the table and the record do not fit together any more; None where all is well.

    Lost triggers and new names are no such problem: ``mend`` puts them back, or follows them.
    """
    embedding = followed(conn, embedding)
    try:
        source = _described(conn, embedding)
    except MigrationError as error:
        return str(error)
    return mismatch_with(embedding, source)


def needs_mending(conn: Connection, embedding: EmbeddingConfig) -> bool:
    """Whether triggers are missing or not as they must be, or a table of vectors is gone."""
    if lost_tables(conn, embedding) or not full_text.is_there(conn, embedding):
        return True
    embedding = followed(conn, embedding)
    return not triggers.are_installed(conn, embedding, describe(conn, embedding.source))


def lost_tables(conn: Connection, embedding: EmbeddingConfig) -> list[Generation]:
    """The generations at work whose vss0 table is not there: somebody dropped it."""
    return [
        generation
        for generation in embedding.live
        if generation.vss_table is not None
        and not execute(
            conn, "select 1 from main.sqlite_master where name = ? collate nocase", (generation.vss_table,)
        )
    ]


def lost_parts(conn: Connection, embedding: EmbeddingConfig) -> str:
    """In words, what ``needs_mending`` is about."""
    lost = [str(generation.vss_table) for generation in lost_tables(conn, embedding)]
    if not lost and embedding.full_text is not None and not full_text.is_there(conn, embedding):
        return f"its full-text index {embedding.full_text.table} is gone"
    return f"its table of vectors {', '.join(lost)} is gone" if lost else "triggers are missing or changed"


def mend(conn: Connection, embedding: EmbeddingConfig, listener: Listener | None) -> EmbeddingConfig:
    """Follow a renamed table and renamed columns, put lost triggers and vss0 tables back, queue what has to be compared;
    bring the package's own tables up to date.

    No transaction may be open.

    Returns:
        The embedding as it is now.

    Raises:
        MigrationError: the table or a watched column is gone; the message says what to do.
    """
    if installed_version(conn) < SCHEMA_VERSION:
        write(conn, lambda: ensure_schema(conn))
    now = followed(conn, embedding)
    source = _described(conn, now)
    mismatch = mismatch_with(now, source)
    if mismatch is not None:
        raise MigrationError(mismatch)
    if now != embedding or needs_mending(conn, now):

        def repair() -> bool:
            current = follow(conn, load_embedding(conn, embedding.name))
            lost = lost_tables(conn, current)
            for generation in lost:
                execute(conn, create_vss_statement(generation))
                for own in ("vssnative_provenance", "vssnative_passages"):
                    execute(conn, f"delete from {own} where generation = ?", (generation.id,))
            renewed = triggers.create_triggers(conn, current, describe(conn, current.source))
            wordless = not full_text.is_there(conn, current)
            if renewed or lost:
                enqueue_all(conn, current, BACKFILL_PRIORITY)
            if current.full_text is not None and (renewed or wordless):
                full_text.rebuild(conn, current)
            if not renewed and not lost and not wordless:
                return False
            return True

        if write(conn, repair):
            emit(listener, "mended", embedding.name, table=now.source)
    if source.has_odd_unique:
        write(conn, lambda: _queue_orphans(conn, now))
    embedding = load_embedding(conn, embedding.name)
    # A change of an empty table has no batch whose commit would complete it.
    if len(embedding.live) > 1 and write(
        conn, lambda: switch_if_complete(conn, load_embedding(conn, embedding.name))
    ):
        emit(listener, "switched", embedding.name)
        embedding = load_embedding(conn, embedding.name)
    return embedding


def _queue_orphans(conn: Connection, embedding: EmbeddingConfig) -> None:
    """Queue rows that have vectors but are not in the table: REPLACE took them, by an index no trigger can look into."""
    execute(
        conn,
        "insert into vssnative_queue(embedding, row_id, queued_at)"
        " select distinct ?, p.row_id, ? from vssnative_provenance p join vssnative_generations g"
        " on g.id = p.generation where g.embedding = ?"
        f" and p.row_id not in (select {embedding.row_id_sql('t')} from {embedding.rows_sql('t')})"
        " on conflict do nothing",
        (embedding.id, time.time(), embedding.id),
    )


def _described(conn: Connection, embedding: EmbeddingConfig) -> Source:
    try:
        return describe(conn, embedding.source)
    except MigrationError as error:
        raise MigrationError(
            f"{embedding.name}: {str(error).rstrip(';')}. Dropping the embeddings {embedding.name!r} removes what is left of"
            " them"
        ) from error


def mismatch_with(embedding: EmbeddingConfig, source: Source) -> str | None:
    """A sentence where a table cannot carry the recorded embeddings; None where it can."""
    present = {column.lower() for column in source.columns}
    gone = [column for column in embedding.watched if column.lower() not in present]
    if gone:
        return (
            f"{embedding.name}: table {source.table} has no column {', '.join(gone)} any more; rename it back, or"
            " drop the embeddings and add them with the columns there are (the cache still knows their vectors)"
        )
    if (
        tuple(column.name for column in source.key) != embedding.key_columns
        or source.keyed != embedding.keyed
    ):
        return (
            f"{embedding.name}: the primary key of {source.table} is no longer"
            f" ({', '.join(embedding.key_columns)}); drop the embeddings and add them again"
        )
    if embedding.uses_columns:
        lost = [f.blob_column for f in embedding.active.fields if f.blob_column.lower() not in present]
        if lost:
            return f"{embedding.name}: the blob column {', '.join(lost)} is gone; drop the embeddings and add them again"
    return None
