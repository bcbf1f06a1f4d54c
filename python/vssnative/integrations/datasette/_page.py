"""The search page of a table: its arguments, what is asked, and what is shown."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from datasette.database import QueryInterrupted
from datasette.filters import Filters
from datasette.utils import (
    CustomJSONEncoder,
    add_cors_headers,
    path_with_replaced_args,
    sqlite_timelimit,
    tilde_decode,
    tilde_encode,
    urlsafe_components,
)
from datasette.utils.asgi import Forbidden, NotFound, Response

from ..._catalog.records import EmbeddingConfig, load_embeddings
from ..._catalog.schema import installed_version
from ..._connection import execute
from ..._search import Result, Results, search
from ..._search.query import query_vectors
from ..._sql import quote_identifier
from ..._sync import Status, status
from ...errors import EmbeddingError, QueryError, VssError
from ._facets import Facet, facets_of
from ._snippets import Shown, heading_of, row_of, shown_of
from ._vector import KnownQuery

_SIZE, _MOST = 20, 100
# What Datasette 0.x gives every database.
_COLOR = "ff0000"
_MODES = {"vector": "by meaning", "text": "by words", "hybrid": "by meaning and words"}


def path_of(datasette: Any, database: str, table: str) -> str:
    """The page of a table."""
    return str(datasette.urls.table(database, table)) + "/-/vss"


async def may_search(datasette: Any, actor: Any, database: str, table: str) -> bool:
    """Whether an actor may use the page: they see the table, and ``vss-search`` is not refused."""
    visible, _ = await datasette.check_visibility(actor, permissions=_view(database, table))
    return bool(visible) and bool(
        await datasette.permission_allowed(actor, "vss-search", resource=(database, table), default=True)
    )


def _view(database: str, table: str) -> list[Any]:
    return [("view-table", (database, table)), ("view-database", database), "view-instance"]


@dataclasses.dataclass
class _Asked:
    """The arguments of a request; `problem` is what is wrong with them, in words."""

    query: str
    similar: str | None
    mode: str | None
    size: int
    next: str | None
    facets: list[str]
    filters: Any
    where: str | None
    wheres: list[str]
    params: dict[str, Any]
    problem: str | None


@dataclasses.dataclass
class _Answer:
    """What is shown: an error in words stands in place of results."""

    results: Results | None = None
    origin: str = ""
    shown: list[Shown] = dataclasses.field(default_factory=list)
    error: str | None = None
    code: int = 200


async def search_page(request: Any, datasette: Any) -> Response:
    """``/database/table/-/vss``, and ``.json``."""
    if request.method not in ("GET", "HEAD"):
        return Response.text("Method not allowed", status=405)
    try:
        db = datasette.get_database(route=tilde_decode(request.url_vars["database"]))
    except KeyError:
        raise NotFound(f"Database not found: {request.url_vars['database']}") from None
    named = tilde_decode(request.url_vars["table"])
    embeddings: list[EmbeddingConfig] = await db.execute_fn(lambda conn: _embeddings(conn, named))
    table = embeddings[0].source if embeddings else named
    await datasette.ensure_permissions(request.actor, _view(db.name, table))
    allowed = await datasette.permission_allowed(
        request.actor, "vss-search", resource=(db.name, table), default=True
    )
    if not allowed:
        raise Forbidden("vss-search")
    if not embeddings:
        raise NotFound(f"Table {named} has no embeddings")
    chosen = next((one for one in embeddings if one.name == request.args.get("_embeddings")), embeddings[0])
    asked = _arguments(request, chosen, embeddings)
    if asked.wheres:
        await datasette.ensure_permissions(request.actor, [("execute-sql", db.name)])
    answer = await _answer(datasette, db, chosen, asked)
    facets = await facets_of(datasette, db, chosen, asked.facets, asked.where, asked.params, request)
    state = await _limited(datasette, db, lambda conn: status(conn, chosen.name)[0])
    if request.url_vars["json"]:
        return _as_json(datasette, db, chosen, asked, answer, facets, state)
    _, private = await datasette.check_visibility(request.actor, permissions=_view(db.name, table))
    context = _context(datasette, request, db, embeddings, chosen, asked, answer, facets, state)
    html = await datasette.render_template(
        "vssnative_search.html", {**context, "private": private}, request=request
    )
    return Response.html(html, status=answer.code)


def _embeddings(conn: Any, table: str) -> list[EmbeddingConfig]:
    if not installed_version(conn, to_read=True):
        return []
    return [one for one in load_embeddings(conn, to_read=True) if one.source.lower() == table.lower()]


def _arguments(request: Any, chosen: EmbeddingConfig, embeddings: Sequence[EmbeddingConfig]) -> _Asked:
    # As on the table's own page: what does not begin with an underscore is a filter.
    pairs = [
        (key, value)
        for key in request.args
        if not (key.startswith("_") and "__" not in key)
        for value in request.args.getlist(key)
    ]
    filters = Filters(sorted(pairs))
    clauses, params = filters.build_where_clauses(chosen.source)
    wheres = request.args.getlist("_where")
    size = request.args.get("_size") or str(_SIZE)
    return _Asked(
        query=(request.args.get("_q") or "").strip(),
        similar=request.args.get("_similar"),
        mode=request.args.get("_mode") or None,
        size=_MOST if size == "max" else min(int(size), _MOST) if _is_size(size) else _SIZE,
        next=request.args.get("_next"),
        facets=request.args.getlist("_facet"),
        filters=filters,
        where=" and ".join(f"({clause}\n)" for clause in [*clauses, *wheres]) or None,
        wheres=wheres,
        params=params,
        problem=_problem(request, size, embeddings),
    )


def _is_size(size: str) -> bool:
    return size == "max" or (size.isdecimal() and len(size) < 9 and int(size) > 0)


def _problem(request: Any, size: str, embeddings: Sequence[EmbeddingConfig]) -> str | None:
    """What of an address has no meaning: left out without a word, the answer would be that of another question."""
    mode, named = request.args.get("_mode"), request.args.get("_embeddings")
    names = [one.name for one in embeddings]
    if not _is_size(size):
        return f"_size: expected a number of rows, 1 to {_MOST}, or max, got {size!r}"
    if mode and mode not in _MODES:
        return f"_mode: expected one of {', '.join(_MODES)}, got {mode!r}"
    if named and named not in names:
        return f"_embeddings: expected one of {', '.join(names)}, got {named!r}"
    for key in request.args:
        if key in ("_search", "_through") or key.startswith("_search_"):
            return f"{key}: the search page has no such filter; _q is what to look for, _where a condition in SQL"
    return None


async def _answer(datasette: Any, db: Any, embedding: EmbeddingConfig, asked: _Asked) -> _Answer:
    if asked.problem is not None:
        return _Answer(error=asked.problem, code=400)
    if not asked.query and asked.similar is None:
        return _Answer()
    milliseconds = datasette.setting("sql_time_limit_ms")
    label = await db.label_column_for_table(embedding.source)

    def work(conn: Any) -> _Answer:
        _check_filters(conn, embedding.source, asked.filters)
        common: dict[str, Any] = {
            "k": asked.size,
            "where": asked.where,
            "params": asked.params,
            "page": asked.next,
        }
        origin = ""
        if asked.similar is not None:
            with sqlite_timelimit(conn, milliseconds):
                results, origin = _similar(conn, embedding, asked.similar, label, common)
        else:
            embedder = None
            if asked.mode != "text":
                # The model is given all the time it needs; SQL is not.
                [vector] = query_vectors(embedding.active, [asked.query], None)
                embedder = KnownQuery(embedding.active, asked.query, vector)
            with sqlite_timelimit(conn, milliseconds):
                results = search(
                    conn,
                    embedding.name,
                    asked.query,
                    mode=asked.mode,  # type: ignore[arg-type]
                    embedder=embedder,
                    **common,
                )
        words = asked.query if asked.similar is None else ""
        return _Answer(results, origin, [shown_of(one, embedding, label, words) for one in results])

    try:
        answer: _Answer = await db.execute_fn(work)
    except EmbeddingError as error:
        return _Answer(error=f"The model cannot be used: {error}", code=503)
    except VssError as error:
        interrupted = "interrupted" in str(error)
        return _Answer(error="The search took too long." if interrupted else str(error), code=400)
    except Exception as error:
        if "interrupted" in str(error):
            return _Answer(error="The search took too long.", code=400)
        if type(error).__name__ not in ("OperationalError", "DatabaseError"):
            raise
        return _Answer(error=str(error), code=400)
    return answer


def _check_filters(conn: Any, table: str, filters: Any) -> None:
    """SQLite takes a quoted name that is no column for a text, which would find nothing without a word."""
    columns = {row[1].lower() for row in execute(conn, f"pragma main.table_xinfo({quote_identifier(table)})")}
    lookups = [lookup for lookup, _, _ in filters.lookups()]
    for column, lookup, _ in filters.selections():
        if lookup not in lookups:
            raise QueryError(
                f"{column}__{lookup}: expected one of {', '.join(lookups)} after the underscores"
            )
        if column.lower() not in {*columns, "rowid"}:
            raise QueryError(f"{table} has no column {column!r} to filter by")


def _similar(
    conn: Any, embedding: EmbeddingConfig, token: str, label: str | None, common: dict[str, Any]
) -> tuple[Results, str]:
    """Rows like a row, and that row's heading.

    What stands for its key in a URL is text; keys without a declared type may be numbers.
    """
    key: tuple[Any, ...] = tuple(urlsafe_components(token))
    numbers = tuple(int(part) if part.lstrip("-").isdecimal() else part for part in key)
    try:
        results = search(conn, embedding.name, similar_to=key, **common)
    except QueryError as error:
        if numbers == key or "has no row" not in str(error):
            raise
        key = numbers
        results = search(conn, embedding.name, similar_to=key, **common)
    return results, heading_of(row_of(conn, embedding, key), embedding, label)[1] or ", ".join(map(str, key))


async def _limited(datasette: Any, db: Any, work: Callable[[Any], Any]) -> Any:
    """What is nice to have, within a facet's time; else None."""
    milliseconds = datasette.setting("facet_time_limit_ms")

    def limited(conn: Any) -> Any:
        with sqlite_timelimit(conn, milliseconds):
            return work(conn)

    try:
        return await db.execute_fn(limited)
    except QueryInterrupted:
        return None
    except Exception as error:
        if "interrupted" not in str(error):
            raise
        return None


def _context(
    datasette: Any,
    request: Any,
    db: Any,
    embeddings: Sequence[EmbeddingConfig],
    embedding: EmbeddingConfig,
    asked: _Asked,
    answer: _Answer,
    facets: Sequence[Facet],
    state: Status | None,
) -> dict[str, Any]:
    page = path_of(datasette, db.name, embedding.source)
    table_url = str(datasette.urls.table(db.name, embedding.source))
    hits = []
    for shown in answer.shown:
        path = ",".join(tilde_encode(str(part)) for part in _key(shown.result))
        kept = path_with_replaced_args(
            request, {"_similar": path, "_q": None, "_next": None, "_mode": None}, path=page
        )
        hits.append(
            {
                "shown": shown,
                "url": f"{table_url}/{path}",
                "similar_url": kept,
                "is_origin": path == asked.similar,
            }
        )
    next_page = answer.results.next_page if answer.results is not None else None
    # Filters and the like stay when another text is looked for.
    hidden = [
        (key, value)
        for key in request.args
        if key not in ("_q", "_mode", "_similar", "_next", "_embeddings")
        for value in request.args.getlist(key)
    ]
    return {
        "database": db.name,
        "table": embedding.source,
        "embeddings": [one.name for one in embeddings],
        "embedding": embedding.name,
        "fields": [field.name for field in embedding.active.fields],
        "page_url": page,
        "table_url": table_url,
        "json_url": path_with_replaced_args(request, {}, path=f"{page}.json"),
        "query": asked.query,
        "similar": answer.origin or asked.similar,
        "similar_url": None if asked.similar is None else f"{table_url}/{asked.similar}",
        "mode": asked.mode or ("hybrid" if embedding.full_text is not None else "vector"),
        "modes": _MODES if embedding.full_text is not None else {},
        "hidden_args": hidden,
        "filter_words": asked.filters.human_description_en(),
        "facets": facets,
        "hits": hits,
        "answered": answer.results is not None,
        "error": answer.error,
        "next_url": None if next_page is None else path_with_replaced_args(request, {"_next": next_page}),
        "status": state,
        "color": _COLOR,
    }


def _key(result: Result) -> tuple[Any, ...]:
    return result.key if isinstance(result.key, tuple) else (result.key,)


def _as_json(
    datasette: Any,
    db: Any,
    embedding: EmbeddingConfig,
    asked: _Asked,
    answer: _Answer,
    facets: Sequence[Facet],
    state: Status | None,
) -> Response:
    results = answer.results
    body = {
        "ok": answer.error is None,
        "database": db.name,
        "table": embedding.source,
        "embeddings": embedding.name,
        "query": asked.query or None,
        "similar": asked.similar,
        "rows": [
            {
                "rank": one.rank,
                "key": one.key,
                "distance": None if math.isinf(one.distance) else one.distance,
                "score": None if math.isinf(one.score) else one.score,
                "column": one.column,
                "passage": one.passage,
                "stale": one.stale,
                "text_rank": one.text_rank,
                "row": one.row,
            }
            for one in results or ()
        ],
        "next": None if results is None else results.next_page,
        "pending": None if results is None else results.pending,
        "facets": {facet.name: [dataclasses.asdict(value) for value in facet.values] for facet in facets},
        "status": None if state is None else dataclasses.asdict(state),
    }
    if answer.error is not None:
        body["error"] = answer.error
    headers: dict[str, str] = {}
    if datasette.cors:
        add_cors_headers(headers)
    return Response(
        json.dumps(body, cls=CustomJSONEncoder, ensure_ascii=False),
        status=answer.code,
        headers=headers,
        content_type="application/json; charset=utf-8",
    )
