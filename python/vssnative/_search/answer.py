"""The answer to one query, within a snapshot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .._connection import Connection, execute
from .current import Current, at_most, check_vectors
from .pages import check_generation, write_page
from .query import Vector
from .rankings.both import by_both, measured
from .rankings.full_text import Words, text_places
from .rankings.vectors import Hit, Limits, nearest_rows
from .request import Request
from .results import Results
from .rows import results_of, selected_columns, similarity

_MOST_PENDING = 10_000


@dataclass(frozen=True)
class Asked:
    """One query.

    Attributes:
        digest: ``search_digest`` of the search.
        vectors: what to be near to, by field; None for a search by words alone.
        text: words to look for.
        words: where to look for them; None for a search by vectors alone.
        leave_out: the number of a row that is no answer.
    """

    digest: str
    vectors: Mapping[str, Vector] | None
    text: str | None = None
    words: Words | None = None
    leave_out: int | None = None


def answer(conn: Connection, now: Current, request: Request, asked: Asked, among: str | None) -> Results:
    """The rows that one query finds.

    Args:
        among: the numbers of the rows that count, as a JSON array; None for all.
    """
    embedding = now.embedding
    if asked.vectors is not None:
        check_generation(embedding, request)
    check_vectors(now)
    columns = selected_columns(now, request.select)
    last = request.offset + request.k
    # One more tells whether there is another page.
    wanted = last + 1 + (asked.leave_out is not None)
    limits = Limits(among, request.stale, now.watched, request.recall, request.max_distance)
    places: dict[int, int] = {}
    scored: list[tuple[Hit, float]]
    start = request.offset
    if asked.text is not None and asked.words is not None and asked.vectors is not None:
        scored, places = by_both(conn, embedding, asked.vectors, asked.words, asked.text, request, limits)
    elif asked.text is not None and asked.words is not None:
        rows = at_most(conn, embedding, wanted)
        ranked = text_places(conn, embedding, asked.words, asked.text, rows, among, request.stale)
        places = {number: place for place, (number, _) in enumerate(ranked, 1)}
        scored = [(Hit(math.inf, number, None), -rank) for number, rank in ranked]
    else:
        rows = at_most(conn, embedding, wanted)
        hits = nearest_rows(conn, embedding, asked.vectors or {}, rows, limits)
        metric = embedding.active.metric
        scored = [(hit, similarity(hit.distance, metric)) for hit in hits if hit.row_id != asked.leave_out]
        after = None if request.page is None else request.page.after
        if after is not None:
            # An approximate search of more rows may order in one that the page before did not know of.
            scored = [pair for pair in scored if (pair[0].distance, pair[0].row_id) > after]
            start = 0
    shown = scored[start : start + request.k]
    if asked.vectors is not None and places:
        hits = measured(conn, embedding, asked.vectors, [hit for hit, _ in shown], limits)
        shown = [(hit, score) for hit, (_, score) in zip(hits, shown, strict=True)]
    [(pending,)] = execute(
        conn,
        f"select count(*) from (select 1 from vssnative_queue where embedding = ? limit {_MOST_PENDING})",
        (embedding.id,),
    )
    more = len(scored) > start + request.k
    return Results(
        results_of(conn, now, shown, places, columns, request.offset + 1),
        columns,
        embedding.key_columns,
        int(pending),
        write_page(last, request, shown, asked.digest, embedding.active.id) if more else None,
    )
