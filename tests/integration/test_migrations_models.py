"""Changing the model: built beside the old one, switched at once, and back."""

from __future__ import annotations

import sqlite3

import pytest

import vssnative
from vssnative import Settings
from vssnative.embedding.hashing import HashEmbedder
from vssnative.errors import MigrationError
from vssnative.migrations import cancel_change, drop_retired, load_embedding, rollback_model, switch

from ..reliability.sync_oracle import assert_in_step


@pytest.fixture
def posts(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("create table posts(id integer primary key, title text, body text)")
    db.executemany(
        "insert into posts(title, body) values (?, ?)", [(f"title {n}", f"body {n}") for n in range(50)]
    )
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["title", "body"], model="hash:16")
    vssnative.sync(db)
    return db


def test_searches_are_served_by_the_old_model_until_the_switch(posts: sqlite3.Connection) -> None:
    vssnative.change_model(posts, "posts", "hash:48")
    vssnative.sync(posts, "posts", limit=10)
    [status] = vssnative.status(posts)
    assert (status.model, status.changing_to, status.coverage) == ("hash:16", "hash:48", 1.0)
    assert vssnative.search(posts, "posts", "title 7", k=1)[0].rowid == 8
    # An edit meanwhile goes to both.
    posts.execute("update posts set title = 'quite different words' where id = 1")
    posts.commit()
    vssnative.sync(posts, "posts", limit=1)
    assert load_embedding(posts, "posts").active.model_name == "hash:16"
    assert vssnative.search(posts, "posts", "quite different words", k=1)[0].rowid == 1
    vssnative.sync(posts)
    assert load_embedding(posts, "posts").active.model_name == "hash:48"
    assert_in_step(posts, "posts", HashEmbedder(48))
    assert vssnative.search(posts, "posts", "quite different words", k=1)[0].rowid == 1


def test_rollback_until_the_old_one_is_dropped(posts: sqlite3.Connection) -> None:
    vssnative.change_model(posts, "posts", "hash:48")
    vssnative.sync(posts)
    posts.execute("delete from posts where id = 3")
    posts.execute("insert into posts(id, title) values (3, 'somebody else')")
    posts.execute("update posts set body = 'edited since' where id = 4")
    posts.commit()
    vssnative.sync(posts)
    rollback_model(posts, "posts")
    # Row 3 of the old model's vectors was another row.
    assert all(r.rowid != 3 for r in vssnative.search(posts, "posts", "title 2", k=50))
    result = vssnative.sync(posts)
    assert result.unchanged == 48
    assert_in_step(posts, "posts", HashEmbedder(16))
    rollback_model(posts, "posts")  # and forth again
    vssnative.sync(posts)
    assert_in_step(posts, "posts", HashEmbedder(48))
    drop_retired(posts, "posts")
    with pytest.raises(MigrationError, match="no earlier model"):
        rollback_model(posts, "posts")
    tables = [row[0] for row in posts.execute("select name from sqlite_master where sql like '%using vss0%'")]
    assert tables == ["vss_posts"]


def test_columns_template_and_chunking_change_likewise(posts: sqlite3.Connection) -> None:
    vssnative.change_model(posts, "posts", template="{title} {body}")
    vssnative.sync(posts)
    assert [f.name for f in load_embedding(posts, "posts").active.fields] == ["content"]
    assert vssnative.search(posts, "posts", "title 7 body 7", k=1)[0].rowid == 8
    vssnative.change_model(posts, "posts", columns=["body"])
    vssnative.sync(posts)
    drop_retired(posts, "posts")
    # Only what is watched now queues a row.
    posts.execute("update posts set title = 'nobody looks'")
    posts.commit()
    assert vssnative.status(posts)[0].pending == 0


def test_cancel_and_refusals(posts: sqlite3.Connection) -> None:
    with pytest.raises(MigrationError, match="embedded just so"):
        vssnative.change_model(posts, "posts", "hash:16")
    with pytest.raises(MigrationError, match="no change of model"):
        switch(posts, "posts")
    vssnative.change_model(posts, "posts", "hash:48")
    with pytest.raises(MigrationError, match="under way"):
        vssnative.change_model(posts, "posts", "hash:8")
    with pytest.raises(MigrationError, match="50 rows have no vectors"):
        switch(posts, "posts")
    cancel_change(posts, "posts")
    vssnative.sync(posts)
    assert_in_step(posts, "posts", HashEmbedder(16))


@pytest.mark.parametrize("batches", [0, 1])
def test_after_a_change_is_cancelled_only_changed_rows_wait(posts: sqlite3.Connection, batches: int) -> None:
    """All rows stayed queued until the next sync."""
    posts.execute("update posts set title = 'edited before' where id = 1")
    posts.commit()
    vssnative.change_model(posts, "posts", "hash:48")
    if batches:
        vssnative.sync(posts, limit=20)
    posts.execute("update posts set title = 'edited meanwhile' where id = 40")
    posts.execute("delete from posts where id = 41")
    posts.execute("insert into posts(id, title) values (900, 'new')")
    posts.commit()
    cancel_change(posts, "posts")
    waiting = {row[0] for row in posts.execute("select row_id from vssnative_queue")}
    assert waiting == {40, 41, 900} | ({1} if not batches else set())
    assert vssnative.search(posts, "posts", "title 7", k=50).pending == len(waiting)
    vssnative.sync(posts)
    assert_in_step(posts, "posts", HashEmbedder(16))


def test_what_else_queued_a_row_outlives_a_cancelled_change(posts: sqlite3.Connection) -> None:
    posts.execute("drop trigger vssnative_1_update")  # as tools do that rebuild a table
    posts.execute("update posts set title = 'unseen' where id = 5")
    posts.commit()
    vssnative.change_model(posts, "posts", "hash:48")  # puts it back, and has all rows compared
    cancel_change(posts, "posts")
    assert vssnative.status(posts)[0].pending == 50
    vssnative.sync(posts)
    assert_in_step(posts, "posts", HashEmbedder(16))
    vssnative.change_model(posts, "posts", "hash:48")
    posts.execute("drop trigger vssnative_1_update")
    posts.execute("update posts set title = 'unseen again' where id = 6")
    posts.commit()
    cancel_change(posts, "posts")
    assert vssnative.status(posts)[0].pending == 50
    vssnative.sync(posts)
    assert_in_step(posts, "posts", HashEmbedder(16))


def test_a_row_given_up_stops_the_switch_until_forced(posts: sqlite3.Connection) -> None:
    class Picky(HashEmbedder):
        def embed_documents(self, texts):  # type: ignore[no-untyped-def]
            if any("title 9" in text for text in texts):
                raise ValueError("no nines")
            return super().embed_documents(texts)

    vssnative.change_model(posts, "posts", Picky(24))
    result = vssnative.sync(posts, embedder=Picky(24), settings=Settings(backoff=0.001))
    assert result.dead == 1
    assert load_embedding(posts, "posts").active.model_name == "hash:16"
    assert_row_is_served = vssnative.search(posts, "posts", "title 9", k=1)
    assert assert_row_is_served[0].rowid == 10
    with pytest.raises(MigrationError, match="1 row has no vectors"):
        switch(posts, "posts")
    switch(posts, "posts", force=True)
    assert load_embedding(posts, "posts").active.model_name == "hash:24"


def test_blob_columns_follow_the_model(db: sqlite3.Connection) -> None:
    db.execute("create table t(id integer primary key, body text)")
    db.executemany("insert into t(body) values (?)", [(f"word{n}",) for n in range(10)])
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:8", store="both")
    vssnative.sync(db)
    vssnative.change_model(db, "t", "hash:24")
    assert {len(row[0]) for row in db.execute("select body_embedding from t")} == {4 * 8}
    vssnative.sync(db)
    assert {len(row[0]) for row in db.execute("select body_embedding from t")} == {4 * 24}
    assert vssnative.verify(db, "t").ok
    rollback_model(db, "t")
    assert {len(row[0]) for row in db.execute("select body_embedding from t")} == {4 * 8}


REBUILD = """
    begin; create table new(id integer primary key, title text, body text); insert into new select * from posts;
    drop table posts; alter table new rename to posts;
    update posts set title = 'unseen edit' where id = 1; delete from posts where id = 2;
    insert into posts(id, title) values (99, 'unseen row'); commit;
"""


def test_a_forced_switch_after_a_rebuild_compares_too(posts: sqlite3.Connection) -> None:
    vssnative.change_model(posts, "posts", "hash:48")
    posts.executescript(REBUILD)
    switch(posts, "posts", force=True)
    vssnative.sync(posts)
    assert_in_step(posts, "posts", HashEmbedder(48))
    assert vssnative.verify(posts, "posts").ok


def test_a_commit_that_finds_triggers_lost_does_not_switch(posts: sqlite3.Connection) -> None:
    vssnative.change_model(posts, "posts", "hash:48")
    rebuilt = False

    def rebuild(_event: object) -> None:
        nonlocal rebuilt
        if not rebuilt:
            rebuilt = True
            posts.executescript(REBUILD)

    vssnative.sync(posts, on_event=rebuild)
    assert rebuilt
    assert load_embedding(posts, "posts").active.model_name == "hash:16"
    vssnative.sync(posts)
    assert load_embedding(posts, "posts").active.model_name == "hash:48"
    assert_in_step(posts, "posts", HashEmbedder(48))


def test_an_empty_table_changes_its_model_too(db: sqlite3.Connection) -> None:
    db.execute("create table posts(id integer primary key, title text)")
    vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16")
    vssnative.change_model(db, "posts", "hash:48")
    vssnative.sync(db)
    assert load_embedding(db, "posts").active.model_name == "hash:48"
