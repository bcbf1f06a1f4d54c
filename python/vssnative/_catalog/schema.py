"""The package's own tables in the user's file: their layout, its version, and how an older layout is brought up.

All are ordinary tables under the prefix ``vssnative_``, readable and (by the triggers) writable without the extension.

    vssnative_meta           key, value: schema_version, readable_by, next_generation, cache_limit
    vssnative_embeddings     one row per call of add_embeddings: which table, where vectors are kept
    vssnative_generations    one row per set of vectors of an embedding: model, fields, chunking, vss0 table, state
    vssnative_queue          rows of the user's tables to be looked at, one entry per (embedding, row)
    vssnative_provenance     per (generation, row, field): the hash of the text that the stored vectors were made of
    vssnative_passages       for chunked generations: which part of which field a vector stands for
    vssnative_dead_letters   texts that were given up, with the reason
    vssnative_cache          vectors by (model, text), bounded
    vssnative_models         models that are paused after a failure of their provider
    vssnative_workers        workers at work, for status
    vssnative_migrations     what was done to the file: add, drop, change of model, and the user's own steps

Invariants:
- a queue entry means "compare this row with what is stored"; it never says what to do, so that no order of edits,
  and no lost or doubled trigger, can make it wrong;
- an edit clears ``lease``: a worker that holds an older lease cannot finish the entry any more;
- ``gone`` = 1: vectors stored under this row number belong to another, earlier row;
- for a row and field, provenance is there if and only if the stored vectors were made of a text with that hash
  (``passages`` of them; 0 where the text was empty).
"""

from __future__ import annotations

from .._connection import Connection, driver_error, execute, transaction
from ..errors import SchemaVersionError

SCHEMA_VERSION = 2

# The oldest layout that can be read and written as it is: what came later is for people alone, as views are. A file that may
# only be read stays as it is; the next sync brings it up.
SUFFICIENT_VERSION = 1

# The oldest layout whose programs can read a file of today's layout: search it and show its status. It is recorded in the file
# beside the layout, as SQLite's header has a read version beside its write version: a program that does not know the file's
# layout reads it where this number says so, and never writes it. Raise it with a layout only where what is read changes.
READABLE_BY = 1

_VERSION_1 = (
    "create table vssnative_meta(key text primary key not null, value) without rowid",
    """create table vssnative_embeddings(
        id integer primary key not null,
        name text not null unique collate nocase,
        source text not null,
        key_columns text not null,
        keyed integer not null,
        store text not null,
        paused integer not null default 0,
        created_at real not null)""",
    """create table vssnative_generations(
        id integer primary key not null,
        embedding integer not null,
        state text not null check (state in ('building', 'active', 'retired')),
        model text not null,
        model_name text not null,
        model_digest text not null,
        dim integer not null,
        metric text not null,
        fields text not null,
        chunk text,
        vss_table text,
        created_at real not null,
        activated_at real)""",
    """create table vssnative_queue(
        embedding integer not null,
        row_id integer not null,
        generation integer not null default 1,
        priority integer not null default 0,
        gone integer not null default 0,
        attempts integer not null default 0,
        ready_at real not null default 0,
        lease text,
        queued_at real not null,
        primary key(embedding, row_id)) without rowid""",
    "create index vssnative_queue_order on vssnative_queue(embedding, priority, ready_at)",
    """create table vssnative_provenance(
        generation integer not null,
        row_id integer not null,
        field text not null,
        content_hash text not null,
        passages integer not null,
        primary key(generation, row_id, field)) without rowid""",
    """create table vssnative_passages(
        id integer primary key not null,
        generation integer not null,
        row_id integer not null,
        field text not null,
        ordinal integer not null,
        start integer not null,
        stop integer not null)""",
    "create index vssnative_passages_row on vssnative_passages(generation, row_id, field)",
    """create table vssnative_dead_letters(
        embedding integer not null,
        row_id integer not null,
        generation integer not null,
        field text not null,
        reason text not null,
        content_hash text,
        attempts integer not null,
        died_at real not null,
        primary key(embedding, row_id, generation, field)) without rowid""",
    """create table vssnative_cache(
        id integer primary key not null,
        key text not null unique,
        vector blob not null)""",
    """create table vssnative_models(
        digest text primary key not null,
        paused_until real not null,
        failures integer not null,
        reason text not null) without rowid""",
    """create table vssnative_workers(
        id text primary key not null,
        host text not null,
        pid integer not null,
        started_at real not null,
        seen_at real not null,
        texts integer not null,
        rate real not null) without rowid""",
    """create table vssnative_migrations(
        id integer primary key not null,
        scope text not null,
        name text not null,
        action text not null,
        detail text,
        applied_at real not null)""",
    """create view vssnative_pending as
       select e.name, q.row_id, q.priority, q.attempts, q.gone, q.ready_at, q.queued_at, q.lease
         from vssnative_queue q join vssnative_embeddings e on e.id = q.embedding""",
    """create view vssnative_dead as
       select e.name, d.row_id, d.field, d.reason, d.attempts, datetime(d.died_at, 'unixepoch') as died
         from vssnative_dead_letters d join vssnative_embeddings e on e.id = d.embedding""",
)

# The view of earlier files counts rows with a text that was given up as embedded.
_VERSION_2 = (
    "drop view if exists main.vssnative_status",
    """create view main.vssnative_status as
       select e.name, e.source, g.model_name as model, e.paused,
              (select count(*) from (select 1 from vssnative_provenance p where p.generation = g.id
                 group by p.row_id having count(*) >= json_array_length(g.fields))) as embedded,
              (select count(*) from vssnative_queue q where q.embedding = e.id) as pending,
              (select count(*) from vssnative_queue q where q.embedding = e.id and q.lease is not null
                 and q.ready_at > (julianday('now') - 2440587.5) * 86400) as leased,
              (select count(*) from (select distinct row_id from vssnative_dead_letters d where d.embedding = e.id))
                as dead,
              (select (julianday('now') - 2440587.5) * 86400 - min(q.queued_at)
                 from vssnative_queue q where q.embedding = e.id) as oldest_pending_seconds
         from vssnative_embeddings e join vssnative_generations g on g.embedding = e.id and g.state = 'active'""",
)

# Statements that bring a file from version N - 1 to version N.
_STEPS: dict[int, tuple[str, ...]] = {1: _VERSION_1, 2: _VERSION_2}


def installed_version(conn: Connection, *, to_read: bool = False) -> int:
    """The layout version of the file's own tables; 0 where there are none.

    Args:
        to_read: nothing will be written, so a newer layout will do that says it can be read.

    Raises:
        SchemaVersionError: a newer version of the package wrote them.
    """
    sql = "select key, value from main.vssnative_meta where key in ('schema_version', 'readable_by')"
    try:
        recorded = dict(execute(conn, sql))
    except driver_error(conn):
        if execute(conn, "select 1 from main.sqlite_master where type = 'table' and name = 'vssnative_meta'"):
            raise
        return 0
    version = recorded.get("schema_version")
    if not isinstance(version, int):
        raise SchemaVersionError(
            f"vssnative_meta holds no schema version but {version!r}; the file was changed by hand"
        )
    if version > SCHEMA_VERSION and not (to_read and _can_read(recorded.get("readable_by"))):
        raise SchemaVersionError(
            f"the file's own tables have layout {version}; this version of vssnative knows up to {SCHEMA_VERSION}."
            " Open it with a newer vssnative (pip install -U vssnative); nothing was changed."
        )
    return version


def _can_read(readable_by: object) -> bool:
    return isinstance(readable_by, int) and 1 <= readable_by <= SCHEMA_VERSION


def ensure_schema(conn: Connection) -> None:
    """Create the own tables, or bring an older layout up to date, in one transaction (or the caller's).

    Raises:
        SchemaVersionError: a newer version of the package wrote them.
    """
    if installed_version(conn) == SCHEMA_VERSION:
        return
    with transaction(conn):
        # Asked again under the write lock: another process may have been faster.
        for version in range(installed_version(conn) + 1, SCHEMA_VERSION + 1):
            for statement in _STEPS[version]:
                execute(conn, statement)
            execute(
                conn,
                "insert or replace into vssnative_meta(key, value) values ('schema_version', ?), ('readable_by', ?)",
                (version, min(version, READABLE_BY)),
            )


def get_meta(conn: Connection, key: str, default: int) -> int:
    """An integer setting of the file."""
    rows = execute(conn, "select value from vssnative_meta where key = ?", (key,))
    return int(rows[0][0]) if rows else default


def set_meta(conn: Connection, key: str, value: int) -> None:
    """Store an integer setting of the file."""
    execute(conn, "insert or replace into vssnative_meta(key, value) values (?, ?)", (key, value))
