"""Plugins of Datasette and sqlite-utils."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlite_utils
from datasette.app import Datasette
from datasette.plugins import pm as datasette_plugins
from sqlite_utils.plugins import pm as sqlite_utils_plugins

import vssnative
from vssnative.integrations import datasette as datasette_plugin
from vssnative.integrations import sqlite_utils as sqlite_utils_plugin


def test_datasette_answers_with_vss0(
    open_db: Callable[..., sqlite3.Connection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn = open_db("blog.db")
    conn.execute("create table posts(id integer primary key, title text)")
    conn.executemany("insert into posts(title) values (?)", [(f"word{n}",) for n in range(5)])
    conn.commit()
    vssnative.add_embeddings(conn, "posts", columns=["title"], model="hash:16")
    vssnative.sync(conn)
    if not datasette_plugins.is_registered(
        datasette_plugin
    ):  # where the package's entry points are not installed
        datasette_plugins.register(datasette_plugin)

    async def ask() -> object:
        datasette = Datasette([str(tmp_path / "blog.db")])
        database = datasette.get_database("blog")
        rows = await database.execute(
            "select rowid from vss_posts where title_embedding match"
            " (select title_embedding from vss_posts where rowid = 3) and k = 1"
        )
        database.close()
        return rows.rows[0][0]

    assert asyncio.run(ask()) == 3


def test_sqlite_utils_databases_are_taken_as_they_are() -> None:
    sqlite_utils.Database(memory=True).close()  # the first one loads the plugins of installed packages
    if not sqlite_utils_plugins.is_registered(sqlite_utils_plugin):
        sqlite_utils_plugins.register(sqlite_utils_plugin)
    db = sqlite_utils.Database(memory=True)
    assert db.execute("select vss_version()").fetchone() == (f"v{vssnative.__version__}",)
    db["posts"].insert_all([{"id": n, "title": f"word{n}"} for n in range(5)], pk="id")
    vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16")
    assert vssnative.sync(db).rows == 5
    db["posts"].upsert({"id": 3, "title": "changed"}, pk="id")
    assert vssnative.search(db, "posts", "changed", k=1, fresh=True)[0].rowid == 3
    db.close()
