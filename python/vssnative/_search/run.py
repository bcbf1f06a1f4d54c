"""Search a table by meaning: embed the query with the table's own model, find the nearest rows, return them.

With a full-text index beside it, both rankings are fused: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion
Outperforms Condorcet and Individual Rank Learning Methods", SIGIR 2009.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from .._catalog.content import Unreadable, read_texts
from .._catalog.models import embedder_for
from .._catalog.records import EmbeddingConfig, Field, Generation, load_embedding
from ..connection import (
    Connection,
    driver_error,
    execute,
    in_transaction,
    lists_arrive_whole,
    load,
    transaction,
)
from ..embedding.protocol import Embedder
from ..errors import QueryError, SyncError
from ..sql import check_params, quote_identifier, quote_text
from .column_search import nearest_in_column
from .full_text import text_places

_WIDTH = 60
_DEFAULT_RECALL = 0.95  # vss0's own
_FUSION_CONSTANT = 60  # the paper's
_FUSION_DEPTH = 50

# SQL that selects row numbers, and its parameters.
Candidates = tuple[str, Sequence[object]]


@dataclass(frozen=True)
class Result:
    """A row that was found.

    Attributes:
        rank: 1 for the nearest.
        rowid: the row's number: its INTEGER PRIMARY KEY, or that of the key table.
        distance: by the model's metric, smaller is nearer: 1 - cosine, minus the inner product, or the squared
            Euclidean distance.
        column: the field whose vector was nearest.
        row: the row as it is now, column name to value.
        passage: the part of the text that was nearest, for chunked embeddings; None otherwise.
        stale: the row changed since its vectors were made, and is waiting for sync.
        text_rank: its place in the full-text ranking, where there is one and the row is among its first.
    """

    rank: int
    rowid: int
    distance: float
    column: str
    row: Mapping[str, Any]
    passage: str | None = None
    stale: bool = False
    text_rank: int | None = None


@dataclass(frozen=True)
class Results(Sequence[Result]):
    """The rows found, nearest first; a sequence of ``Result``, and a table for those who want one.

    Attributes:
        items: the results.
        columns: names of the table's columns.
    """

    items: tuple[Result, ...] = ()
    columns: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> Result | Results:
        if isinstance(index, slice):
            return Results(self.items[index], self.columns)
        return self.items[index]

    def __iter__(self) -> Iterator[Result]:
        return iter(self.items)

    def records(self) -> list[dict[str, Any]]:
        """One flat dictionary per row, rank, distance and the table's columns: what pandas.DataFrame takes."""
        return [{"rank": r.rank, "distance": r.distance, **r.row} for r in self.items]

    def __str__(self) -> str:
        """An aligned table, long values cut."""
        header = ["rank", "distance", *self.columns]
        lines = [header]
        for result in self.items:
            values = [_cut(result.row[column]) for column in self.columns]
            lines.append([str(result.rank), f"{result.distance:.4f}", *values])
        widths = [max(len(line[number]) for line in lines) for number in range(len(header))]
        return "\n".join(
            "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


def search(
    conn: Connection,
    table: str,
    query: str | npt.NDArray[np.float32],
    k: int = 10,
    where: str | None = None,
    params: Sequence[object] = (),
    columns: Sequence[str] | None = None,
    *,
    fresh: bool = False,
    stale: bool = True,
    recall: float | None = None,
    max_distance: float | None = None,
    full_text: str | None = None,
    embedder: Embedder | None = None,
) -> Results:
    """The k rows of a table that are nearest to a text.

    Where a row has several vectors (columns, passages) its nearest counts. Deleted rows never appear, nor does a new
    row with vectors of an earlier one under the same key; what the caller's own transaction deleted counts as
    deleted. All is read in one snapshot.

    Args:
        conn: any supported connection; vss0 is loaded into it.
        table: the embeddings' name, or the name of a table that has only one.
        query: a text, or a vector of the model: float32 (dim,).
        k: how many rows. So many come back whenever so many match, whatever `where` says.
        where: SQL over the user's table, with ``?`` for `params`: only rows for which it holds.
        columns: only these embedded columns; None for all.
        fresh: embed what is pending first. Needs the connection outside of a transaction.
        stale: whether rows that changed since they were embedded are returned, marked; they are found by their
            earlier text. False leaves them out.
        recall: share of the true neighbours wanted, 1.0 for exact; None for the table's default.
        max_distance: leave out what is farther.
        full_text: an FTS5 table of yours over the same rows (its rowid is the row's number): rank by both, a row
            that either finds can be among the k.
        embedder: the model, where it cannot be built from its record.

    Raises:
        QueryError: k is no number of rows, the vector has not the model's length, `where` is refused by SQLite, or
            `params` has not one value for each ``?`` of it.
        MigrationError: there are no such embeddings or columns.
        EmbeddingError: the model is not the one that made the vectors, or failed.
        SyncError: `fresh` within a transaction.
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise QueryError(f"k must be a number of rows, 1 or more, not {k!r}")
    check_params(where, params)
    load(conn)
    if fresh:
        from .._sync.run import sync

        if in_transaction(conn):
            raise SyncError(
                "search(fresh=True) embeds first, which needs the connection outside of a transaction"
            )
        sync(conn, table, embedder=embedder)
    embedding = load_embedding(conn, table)
    vector = _query_vector(embedding.active, query, embedder)
    if full_text is not None and not isinstance(query, str):
        raise QueryError("full_text needs the query as a text")

    def answer(embedding: EmbeddingConfig, vector: npt.NDArray[np.float32]) -> Results:
        _require_table(conn, embedding)
        candidates = None if where is None else (embedding.matching_sql(where), params)
        wanted = int(k) if full_text is None else max(_FUSION_DEPTH, 2 * int(k))
        hits = _hits(conn, embedding, vector, wanted, candidates, columns, stale, recall, max_distance)
        places: dict[int, int] = {}
        if full_text is not None and isinstance(query, str):
            places = text_places(conn, embedding, full_text, query, wanted, candidates, stale)
            others = ("select value from json_each(?)", (json.dumps(sorted(places)),))
            known = {hit.row_id for hit in hits}
            beside = _hits(
                conn, embedding, vector, len(places) or 1, others, columns, stale, 1.0, max_distance
            )
            hits = _fused([*hits, *(hit for hit in beside if hit.row_id not in known)], len(hits), places)
        return _results(conn, embedding, hits[: int(k)], places)

    if in_transaction(conn):
        return answer(embedding, vector)
    with transaction(conn, "DEFERRED"):
        # Asked again: a switch of models between two snapshots would compare vectors of two models.
        now = load_embedding(conn, table)
        if now.active.id != embedding.active.id:
            vector = _query_vector(now.active, query, embedder)
        return answer(now, vector)


def _require_table(conn: Connection, embedding: EmbeddingConfig) -> None:
    """Name what is missing, rather than leave it to SQLite's words about a statement of ours."""
    sql = "select 1 from main.sqlite_master where type = 'table' and name = ? collate nocase"
    if not execute(conn, sql, (embedding.source,)):
        raise QueryError(
            f"search of {embedding.name}: its table {embedding.source} is gone; if it was renamed, the next sync follows"
        )
    vectors = embedding.active.vss_table
    if vectors is not None and not execute(conn, sql, (vectors,)):
        raise QueryError(
            f"search of {embedding.name}: its table of vectors {vectors} is gone; the next sync builds it anew"
        )


def _query_vector(
    generation: Generation, query: str | npt.NDArray[np.float32], given: Embedder | None
) -> npt.NDArray[np.float32]:
    if not isinstance(query, str):
        vector = np.ascontiguousarray(query, dtype=np.float32)
        if vector.shape != (generation.dim,):
            raise QueryError(
                f"query: expected a text or a vector of shape ({generation.dim},), got shape {vector.shape}"
            )
        return vector
    if not query.strip():
        raise QueryError("query: expected a text, got an empty one")
    embedder = embedder_for(generation, () if given is None else (given,))
    return np.ascontiguousarray(embedder.embed_queries([query])[0], dtype=np.float32)


@dataclass(frozen=True)
class _Hit:
    distance: float
    row_id: int
    field: Field
    passage: int | None = None


def _hits(
    conn: Connection,
    embedding: EmbeddingConfig,
    vector: npt.NDArray[np.float32],
    k: int,
    candidates: Candidates | None,
    columns: Sequence[str] | None,
    stale: bool,
    recall: float | None,
    max_distance: float | None,
) -> list[_Hit]:
    """The k nearest rows, each by its best field, nearest first."""
    generation = embedding.active
    fields = generation.fields if columns is None else tuple(generation.field(name) for name in columns)
    best: dict[int, _Hit] = {}
    for text_field in fields:
        if generation.vss_table is None:
            hits = [
                _Hit(distance, row_id, text_field)
                for row_id, distance in nearest_in_column(
                    conn, embedding, text_field, vector, k, candidates, stale
                )
            ]
        else:
            hits = _nearest(conn, embedding, generation, text_field, vector, k, candidates, stale, recall)
        for hit in hits:
            if max_distance is not None and hit.distance > max_distance:
                continue
            known = best.get(hit.row_id)
            if known is None or hit.distance < known.distance:
                best[hit.row_id] = hit
    return sorted(best.values(), key=lambda hit: (hit.distance, hit.row_id))[:k]


def _fused(hits: Sequence[_Hit], ranked: int, places: Mapping[int, int]) -> list[_Hit]:
    """By the sum of 1 / (60 + place) over both rankings; equal sums by distance.

    Args:
        ranked: so many of `hits`, the first, are the ranking by vectors.
        places: row number to place, from 1, in the ranking by words.
    """
    scores: dict[int, float] = {}
    for place, hit in enumerate(hits[:ranked], 1):
        scores[hit.row_id] = 1 / (_FUSION_CONSTANT + place)
    for row_id, place in places.items():
        scores[row_id] = scores.get(row_id, 0.0) + 1 / (_FUSION_CONSTANT + place)
    return sorted(hits, key=lambda hit: (-scores[hit.row_id], hit.distance, hit.row_id))


def _nearest(
    conn: Connection,
    embedding: EmbeddingConfig,
    generation: Generation,
    text_field: Field,
    vector: npt.NDArray[np.float32],
    k: int,
    candidates: Candidates | None,
    stale: bool,
    recall: float | None,
) -> list[_Hit]:
    """The k nearest rows that count, by one field. Asks for more where rows that do not count took their places."""
    rows, filtered, params = "", "", ()  # type: tuple[str, str, Sequence[object]]
    old_lists = False
    if candidates is not None:
        rows, params = candidates
        if generation.chunk is not None:
            rows = (
                f"select id from vssnative_passages where generation = {generation.id}"
                f" and field = {quote_text(text_field.name)} and row_id in ({rows})"
            )
        filtered = f" and rowid in ({rows})"
        old_lists = not lists_arrive_whole(conn)
    column = quote_identifier(text_field.vector_column)
    table = f"main.{quote_identifier(generation.vss_table or '')}"
    wanted = k
    while True:
        condition = f"{column} match ? and k = {wanted}{filtered}"
        share = _DEFAULT_RECALL if recall is None else float(recall)
        if old_lists:
            among = f"(with matching(id) as ({rows}) select json_group_array(id) from matching)"
            condition = f"{column} match vss_search_params(?, {wanted}, {share!r}, {among})"
        elif recall is not None:
            condition += f" and recall = {share!r}"
        sql = f"select rowid, distance from {table} where {condition}"
        try:
            found = execute(conn, sql, (vector.tobytes(), *params))
        except driver_error(conn) as error:
            raise QueryError(f"search of {embedding.name}: {error}") from error
        hits = _live_hits(conn, embedding, generation, text_field, found, stale)
        if len(hits) >= k or len(found) < wanted:
            return hits[:k]
        wanted *= 2


def _live_hits(
    conn: Connection,
    embedding: EmbeddingConfig,
    generation: Generation,
    text_field: Field,
    found: Sequence[tuple[int, float]],
    stale: bool,
) -> list[_Hit]:
    """Found numbers as rows: passages give way to their row, deleted and replaced rows are left out."""
    passages: dict[int, int] = {}
    if generation.chunk is not None:
        passages = dict(
            execute(
                conn,
                "select id, row_id from vssnative_passages where id in (select value from json_each(?))",
                (json.dumps([row[0] for row in found]),),
            )
        )
    rows = [(passages.get(number), number, distance) for number, distance in found]
    if generation.chunk is None:
        rows = [(number, number, distance) for number, distance in found]
    ids = json.dumps([row_id for row_id, _, _ in rows if row_id is not None])
    row_id_sql = embedding.row_id_sql("t")
    there = {
        row[0]
        for row in execute(
            conn,
            f"select {row_id_sql} from {embedding.rows_sql('t')}"
            f" where {row_id_sql} in (select value from json_each(?))",
            (ids,),
        )
    }
    there -= {
        row[0]
        for row in execute(
            conn,
            "select row_id from vssnative_queue where embedding = ? and row_id in (select value from json_each(?))"
            " and (gone = 1 or (? and priority = 0))",
            (embedding.id, ids, int(not stale)),
        )
    }
    hits: dict[int, _Hit] = {}
    for row_id, number, distance in rows:
        if row_id is not None and row_id in there and row_id not in hits:
            passage = number if generation.chunk is not None else None
            hits[row_id] = _Hit(float(distance), row_id, text_field, passage)
    return list(hits.values())


def _results(
    conn: Connection, embedding: EmbeddingConfig, hits: Sequence[_Hit], places: Mapping[int, int]
) -> Results:
    generation = embedding.active
    info = execute(conn, f"pragma main.table_xinfo({quote_identifier(embedding.source)})")
    blobs = {f.blob_column.lower() for f in generation.fields} if embedding.uses_columns else set()
    columns = tuple(row[1] for row in info if row[6] != 1 and row[1].lower() not in blobs)
    ids = json.dumps([hit.row_id for hit in hits])
    row_id_sql = embedding.row_id_sql("t")
    selected = ", ".join(f"t.{quote_identifier(column)}" for column in columns)
    rows = {
        row[0]: dict(zip(columns, row[1:], strict=True))
        for row in execute(
            conn,
            f"select {row_id_sql}, {selected} from {embedding.rows_sql('t')}"
            f" where {row_id_sql} in (select value from json_each(?))",
            (ids,),
        )
    }
    waiting = {
        row[0]
        for row in execute(
            conn,
            "select row_id from vssnative_queue where embedding = ? and priority = 0"
            " and row_id in (select value from json_each(?))",
            (embedding.id, ids),
        )
    }
    return Results(
        tuple(
            Result(
                rank,
                hit.row_id,
                hit.distance,
                hit.field.name,
                rows[hit.row_id],
                _passage_text(conn, embedding, generation, hit, hit.row_id in waiting),
                hit.row_id in waiting,
                places.get(hit.row_id),
            )
            for rank, hit in enumerate(hits, 1)
        ),
        columns,
    )


def _passage_text(
    conn: Connection, embedding: EmbeddingConfig, generation: Generation, hit: _Hit, waiting: bool
) -> str | None:
    """The passage's text; None where the text changed since, so that the places do not fit any more."""
    if hit.passage is None or waiting:
        return None
    [(start, stop)] = execute(conn, "select start, stop from vssnative_passages where id = ?", (hit.passage,))
    text = read_texts(conn, embedding, generation, [hit.row_id])[hit.row_id][hit.field.name]
    return None if text is None or isinstance(text, Unreadable) else text[start:stop]


def _cut(value: object) -> str:
    text = "" if value is None else str(value).replace("\n", " ")
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


__all__ = ["Result", "Results", "search"]
