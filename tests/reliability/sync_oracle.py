"""What must hold when nothing is pending, worked out anew from the user's rows, without the package's own verify."""

from __future__ import annotations

import sqlite3
from typing import Any

import numpy as np

from vssnative._catalog.records import load_embedding
from vssnative._sql import quote_identifier
from vssnative.embedding.hashing import HashEmbedder


def expected_vectors(
    conn: sqlite3.Connection, table: str, field: str, embedder: HashEmbedder
) -> dict[int, bytes]:
    """Row number to vector, of the rows whose text in `field` is not blank; for tables with an integer key `id`."""
    rows = conn.execute(f'select id, "{field}" from "{table}"').fetchall()
    texts = {row[0]: str(row[1]) for row in rows if row[1] is not None and str(row[1]).strip()}
    if not texts:
        return {}
    matrix = embedder.embed_documents(list(texts.values()))
    return {row_id: vector.tobytes() for row_id, vector in zip(texts, matrix, strict=True)}


def stored_vectors(conn: sqlite3.Connection, vss_table: str, column: str) -> dict[int, bytes]:
    quoted = quote_identifier(column)
    rows = conn.execute(
        f"select rowid, {quoted} from {quote_identifier(vss_table)} where {quoted} is not null"
    )
    return dict(rows.fetchall())


def assert_in_step(conn: sqlite3.Connection, name: str, embedder: HashEmbedder) -> None:
    """Each row has exactly the vectors of its present text, none else, and the queue is empty."""
    embedding = load_embedding(conn, name)
    queue = conn.execute("select count(*) from vssnative_queue where embedding = ?", (embedding.id,))
    assert queue.fetchone() == (0,)
    generation = embedding.active
    assert generation.model_digest == embedder.digest
    assert generation.vss_table is not None
    for field in generation.fields:
        wanted = expected_vectors(conn, embedding.source, field.name, embedder)
        found = stored_vectors(conn, generation.vss_table, field.vector_column)
        assert sorted(found) == sorted(wanted)
        for row_id, vector in wanted.items():
            difference = np.abs(np.frombuffer(found[row_id], "<f4") - np.frombuffer(vector, "<f4")).max()
            assert difference < 1e-6, (
                f"row {row_id} of {embedding.source}, field {field.name}: another text's vector"
            )


def snapshot(conn: sqlite3.Connection, table: str) -> list[Any]:
    """The table as the file has it: every object that belongs to it, and its rows."""
    objects = conn.execute(
        "select type, name, tbl_name, sql from sqlite_master where tbl_name = ? order by type, name", (table,)
    ).fetchall()
    rows = conn.execute(f'select rowid, * from "{table}" order by rowid').fetchall()
    return [objects, rows]
