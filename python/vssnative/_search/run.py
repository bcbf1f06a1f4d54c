"""Search a table by meaning, by words, or by both."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import math
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .._advice import Advice, command
from .._catalog.conditions import Condition, check_condition, condition_of
from .._catalog.records import EmbeddingConfig, load_embedding
from .._catalog.renames import followed
from .._catalog.triggers import are_on_the_table
from .._connection import Connection, exclusive, execute, in_its_thread, in_transaction, load, transaction
from .._sql import quote_identifier
from ..errors import QueryError, SyncError, VssWarning
from .full_text import Words, is_behind, text_places, words_of
from .fusion import DEFAULT_TEXT_WEIGHT, fused
from .query import Query, Vector, check_query, query_vectors, vectors_of_row, words_in
from .results import Results
from .rows import results_of, selected_columns, similarity
from .trigrams import has_unspaced
from .vectors import Candidates, Hit, nearest_rows

Mode = Literal["vector", "text", "hybrid"]

_MODES = ("vector", "text", "hybrid")
_FUSION_DEPTH = 50
_FRESH_SECONDS = 5.0
_MOST_PENDING = 10_000
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


@dataclass(frozen=True)
class _Page:
    """Where a page begins, and what it is a page of.

    Attributes:
        offset: rows before it.
        depth: to which the first page of a hybrid search looked into its two rankings.
        after: distance and number of the last row before it; None where it goes by the offset.
        of: ``_search_digest`` of the search whose page it is.
        generation: of the vectors that it looked at.
    """

    offset: int
    depth: int
    after: tuple[float, int] | None
    of: str
    generation: int


@dataclass(frozen=True)
class _Request:
    """The arguments of a search that have been looked at, and where its page begins."""

    k: int
    offset: int
    depth: int
    after: tuple[float, int] | None
    page: _Page | None
    condition: Condition | None
    columns: Sequence[str] | None
    select: Sequence[str] | None
    mode: str | None
    full_text: str | bool | None
    text_weight: float
    stale: bool
    recall: float | None
    max_distance: float | None


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
    request = _request(
        k,
        offset,
        page,
        where,
        params,
        columns,
        select,
        "vector",
        None,
        text_weight,
        stale,
        recall,
        max_distance,
    )
    embedding = _ready(conn, table, request, fresh, embedder)
    row = similar_to if isinstance(similar_to, tuple) else (similar_to,)
    digest = _search_digest(embedding, request, ("row", tuple(map(_plain_value, row))))

    def answer(embedding: EmbeddingConfig) -> Results:
        embedding = _present(conn, embedding)
        number, vectors = vectors_of_row(conn, embedding, similar_to)
        return _answer(conn, embedding, request, vectors, None, None, number, digest)

    with _snapshot(conn):
        now = load_embedding(conn, embedding.name)
        results = answer(now)
        unwatched = not are_on_the_table(conn, _present(conn, now))
    if unwatched:
        _tell_unwatched(now)
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
    request = _request(
        k,
        offset,
        page,
        where,
        params,
        columns,
        select,
        mode,
        full_text,
        text_weight,
        stale,
        recall,
        max_distance,
    )
    spoken = [words_in(query) for query in queries]
    if mode in ("text", "hybrid") or full_text:
        if any(not words for words in spoken):
            raise QueryError("full_text needs the query as a text")
    embedding = _ready(conn, table, request, fresh, embedder)
    digests = [_search_digest(embedding, request, ("query", _plain(query))) for query in queries]
    words = words_of(conn, embedding, full_text, mode) if any(spoken) else None
    vectors: list[Vector] | None = None
    if mode != "text":
        vectors = query_vectors(embedding.active, queries, embedder)
    elif max_distance is not None or recall is not None or columns is not None:
        raise QueryError(
            "a search by words alone looks at no vectors",
            advice=Advice(
                "with mode='text', max_distance, recall and columns have no meaning",
                "with --mode text, --recall has no meaning",
            ),
        )

    with _snapshot(conn):
        # Asked again: a switch of models between two snapshots would compare vectors of two models.
        now = load_embedding(conn, embedding.name)
        if vectors is not None and now.active.id != embedding.active.id:
            vectors = query_vectors(now.active, queries, embedder)
        found = []
        for position, text in enumerate(spoken):
            by_field = None
            if vectors is not None:
                chosen = (
                    now.active.fields if columns is None else [now.active.field(name) for name in columns]
                )
                by_field = {field.name: vectors[position] for field in chosen}
            spoken_words = words if text else None
            found.append(_answer(conn, now, request, by_field, spoken_words, text, None, digests[position]))
        behind = words is not None and is_behind(conn, now, words)
        unready = vectors is not None and not all(found) and not _anything_embedded(conn, now)
        unspaced = words is not None and not words.trigram
        unwatched = not are_on_the_table(conn, _present(conn, now))
    if unwatched:
        _tell_unwatched(now)
    for results, text in zip(found, spoken, strict=True):
        _tell(now, results, unready, words if behind else None)
        if unspaced and words is not None and text and has_unspaced(text) and not _by_words(results):
            _tell_unspaced(now, words)
    return found


def _request(
    k: Any,
    offset: Any,
    page: str | None,
    where: Any,
    params: Any,
    columns: Sequence[str] | None,
    select: Sequence[str] | None,
    mode: str | None,
    full_text: str | bool | None,
    text_weight: float,
    stale: bool,
    recall: float | None,
    max_distance: float | None,
) -> _Request:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise QueryError(f"k must be a number of rows, 1 or more, not {k!r}")
    if isinstance(offset, bool) or not isinstance(offset, (int, np.integer)) or offset < 0:
        raise QueryError(f"offset must be a number of rows, 0 or more, not {offset!r}")
    if mode is not None and mode not in _MODES:
        raise QueryError(f"mode must be one of {', '.join(_MODES)}, not {mode!r}")
    if not isinstance(text_weight, (int, float)) or not 0 <= text_weight < math.inf:
        raise QueryError(f"text_weight must be a number of 0 or more, not {text_weight!r}")
    depth = max(_FUSION_DEPTH, 2 * (int(k) + int(offset)))
    follows = None
    if page is not None:
        if offset:
            raise QueryError("give either offset or page")
        follows = _read_page(page)
        offset, depth = follows.offset, follows.depth
    if max_distance is not None and max_distance != max_distance:
        raise QueryError("max_distance must be a number, not nan")
    return _Request(
        int(k),
        int(offset),
        depth,
        None if follows is None else follows.after,
        follows,
        condition_of(where, params),
        columns,
        select,
        mode,
        full_text,
        float(text_weight),
        stale,
        recall,
        max_distance,
    )


def _ready(
    conn: Connection, table: str, request: _Request, fresh: bool | float, embedder: Any
) -> EmbeddingConfig:
    """The embeddings to search, brought up to date where that is asked for."""
    load(conn)
    embedding = load_embedding(conn, table)
    if request.condition is not None:
        embedding = _present(conn, embedding)
        hidden = (
            *_HIDDEN,
            embedding.active.vss_table or "",
            *(f.vector_column for f in embedding.active.fields),
        )
        check_condition(conn, embedding, request.condition, hidden)
    if fresh:
        from .._sync.run import sync

        if in_transaction(conn):
            raise SyncError(
                "search(fresh=True) embeds first, which needs the connection outside of a transaction"
            )
        seconds = _FRESH_SECONDS if fresh is True else float(fresh)
        began = time.monotonic()
        given = request.condition
        sync(
            conn,
            embedding.name,
            where=None if given is None else given.sql,
            params=() if given is None else given.params,
            timeout=max(0.0, began + seconds - time.monotonic()),
            embedder=embedder,
        )
        embedding = load_embedding(conn, embedding.name)
    return embedding


def _answer(
    conn: Connection,
    embedding: EmbeddingConfig,
    request: _Request,
    vectors: Mapping[str, Vector] | None,
    words: Words | None,
    text: str | None,
    leave_out: int | None,
    digest: str,
) -> Results:
    """One query's rows, within a snapshot. `vectors` None: by words alone; `words` None: by vectors alone."""
    if request.page is not None and vectors is not None and request.page.generation != embedding.active.id:
        raise QueryError(
            f"page: the vectors of {embedding.name} are those of another model since the page before; search again"
            " without page"
        )
    embedding = _current(conn, embedding)
    columns = selected_columns(conn, embedding, request.select)
    candidates: Candidates | None = None
    if request.condition is not None:
        candidates = (embedding.matching_sql(request.condition.sql), request.condition.params)
    last = request.offset + request.k
    # One more tells whether there is another page.
    wanted = _bounded(conn, embedding, last + 1 + (leave_out is not None))
    places: dict[int, int] = {}
    scored: list[tuple[Hit, float]]
    start = request.offset
    if words is not None and text is not None and vectors is not None:
        scored, places = _both(conn, embedding, request, vectors, words, text, candidates)
    elif words is not None and text is not None:
        ranked = text_places(conn, embedding, words, text, wanted, candidates, request.stale)
        places = {number: place for place, (number, _) in enumerate(ranked, 1)}
        scored = [(Hit(math.inf, number, None), -rank) for number, rank in ranked]
    else:
        hits = nearest_rows(
            conn,
            embedding,
            vectors or {},
            wanted,
            candidates,
            request.stale,
            request.recall,
            request.max_distance,
        )
        metric = embedding.active.metric
        scored = [(hit, similarity(hit.distance, metric)) for hit in hits if hit.row_id != leave_out]
        if request.after is not None:
            # An approximate search of more rows may order in one that the page before did not know of.
            scored = [pair for pair in scored if (pair[0].distance, pair[0].row_id) > request.after]
            start = 0
    shown = scored[start : start + request.k]
    if vectors is not None and places:
        hits = _measured(conn, embedding, request, vectors, [hit for hit, _ in shown])
        shown = [(hit, score) for hit, (_, score) in zip(hits, shown, strict=True)]
    [(pending,)] = execute(
        conn,
        f"select count(*) from (select 1 from vssnative_queue where embedding = ? limit {_MOST_PENDING})",
        (embedding.id,),
    )
    return Results(
        results_of(conn, embedding, shown, places, columns, request.offset + 1),
        columns,
        embedding.key_columns,
        int(pending),
        _write_page(last, request, shown, digest, embedding.active.id)
        if len(scored) > start + request.k
        else None,
    )


def _both(
    conn: Connection,
    embedding: EmbeddingConfig,
    request: _Request,
    vectors: Mapping[str, Vector],
    words: Words,
    text: str,
    candidates: Candidates | None,
) -> tuple[list[tuple[Hit, float]], dict[int, int]]:
    """Rows by both rankings, one more than the page needs where there are so many, and the places by words.

    What the first page's depth of both rankings holds is fused, and comes first; then what four times that depth adds, fused
    likewise, and so on until both rankings end. The order depends on the first depth alone, so that pages fit together.
    """
    ordered: dict[int, tuple[Hit, float]] = {}
    depth = request.depth
    while True:
        bounded = _bounded(conn, embedding, depth)
        ranked = text_places(conn, embedding, words, text, bounded, candidates, request.stale)
        places = {number: place for place, (number, _) in enumerate(ranked, 1)}
        scored, whole = _fused_at(conn, embedding, request, vectors, candidates, places, bounded)
        for hit, score in scored:
            ordered.setdefault(hit.row_id, (hit, score))
        if whole or len(ordered) > request.offset + request.k:
            return list(ordered.values()), places
        depth *= 4


def _fused_at(
    conn: Connection,
    embedding: EmbeddingConfig,
    request: _Request,
    vectors: Mapping[str, Vector],
    candidates: Candidates | None,
    places: Mapping[int, int],
    depth: int,
) -> tuple[list[tuple[Hit, float]], bool]:
    """Both rankings to that depth, fused, and whether they hold all rows that the search can find.

    Rows that only words found come after those that are as good by vectors. Their distances are not needed for that, so that
    they are measured for the rows that are shown, except where a largest distance says which of them count.
    """
    limits = (request.recall, request.max_distance)
    hits = nearest_rows(conn, embedding, vectors, depth, candidates, request.stale, *limits)
    known = {hit.row_id for hit in hits}
    beside = [Hit(math.inf, number, None) for number in places if number not in known]
    # A row within the largest distance is a row by vectors, too.
    whole = len(hits) < depth and (len(places) < depth or request.max_distance is not None)
    if request.max_distance is not None:
        beside = [
            hit for hit in _measured(conn, embedding, request, vectors, beside) if hit.field is not None
        ]
    there = known | {hit.row_id for hit in beside}
    counted = {number: place for number, place in places.items() if number in there}
    return fused([*hits, *beside], len(hits), counted, request.text_weight), whole


def _measured(
    conn: Connection,
    embedding: EmbeddingConfig,
    request: _Request,
    vectors: Mapping[str, Vector],
    hits: Sequence[Hit],
) -> list[Hit]:
    """Hits of words alone with their true distance, where they have vectors; the others as they are."""
    others = [hit.row_id for hit in hits if hit.field is None]
    if not others:
        return list(hits)
    among = ("select value from json_each(?)", (json.dumps(sorted(others)),))
    limits = (1.0, request.max_distance)
    near = nearest_rows(conn, embedding, vectors, len(others), among, request.stale, *limits)
    measured = {hit.row_id: hit for hit in near}
    return [measured.get(hit.row_id, hit) for hit in hits]


def _bounded(conn: Connection, embedding: EmbeddingConfig, rows: int) -> int:
    """`rows`, or as many as there are: room for them is taken before the search."""
    if rows <= _MOST_PENDING:
        return rows
    [(there,)] = execute(conn, f"select count(*) from main.{quote_identifier(embedding.source)}")
    return max(1, min(rows, int(there) + 1))


def _exists(conn: Connection, table: str) -> bool:
    sql = "select 1 from main.sqlite_master where type = 'table' and name = ? collate nocase"
    return bool(execute(conn, sql, (table,)))


def _present(conn: Connection, embedding: EmbeddingConfig) -> EmbeddingConfig:
    """The embedding, by new names where its table or columns were renamed since the last sync.

    What is missing is named here, rather than left to SQLite's words about a statement of ours.
    """
    missing = _missing(conn, embedding)
    if missing:
        embedding = followed(conn, embedding, labels=False)
        missing = _missing(conn, embedding)
    if missing:
        raise QueryError(f"search of {embedding.name}: {missing}")
    return embedding


def _current(conn: Connection, embedding: EmbeddingConfig) -> EmbeddingConfig:
    """``_present``, its vectors there too."""
    embedding = _present(conn, embedding)
    vectors = embedding.active.vss_table
    if vectors is not None and not _exists(conn, vectors):
        raise QueryError(
            f"search of {embedding.name}: its table of vectors {vectors} is gone; the next sync builds it anew"
        )
    return embedding


def _missing(conn: Connection, embedding: EmbeddingConfig) -> str | None:
    rows = execute(conn, "select name from pragma_table_xinfo(?, 'main')", (embedding.source,))
    if not rows:
        return f"its table {embedding.source} is gone"
    there = {row[0].lower() for row in rows}
    gone = [name for name in (*embedding.key_columns, *embedding.watched) if name.lower() not in there]
    return f"table {embedding.source} has no column {', '.join(gone)} any more" if gone else None


def _anything_embedded(conn: Connection, embedding: EmbeddingConfig) -> bool:
    sql = "select 1 from vssnative_provenance where generation = ? limit 1"
    return bool(execute(conn, sql, (embedding.active.id,)))


def _tell(embedding: EmbeddingConfig, results: Results, unready: bool, behind: Words | None) -> None:
    """Warn of answers that are less than they seem."""
    if unready and not results and results.pending:
        warnings.warn(
            VssWarning(
                f"search of {embedding.name} found nothing, and {results.pending:,} rows are waiting for their vectors",
                advice=Advice("vssnative.sync(conn) embeds them", f"{command('sync')} embeds them"),
            ),
            stacklevel=_callers_level(),
        )
    if behind is not None:
        warnings.warn(
            VssWarning(
                f"search of {embedding.name}: the FTS5 table {behind.table} lacks the newest rows, so they are found by"
                " vectors alone",
                advice=Advice(
                    "triggers of its own keep such a table in step, or add_embeddings(full_text=True)",
                    "triggers of its own keep such a table in step, or add-embeddings with --full-text",
                ),
            ),
            stacklevel=_callers_level(),
        )


def _by_words(results: Results) -> bool:
    return any(result.text_rank is not None for result in results)


def _tell_unspaced(embedding: EmbeddingConfig, words: Words) -> None:
    again = (
        f"add_embeddings({embedding.source!r}, ..., full_text='trigram') rebuilds it"
        if words.own
        else "an FTS5 table with tokenize='trigram' does"
    )
    warnings.warn(
        f"search of {embedding.name}: {words.table} has none of the query's words, as its tokenizer takes a sentence without"
        f" spaces for one word; {again}, and finds parts of such texts",
        VssWarning,
        stacklevel=_callers_level(),
    )


def _tell_unwatched(embedding: EmbeddingConfig) -> None:
    warnings.warn(
        VssWarning(
            f"search of {embedding.name}: table {embedding.source} has none of the triggers that note its changes, so it was"
            " rebuilt, or they were dropped: rows written since may be missing",
            advice=Advice(
                "vssnative.sync(conn) puts them back and compares all rows",
                f"{command('sync')} puts them back and compares all rows",
            ),
        ),
        stacklevel=_callers_level(),
    )


def _callers_level() -> int:
    """The ``stacklevel`` that names the caller's line, however many functions of libraries lie between."""
    level, frame = 1, sys._getframe(1)
    libraries = ("vssnative", "django", "sqlalchemy")
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in libraries:
        level, frame = level + 1, frame.f_back
    return level


def _search_digest(embedding: EmbeddingConfig, request: _Request, query: tuple[str, Any]) -> str:
    """Tells searches apart, so that no page is taken for one of another search.

    Raises:
        QueryError: the page that the request asks for is one of another search.
    """
    condition = request.condition
    told = (
        embedding.id,
        query,
        None if condition is None else (condition.sql, *map(_plain_value, condition.params)),
        None if request.columns is None else tuple(request.columns),
        request.mode,
        request.full_text,
        float(request.text_weight),
        bool(request.stale),
        None if request.max_distance is None else float(request.max_distance),
    )
    digest = hashlib.blake2b(repr(told).encode(errors="surrogatepass"), digest_size=8).hexdigest()
    if request.page is not None and request.page.of != digest:
        raise QueryError(
            "page: it is next_page of another search; table, query, where, params, columns, mode and the like must be"
            " as they were (k and select may differ)"
        )
    return digest


def _plain(query: Any) -> object:
    """A query as a value whose repr tells it apart from others."""
    if isinstance(query, str):
        return str.__str__(query)
    if isinstance(query, Mapping):
        return sorted((text, float(weight)) for text, weight in query.items())
    if words_in(query) is not None:
        return list(query)
    try:
        return np.asarray(query, dtype=np.float32).tobytes()
    except (TypeError, ValueError):
        return query  # refused where the vectors are made


def _plain_value(value: Any) -> object:
    """A number of numpy's is the same value as Python's, which the program may have the next time."""
    return value.item() if isinstance(value, np.generic) else value


def _write_page(
    offset: int, request: _Request, shown: Sequence[tuple[Hit, float]], digest: str, generation: int
) -> str:
    last = shown[-1][0]
    after = None if math.isinf(last.distance) else [last.distance, last.row_id]
    told = json.dumps([offset, request.depth, after, digest, generation])
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def _read_page(page: str) -> _Page:
    try:
        offset, depth, after, digest, generation = json.loads(
            base64.urlsafe_b64decode(page + "=" * (-len(page) % 4))
        )
        if isinstance(offset, int) and isinstance(depth, int) and offset >= 0 and depth >= 1:
            place = None if after is None else (float(after[0]), int(after[1]))
            return _Page(offset, depth, place, str(digest), int(generation))
    except (ValueError, TypeError, IndexError, binascii.Error):
        pass
    raise QueryError(f"page: expected next_page of earlier results, got {page!r}")


@contextlib.contextmanager
def _snapshot(conn: Connection) -> Iterator[None]:
    """The caller's transaction, or one of ours. Other threads that share the connection wait."""
    with exclusive(conn):
        if in_transaction(conn):
            yield
        else:
            with transaction(conn, "DEFERRED"):
                yield
