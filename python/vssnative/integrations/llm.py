"""``llm``: its collections searched by vss0, and MiniLM among its embedding models. A plugin of ``llm``.

    llm embed-multi docs --files . '**/*.md' -m vssnative/minilm
    llm vss-similar docs -c 'how do I index a table'

``llm similar`` compares the query with every row, in Python. Here the vectors of a collection are kept in a vss0 table,
``vss_llm_<number of the collection>``, in the same file. Triggers in plain SQL note which entries changed, so ``llm``
itself, which knows nothing of vss0, goes on writing; the next search takes the changes over.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click
import numpy as np
from llm import Collection, hookimpl
from llm.embeddings import Entry
from llm.models import EmbeddingModel

from .._connection import execute, load, transaction
from .._index import Index, are_found
from .._sql import quote_identifier
from ..embedding.protocol import Embedder
from ..embedding.simple import shared_embedder

_ROWS_AT_ONCE = 50_000
_CHANGES = "vss_llm_changes"
_NOTE = f"insert or replace into {_CHANGES}(collection_id, number)"
_TRIGGERS = {
    # What OR REPLACE is about to remove: no delete trigger fires for it.
    "vss_llm_replace": "before insert on embeddings begin"
    f" {_NOTE} select collection_id, rowid from embeddings where collection_id = new.collection_id and id = new.id; end",
    "vss_llm_insert": f"after insert on embeddings begin {_NOTE} values (new.collection_id, new.rowid); end",
    "vss_llm_delete": f"after delete on embeddings begin {_NOTE} values (old.collection_id, old.rowid); end",
    "vss_llm_update": "after update on embeddings begin"
    f" {_NOTE} values (old.collection_id, old.rowid); {_NOTE} values (new.collection_id, new.rowid); end",
}


class VssCollection(Collection):
    """An ``llm.Collection`` whose ``similar`` searches a vss0 table. All else is as there.

    Attributes:
        recall: share of the true neighbours wanted, 1.0 for exact; None for the default.
    """

    recall: float | None = None

    def similar_by_vector(
        self, vector: list[float], number: int = 10, skip_id: str | None = None, prefix: str | None = None
    ) -> list[Entry]:
        """The most similar entries, best first, with their cosine as score. Changes since the last search are taken over.

        Args:
            vector: what to be similar to.
            number: how many.
            skip_id: leave out the entry of this id.
            prefix: only ids that begin so.
        """
        conn = self.db.conn
        load(conn)
        self.catch_up()
        index = self._index()
        if index.dim is None or not len(index):
            return []
        where, params = None, []  # type: tuple[str | None, list[Any]]
        if prefix:
            where = "rowid in (select rowid from embeddings where collection_id = ? and id like ? || '%')"
            params = [self.id, prefix]
        wanted = number + (skip_id is not None)
        found, distances = index.search(
            np.asarray(vector, np.float32), wanted, where=where, params=params, recall=self.recall
        )
        there = are_found(found, distances)
        rows = {
            row[0]: row[1:]
            for row in execute(
                conn,
                "select rowid, id, content, metadata from embeddings where rowid in (select value from json_each(?))",
                (json.dumps(found[there].tolist()),),
            )
        }
        entries = []
        for rowid, distance in zip(found[there].tolist(), distances[there].tolist(), strict=True):
            id, content, metadata = rows[rowid]
            if id != skip_id:
                about = json.loads(metadata) if metadata else None
                entries.append(Entry(id=id, score=1.0 - distance, content=content, metadata=about))
        return entries[:number]

    def catch_up(self) -> int:
        """Take the entries that changed over into the vss0 table; how many there were. The first call takes all."""
        conn = self.db.conn
        load(conn)
        ready = self._is_ready()
        changed = f"select 1 from {_CHANGES} where collection_id = ? limit 1"
        if ready and not execute(conn, changed, (self.id,)):
            return 0
        with transaction(conn):
            if not ready:
                self._set_up()
            numbers = self._taken()
            index = self._index()
            index.remove(numbers)
            for start in range(0, len(numbers), _ROWS_AT_ONCE):
                self._add(index, numbers[start : start + _ROWS_AT_ONCE])
        return len(numbers)

    def delete(self) -> None:
        """Delete the collection, its entries, and its vss0 table."""
        super().delete()  # type: ignore[no-untyped-call,unused-ignore]
        with transaction(self.db.conn):
            if self._is_ready():
                execute(self.db.conn, f"delete from {_CHANGES} where collection_id = ?", (self.id,))
            load(self.db.conn)
            execute(self.db.conn, f"drop table if exists {quote_identifier(self._table)}")

    @property
    def _table(self) -> str:
        return f"vss_llm_{self.id}"

    def _index(self) -> Index:
        sql = "select 1 from sqlite_master where name = ?"
        known = execute(self.db.conn, sql, (self._table,))
        return Index(self.db.conn, self._table, metric=None if known else "cosine")

    def _is_ready(self) -> bool:
        """Whether all that notes changes is there, and this collection's table: migrations of llm's copy tables."""
        names = [_CHANGES, *_TRIGGERS, self._table]
        sql = "select count(*) from sqlite_master where name in (select value from json_each(?))"
        return execute(self.db.conn, sql, (json.dumps(names),)) == [(len(names),)]

    def _set_up(self) -> None:
        conn = self.db.conn
        names = json.dumps(list(_TRIGGERS))
        sql = "select count(*) from sqlite_master where name in (select value from json_each(?))"
        if execute(conn, sql, (names,)) != [(len(_TRIGGERS),)]:
            # Nobody knows what changed meanwhile: of all collections.
            execute(conn, f"drop table if exists {_CHANGES}")
            execute(
                conn,
                f"create table {_CHANGES}(collection_id integer, number integer, primary key (collection_id, number))"
                " without rowid",
            )
            for name, body in _TRIGGERS.items():
                execute(conn, f"drop trigger if exists {name}")
                execute(conn, f"create trigger {name} {body}")
            for (table,) in execute(
                conn,
                "select name from sqlite_master where type = 'table' and sql like 'create virtual table%using vss0%'"
                " and name glob 'vss_llm_[0-9]*'",
            ):
                execute(conn, f"drop table {quote_identifier(table)}")
        execute(
            conn,
            f"{_NOTE} select collection_id, rowid from embeddings where collection_id = ?",
            (self.id,),
        )

    def _taken(self) -> list[int]:
        conn = self.db.conn
        taken = execute(conn, f"select number from {_CHANGES} where collection_id = ?", (self.id,))
        execute(conn, f"delete from {_CHANGES} where collection_id = ?", (self.id,))
        return [row[0] for row in taken]

    def _add(self, index: Index, numbers: Sequence[int]) -> None:
        rows = execute(
            self.db.conn,
            "select rowid, embedding from embeddings where collection_id = ?"
            " and rowid in (select value from json_each(?))",
            (self.id, json.dumps(list(numbers))),
        )
        if not rows:
            return
        matrix = np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(len(rows), -1)
        if index.dim not in (None, matrix.shape[1]) and not len(index):
            # An earlier collection of this number, with another model.
            execute(self.db.conn, f"drop table {quote_identifier(self._table)}")
            index = self._index()
        index.add([row[0] for row in rows], matrix)


class VssModel(EmbeddingModel):
    """A model of this package as an embedding model of ``llm``, called ``vssnative/<name>``."""

    supports_text = True
    batch_size = 256

    def __init__(self, name: str) -> None:
        self.model_id = f"vssnative/{name}"
        self._name = name
        self._embedder: Embedder | None = None

    def embed_batch(self, items: Iterable[str | bytes], *, key: str | None = None) -> Iterator[list[float]]:
        """The vectors of texts."""
        if self._embedder is None:
            self._embedder = shared_embedder(self._name)
        texts = [str(item) for item in items]
        yield from self._embedder.embed_documents(texts).tolist()


@hookimpl
def register_embedding_models(register: Any) -> None:
    """Called by ``llm``."""
    register(VssModel("minilm"))


@hookimpl
def register_commands(cli: Any) -> None:
    """Called by ``llm``: adds ``llm vss-similar``, with the options of ``llm similar``."""
    original = cli.commands["similar"]
    module: Any = sys.modules[original.callback.__module__]

    def similar(**options: Any) -> Any:
        before = module.Collection
        module.Collection = VssCollection
        try:
            return original.callback(**options)
        finally:
            module.Collection = before

    cli.add_command(
        click.Command(
            "vss-similar",
            params=list(original.params),
            callback=similar,
            help="Return top N similar IDs from a collection, as `llm similar` does, by an index in the same file.\n\n"
            "The first search of a collection builds its index; later ones take over what changed.",
        )
    )
