"""Sets of vectors, as they are recorded: made, dropped, and switched from one to the next."""

from __future__ import annotations

import json
import time

from .._connection import Connection, execute
from .._sql import quote_identifier
from ..errors import MigrationError
from . import full_text, triggers
from .enqueue import BACKFILL_PRIORITY, enqueue_all
from .records import EmbeddingConfig, Generation, fields_to_json, load_embedding
from .schema import get_meta, set_meta
from .source import describe


def new_generation_id(conn: Connection) -> int:
    """A number that no generation of this file ever had: leases and vectors of a dropped one cannot come back."""
    number = get_meta(conn, "next_generation", 1)
    set_meta(conn, "next_generation", number + 1)
    return number


def record_generation(conn: Connection, generation: Generation) -> float:
    """Returns the moment that is recorded as that of its making, in seconds since 1970."""
    now = time.time()
    chunk = (
        {"tokens": generation.chunk.tokens, "overlap": generation.chunk.overlap} if generation.chunk else None
    )
    execute(
        conn,
        "insert into vssnative_generations(id, embedding, state, model, model_name, model_digest, dim, metric, fields,"
        " chunk, vss_table, created_at, activated_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            generation.id,
            generation.embedding,
            generation.state,
            json.dumps(generation.model, sort_keys=True),
            generation.model_name,
            generation.model_digest,
            generation.dim,
            generation.metric,
            fields_to_json(generation.fields),
            json.dumps(chunk) if chunk else None,
            generation.vss_table,
            now,
            now if generation.state == "active" else None,
        ),
    )
    return now


def made_at(conn: Connection, generation: Generation) -> float:
    """When it was made, in seconds since 1970."""
    [(moment,)] = execute(conn, "select created_at from vssnative_generations where id = ?", (generation.id,))
    return float(moment)


def drop_generation(conn: Connection, generation: Generation) -> None:
    """Drop a generation's vectors and all that is recorded of it."""
    if generation.vss_table is not None:
        execute(conn, f"drop table if exists main.{quote_identifier(generation.vss_table)}")
    for own in ("vssnative_provenance", "vssnative_passages", "vssnative_dead_letters"):
        execute(conn, f"delete from {own} where generation = ?", (generation.id,))
    execute(conn, "delete from vssnative_generations where id = ?", (generation.id,))


def record_step(conn: Connection, name: str, action: str, detail: str | None) -> None:
    execute(
        conn,
        "insert into vssnative_migrations(scope, name, action, detail, applied_at) values ('embeddings', ?, ?, ?, ?)",
        (name, action, detail, time.time()),
    )


def create_vss_statement(generation: Generation) -> str:
    """The ``CREATE VIRTUAL TABLE`` for a generation's vectors."""
    assert generation.vss_table is not None
    columns = ", ".join(
        f"{field.vector_column}({generation.dim}) metric_type={generation.metric.upper()}"
        for field in generation.fields
    )
    return f"create virtual table main.{quote_identifier(generation.vss_table)} using vss0({columns})"


def switch_if_complete(conn: Connection, embedding: EmbeddingConfig) -> bool:
    """Switch where every row has its new vectors. In the caller's transaction.

    Not where triggers were lost: then nobody knows what every row is, until they are mended.
    """
    building = building_of(embedding)
    if building is None or _anything_missing(conn, embedding, building):
        return False
    try:
        if not triggers.are_installed(conn, embedding, describe(conn, embedding.source)):
            return False
    except MigrationError:
        return False
    make_active(conn, embedding, building, "switch")
    return True


def building_of(embedding: EmbeddingConfig) -> Generation | None:
    return next((g for g in embedding.generations if g.state == "building"), None)


def _anything_missing(conn: Connection, embedding: EmbeddingConfig, building: Generation) -> bool:
    """As ``_missing``, but ends at the first row: this is asked at every commit, under the write lock."""
    [(found,)] = execute(
        conn,
        "select exists (select 1 from vssnative_dead_letters d where d.embedding = ?1 and d.generation = ?2)"
        " or exists (select 1 from vssnative_queue q where q.embedding = ?1 and ?3 >"
        " (select count(*) from vssnative_provenance p where p.generation = ?2 and p.row_id = q.row_id))",
        (embedding.id, building.id, len(building.fields)),
    )
    return bool(found)


def make_active(conn: Connection, embedding: EmbeddingConfig, generation: Generation, action: str) -> None:
    execute(conn, "update vssnative_generations set state = 'retired' where id = ?", (embedding.active.id,))
    execute(
        conn,
        "update vssnative_generations set state = 'active', activated_at = ? where id = ?",
        (time.time(), generation.id),
    )
    if embedding.uses_columns:
        _copy_to_columns(conn, embedding, generation)
    give_first_name(conn, embedding, generation)
    full_text.follow(conn, embedding, generation)
    refresh(conn, embedding, f"{action} to {generation.model_name}")


def first_name(embedding: EmbeddingConfig) -> str | None:
    """The vss0 table that SQL of the user's names, which the vectors in use must have: the one that the first
    generation had, before a change put ``_g`` and a number behind it. None where vectors are in columns only."""
    tables = [g.vss_table for g in embedding.generations if g.vss_table is not None]
    in_use = embedding.active.vss_table
    return min(tables, key=lambda table: (len(table), table != in_use), default=None)


def give_first_name(conn: Connection, embedding: EmbeddingConfig, generation: Generation) -> None:
    """Give a generation's vss0 table the name that SQL of the user's knows, and that of the one which has it a number.

    ``vss_embed`` makes vectors by the model in use: under that name there must be no other model's. In the caller's
    transaction.
    """
    first = first_name(embedding)
    if first is None or generation.vss_table in (None, first):
        return
    for other in embedding.generations:
        if other.vss_table == first:
            _rename(conn, other, free_name(conn, f"{first}_g{other.id}"))
    _rename(conn, generation, first)


def free_name(conn: Connection, wanted: str) -> str:
    """`wanted`, or with a number behind it, where something else of the file has that name, or one that a vss0 table's own
    tables may have (left behind where only the vss0 table was lost)."""
    name, number = wanted, 1
    while _is_taken(conn, name) or _is_beginning(conn, f"{name}_"):
        number += 1
        name = f"{wanted}_{number}"
    return name


def _rename(conn: Connection, generation: Generation, name: str) -> None:
    assert generation.vss_table is not None
    if _is_taken(
        conn, generation.vss_table
    ):  # else somebody dropped it: the next sync makes it, under its new name
        # Views and triggers go on naming what they named: with SQLite's newer habit they would follow the old vectors.
        [(before,)] = execute(conn, "pragma legacy_alter_table") or [(0,)]
        execute(conn, "pragma legacy_alter_table = on")
        try:
            execute(
                conn,
                f"alter table main.{quote_identifier(generation.vss_table)} rename to {quote_identifier(name)}",
            )
        finally:
            execute(conn, f"pragma legacy_alter_table = {int(before)}")
    execute(conn, "update vssnative_generations set vss_table = ? where id = ?", (name, generation.id))


def _is_taken(conn: Connection, name: str) -> bool:
    sql = "select 1 from main.sqlite_master where name = ? collate nocase"
    return bool(execute(conn, sql, (name,)))


def _is_beginning(conn: Connection, beginning: str) -> bool:
    sql = "select 1 from main.sqlite_master where lower(substr(name, 1, ?)) = lower(?)"
    return bool(execute(conn, sql, (len(beginning), beginning)))


def _copy_to_columns(conn: Connection, embedding: EmbeddingConfig, generation: Generation) -> None:
    assert generation.vss_table is not None
    key = ", ".join(f"t.{quote_identifier(column)}" for column in embedding.key_columns)
    plain_key = ", ".join(quote_identifier(column) for column in embedding.key_columns)
    for field in generation.fields:
        rows = execute(
            conn,
            f"select v.{quote_identifier(field.vector_column)}, {key}"
            f" from {embedding.rows_sql('t')} left join main.{quote_identifier(generation.vss_table)} as v"
            f" on v.rowid = {embedding.row_id_sql('t')}",
        )
        marks = ", ".join("?" for _ in embedding.key_columns)
        for vector, *values in rows:
            execute(
                conn,
                f"update main.{quote_identifier(embedding.source)} set {quote_identifier(field.blob_column)} = ?"
                f" where ({plain_key}) = ({marks})",
                (vector, *values),
            )


def refresh(conn: Connection, embedding: EmbeddingConfig, step: str) -> None:
    """Record the step, and make the triggers watch what the generations need now.

    Args:
        embedding: as it was before the step. If the triggers it needed are not there (the table was rebuilt), nobody
            has noted what changed since, so that all rows are queued for comparison.
    """
    source = describe(conn, embedding.source)
    lost = not triggers.are_installed(conn, embedding, source)
    record_step(conn, embedding.name, step, None)
    now = load_embedding(conn, embedding.name)
    triggers.create_triggers(conn, now, source)
    if lost:
        enqueue_all(conn, now, BACKFILL_PRIORITY)
