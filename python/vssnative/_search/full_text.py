"""The ranking by words, from an FTS5 table of the user's own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .._catalog.records import EmbeddingConfig
from ..connection import Connection, driver_error, execute
from ..errors import QueryError
from ..sql import quote_identifier

_WORD = re.compile(r"\w+")


def text_places(
    conn: Connection,
    embedding: EmbeddingConfig,
    full_text: str,
    query: str,
    limit: int,
    candidates: tuple[str, Sequence[object]] | None,
    stale: bool,
) -> dict[int, int]:
    """Row number to place, from 1, of the rows that hold any word of the query, best first by FTS5's own rank (BM25).

    Args:
        full_text: the FTS5 table; its rowid is the row's number.
        query: plain words; FTS5's own syntax has no meaning in it.
        candidates: SQL that selects row numbers, and its parameters: only those.
        stale: whether rows count that changed since they were embedded.

    Raises:
        QueryError: there is no such FTS5 table, or SQLite refuses `candidates`.
    """
    words = _WORD.findall(query)
    if not words:
        return {}
    name = quote_identifier(full_text)
    row_id = embedding.row_id_sql("t")
    sql = (
        f"select f.rowid from main.{name} as f where f.{name} match ?"
        f" and exists (select 1 from {embedding.rows_sql('t')} where {row_id} = f.rowid)"
    )
    params: list[object] = [" OR ".join(f'"{word}"' for word in words)]
    if candidates is not None:
        sql += f" and f.rowid in ({candidates[0]})"
        params += candidates[1]
    if not stale:
        sql += (
            f" and f.rowid not in (select row_id from vssnative_queue"
            f" where embedding = {embedding.id} and priority = 0)"
        )
    try:
        rows = execute(conn, f"{sql} order by f.rank limit {int(limit)}", params)
    except driver_error(conn) as error:
        raise QueryError(f"full_text={full_text!r}: expected an FTS5 table over the rows; {error}") from error
    return {row[0]: place for place, row in enumerate(rows, 1)}
