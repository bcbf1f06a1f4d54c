"""LangChain's record manager, for ``langchain_core.indexing.index``: which documents were written, and when."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from langchain_core.indexing.base import RecordManager

from ..._connection import Connection, Pool, execute
from ..._sql import quote_identifier
from .._access import Access


class VssRecordManager(RecordManager):
    """A ``RecordManager`` in a table of the file, beside the texts and vectors that it is about.

    Args:
        source: a path, a ``Pool``, or a connection; as for ``VssVectorStore``.
        namespace: what the records are of: one for each store and use.
        table: the table of records.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Pool | Connection,
        namespace: str,
        *,
        table: str = "langchain_records",
    ) -> None:
        super().__init__(namespace)
        self._access = Access(source)
        self._table = quote_identifier(table)
        self._index = quote_identifier(f"{table}_groups")

    def close(self) -> None:
        """Close the pool that was made for a path."""
        self._access.close()

    def create_schema(self) -> None:
        """Make the table, where it is not there."""
        self._access.call(self._create, write=True)

    async def acreate_schema(self) -> None:
        """As ``create_schema``."""
        await self._access.acall(self._create, write=True)

    def get_time(self) -> float:
        """Seconds since 1970 by the database's clock."""
        return self._access.call(_now)

    async def aget_time(self) -> float:
        """As ``get_time``."""
        return await self._access.acall(_now)

    def update(
        self,
        keys: Sequence[str],
        *,
        group_ids: Sequence[str | None] | None = None,
        time_at_least: float | None = None,
    ) -> None:
        """Note that documents were written now.

        Raises:
            ValueError: not as many `group_ids` as `keys`, or `time_at_least` is in the future.
        """
        self._access.call(lambda conn: self._update(conn, keys, group_ids, time_at_least), write=True)

    async def aupdate(
        self,
        keys: Sequence[str],
        *,
        group_ids: Sequence[str | None] | None = None,
        time_at_least: float | None = None,
    ) -> None:
        """As ``update``."""
        await self._access.acall(lambda conn: self._update(conn, keys, group_ids, time_at_least), write=True)

    def exists(self, keys: Sequence[str]) -> list[bool]:
        """Whether each of the documents was written."""
        return self._access.call(lambda conn: self._exists(conn, keys))

    async def aexists(self, keys: Sequence[str]) -> list[bool]:
        """As ``exists``."""
        return await self._access.acall(lambda conn: self._exists(conn, keys))

    def list_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """Documents written before and after some times, and of some groups."""
        return self._access.call(lambda conn: self._list(conn, before, after, group_ids, limit))

    async def alist_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """As ``list_keys``."""
        return await self._access.acall(lambda conn: self._list(conn, before, after, group_ids, limit))

    def delete_keys(self, keys: Sequence[str]) -> None:
        """Forget documents."""
        self._access.call(lambda conn: self._delete(conn, keys), write=True)

    async def adelete_keys(self, keys: Sequence[str]) -> None:
        """As ``delete_keys``."""
        await self._access.acall(lambda conn: self._delete(conn, keys), write=True)

    def _create(self, conn: Connection) -> None:
        execute(
            conn,
            f"create table if not exists {self._table}(namespace text not null, key text not null, group_id text,"
            " updated_at real not null, primary key (namespace, key)) without rowid",
        )
        execute(
            conn,
            f"create index if not exists {self._index} on {self._table}(namespace, group_id, updated_at)",
        )

    def _update(
        self,
        conn: Connection,
        keys: Sequence[str],
        group_ids: Sequence[str | None] | None,
        time_at_least: float | None,
    ) -> None:
        groups = [None] * len(keys) if group_ids is None else list(group_ids)
        if len(groups) != len(keys):
            raise ValueError(f"expected as many group_ids as keys, got {len(groups)} and {len(keys)}")
        now = _now(conn)
        if time_at_least is not None and now < time_at_least:
            raise ValueError(f"time_at_least is {time_at_least}, but the database's clock says {now}")
        for key, group in zip(keys, groups, strict=True):
            execute(
                conn,
                f"insert into {self._table}(namespace, key, group_id, updated_at) values (?, ?, ?, ?)"
                " on conflict(namespace, key) do update set group_id = excluded.group_id,"
                " updated_at = excluded.updated_at",
                (self.namespace, key, group, now),
            )

    def _exists(self, conn: Connection, keys: Sequence[str]) -> list[bool]:
        found = execute(
            conn,
            f"select key from {self._table} where namespace = ? and key in (select value from json_each(?))",
            (self.namespace, json.dumps(list(keys))),
        )
        there = {row[0] for row in found}
        return [key in there for key in keys]

    def _list(
        self,
        conn: Connection,
        before: float | None,
        after: float | None,
        group_ids: Sequence[str] | None,
        limit: int | None,
    ) -> list[str]:
        sql = f"select key from {self._table} where namespace = ?"
        params: list[Any] = [self.namespace]
        if before is not None:
            sql += " and updated_at < ?"
            params.append(before)
        if after is not None:
            sql += " and updated_at > ?"
            params.append(after)
        if group_ids is not None:
            sql += " and group_id in (select value from json_each(?))"
            params.append(json.dumps(list(group_ids)))
        if limit is not None:
            sql += " limit ?"
            params.append(limit)
        return [row[0] for row in execute(conn, sql, params)]

    def _delete(self, conn: Connection, keys: Sequence[str]) -> None:
        execute(
            conn,
            f"delete from {self._table} where namespace = ? and key in (select value from json_each(?))",
            (self.namespace, json.dumps(list(keys))),
        )


def _now(conn: Connection) -> float:
    [(seconds,)] = execute(conn, "select (julianday('now') - 2440587.5) * 86400.0")
    return float(seconds)
