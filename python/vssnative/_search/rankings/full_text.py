"""The ranking by words, from an FTS5 table: the one kept beside the embeddings, or one of the user's own."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ..._advice import Advice, command
from ..._catalog.records import EmbeddingConfig
from ..._connection import Connection, driver_error, execute
from ..._sql import quote_identifier
from ...errors import QueryError
from .trigrams import Parts, is_trigram, parts_of, spellings_of, weight_of

_PHRASES_REFUSED = "phrase queries are not supported"


@dataclass(frozen=True)
class Words:
    """An FTS5 table over the rows.

    Attributes:
        table: its name.
        own: it is kept by us, under the rows' numbers; else its rowid is that of the user's table.
        trigram: its tokenizer is FTS5's ``trigram``.
    """

    table: str
    own: bool
    trigram: bool = False


def words_of(
    conn: Connection, embedding: EmbeddingConfig, full_text: str | bool | None, mode: str | None
) -> Words | None:
    """The full-text table that a search is to use; None for a search by vectors alone.

    Raises:
        QueryError: there is none, or it is empty, or its rows cannot be told from the table's.
    """
    if mode == "vector" or full_text is False:
        if isinstance(full_text, str) or full_text is True:
            raise QueryError(
                "a search by vectors alone looks at no words",
                advice=Advice(
                    "leave full_text out, or mode='vector'", "leave --full-text out, or --mode vector"
                ),
            )
        if mode not in (None, "vector"):
            raise QueryError(f"a search by mode {mode!r} needs a full-text index, and full_text is False")
        return None
    if isinstance(full_text, str):
        words = Words(
            full_text,
            embedding.full_text is not None and embedding.full_text.table == full_text,
            _is_trigram(conn, full_text),
        )
        if not words.own:
            _check_table(conn, embedding, full_text)
        return words
    if embedding.full_text is not None:
        table = embedding.full_text.table
        return Words(table, True, _is_trigram(conn, table))
    if full_text is True or mode is not None:
        raise QueryError(
            f"{embedding.name} has no full-text index",
            advice=Advice(
                "add_embeddings(..., full_text=True) makes and keeps one, or name an FTS5 table of your own,"
                " full_text='...'",
                "add-embeddings with --full-text makes and keeps one, or name an FTS5 table of your own, --full-text"
                " TABLE",
            ),
        )
    return None


def text_places(
    conn: Connection,
    embedding: EmbeddingConfig,
    words: Words,
    query: str,
    limit: int,
    among: str | None,
    stale: bool,
) -> list[tuple[int, float]]:
    """Row numbers of the rows that hold any word of the query, best first, each with FTS5's rank (BM25, negative).

    The query is cut at white space only: what a word is, the table's own tokenizer says. FTS5's syntax has no meaning
    in it.

    Args:
        among: the numbers of the rows that count, as a JSON array; None for all.
        stale: whether rows count that changed since they were embedded.

    Raises:
        QueryError: there is no such FTS5 table.
    """
    terms = terms_of(query)
    if not terms:
        return []
    if words.trigram:
        return _by_parts(conn, embedding, words, parts_of(terms), limit, among, stale)
    try:
        return _ranked(conn, embedding, words, terms, limit, among, stale)
    except driver_error(conn) as error:
        if _PHRASES_REFUSED not in str(error):
            raise QueryError(
                f"full text {words.table!r}: expected an FTS5 table over the rows; {error}"
            ) from error
    # A table with detail=none or column knows no phrases, so each token must stand alone, cut as unicode61 would.
    tokens = list(dict.fromkeys(token for term in terms for token in _tokens(term)))
    if not tokens:
        return []
    try:
        return _ranked(conn, embedding, words, tokens, limit, among, stale)
    except driver_error(conn) as error:
        raise QueryError(f"full text {words.table!r}: {error}") from error


def _by_parts(
    conn: Connection,
    embedding: EmbeddingConfig,
    words: Words,
    parts: Parts,
    limit: int,
    among: str | None,
    stale: bool,
) -> list[tuple[int, float]]:
    """As ``text_places``, from a trigram table. Parts that are too short for it are looked for in each of its rows."""
    try:
        if not parts.short:
            return _ranked(conn, embedding, words, parts.long, limit, among, stale) if parts.long else []
        ranks: dict[int, float] = {}
        if parts.long:
            ranks.update(_ranked(conn, embedding, words, parts.long, -1, among, stale))
        for number, weight in _with_short(conn, embedding, words, parts.short, among, stale):
            ranks[number] = ranks.get(number, 0.0) - weight
    except driver_error(conn) as error:
        raise QueryError(f"full_text={words.table!r}: {error}") from error
    return sorted(ranks.items(), key=lambda pair: (pair[1], pair[0]))[:limit]


def _with_short(
    conn: Connection,
    embedding: EmbeddingConfig,
    words: Words,
    parts: Sequence[str],
    among: str | None,
    stale: bool,
) -> list[tuple[int, float]]:
    """Rows with any of these parts, each with what they weigh; a row may come several times."""
    name = quote_identifier(words.table)
    columns = [row[1] for row in execute(conn, f"pragma main.table_info({name})")]
    texts = [f"f.{quote_identifier(column)}" for column in columns]
    number = embedding.row_id_sql("t")
    own_id = number if words.own else f"t.{rowid_name(conn, embedding)}"
    select = f"select (select {number} from {embedding.rows_sql('t')} where {own_id} = f.rowid) as number"
    condition = f"weight > 0 and number is not null{_not_stale(embedding, stale)}"
    found: list[tuple[int, float]] = []
    for spelt in spellings_of(parts, len(texts)):
        weighed = f"{select}, {weight_of(texts, len(spelt))} as weight from main.{name} as f"
        rows = execute(conn, f"select number, weight from ({weighed}) where {condition}", spelt)
        found += [(row[0], row[1]) for row in rows]
    if among is None:
        return found
    counting = set(json.loads(among))
    return [(row[0], row[1]) for row in found if row[0] in counting]


def _not_stale(embedding: EmbeddingConfig, stale: bool) -> str:
    if stale:
        return ""
    return (
        f" and number not in (select row_id from vssnative_queue"
        f" where embedding = {embedding.id} and priority = 0)"
    )


def _is_trigram(conn: Connection, table: str) -> bool:
    sql = "select sql from main.sqlite_master where name = ? collate nocase"
    return any(is_trigram(text or "") for (text,) in execute(conn, sql, (table,)))


def any_of_terms(terms: Sequence[str]) -> str | None:
    """FTS5's expression for "any of these"; None where there is none."""
    return " OR ".join(_quoted(term) for term in terms) if terms else None


def terms_of(query: str) -> list[str]:
    """The words of a query, cut at white space, each in the forms that it may have."""
    return list(dict.fromkeys(form for word in query.split() for form in _forms(word)))


def _ranked(
    conn: Connection,
    embedding: EmbeddingConfig,
    words: Words,
    terms: Sequence[str],
    limit: int,
    among: str | None,
    stale: bool,
) -> list[tuple[int, float]]:
    name = quote_identifier(words.table)
    number = embedding.row_id_sql("t")
    own_id = number if words.own else f"t.{rowid_name(conn, embedding)}"
    match = any_of_terms(terms)
    select = (
        f"select (select {number} from {embedding.rows_sql('t')} where {own_id} = f.rowid) as number, f.rank"
    )
    condition = f"number is not null{_not_stale(embedding, stale)}"
    if among is not None:
        condition += " and number in (select value from json_each(?))"
        sql = f"{select} from main.{name} as f where f.{name} match ? and {condition} order by f.rank limit ?"
        return [(row[0], row[1]) for row in execute(conn, sql, (match, among, limit))]
    # Nearly all rows of the index count, so that only its first ones have to be looked up.
    first = limit
    best = f"select rowid, rank from main.{name} where {name} match ? order by rank limit ?"
    sql = f"select number, rank, {condition} from ({select} from ({best}) as f) order by rank"
    while True:
        found = execute(conn, sql, (match, first))
        if limit < 0:
            return [(row[0], row[1]) for row in found if row[2]]
        counting = [(row[0], row[1]) for row in found if row[2]]
        if len(counting) >= limit or len(found) < first:
            return counting[:limit]
        first *= 4


def _check_table(conn: Connection, embedding: EmbeddingConfig, name: str) -> None:
    """An FTS5 table of the user's that is empty, beside a table that is not, would rank nothing without a word."""
    found = execute(
        conn,
        "select name from main.sqlite_master where type = 'table' and name = ? collate nocase"
        " and sql like 'create virtual table%fts5%'",
        (name,),
    )
    if not found:
        raise QueryError(
            f"full text {name!r}: expected an FTS5 table over the rows; there is none of that name"
        )
    rowid_name(conn, embedding)
    sizes = f"{found[0][0]}_docsize"
    if not execute(conn, "select 1 from main.sqlite_master where name = ?", (sizes,)):
        return  # columnsize=0: it keeps no record of its rows
    if execute(conn, f"select 1 from main.{quote_identifier(sizes)} limit 1"):
        return
    if execute(conn, f"select 1 from main.{quote_identifier(embedding.source)} limit 1"):
        raise QueryError(
            f"full text {name!r}: the table is empty, {embedding.source} is not; with content= fill it by"
            f" insert into {name}({name}) values ('rebuild')"
        )


def is_behind(conn: Connection, embedding: EmbeddingConfig, words: Words) -> bool:
    """Whether an FTS5 table of the user's lacks the newest row of the table: nobody keeps it in step."""
    if words.own:
        return False
    sizes = f"{words.table}_docsize"
    if not execute(conn, "select 1 from main.sqlite_master where name = ? collate nocase", (sizes,)):
        return False
    newest = f"select max({rowid_name(conn, embedding)}) from main.{quote_identifier(embedding.source)}"
    known = f"select max(id) from main.{quote_identifier(sizes)}"
    [(behind,)] = execute(conn, f"select coalesce(({newest}) > ({known}), 0)")
    return bool(behind)


def rowid_name(conn: Connection, embedding: EmbeddingConfig) -> str:
    """SQLite's rowid in the user's table, by a name that no column has.

    Raises:
        QueryError: the table has none.
    """
    if not embedding.keyed:
        return quote_identifier(embedding.key_columns[0])
    info = execute(conn, f"pragma main.table_xinfo({quote_identifier(embedding.source)})")
    columns = {row[1].lower() for row in info}
    for name in ("rowid", "_rowid_", "oid"):
        if name not in columns:
            try:
                execute(conn, f"select {name} from main.{quote_identifier(embedding.source)} limit 0")
            except driver_error(conn):
                break
            return name
    raise QueryError(
        f"{embedding.source} has no rowid (it is WITHOUT ROWID), so that an FTS5 table cannot say which row it means",
        advice=Advice(
            "add_embeddings(..., full_text=True) keeps one that can",
            f"{command('add-embeddings', embedding.source)} ... --full-text keeps one that can",
        ),
    )


def _forms(word: str) -> list[str]:
    """The word with accents as one character and as two: either may be in the texts."""
    return list(dict.fromkeys((unicodedata.normalize("NFC", word), unicodedata.normalize("NFD", word), word)))


def _quoted(term: str) -> str:
    return '"' + term.replace('"', '""').replace("\0", " ") + '"'


def _tokens(term: str) -> list[str]:
    """Runs of letters, digits and private-use characters, with the accents that follow them: FTS5's unicode61."""
    kept = [
        character
        if unicodedata.category(character)[0] in "LN"
        or unicodedata.category(character) == "Co"
        or 0x300 <= ord(character) <= 0x331
        else " "
        for character in term
    ]
    return "".join(kept).split()
