"""What a search is for: a text, several texts with weights, a vector, or a row of the table."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._catalog.content import read_texts
from .._catalog.models import embedder_for
from .._catalog.records import EmbeddingConfig, Generation
from .._connection import Connection, execute
from .._sql import quote_identifier
from ..embedding.limits import call_limits
from ..embedding.registry import get_embedder
from ..errors import QueryError

Vector = npt.NDArray[np.float32]
_SECONDS = 30.0
Query = str | Sequence[str] | Mapping[str, float] | npt.ArrayLike


def words_in(query: Any) -> str | None:
    """The words to look for; None where the query is a vector. Texts to keep away from have none."""
    if isinstance(query, str):
        return query
    texts = _texts(query)
    return None if texts is None else " ".join(text for text, weight in texts.items() if weight > 0)


def check_query(query: Any) -> None:
    """Refuse what is no query.

    Raises:
        QueryError: says what was expected and what came.
    """
    if isinstance(query, (bytes, bytearray, memoryview)):
        raise QueryError("query: expected a text or a vector, got bytes; decode them, or numpy.frombuffer")
    if isinstance(query, str) and not query.strip():
        raise QueryError("query: expected a text, got an empty one")
    texts = _texts(query)
    if texts is not None and any(not text.strip() for text in texts):
        raise QueryError("query: expected texts, got an empty one among them")
    for text in [query] if isinstance(query, str) else texts or ():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise QueryError(
                f"query: it is no valid Unicode text: lone surrogate at character {error.start}"
            ) from error
    if query is None or (isinstance(query, (Sequence, Mapping)) and not len(query)):
        raise QueryError(f"query: expected a text or a vector, got {query!r}")


def asks_model(queries: Sequence[Any]) -> bool:
    """Whether a model has to be called for any of them."""
    return any(isinstance(query, str) or _texts(query) is not None for query in queries)


def query_vectors(generation: Generation, queries: Sequence[Any], given: Any) -> list[Vector]:
    """One vector for each query, the model called once for the texts of all.

    Raises:
        QueryError: a vector has not the model's length, or weights that cancel out.
        EmbeddingError: the model is not the one that made the vectors, or failed.
    """
    weights = [{query: 1.0} if isinstance(query, str) else _texts(query) for query in queries]
    texts = list(dict.fromkeys(text for one in weights if one is not None for text in one))
    known: dict[str, Vector] = {}
    if texts:
        embedder = embedder_for(generation, () if given is None else (get_embedder(given),), to_compare=True)
        # Somebody waits for the answer: one retry, and no minutes.
        with call_limits(deadline=time.monotonic() + _SECONDS, attempts=2):
            matrix = np.asarray(embedder.embed_queries(texts), dtype=np.float32)
        known = dict(zip(texts, matrix, strict=True))
    vectors = []
    for query, one in zip(queries, weights, strict=True):
        if one is None:
            vectors.append(_checked(generation, query))
        elif len(one) == 1 and next(iter(one.values())) > 0:
            vectors.append(np.ascontiguousarray(known[next(iter(one))]))
        else:
            vectors.append(_combined(generation, one, known))
    return vectors


def vectors_of_row(conn: Connection, embedding: EmbeddingConfig, key: Any) -> tuple[int, dict[str, Vector]]:
    """A row's number and its stored vectors by field; for split texts the mean of the passages' directions.

    Raises:
        QueryError: there is no such row, or it has no vectors; the message says whether sync can help. The key is not one that
            SQLite can store.
    """
    values = _key_values(key)
    names = embedding.key_columns
    if len(values) != len(names):
        raise QueryError(f"similar_to: expected a value for {', '.join(names)}, got {key!r}")
    condition = " and ".join(f"t.{quote_identifier(name)} = ?" for name in names)
    rows = execute(
        conn,
        f"select {embedding.row_id_sql('t')} from {embedding.rows_sql('t')} where {condition}",
        values,
    )
    if not rows:
        raise QueryError(f"similar_to: {embedding.source} has no row {key!r}")
    number = int(rows[0][0])
    generation = embedding.active
    vectors: dict[str, Vector] = {}
    for field in generation.fields:
        if generation.vss_table is None:
            sql = (
                f"select {quote_identifier(field.blob_column)} from {embedding.rows_sql('t')}"
                f" where {embedding.row_id_sql('t')} = ?"
            )
            params: tuple[Any, ...] = (number,)
        else:
            ids = "?"
            params = (number,)
            if generation.chunk is not None:
                ids = "select id from vssnative_passages where generation = ? and row_id = ? and field = ?"
                params = (generation.id, number, field.name)
            sql = (
                f"select {quote_identifier(field.vector_column)} from"
                f" main.{quote_identifier(generation.vss_table)} where rowid in ({ids})"
            )
        found = [np.frombuffer(row[0], dtype="<f4") for row in execute(conn, sql, params) if row[0]]
        if found:
            vectors[field.name] = found[0] if len(found) == 1 else _mean(np.stack(found), generation.metric)
    if not vectors:
        raise QueryError(
            f"similar_to: row {key!r} of {embedding.source} {_why_no_vectors(conn, embedding, number)}"
        )
    return number, vectors


def _key_values(key: Any) -> tuple[Any, ...]:
    for value in key if isinstance(key, tuple) else (key,):
        if isinstance(value, uuid.UUID):
            raise QueryError(
                f"similar_to: {value!r}: give str(), .hex or .bytes of it, as the column stores it"
            )
        if not isinstance(value, (str, int, float, bytes, np.generic, datetime.date)):
            raise QueryError(
                f"similar_to: expected the primary key of a row (a tuple where it has several columns), got {value!r}"
            )
    return key if isinstance(key, tuple) else (key,)


def _why_no_vectors(conn: Connection, embedding: EmbeddingConfig, number: int) -> str:
    generation = embedding.active
    texts = read_texts(conn, embedding, generation, [number]).get(number, {})
    if texts and all(text is None for text in texts.values()):
        columns = dict.fromkeys(column for field in generation.fields for column in field.columns)
        return f"has no text in {', '.join(columns)} (NULL or blank), and so no vectors to compare"
    given_up = execute(
        conn,
        "select reason from vssnative_dead_letters where embedding = ? and generation = ? and row_id = ? limit 1",
        (embedding.id, generation.id, number),
    )
    if given_up:
        return f"has no vectors, its text was given up: {given_up[0][0]}"
    return "has no vectors yet; sync first"


def _texts(query: Any) -> dict[str, float] | None:
    """Texts and weights; None where the query is a vector."""
    if isinstance(query, Mapping):
        for text, weight in query.items():
            if not isinstance(text, str) or not _is_weight(weight):
                raise QueryError(f"query: expected texts with weights, got {text!r}: {weight!r}")
        return {text: float(weight) for text, weight in query.items()}
    if isinstance(query, (list, tuple)) and query and all(isinstance(text, str) for text in query):
        return dict.fromkeys(query, 1.0)
    return None


def _is_weight(value: Any) -> bool:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return number and bool(np.isfinite(value))


def _checked(generation: Generation, query: Any) -> Vector:
    try:
        vector = np.ascontiguousarray(query, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise QueryError(
            f"query: expected a text or a vector of {generation.dim} numbers, got {type(query).__name__}:"
            f" {error}"
        ) from error
    if vector.shape != (generation.dim,):
        raise QueryError(
            f"query: expected a text or a vector of shape ({generation.dim},), got shape {vector.shape}"
        )
    return vector


def _combined(generation: Generation, weights: Mapping[str, float], known: Mapping[str, Vector]) -> Vector:
    total = np.zeros(generation.dim, dtype=np.float64)
    for text, weight in weights.items():
        vector = known[text].astype(np.float64)
        if generation.metric == "cosine":
            vector /= float(np.linalg.norm(vector)) or 1.0
        total += weight * vector
    if not total.any():
        raise QueryError("query: the weights of its texts cancel out")
    if generation.metric == "l2":
        # A mean of places, where there are weights to divide by.
        share = sum(weights.values())
        total /= share if share > 0 else 1.0
    return np.ascontiguousarray(total, dtype=np.float32)


def _mean(matrix: Vector, metric: str) -> Vector:
    wide = matrix.astype(np.float64)
    if metric == "cosine":
        norms = np.linalg.norm(wide, axis=1, keepdims=True)
        wide /= np.where(norms == 0, 1, norms)
    return np.ascontiguousarray(wide.mean(axis=0), dtype=np.float32)
