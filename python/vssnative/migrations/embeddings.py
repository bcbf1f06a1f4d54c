"""Adding embeddings to a table that exists already, and taking them away again: one recorded, atomic step each."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

from .._advice import Advice, command
from .._catalog import full_text as full_text_index
from .._catalog import triggers
from .._catalog.enqueue import BACKFILL_PRIORITY, enqueue_all
from .._catalog.generations import (
    create_vss_statement,
    drop_generation,
    new_generation_id,
    record_generation,
    record_step,
)
from .._catalog.records import (
    EmbeddingConfig,
    Field,
    FullText,
    Generation,
    load_embedding,
    load_embeddings,
    template_columns,
)
from .._catalog.renames import followed
from .._catalog.schema import ensure_schema, installed_version
from .._catalog.source import Source, column_of, describe
from .._connection import Connection, execute, in_its_thread, load, sqlite_version, transaction
from .._sql import quote_identifier
from ..embedding.chunking import Chunking
from ..embedding.protocol import Embedder
from ..embedding.registry import get_embedder
from ..errors import ConfigurationError, MigrationError
from .estimate import Estimate, estimate_work

_STORES = ("vss", "column", "both")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_DROPS_COLUMNS = (3, 35)
_OTHER_NAME = Advice("choose another with name=...", "choose another with --name")


@dataclass(frozen=True)
class Plan:
    """What ``add_embeddings`` would do.

    Attributes:
        statements: the SQL on the user's table and the vss0 table, in order. Rows of the package's own tables
            come beside it.
        estimate: rows, texts, tokens, seconds and money of the backfill.
        notes: what a careful person should know first.
    """

    statements: tuple[str, ...]
    estimate: Estimate
    notes: tuple[str, ...]


@overload
def add_embeddings(
    conn: Connection,
    table: str,
    columns: Sequence[str] | None = None,
    template: str | None = None,
    model: Any = "minilm",
    store: str = "vss",
    chunk: int | tuple[int, int] | Chunking | None = None,
    name: str | None = None,
    *,
    full_text: bool | str = False,
    plan: Literal[False] = False,
    price: float | None = None,
) -> EmbeddingConfig: ...


@overload
def add_embeddings(
    conn: Connection,
    table: str,
    columns: Sequence[str] | None = None,
    template: str | None = None,
    model: Any = "minilm",
    store: str = "vss",
    chunk: int | tuple[int, int] | Chunking | None = None,
    name: str | None = None,
    *,
    full_text: bool | str = False,
    plan: Literal[True],
    price: float | None = None,
) -> Plan: ...


@in_its_thread
def add_embeddings(
    conn: Connection,
    table: str,
    columns: Sequence[str] | None = None,
    template: str | None = None,
    model: Any = "minilm",
    store: str = "vss",
    chunk: int | tuple[int, int] | Chunking | None = None,
    name: str | None = None,
    *,
    full_text: bool | str = False,
    plan: bool = False,
    price: float | None = None,
) -> EmbeddingConfig | Plan:
    """Give a table embeddings. Its rows, indexes, foreign keys and triggers stay as they are.

    Makes the vss0 table and the triggers that note changes, records the model, and queues every row; ``sync`` then
    embeds them. All in one transaction, or within the caller's. Calling again with the same arguments changes
    nothing.

    Args:
        conn: any supported connection; vss0 is loaded into it.
        table: a table of the main database that has a primary key.
        columns: text columns, each with vectors of its own.
        template: instead of `columns`, one text made of several columns: ``"{title}\\n{summary}"``.
        model: name of a model, ``"module:attribute"``, a function from texts to vectors, or an embedder; see
            ``get_embedder``.
        store: ``"vss"`` keeps vectors in a vss0 table; ``"column"`` in blob columns ``<column>_embedding`` added to
            the user's table (searched by looking at every row); ``"both"`` in both.
        chunk: split long texts into passages of so many tokens, or ``(tokens, overlap)``; vss only.
        name: a name for these embeddings, where a table has several; the table's name otherwise.
        full_text: keep an FTS5 table of the same columns too, ``vss_text_<name>``, by triggers: searches then go by
            words as well. A text is its tokenizer, as FTS5 writes it: ``"trigram"`` for languages without spaces between
            words, ``"porter unicode61"``, ...; True takes ``unicode61``, or leaves the index that is there.
        plan: change nothing, return what would be done.
        price: money per million tokens, for the plan.

    Raises:
        MigrationError: the table cannot carry embeddings as asked; nothing was changed.
        ConfigurationError: an argument has an invalid value.
    """
    source = describe(conn, table)
    embedder = get_embedder(model)
    check = getattr(embedder, "check_key", None)
    if check is not None and not plan:
        check()
    embedding = _design(source, embedder, columns, template, store, chunk, name or source.table)
    embedding = _with_free_names(conn, embedding, full_text)
    existing = _existing(conn, embedding)
    if plan:
        return Plan(
            () if existing else _up_statements(conn, embedding, source),
            estimate_work(conn, embedding, embedder, price),
            _notes(conn, embedding, source),
        )
    load(conn)
    if existing is not None:
        return _with_full_text(conn, existing, embedding.full_text)
    with transaction(conn):
        ensure_schema(conn)
        existing = _existing(conn, embedding)
        if existing is not None:
            return _with_full_text(conn, existing, embedding.full_text)
        embedding = _with_free_names(conn, embedding, full_text)
        [(embedding_id,)] = execute(conn, "select coalesce(max(id), 0) + 1 from vssnative_embeddings")
        embedding = _numbered(embedding, embedding_id, new_generation_id(conn))
        _check_free(conn, embedding, source)
        statements = _up_statements(conn, embedding, source)
        execute(
            conn,
            "insert into vssnative_embeddings(id, name, source, key_columns, keyed, store, created_at)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            (
                embedding.id,
                embedding.name,
                embedding.source,
                json.dumps(embedding.key_columns),
                int(embedding.keyed),
                embedding.store,
                time.time(),
            ),
        )
        record_generation(conn, embedding.active)
        if embedding.full_text is not None:
            full_text_index.record(conn, embedding.id, embedding.full_text)
        for statement in statements:
            full_text_index.make(conn, embedding, statement)
        enqueue_all(conn, embedding, BACKFILL_PRIORITY)
        if embedding.full_text is not None:
            full_text_index.rebuild(conn, embedding)
        record_step(conn, embedding.name, "add_embeddings", "\n".join(statements))
    return load_embedding(conn, embedding.name)


def plan_embeddings(
    conn: Connection,
    table: str,
    columns: Sequence[str] | None = None,
    template: str | None = None,
    model: Any = "minilm",
    store: str = "vss",
    chunk: int | tuple[int, int] | Chunking | None = None,
    name: str | None = None,
    *,
    full_text: bool | str = False,
    price: float | None = None,
) -> Plan:
    """What ``add_embeddings`` with these arguments would do; changes nothing. Raises as it would."""
    return add_embeddings(
        conn, table, columns, template, model, store, chunk, name, full_text=full_text, plan=True, price=price
    )


@in_its_thread
def drop_embeddings(conn: Connection, table: str) -> None:
    """Take embeddings away: triggers, vectors, blob columns, queue. The user's table is as it was before.

    Also where the table itself was dropped or renamed meanwhile. In one transaction, or within the caller's.

    Args:
        conn: any supported connection; vss0 is loaded into it.
        table: the embeddings' name, or the name of a table that has only one.

    Raises:
        MigrationError: there are none of that name, or they are in columns of the table's own, which SQLite can take
            away from 3.35 on.
    """
    load(conn)
    with transaction(conn):
        embedding = load_embedding(conn, table)
        if embedding.uses_columns and sqlite_version(conn) < _DROPS_COLUMNS:
            version = ".".join(map(str, sqlite_version(conn)))
            raise MigrationError(
                f"{embedding.source}: its vectors are in columns of its own, and to drop a column needs SQLite 3.35 or"
                f" newer; this is {version}. Drop them from a connection of a newer one: pip install apsw"
            )
        triggers.drop_triggers(conn, embedding)
        for generation in embedding.generations:
            drop_generation(conn, generation)
        if embedding.uses_columns and _table_exists(conn, embedding.source):
            present = {column.lower() for column in describe(conn, embedding.source).columns}
            for field in embedding.active.fields:
                if field.blob_column.lower() in present:
                    execute(
                        conn,
                        f"alter table main.{quote_identifier(embedding.source)}"
                        f" drop column {quote_identifier(field.blob_column)}",
                    )
        if embedding.full_text is not None:
            full_text_index.drop(conn, embedding)
            execute(
                conn,
                "delete from vssnative_meta where key = ?",
                (full_text_index.meta_key(embedding.id),),
            )
        execute(conn, "delete from vssnative_meta where key = ?", (declared_key(embedding.id),))
        execute(conn, f"drop table if exists main.{embedding.key_table}")
        for own in ("vssnative_queue", "vssnative_dead_letters"):
            execute(conn, f"delete from {own} where embedding = ?", (embedding.id,))
        execute(conn, "delete from vssnative_embeddings where id = ?", (embedding.id,))
        record_step(conn, embedding.name, "drop_embeddings", None)


def declared_key(embedding: int) -> str:
    """The key in ``vssnative_meta`` of embeddings that a declaration made, by which autogenerate knows them."""
    return f"declared:{embedding}"


def first_vss_table(name: str) -> str:
    """Name of the vss0 table of an embedding's first generation, which the one in use has; the others have ``_g`` and
    their number behind."""
    return "vss_" + re.sub(r"\W", "_", name)


def make_generation(
    source: Source,
    embedder: Embedder,
    columns: Sequence[str] | None,
    template: str | None,
    chunk: int | tuple[int, int] | Chunking | None,
    vss_table: str | None,
) -> Generation:
    """A generation as asked for, with no numbers yet.

    Raises:
        MigrationError, ConfigurationError: it is not possible.
    """
    return Generation(
        0,
        0,
        "active",
        dict(embedder.config()),
        embedder.name,
        embedder.digest,
        embedder.dim,
        embedder.metric,
        _fields(source, columns, template),
        Chunking.of(chunk),
        vss_table,
    )


def _fields(source: Source, columns: Sequence[str] | None, template: str | None) -> tuple[Field, ...]:
    if (columns is None) == (template is None):
        raise ConfigurationError(
            "expected columns, or a template of them, and not both",
            advice=Advice(
                'give either columns=[...] or template="{title}\\n{summary}"',
                'give either -c COLUMN or --template "{title} {summary}"',
            ),
        )
    if template is not None:
        names = tuple(column_of(source, column) for column in template_columns(template))
        return (Field("content", names, template, "content_embedding"),)
    assert columns is not None
    if isinstance(columns, str) or not columns:
        raise ConfigurationError(f"columns must be a list of column names, not {columns!r}")
    names = tuple(column_of(source, column) for column in columns)
    if len(set(names)) != len(names):
        raise ConfigurationError(f"columns names a column twice: {', '.join(names)}")
    vector_columns: list[str] = []
    for number, name in enumerate(names):
        plain = name if _PLAIN_NAME.match(name) else f"field{number}"
        while f"{plain}_embedding".lower() in (
            *vector_columns,
            *(f"{n}_embedding".lower() for n in names if n != name),
        ):
            plain += "_"
        vector_columns.append(f"{plain}_embedding".lower())
    return tuple(
        Field(name, (name,), None, f"{name}_embedding" if _PLAIN_NAME.match(name) else vector_column)
        for name, vector_column in zip(names, vector_columns, strict=True)
    )


def _design(
    source: Source,
    embedder: Embedder,
    columns: Sequence[str] | None,
    template: str | None,
    store: str,
    chunk: int | tuple[int, int] | Chunking | None,
    name: str,
) -> EmbeddingConfig:
    if store not in _STORES:
        raise ConfigurationError(f"store must be one of {', '.join(_STORES)}, not {store!r}")
    if chunk is not None and store != "vss":
        raise ConfigurationError(
            f"passages have no place in the table's own columns: chunk needs store='vss', not {store!r}"
        )
    vss_table = first_vss_table(name) if store != "column" else None
    generation = make_generation(source, embedder, columns, template, chunk, vss_table)
    return EmbeddingConfig(
        0,
        name,
        source.table,
        tuple(column.name for column in source.key),
        source.keyed,
        store,
        False,
        (generation,),
    )


def _with_free_names(conn: Connection, embedding: EmbeddingConfig, full_text: bool | str) -> EmbeddingConfig:
    """Names for the tables of ours that no other set of embeddings has: ``a-b`` and ``a b`` are one to the rule."""
    taken = {
        generation.vss_table.lower()
        for found in (load_embeddings(conn) if installed_version(conn) else [])
        if found.name.lower() != embedding.name.lower()
        for generation in found.generations
        if generation.vss_table is not None
    }
    generation = embedding.active
    base, number = first_vss_table(embedding.name), 1
    free = base
    while free.lower() in taken:
        number += 1
        free = f"{base}_{number}"
    if generation.vss_table is not None:
        generation = replace(generation, vss_table=free)
    index = None
    if full_text:
        columns = tuple(dict.fromkeys(column for field in generation.fields for column in field.columns))
        tokenizer = full_text if isinstance(full_text, str) else None
        index = FullText("vss_text_" + free.removeprefix("vss_"), columns, tokenizer)
    return replace(embedding, generations=(generation,), full_text=index)


def _with_full_text(
    conn: Connection, embedding: EmbeddingConfig, full_text: FullText | None
) -> EmbeddingConfig:
    """Embeddings that are there already, with a full-text index, or one of another tokenizer, where that is asked for."""
    if full_text is None:
        return embedding
    if embedding.full_text is not None:
        # The table keeps its name and columns; another tokenizer needs a new table.
        if full_text.tokenizer in (None, embedding.full_text.tokenizer):
            return embedding
        full_text = replace(embedding.full_text, tokenizer=full_text.tokenizer)
    with transaction(conn):
        full_text_index.record(conn, embedding.id, full_text)
        embedding = load_embedding(conn, embedding.name)
        if triggers.create_triggers(conn, embedding, describe(conn, embedding.source)):
            enqueue_all(conn, embedding, BACKFILL_PRIORITY)
        full_text_index.rebuild(conn, embedding)
        record_step(conn, embedding.name, "full_text", full_text.table)
    return embedding


def _numbered(embedding: EmbeddingConfig, embedding_id: int, generation_id: int) -> EmbeddingConfig:
    generation = replace(embedding.active, id=generation_id, embedding=embedding_id)
    return replace(embedding, id=embedding_id, generations=(generation,))


def _existing(conn: Connection, wanted: EmbeddingConfig) -> EmbeddingConfig | None:
    """The embedding of that name if it is there already just as wanted."""
    for found in load_embeddings(conn) if installed_version(conn) else []:
        if found.name.lower() != wanted.name.lower():
            continue
        found = followed(conn, found)
        newest = found.live[-1]
        if (
            found.source == wanted.source
            and found.store == wanted.store
            and newest.work == wanted.active.work
        ):
            return found
        raise MigrationError(
            f"{found.name} has embeddings already, of {', '.join(f.name for f in newest.fields)} by"
            f" {newest.model_name} (store {found.store!r}); what was asked for differs",
            advice=Advice(
                f"change_model(conn, {found.name!r}, ...) changes model, columns, template or chunk; name=... adds a"
                " second set beside it",
                f"{command('change-model', found.name)} changes model, columns, template or chunk; --name adds a second"
                " set beside it",
            ),
        )
    return None


def _check_free(conn: Connection, embedding: EmbeddingConfig, source: Source) -> None:
    vss_table = embedding.active.vss_table
    if vss_table is not None and execute(
        conn, "select 1 from main.sqlite_master where name = ? collate nocase", (vss_table,)
    ):
        raise MigrationError(f"the name {vss_table} is taken by something else", advice=_OTHER_NAME)
    if embedding.full_text is not None and full_text_index.is_there(conn, embedding):
        raise MigrationError(
            f"the name {embedding.full_text.table} is taken by something else", advice=_OTHER_NAME
        )
    if embedding.uses_columns:
        present = {column.lower() for column in source.columns}
        for field in embedding.active.fields:
            if field.blob_column.lower() in present:
                raise MigrationError(
                    f"{source.table} has a column {field.blob_column} already; rename it first"
                )


def _up_statements(conn: Connection, embedding: EmbeddingConfig, source: Source) -> tuple[str, ...]:
    statements = []
    if embedding.uses_vss:
        statements.append(create_vss_statement(embedding.active))
    if embedding.uses_columns:
        for field in embedding.active.fields:
            statements.append(
                f"alter table main.{quote_identifier(source.table)} add column {quote_identifier(field.blob_column)} blob"
            )
    if embedding.keyed:
        statements.append(_key_table_statement(embedding, source))
    if embedding.full_text is not None:
        statements.append(full_text_index.build_statements(embedding)[0])
    statements.extend(map(triggers.in_main, triggers.trigger_statements(embedding, source).values()))
    return tuple(statements)


def _key_table_statement(embedding: EmbeddingConfig, source: Source) -> str:
    columns = ", ".join(
        f"k{number} {column.declared} not null collate {quote_identifier(column.collation)}"
        for number, column in enumerate(source.key)
    )
    unique = ", ".join(f"k{number}" for number in range(len(source.key)))
    return f"create table main.{embedding.key_table}(id integer primary key not null, {columns}, unique({unique}))"


def _notes(conn: Connection, embedding: EmbeddingConfig, source: Source) -> tuple[str, ...]:
    notes = []
    if embedding.keyed:
        notes.append("rows are numbered by a key table of ours; rows whose key holds NULL get no vectors")
    if source.has_odd_unique:
        notes.append(
            "a unique index on expressions or on part of the rows: rows that REPLACE deletes are found at sync"
        )
    own = [
        row[0]
        for row in execute(
            conn,
            "select name from main.sqlite_master where type = 'trigger' and tbl_name = ?"
            " and name not glob 'vssnative_*' and sql like '%update%'",
            (source.table,),
        )
    ]
    if embedding.uses_columns and own:
        notes.append(f"writing the blob columns fires triggers of your own: {', '.join(own)}")
    return tuple(notes)


def _table_exists(conn: Connection, table: str) -> bool:
    return bool(
        execute(
            conn,
            "select 1 from main.sqlite_master where type = 'table' and name = ? collate nocase",
            (table,),
        )
    )
