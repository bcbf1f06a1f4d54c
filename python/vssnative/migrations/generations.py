"""Changing model, columns, template or chunking: a new set of vectors beside the old, then an atomic switch.

add_embeddings -> active
change_model   -> building, kept in step with the table beside the active one, filled by sync
switch         -> the building one is active, the old one is retired: not searched, not kept in step
rollback_model -> the retired one is active again; rows that changed meanwhile are queued
drop_retired   -> the retired one and its vectors are gone
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .._catalog.enqueue import BACKFILL_PRIORITY, EDIT_PRIORITY, enqueue_all
from .._catalog.generations import (
    building_of,
    create_vss_statement,
    drop_generation,
    make_active,
    new_generation_id,
    record_generation,
    record_step,
    refresh,
)
from .._catalog.records import EmbeddingConfig, Generation, load_embedding
from .._catalog.source import describe
from ..connection import Connection, execute, load, transaction
from ..embedding.chunking import Chunking
from ..embedding.protocol import Embedder
from ..embedding.registry import get_embedder
from ..errors import ConfigurationError, MigrationError
from .embeddings import first_vss_table, make_generation


def change_model(
    conn: Connection,
    table: str,
    model: str | Embedder | None = None,
    *,
    columns: Sequence[str] | None = None,
    template: str | None = None,
    chunk: int | tuple[int, int] | Chunking | None = None,
) -> EmbeddingConfig:
    """Begin to build new vectors beside the old: by another model, of other columns, or split otherwise.

    ``sync`` fills them, resumable; searches are served by the old ones until every row is done, when the commit of
    the last batch switches to the new ones. What is not given stays as it is, except that `chunk` left out means
    whole texts.

    Args:
        table: the embeddings' name, or the name of a table that has only one.
        model: name of a model, or an embedder.
        columns, template, chunk: as for ``add_embeddings``.

    Raises:
        MigrationError: a change is under way already, or nothing would change.
        ConfigurationError: an argument has no such value.
    """
    load(conn)
    with transaction(conn):
        embedding = load_embedding(conn, table)
        if embedding.store == "column":
            raise MigrationError(
                f"{embedding.name} keeps vectors in columns only, where two sets have no place beside each other;"
                " drop_embeddings and add_embeddings again, or store='both'"
            )
        if len(embedding.live) > 1:
            raise MigrationError(
                f"{embedding.name}: a change to {embedding.live[-1].model_name} is under way; let sync finish it, or"
                " cancel_change it first"
            )
        active = embedding.active
        source = describe(conn, embedding.source)
        embedder = _recorded_embedder(active) if model is None else get_embedder(model)
        if columns is None and template is None:
            template = active.fields[0].template
            columns = None if template is not None else [field.name for field in active.fields]
        if embedding.uses_columns and chunk is not None:
            raise ConfigurationError(
                "passages have no place in the table's own columns: chunk needs store='vss'"
            )
        number = new_generation_id(conn)
        vss_table = f"{first_vss_table(embedding.name)}_g{number}"
        new = make_generation(source, embedder, columns, template, chunk, vss_table)
        new = replace(new, id=number, embedding=embedding.id, state="building")
        if (new.model_digest, new.fields, new.chunk) == (active.model_digest, active.fields, active.chunk):
            raise MigrationError(f"{embedding.name} is embedded just so already, by {active.model_name}")
        if embedding.uses_columns and new.fields != active.fields:
            raise MigrationError(f"{embedding.name} has blob columns; with those only the model can change")
        record_generation(conn, new)
        execute(conn, create_vss_statement(new))
        refresh(conn, embedding, f"change_model to {new.model_name}")
        enqueue_all(conn, embedding, BACKFILL_PRIORITY)
    return load_embedding(conn, embedding.name)


def cancel_change(conn: Connection, table: str) -> EmbeddingConfig:
    """Give up a change that is under way; its vectors are dropped.

    Raises:
        MigrationError: none is under way.
    """
    load(conn)
    with transaction(conn):
        embedding = load_embedding(conn, table)
        building = _under_construction(embedding)
        drop_generation(conn, building)
        refresh(conn, embedding, "cancel_change")
    return load_embedding(conn, embedding.name)


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
                f"{embedding.name}: {missing} rows have no vectors by {building.model_name} yet (queued or given"
                " up); sync first, or force=True"
            )
        make_active(conn, embedding, building, "switch")
    return load_embedding(conn, embedding.name)


def rollback_model(conn: Connection, table: str) -> EmbeddingConfig:
    """Go back to the model before the last switch, whose vectors are still there.

    Until the next ``sync`` has compared them, all rows count as stale: those whose texts changed meanwhile are found
    by what that model made of the earlier text.

    Raises:
        MigrationError: there is no earlier one, or a change is under way.
    """
    load(conn)
    with transaction(conn):
        embedding = load_embedding(conn, table)
        retired = [g for g in embedding.generations if g.state == "retired"]
        if len(embedding.live) > 1:
            raise MigrationError(f"{embedding.name}: a change is under way; cancel_change it first")
        if not retired:
            raise MigrationError(f"{embedding.name}: no earlier model's vectors are there to go back to")
        make_active(conn, embedding, retired[-1], "rollback_model")
        enqueue_all(conn, embedding, EDIT_PRIORITY)
    return load_embedding(conn, embedding.name)


def drop_retired(conn: Connection, table: str) -> EmbeddingConfig:
    """Drop the vectors of models that searches do not use any more."""
    load(conn)
    with transaction(conn):
        embedding = load_embedding(conn, table)
        for generation in embedding.generations:
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
