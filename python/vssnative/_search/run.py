"""Search a table by meaning, by words, or by both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._advice import Advice
from .._catalog.conditions import check_condition, matching_ids
from .._catalog.records import EmbeddingConfig, load_embedding
from .._connection import Connection, exclusive, execute, in_its_thread, in_transaction, load, transaction
from ..errors import QueryError, SyncError
from .answer import Asked, answer
from .current import Current, current
from .notices import warn_behind, warn_unready, warn_unspaced, warn_unwatched
from .pages import plain_query, plain_value, search_digest
from .query import Query, Vector, asks_model, check_query, query_vectors, vectors_of_row, words_in
from .rankings.both import DEFAULT_TEXT_WEIGHT
from .rankings.full_text import Words, is_behind, words_of
from .rankings.trigrams import has_unspaced
from .request import Mode, Request, request_of
from .results import Results

_FRESH_SECONDS = 5.0
# Columns of ours that a condition over the user's table must not reach.
_HIDDEN = (
    "distance",
    "k",
    "operation",
    "recall",
    "id",
    "generation",
    "field",
    "row_id",
    "ordinal",
    "start",
    "stop",
)


@in_its_thread
def search(
    conn: Connection,
    table: str,
    query: Query | None = None,
    k: int = 10,
    where: Any = None,
    params: Sequence[object] | Mapping[str, object] | None = (),
    columns: Sequence[str] | None = None,
    *,
    similar_to: Any = None,
    mode: Mode | None = None,
    full_text: str | bool | None = None,
    text_weight: float = DEFAULT_TEXT_WEIGHT,
    select: Sequence[str] | None = None,
    offset: int = 0,
    page: str | None = None,
    fresh: bool | float = False,
    stale: bool = True,
    recall: float | None = None,
    max_distance: float | None = None,
    embedder: Any = None,
) -> Results:
    """The k rows of a table that are nearest to a text.

    Where a row has several vectors (columns, passages) its nearest counts. Deleted rows never appear, nor does a new
    row with vectors of an earlier one under the same key; what the caller's own transaction deleted counts as
    deleted. All is read in one snapshot.

    Args:
        conn: any supported connection; vss0 is loaded into it.
        table: the embeddings' name, or the name of a table that has only one.
        query: a text; several texts, which are added up, ``["red", "shoes"]``; texts with weights,
            ``{"shoes": 1.0, "sport": -0.5}``; or a vector of the model, ``dim`` numbers.
        k: how many rows. So many come back whenever so many match, whatever `where` says.
        where: SQL over the user's table: only rows for which it holds. Values are ``?`` with a list in `params`, or
            ``:name`` with a mapping; a list for one of them is written out, ``company in ?``. A SQLAlchemy expression
            does as well.
        columns: only these embedded columns; None for all.
        similar_to: instead of `query`, the primary key of a row (a tuple where it has several columns): rows like it.
        mode: ``"vector"`` by meaning; ``"text"`` by words, which needs no model and finds rows that have no vectors
            yet; ``"hybrid"`` by both: a row that either finds can be among the k. By default hybrid where there is a
            full-text index, see `full_text`, and the query is a text; else vector.
        full_text: an FTS5 table of yours over the same rows (its rowid is that of the table). By default the one that
            ``add_embeddings(full_text=True)`` keeps, where there is one.
        text_weight: in hybrid mode, what the ranking by words counts, where that by vectors counts 1.
        select: the columns of the row to return; None for all that are not declared as blobs.
        offset: leave out so many of the first rows.
        page: ``Results.next_page`` of the same search: the rows that follow. Pages do not overlap while nobody writes.
            `k`, `select`, `recall`, `fresh` and `embedder` may differ from the page before, all else may not.
        fresh: embed first what is pending, edits before all else, and only rows that `where` lets in: for 5 seconds at
            most, or as many as are given. Needs the connection outside of a transaction.
        stale: whether rows that changed since they were embedded are returned, marked; they are found by their
            earlier text. False leaves them out.
        recall: share of the true neighbours wanted, 1.0 for exact; None for the table's default.
        max_distance: leave out what is farther, or has no vectors.
        embedder: the model, where it cannot be built from its record.

    Raises:
        QueryError: k is no number of rows, the vector has not the model's length, `where` is refused by SQLite,
            `params` are not the values that it needs, there is no full-text index to search by words, or `page` is of
            another search, or of vectors that a change of model has replaced since.
        MigrationError: there are no such embeddings or columns.
        EmbeddingError: the model is not the one that made the vectors, or failed.
        SyncError: `fresh` within a transaction.

    Warns:
        VssWarning: nothing was found, and rows are waiting for their first vectors; or an FTS5 table of yours is
            behind the table.
    """
    if similar_to is None:
        return search_many(
            conn,
            table,
            [query],
            k,
            where,
            params,
            columns,
            mode=mode,
            full_text=full_text,
            text_weight=text_weight,
            select=select,
            offset=offset,
            page=page,
            fresh=fresh,
            stale=stale,
            recall=recall,
            max_distance=max_distance,
            embedder=embedder,
        )[0]
    if query is not None:
        raise QueryError("give either query or similar_to")
    if mode not in (None, "vector") or full_text:
        raise QueryError("similar_to compares vectors: it has no words for a full-text index")
    request = request_of(
        k=k,
        offset=offset,
        page=page,
        where=where,
        params=params,
        columns=columns,
        select=select,
        mode="vector",
        full_text=None,
        text_weight=text_weight,
        stale=stale,
        recall=recall,
        max_distance=max_distance,
    )
    load(conn)
    if fresh:
        _refresh(conn, table, request, fresh, embedder)
    row = similar_to if isinstance(similar_to, tuple) else (similar_to,)
    with _snapshot(conn):
        now = current(conn, table)
        digest = search_digest(now.embedding, request, ("row", tuple(map(plain_value, row))))
        among = _among(conn, now, request)
        number, vectors = vectors_of_row(conn, now.embedding, similar_to)
        results = answer(conn, now, request, Asked(digest, vectors, leave_out=number), among)
    if not now.watched:
        warn_unwatched(now.embedding)
    return results


@in_its_thread
def search_many(
    conn: Connection,
    table: str,
    queries: Sequence[Query | None],
    k: int = 10,
    where: Any = None,
    params: Sequence[object] | Mapping[str, object] | None = (),
    columns: Sequence[str] | None = None,
    *,
    mode: Mode | None = None,
    full_text: str | bool | None = None,
    text_weight: float = DEFAULT_TEXT_WEIGHT,
    select: Sequence[str] | None = None,
    offset: int = 0,
    page: str | None = None,
    fresh: bool | float = False,
    stale: bool = True,
    recall: float | None = None,
    max_distance: float | None = None,
    embedder: Any = None,
) -> list[Results]:
    """``search`` for each of several queries: the model is called once, and all see one snapshot.

    Args and errors are those of ``search``.
    """
    if isinstance(queries, (str, bytes, Mapping)):
        raise QueryError(f"queries: expected several, got one {type(queries).__name__}; write [query]")
    for query in queries:
        check_query(query)
    request = request_of(
        k=k,
        offset=offset,
        page=page,
        where=where,
        params=params,
        columns=columns,
        select=select,
        mode=mode,
        full_text=full_text,
        text_weight=text_weight,
        stale=stale,
        recall=recall,
        max_distance=max_distance,
    )
    spoken = [words_in(query) for query in queries]
    if (mode in ("text", "hybrid") or full_text) and not all(spoken):
        raise QueryError("full_text needs the query as a text")
    if mode == "text" and (max_distance is not None or recall is not None or columns is not None):
        raise QueryError(
            "a search by words alone looks at no vectors",
            advice=Advice(
                "with mode='text', max_distance, recall and columns have no meaning",
                "with --mode text, --recall has no meaning",
            ),
        )
    load(conn)
    if fresh:
        _refresh(conn, table, request, fresh, embedder)
    before: EmbeddingConfig | None = None
    vectors: list[Vector] | None = None
    if mode != "text" and asks_model(queries):
        # A model takes long, and a snapshot holds locks: it is asked before. All that can be refused comes first.
        before = load_embedding(conn, table, to_read=True)
        if request.condition is not None:
            _check(conn, current(conn, before.name), request)
        words = _words(conn, before, request, spoken)
        vectors = query_vectors(before.active, queries, embedder)

    with _snapshot(conn):
        now = current(conn, table if before is None else before.name)
        embedding = now.embedding
        digests = [search_digest(embedding, request, ("query", plain_query(query))) for query in queries]
        if before != embedding:
            words = _words(conn, embedding, request, spoken)
        # Another process may have changed the model meanwhile: vectors of two models cannot be compared.
        other = before is None or before.active.id != embedding.active.id
        if mode != "text" and (vectors is None or other):
            vectors = query_vectors(embedding.active, queries, embedder)
        chosen = embedding.active.fields
        if columns is not None:
            chosen = tuple(embedding.active.field(name) for name in columns)
        among = _among(conn, now, request)
        found = []
        for position, text in enumerate(spoken):
            by_field = None
            if vectors is not None:
                by_field = {field.name: vectors[position] for field in chosen}
            asked = Asked(digests[position], by_field, text, words if text else None)
            found.append(answer(conn, now, request, asked, among))
        behind = words is not None and is_behind(conn, embedding, words)
        unready = vectors is not None and not all(found) and not _anything_embedded(conn, now)
    if not now.watched:
        warn_unwatched(embedding)
    for results, text in zip(found, spoken, strict=True):
        if unready and not results and results.pending:
            warn_unready(embedding, results)
        if behind and words is not None:
            warn_behind(embedding, words)
        if words is None or words.trigram or not text or not has_unspaced(text):
            continue
        if all(result.text_rank is None for result in results):
            warn_unspaced(embedding, words)
    return found


def _refresh(conn: Connection, table: str, request: Request, fresh: bool | float, embedder: Any) -> None:
    """Embed what is pending, for so many seconds at most."""
    from .._sync.run import sync

    now = current(conn, table) if request.condition is not None else None
    if now is not None:
        _check(conn, now, request)
    if in_transaction(conn):
        raise SyncError(
            "search(fresh=True) embeds first, which needs the connection outside of a transaction"
        )
    seconds = _FRESH_SECONDS if fresh is True else float(fresh)
    given = request.condition
    sync(
        conn,
        load_embedding(conn, table).name if now is None else now.embedding.name,
        where=None if given is None else given.sql,
        params=() if given is None else given.params,
        timeout=max(0.0, seconds),
        embedder=embedder,
    )


def _words(
    conn: Connection, embedding: EmbeddingConfig, request: Request, spoken: Sequence[str | None]
) -> Words | None:
    return words_of(conn, embedding, request.full_text, request.mode) if any(spoken) else None


def _check(conn: Connection, now: Current, request: Request) -> None:
    if request.condition is not None:
        check_condition(conn, now.embedding, request.condition, _hidden(now))


def _among(conn: Connection, now: Current, request: Request) -> str | None:
    """The numbers of the rows that count, found once for all columns and queries; None for all."""
    if request.condition is None:
        return None
    return matching_ids(conn, now.embedding, request.condition, _hidden(now))


def _hidden(now: Current) -> tuple[str, ...]:
    active = now.embedding.active
    return (*_HIDDEN, active.vss_table or "", *(field.vector_column for field in active.fields))


def _anything_embedded(conn: Connection, now: Current) -> bool:
    sql = "select 1 from main.vssnative_provenance where generation = ? limit 1"
    return bool(execute(conn, sql, (now.embedding.active.id,)))


@contextlib.contextmanager
def _snapshot(conn: Connection) -> Iterator[None]:
    """The caller's transaction, or one of ours. Other threads that share the connection wait."""
    with exclusive(conn):
        if in_transaction(conn):
            yield
        else:
            with transaction(conn, "DEFERRED"):
                yield
