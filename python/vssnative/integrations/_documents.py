"""Texts with metadata and vectors under text ids: the tables of the stores that other worlds ask for.

An ordinary table holds id, text and metadata (JSON); a vss0 table beside it, ``vss_<table>``, the vectors under the same
rowids; where words are searched too, an FTS5 table, ``vss_words_<table>``, kept by triggers; and, where the model is one of
this package, ``vss_model_<table>``, which records the model that made the vectors.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._connection import Connection, create_function, execute
from .._index import Index, are_found
from .._index.checks import checked_metric
from .._search.rankings.full_text import any_of_terms, terms_of
from .._search.rankings.trigrams import is_trigram, parts_of, spellings_of, weight_of
from .._sql import quote_identifier, quote_text
from ..embedding.precision import comparable
from ..embedding.protocol import Embedder
from ..errors import ConfigurationError, DimensionError, QueryError
from ._metadata import EVERY, LOWER, Condition, to_json

Vectors = npt.NDArray[np.float32]

_COLUMNS = frozenset(("id", "key", "text", "metadata"))


class Row(NamedTuple):
    """A stored text. `number` is its rowid."""

    number: int
    key: str
    text: str
    metadata: dict[str, Any]


class Documents:
    """One table of texts.

    Args:
        table: its name; made at the first ``add``.
        metric: of a new table, ``"cosine"`` if None; one that exists must have it, if it is given.
        words: keep an FTS5 table too.
        tokenizer: of a new FTS5 table, as FTS5 writes it; None for its own choice.
        indexed: a key of the metadata that has an index.
        model: what makes the vectors, where that is a model of this package.

    Raises:
        ConfigurationError: there is no such metric. From every method: `table` is a table of another kind.
    """

    def __init__(
        self,
        table: str,
        metric: str | None = None,
        *,
        words: bool = False,
        tokenizer: str | None = None,
        indexed: str | None = None,
        model: Embedder | None = None,
    ) -> None:
        self.table = table
        self._metric = None if metric is None else checked_metric(metric)
        self._has_words = words
        self._tokenizer = tokenizer
        self._indexed = indexed
        self._model = model
        self._sql = quote_identifier(table)
        self._vectors = f"vss_{table}"
        self._words = quote_identifier(f"vss_words_{table}")
        self._models = quote_identifier(f"vss_model_{table}")

    def add(
        self,
        conn: Connection,
        keys: Sequence[str],
        texts: Sequence[str],
        metadatas: Sequence[dict[str, Any]],
        matrix: Vectors,
    ) -> None:
        """Store texts with their vectors, float32 (n, dim); an id that is there is replaced, of one that comes twice the last
        counts. To be called within a transaction.

        Raises:
            QueryError: metadata that JSON cannot hold.
            DimensionError, InvalidVectorError: vectors that the table cannot hold.
            ConfigurationError: the table has another metric, or vectors of another model.
        """
        self._make(conn)
        self._forget_empty(conn, matrix.shape[1])
        self._check_dimensions(self.index(conn), matrix.shape[1])
        self._record_model(conn)
        places: dict[int, int] = {}  # row number to its last place
        for place, (key, text, metadata) in enumerate(zip(keys, texts, metadatas, strict=True)):
            execute(
                conn,
                f"insert into {self._sql}(key, text, metadata) values (?, ?, ?) on conflict(key) do update"
                " set text = excluded.text, metadata = excluded.metadata",
                (key, text, to_json(metadata)),
            )
            [(number,)] = execute(conn, f"select id from {self._sql} where key = ?", (key,))
            places[number] = place
        self.index(conn).add(list(places), matrix[list(places.values())], replace=True)

    def delete(self, conn: Connection, condition: Condition) -> int:
        """Delete the texts for which it holds; how many there were. To be called within a transaction."""
        if not self._is_there(conn):
            return 0
        where = f"where {condition.sql}"
        self._prepare(conn, condition)
        numbers = [row[0] for row in execute(conn, f"select id from {self._sql} {where}", condition.params)]
        self.index(conn).remove(numbers)
        execute(conn, f"delete from {self._sql} {where}", condition.params)
        return len(numbers)

    def select(self, conn: Connection, condition: Condition) -> list[Row]:
        """The texts for which it holds, in the order of their adding."""
        if not self._is_there(conn):
            return []
        self._prepare(conn, condition)
        sql = f"select id, key, text, metadata from {self._sql} where {condition.sql} order by id"
        return [_row(row) for row in execute(conn, sql, condition.params)]

    def nearest(
        self, conn: Connection, vector: Any, k: int, condition: Condition = EVERY, recall: float | None = None
    ) -> list[tuple[Row, float]]:
        """The k nearest texts for which it holds, with their distances; k come back whenever k match.

        Raises:
            ConfigurationError: the table has another metric, or vectors of another model.
            DimensionError: the vector has another length than those of the table.
            QueryError: `k` is not a whole number.
        """
        if not self._is_there(conn) or whole_number(k) < 1:
            return []
        where, params = None, ()  # type: tuple[str | None, tuple[Any, ...]]
        if condition != EVERY:
            self._prepare(conn, condition)
            where, params = f"rowid in (select id from {self._sql} where {condition.sql})", condition.params
        index = self.index(conn)
        if index.dim is None or not len(index):
            return []
        self._check_model(conn)
        query = np.asarray(vector, np.float32)
        self._check_dimensions(index, query.shape[-1] if query.ndim else 0)
        found, distances = index.search(query, k, where=where, params=params, recall=recall)
        there = are_found(found, distances)
        rows = self._by_number(conn, found[there].tolist())
        return [
            (rows[number], distance)
            for number, distance in zip(found[there].tolist(), distances[there].tolist(), strict=True)
            if number in rows
        ]

    def by_words(
        self, conn: Connection, query: str, k: int, condition: Condition = EVERY
    ) -> list[tuple[Row, float]]:
        """The k texts that hold any of the words, best first, with BM25 as SQLite counts it: smaller is better."""
        if not self._is_there(conn) or whole_number(k) < 1:
            return []
        self._prepare(conn, condition)
        sql = "select sql from sqlite_master where name = ? collate nocase"
        declared = execute(conn, sql, (f"vss_words_{self.table}",))
        terms, short = terms_of(query), ()  # type: Sequence[str], Sequence[str]
        if declared and is_trigram(declared[0][0]):
            terms, short = parts_of(terms)
        ranks: dict[int, float] = {}
        among = f"(select id from {self._sql} where {condition.sql})"
        if (match := any_of_terms(terms)) is not None:
            sql = f"select rowid, rank from {self._words} where {self._words} match ? and rowid in {among}"
            limit = " order by rank, rowid limit ?" if not short else " and ? is not null"
            ranks.update(execute(conn, sql + limit, (match, *condition.params, k)))
        if short:
            # Too short for the index: they are looked for in every text.
            weights: list[tuple[int, float]] = []
            for spelt in spellings_of(short, 1):
                sql = f"select id, {weight_of(['text'], len(spelt))} as weight from {self._sql}"
                rows_with = execute(conn, f"select id, weight from ({sql}) where weight > 0", spelt)
                weights += [(row[0], row[1]) for row in rows_with]
            wanted = {
                row[0]
                for row in execute(
                    conn, f"select id from {self._sql} where {condition.sql}", condition.params
                )
            }
            for number, weight in weights:
                if number in wanted:
                    ranks[number] = ranks.get(number, 0.0) - weight
        best = sorted(ranks.items(), key=lambda pair: (pair[1], pair[0]))[:k]
        rows = self._by_number(conn, [number for number, _ in best])
        return [(rows[number], rank) for number, rank in best if number in rows]

    def vectors(self, conn: Connection, rows: Sequence[Row]) -> Vectors:
        """The stored vectors of rows: float32 (n, dim)."""
        return np.asarray(self.index(conn).get([row.number for row in rows]), np.float32)

    def index(self, conn: Connection) -> Index:
        """The vectors, under the rows' numbers.

        Raises:
            ConfigurationError: the table has another metric.
        """
        metric = self._metric
        if metric is None and not self._has(conn, self._vectors):
            metric = "cosine"
        return Index(conn, self._vectors, metric=metric)

    def _check_dimensions(self, index: Index, dim: int) -> None:
        if index.dim not in (None, dim):
            raise DimensionError(
                f"table {self.table!r} holds vectors of {index.dim} dimensions, and these have {dim}: they are of another model."
                " Give the model that the texts were added with, or another table."
            )

    def _forget_empty(self, conn: Connection, dim: int) -> None:
        """Drop a table of vectors that has none left and is of other dimensions: the next model makes its own."""
        index = self.index(conn)
        if index.dim not in (None, dim) and not len(index):
            execute(conn, f"drop table {quote_identifier(self._vectors)}")

    def _check_model(self, conn: Connection) -> bool:
        """Refuse vectors of another model than that of the stored ones; whether a model is recorded."""
        if self._model is None or not self._has(conn, f"vss_model_{self.table}"):
            return False
        for name, digest in execute(conn, f"select name, digest from {self._models}"):
            if not comparable(digest, self._model.digest):
                raise ConfigurationError(
                    f"table {self.table!r}: its vectors were made by model {name} with digest {digest[:12]}, not by"
                    f" {self._model.name} with digest {self._model.digest[:12]}; vectors of two models cannot be"
                    " compared. Give that model, or another table."
                )
            return True
        return False

    def _record_model(self, conn: Connection) -> None:
        """Record what makes the vectors, where nothing is recorded or no vector is left; another model is refused."""
        if not len(self.index(conn)) and self._has(conn, f"vss_model_{self.table}"):
            execute(conn, f"delete from {self._models}")
        if self._model is None or self._check_model(conn):
            return
        execute(conn, f"create table if not exists {self._models}(name text not null, digest text not null)")
        execute(conn, f"insert into {self._models} values (?, ?)", (self._model.name, self._model.digest))

    def _by_number(self, conn: Connection, numbers: Sequence[int]) -> dict[int, Row]:
        rows = execute(
            conn,
            f"select id, key, text, metadata from {self._sql} where id in (select value from json_each(?))",
            (json.dumps(list(numbers)),),
        )
        return {row[0]: _row(row) for row in rows}

    def _has(self, conn: Connection, name: str) -> bool:
        return bool(execute(conn, "select 1 from sqlite_master where name = ? collate nocase", (name,)))

    def _is_there(self, conn: Connection) -> bool:
        columns = [row[0] for row in execute(conn, "select name from pragma_table_info(?)", (self.table,))]
        if columns and not _COLUMNS <= {column.lower() for column in columns}:
            raise ConfigurationError(
                f"table {self.table!r} exists and is not a vector store's: expected columns id, key, text, metadata, got"
                f" {', '.join(columns)}. Give the store another table name; tables of your own get embeddings by"
                " vssnative.add_embeddings."
            )
        return bool(columns)

    def _prepare(self, conn: Connection, condition: Condition) -> None:
        if LOWER in condition.sql:
            create_function(conn, LOWER, str.lower)

    def _make(self, conn: Connection) -> None:
        if not self._is_there(conn):
            execute(
                conn,
                f"create table if not exists {self._sql}"
                "(id integer primary key, key text not null unique, text text not null, metadata text not null)",
            )
            if self._indexed is not None:
                path = quote_text(f'$."{self._indexed}"')
                name = quote_identifier(f"vss_{self._indexed}_{self.table}")
                execute(
                    conn, f"create index if not exists {name} on {self._sql}(json_extract(metadata, {path}))"
                )
        if self._has_words and not self._has(conn, f"vss_words_{self.table}"):
            self._make_words(conn)

    def _make_words(self, conn: Connection) -> None:
        words, content = self._words, quote_text(self.table)
        tokenizer = "" if self._tokenizer is None else f", tokenize={quote_text(self._tokenizer)}"
        execute(
            conn,
            f"create virtual table {words} using fts5(text, content={content}, content_rowid=id{tokenizer})",
        )
        add = f"insert into {words}(rowid, text) values (new.id, new.text);"
        remove = f"insert into {words}({words}, rowid, text) values ('delete', old.id, old.text);"
        for event, body in (("insert", add), ("delete", remove), ("update", remove + add)):
            name = quote_identifier(f"vss_words_{self.table}_{event}")
            execute(conn, f"create trigger {name} after {event} on {self._sql} begin {body} end")
        execute(conn, f"insert into {words}({words}) values ('rebuild')")


def refuse_unknown(function: str, options: Mapping[str, Any], *known: str) -> None:
    """Refuse keyword arguments that nobody reads: under another name a filter would be left out without a word.

    Raises:
        ConfigurationError: there is one.
    """
    for name in options:
        raise ConfigurationError(f"{function}: unknown argument {name!r}; expected one of {', '.join(known)}")


def checked_texts(name: str, values: Any, *, show_values: bool = False) -> list[str]:
    """Texts as a list.

    Args:
        name: of the argument, for errors.
        show_values: whether an error shows what is not a text; it always shows the type.

    Raises:
        ConfigurationError: a single text, whose letters would be taken for texts, or a value that is not a text.
    """
    if isinstance(values, (str, bytes)):
        raise ConfigurationError(f"{name}: expected a list of texts, got {values[:40]!r} alone")
    checked = list(values)
    for place, value in enumerate(checked):
        if not isinstance(value, str):
            kind = type(value).__name__
            got = f"{value!r} ({kind})" if show_values else kind
            raise ConfigurationError(f"{name}[{place}]: expected a text, got {got}")
    return checked


def checked_keys(keys: Any) -> list[str]:
    """Ids as a list; errors as of ``checked_texts``."""
    return checked_texts("ids", keys, show_values=True)


def whole_number(k: Any) -> int:
    """A number of rows.

    Raises:
        QueryError: it is not a whole number.
    """
    try:
        return operator.index(k)
    except TypeError:
        raise QueryError(f"k: expected a whole number of rows, got {k!r}") from None


def with_key(keys: Sequence[str]) -> Condition:
    """The texts of these ids.

    Raises:
        ConfigurationError: they are not a list of texts.
    """
    keys = checked_keys(keys)
    return Condition("key in (select value from json_each(?))", (json.dumps(list(keys)),))


def _row(row: Sequence[Any]) -> Row:
    return Row(row[0], row[1], row[2], json.loads(row[3]))
