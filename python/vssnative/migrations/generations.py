"""Changing model, columns, template or chunking: a new set of vectors beside the old, then an atomic switch.

add_embeddings -> active
change_model   -> building, kept in step with the table beside the active one, filled by sync
switch         -> the building one is active and has the name of the vss0 table that SQL knows; the old one is retired:
                  not searched, not kept in step
rollback_model -> the retired one is active again; rows that changed meanwhile are queued
drop_retired   -> the retired one and its vectors are gone
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .._advice import Advice, command
from .._catalog.enqueue import BACKFILL_PRIORITY, EDIT_PRIORITY, dequeue_all, enqueue_all
from .._catalog.generations import (
    building_of,
    create_vss_statement,
    drop_generation,
    first_name,
    free_name,
    give_first_name,
    made_at,
    make_active,
    new_generation_id,
    record_generation,
    record_step,
    refresh,
)
from .._catalog.records import EmbeddingConfig, Generation, load_embedding
from .._catalog.renames import follow
from .._catalog.source import describe
from .._connection import Connection, execute, in_its_thread, load, transaction
from .._words import counted
from ..embedding.chunking import Chunking
from ..embedding.protocol import Embedder
from ..embedding.registry import from_config, get_embedder, is_hosted
from ..errors import ConfigurationError, MigrationError
from .embeddings import first_vss_table, make_generation


@in_its_thread
def change_model(
    conn: Connection,
    table: str,
    model: Any = None,
    *,
    columns: Sequence[str] | None = None,
    template: str | None = None,
    chunk: int | tuple[int, int] | Chunking | None = None,
) -> EmbeddingConfig:
    """Begin to build new vectors beside the old: by another model, of other columns, or split otherwise.

    ``sync`` fills them, resumable; searches use the old ones until every row is done. Then the commit of the last
    batch switches to the new ones. What is not given stays as it is, except that `chunk` left out means
    whole texts.

    Args:
        table: the embeddings' name, or the name of a table that has only one.
        model: name of a model, ``"module:attribute"``, a function from texts to vectors, or an embedder; see
            ``get_embedder``.
        columns, template, chunk: as for ``add_embeddings``.

    Raises:
        MigrationError: a change is under way already, or nothing would change.
        ConfigurationError: an argument has an invalid value.
    """
    load(conn)
    # A model is loaded, or fetched, before the write lock is taken.
    embedder = (
        _recorded_embedder(load_embedding(conn, table).active) if model is None else get_embedder(model)
    )
    _ = embedder.dim, embedder.digest  # which a hosted one asks its server for
    with transaction(conn):
        embedding = follow(conn, load_embedding(conn, table))
        if embedding.store == "column":
            raise MigrationError(
                f"{embedding.name} keeps vectors in columns only, where two sets have no place beside each other",
                advice=Advice(
                    "drop_embeddings and add_embeddings again, or store='both'",
                    f"{command('drop-embeddings', embedding.name)}, then add-embeddings again",
                ),
            )
        if len(embedding.live) > 1:
            raise MigrationError(
                f"{embedding.name}: a change to {embedding.live[-1].model_name} is under way",
                advice=Advice(
                    "let sync finish it, or cancel_change it first",
                    f"{command('sync')} finishes it, {command('cancel-change', embedding.name)} gives it up",
                ),
            )
        active = embedding.active
        source = describe(conn, embedding.source)
        if model is None and embedder.digest != active.model_digest:
            raise MigrationError(f"{embedding.name}: its model was changed meanwhile; try again")
        if columns is None and template is None:
            template = active.fields[0].template
            columns = None if template is not None else [field.name for field in active.fields]
        if embedding.uses_columns and chunk is not None:
            raise ConfigurationError(
                "passages have no place in the table's own columns: chunk needs store='vss'"
            )
        number = new_generation_id(conn)
        first = first_name(embedding) or first_vss_table(embedding.name)
        vss_table = free_name(conn, f"{first}_g{number}")
        new = make_generation(source, embedder, columns, template, chunk, vss_table)
        new = replace(new, id=number, embedding=embedding.id, state="building")
        if new.work == active.work:
            raise MigrationError(f"{embedding.name} is embedded just so already, by {active.model_name}")
        if embedding.uses_columns and new.fields != active.fields:
            raise MigrationError(f"{embedding.name} has blob columns; with those only the model can change")
        now = record_generation(conn, new)
        execute(conn, create_vss_statement(new))
        refresh(conn, embedding, f"change_model to {new.model_name}")
        enqueue_all(conn, embedding, BACKFILL_PRIORITY, now)
    return load_embedding(conn, embedding.name)


def change_or_go_back(conn: Connection, name: str, options: dict[str, Any]) -> None:
    """``change_model``, or the shorter way to the same: what is there already is not embedded again."""
    embedding = load_embedding(conn, name)
    if len(embedding.live) > 1:
        cancel_change(conn, name)
    with transaction(conn):
        embedding = follow(conn, load_embedding(conn, name))
    columns, template = options.get("columns"), options.get("template")
    if columns is None and template is None:
        template = embedding.active.fields[0].template
        columns = None if template is not None else [field.name for field in embedding.active.fields]
    model = options.get("model")
    source = describe(conn, embedding.source)
    if model is not None:
        wanted = make_generation(
            source, get_embedder(model), columns, template, Chunking.of(options.get("chunk")), None
        )
        same = [one for one in embedding.generations if one.work == wanted.work]
        if any(one.state == "active" for one in same):
            return
        retired = [one for one in embedding.generations if one.state == "retired"]
        if retired and retired[-1] in same:
            rollback_model(conn, name)
            return
    change_model(conn, name, **options)


@in_its_thread
def change_server(conn: Connection, table: str, base_url: str) -> EmbeddingConfig:
    """Record another address for a hosted model: the same model, so that its vectors stay.

    Args:
        table: the embeddings' name, or the name of a table that has only one.
        base_url: as for ``HostedEmbedder``.

    Raises:
        MigrationError: its model is not a hosted one.
        ConfigurationError: `base_url` is no address.
    """
    load(conn)
    with transaction(conn):
        embedding = load_embedding(conn, table)
        changed = False
        for generation in embedding.generations:
            if not is_hosted(generation.model):
                continue
            changed = True
            moved = from_config({**generation.model, "base_url": base_url})
            execute(
                conn,
                "update vssnative_generations set model = ?, model_digest = ? where id = ?",
                (json.dumps(moved.config(), sort_keys=True), moved.digest, generation.id),
            )
            execute(conn, "delete from vssnative_models where digest = ?", (generation.model_digest,))
        if not changed:
            raise MigrationError(f"{embedding.name}: {embedding.active.model_name} is no model of a server")
        record_step(conn, embedding.name, f"change_server to {base_url}", None)
    return load_embedding(conn, embedding.name)


@in_its_thread
def cancel_change(conn: Connection, table: str) -> EmbeddingConfig:
    """Give up a change that is under way; its vectors are dropped. Only rows that changed meanwhile stay queued.

    Raises:
        MigrationError: none is under way.
    """
    load(conn)
    with transaction(conn):
        embedding = load_embedding(conn, table)
        building = _under_construction(embedding)
        dequeue_all(conn, embedding, made_at(conn, building))
        drop_generation(conn, building)
        refresh(conn, embedding, "cancel_change")
    return load_embedding(conn, embedding.name)


@in_its_thread
def switch(conn: Connection, table: str, *, force: bool = False) -> EmbeddingConfig:
    """Make the vectors under construction the ones that searches use.

    Args:
        force: also where rows are missing in them (given up, or not yet embedded).

    Raises:
        MigrationError: none are under construction, or rows are missing.
    """
    load(conn)
    with transaction(conn):
        embedding = load_embedding(conn, table)
        building = _under_construction(embedding)
        missing = _missing(conn, embedding, building)
        if missing and not force:
            raise MigrationError(
                f"{embedding.name}: {counted(missing, 'row', 'has')} no vectors by"
                f" {building.model_name} yet (queued or given up)",
                advice=Advice("sync first, or force=True", f"{command('sync')} first, or --force"),
            )
        make_active(conn, embedding, building, "switch")
    return load_embedding(conn, embedding.name)


@in_its_thread
def rollback_model(conn: Connection, table: str) -> EmbeddingConfig:
    """Go back to the model before the last switch, whose vectors are still there.

    Until the next ``sync`` has compared all rows, those count as stale whose texts have changed since that model was
    left: they are found by what it made of the earlier text.

    Raises:
        MigrationError: there is no earlier one, or a change is under way.
    """
    load(conn)
    with transaction(conn):
        embedding = load_embedding(conn, table)
        retired = [g for g in embedding.generations if g.state == "retired"]
        if len(embedding.live) > 1:
            raise MigrationError(
                f"{embedding.name}: a change is under way",
                advice=Advice(
                    "cancel_change it first", f"{command('cancel-change', embedding.name)} gives it up"
                ),
            )
        if not retired:
            raise MigrationError(f"{embedding.name}: no earlier model's vectors are left to go back to")
        make_active(conn, embedding, retired[-1], "rollback_model")
        enqueue_all(conn, embedding, BACKFILL_PRIORITY)
        _put_changed_first(conn, embedding, retired[-1], embedding.active)
    return load_embedding(conn, embedding.name)


def _put_changed_first(
    conn: Connection, embedding: EmbeddingConfig, generation: Generation, other: Generation
) -> None:
    """Of the rows queued, give the priority of edits to all but those of which both generations know the same texts."""
    execute(
        conn,
        "update vssnative_queue set priority = ?1 where embedding = ?2 and ?3 > (select count(*)"
        " from vssnative_provenance a join vssnative_provenance b using (row_id, field, content_hash)"
        " where a.generation = ?4 and b.generation = ?5 and a.row_id = vssnative_queue.row_id)",
        (EDIT_PRIORITY, embedding.id, len(generation.fields), generation.id, other.id),
    )


@in_its_thread
def drop_retired(conn: Connection, table: str) -> EmbeddingConfig:
    """Drop the vectors of models that searches no longer use."""
    load(conn)
    with transaction(conn):
        embedding = load_embedding(conn, table)
        give_first_name(conn, embedding, embedding.active)  # which it has, but in files of earlier versions
        for generation in load_embedding(conn, table).generations:
            if generation.state == "retired":
                drop_generation(conn, generation)
        record_step(conn, embedding.name, "drop_retired", None)
    return load_embedding(conn, embedding.name)


def _under_construction(embedding: EmbeddingConfig) -> Generation:
    building = building_of(embedding)
    if building is None:
        raise MigrationError(f"{embedding.name}: no change of model is under way")
    return building


def _recorded_embedder(generation: Generation) -> Embedder:
    from .._catalog.models import embedder_for

    return embedder_for(generation)


def _missing(conn: Connection, embedding: EmbeddingConfig, building: Generation) -> int:
    """Rows without vectors in the new set: queued and not done under it, or given up."""
    [(missing,)] = execute(
        conn,
        "select (select count(*) from vssnative_queue q where q.embedding = ?1 and ?3 >"
        " (select count(*) from vssnative_provenance p where p.generation = ?2 and p.row_id = q.row_id))"
        " + (select count(*) from vssnative_dead_letters d where d.embedding = ?1 and d.generation = ?2)",
        (embedding.id, building.id, len(building.fields)),
    )
    return int(missing)
