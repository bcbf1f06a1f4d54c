"""Which writes the triggers note: all that change an embedded text, whatever the statement, and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vssnative
from vssnative.embedding.hashing import HashEmbedder

from ..reliability.sync_oracle import assert_in_step


@pytest.fixture
def app(db: sqlite3.Connection, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection without vss0 to a file whose table ``t`` is embedded and in step; `db` is the worker's."""
    db.executescript(
        """
        create table t(id integer primary key, slug text unique, body text collate nocase, other text,
                       twice text generated always as (body || body) virtual);
        insert into t(id, slug, body) values (1, 'a', 'one'), (2, 'b', 'two'), (3, 'c', null), (4, 'd', '  ');
        """
    )
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:16")
    vssnative.sync(db)
    conn = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    yield conn
    conn.close()


def queued(conn: sqlite3.Connection) -> list[int]:
    return [row[0] for row in conn.execute("select row_id from vssnative_queue order by row_id")]


@pytest.mark.parametrize(
    "sql",
    [
        "update t set other = 'x'",
        "update t set body = body",
        "update t set body = body, slug = slug",
        "update t set body = 'x' where id = 99",
        "insert or ignore into t(id, body) values (1, 'ignored')",
        "select * from t",
    ],
)
def test_writes_that_change_no_text_queue_nothing(app: sqlite3.Connection, sql: str) -> None:
    app.execute(sql)
    assert queued(app) == []


@pytest.mark.parametrize("recursive", [0, 1])
@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("insert into t(id, body) values (9, 'nine')", [9]),
        ("insert into t(body) values ('next')", [5]),
        ("insert into t(id, body) select id + 10, body from t", [11, 12, 13, 14]),
        ("update t set body = 'One' where id = 1", [1]),  # equal to 'one' under the column's collation
        ("update t set body = 'x'", [1, 2, 3, 4]),
        ("update t set body = null where id < 3", [1, 2]),
        ("update t set body = 1 where id = 1", [1]),
        ("update t set rowid = 20 where id = 1", [1, 20]),
        ("update t set id = id + 100 where id = 2", [2, 102]),
        ("update or replace t set id = 2 where id = 1", [1, 2]),
        ("update or replace t set slug = 'b' where id = 1", [2]),
        ("insert or replace into t(id, body) values (1, 'anew')", [1]),
        ("replace into t(id, slug, body) values (9, 'b', 'nine')", [2, 9]),
        ("insert or replace into t(id, slug, body) values (1, 'b', 'both')", [1, 2]),
        ("insert into t(id, slug) values (9, 'a') on conflict(slug) do update set body = 'upserted'", [1]),
        ("insert or ignore into t(id, body) values (9, 'nine')", [9]),
        ("insert or rollback into t(id, body) values (9, 'nine')", [9]),
        ("delete from t where id = 1", [1]),
        ("delete from t", [1, 2, 3, 4]),
    ],
)
def test_writes_that_change_a_text(
    app: sqlite3.Connection, db: sqlite3.Connection, sql: str, rows: list[int], recursive: int
) -> None:
    app.execute(f"pragma recursive_triggers = {recursive}")
    app.execute(sql)
    assert queued(app) == rows
    vssnative.sync(db)
    assert_in_step(db, "t", HashEmbedder(16))
    assert vssnative.verify(db, "t", sample=10).ok


def test_what_is_rolled_back_is_not_queued(app: sqlite3.Connection) -> None:
    app.execute("begin")
    app.execute("update t set body = 'x' where id = 1")
    app.execute("savepoint s")
    app.execute("delete from t where id = 2")
    app.execute("rollback to s")
    assert queued(app) == [1]
    app.execute("rollback")
    assert queued(app) == []


def test_a_failing_statement_under_or_replace_and_or_fail(
    app: sqlite3.Connection, db: sqlite3.Connection
) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        app.execute("insert or fail into t(id, body) values (30, 'thirty'), (1, 'fails')")
    assert queued(app) == [30]
    vssnative.sync(db)
    assert_in_step(db, "t", HashEmbedder(16))


def test_a_row_number_used_again_is_another_row(app: sqlite3.Connection, db: sqlite3.Connection) -> None:
    app.execute("delete from t where id = 2")
    app.execute("insert into t(id, body) values (2, 'somebody else')")
    assert all(r.rowid != 2 for r in vssnative.search(db, "t", "two", k=10))
    vssnative.sync(db)
    assert vssnative.search(db, "t", "somebody else", k=1)[0].rowid == 2
    app.execute("delete from t where id = 2")
    app.execute("insert into t(id, body) values (2, 'somebody else')")
    assert vssnative.sync(db).texts == 0
    assert_in_step(db, "t", HashEmbedder(16))


def test_cascades_and_triggers_of_the_users_own(db: sqlite3.Connection) -> None:
    db.executescript(
        """
        pragma foreign_keys = on;
        create table parent(id integer primary key);
        create table child(id integer primary key, parent references parent on delete cascade, body text);
        create trigger child_trim after insert on child begin
          update child set body = trim(new.body) where id = new.id;
        end;
        insert into parent values (1), (2);
        """
    )
    vssnative.add_embeddings(db, "child", columns=["body"], model="hash:16")
    db.execute("insert into child(parent, body) values (1, '  spaced  '), (2, 'kept')")
    db.commit()
    vssnative.sync(db)
    assert_in_step(db, "child", HashEmbedder(16))
    db.execute("delete from parent where id = 1")
    db.commit()
    vssnative.sync(db)
    assert_in_step(db, "child", HashEmbedder(16))


@pytest.mark.parametrize("key", ["id integer primary key", "id text primary key"])
def test_the_words_of_rows_that_the_users_own_triggers_change(db: sqlite3.Connection, key: str) -> None:
    """SQLite runs the newest trigger first, so theirs before ours: the row is another by the time that ours sees it."""
    db.execute(f"create table t({key}, body text)")
    db.execute("insert into t values (1, 'one'), (2, 'two'), (3, 'three')")
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:16", full_text=True)
    vssnative.sync(db)
    db.executescript(
        """
        create trigger lower_new after insert on t when new.body <> lower(new.body) begin
          update t set body = lower(new.body) where id = new.id;
        end;
        create trigger lower_changed after update of body on t when new.body <> lower(new.body) begin
          update t set body = lower(new.body) where id = new.id;
        end;
        create trigger unwanted after insert on t when new.body = 'unwanted' begin
          delete from t where id = new.id;
        end;
        create trigger kept after delete on t when old.body = 'three' begin
          insert into t values (3, 'kept');
        end;
        """
    )
    db.execute("insert into t values (4, 'FOUR'), (5, 'unwanted')")
    db.execute("update t set body = 'SECOND' where id = 2")
    db.execute("delete from t where id = 3")
    db.commit()
    words = db.execute("select body from vss_text_t order by rowid").fetchall()
    assert sorted(words) == [("four",), ("kept",), ("one",), ("second",)]
    assert vssnative.verify(db, "t").words == []
    vssnative.sync(db)
    assert vssnative.verify(db, "t").verdict == "in order"


def test_a_generated_column_is_watched_too(app: sqlite3.Connection, db: sqlite3.Connection) -> None:
    vssnative.add_embeddings(db, "t", columns=["twice"], model="hash:16", name="twice")
    vssnative.sync(db)
    app.execute("update t set body = 'tok' where id = 1")
    vssnative.sync(db)
    assert_in_step(db, "twice", HashEmbedder(16))


def test_displaced_through_an_index_that_no_trigger_can_look_into(
    app: sqlite3.Connection, db: sqlite3.Connection
) -> None:
    app.execute("create unique index t_lower on t(lower(other)) where other is not null")
    app.execute("update t set other = 'Mine' where id = 1")
    app.execute("insert or replace into t(id, body, other) values (7, 'seven', 'MINE')")
    assert app.execute("select count(*) from t where id = 1").fetchone() == (0,)
    vssnative.sync(db)
    assert_in_step(db, "t", HashEmbedder(16))


@pytest.mark.parametrize(
    "rebuild",
    [
        # Alembic's batch mode
        (
            "create table _alembic_tmp_t(id integer primary key, slug text unique, body text collate nocase, other text);"
            "insert into _alembic_tmp_t select id, slug, body, other from t; drop table t;"
            "alter table _alembic_tmp_t rename to t;"
        ),
        # Django
        (
            'create table "new__t"(id integer primary key, slug text unique, body text collate nocase, other text);'
            'insert into "new__t"(id, slug, body, other) select id, slug, body, other from "t"; drop table "t";'
            'alter table "new__t" rename to "t";'
        ),
    ],
)
def test_a_rebuilt_table_is_noticed_mended_and_compared(
    app: sqlite3.Connection, db: sqlite3.Connection, rebuild: str
) -> None:
    app.executescript(f"begin; {rebuild} commit;")
    app.execute("update t set body = 'unseen edit' where id = 1")
    app.execute("delete from t where id = 2")
    app.execute("insert into t(id, body) values (8, 'unseen row')")
    assert queued(app) == []
    [status] = vssnative.status(db)
    assert status.problem is not None and "triggers" in status.problem
    report = vssnative.verify(db, "t", sample=0)
    assert (report.stale, report.orphaned, report.missing) == ([1], [2], [8])
    kinds = []
    result = vssnative.sync(db, on_event=lambda event: kinds.append(event.kind))
    assert kinds[0] == "mended"
    assert (result.texts, result.removed, result.unchanged) == (2, 1, 2)
    assert_in_step(db, "t", HashEmbedder(16))
    assert vssnative.status(db)[0].problem is None
    app.execute("update t set body = 'seen' where id = 1")
    assert queued(app) == [1]


@pytest.mark.parametrize("step", ["change_model", "cancel_change", "rollback_model"])
def test_a_change_of_model_after_a_rebuild_compares_too(
    app: sqlite3.Connection, db: sqlite3.Connection, step: str
) -> None:
    if step != "change_model":
        vssnative.change_model(db, "t", "hash:8")
    if step == "rollback_model":
        vssnative.sync(db)
    app.executescript(
        "begin; create table n(id integer primary key, slug text unique, body text collate nocase, other text);"
        "insert into n select id, slug, body, other from t; drop table t; alter table n rename to t; commit;"
        "insert into t(id, body) values (8, 'unseen row'); delete from t where id = 2"
    )
    if step == "change_model":
        vssnative.change_model(db, "t", "hash:8")
    else:
        getattr(vssnative.migrations, step)(db, "t")
    vssnative.sync(db)
    assert_in_step(db, "t", HashEmbedder(8 if step == "change_model" else 16))
    assert vssnative.verify(db, "t", sample=0).ok


def test_a_renamed_table_is_followed(app: sqlite3.Connection, db: sqlite3.Connection) -> None:
    app.execute("alter table t rename to renamed")
    app.execute("update renamed set body = 'after' where id = 1")
    vssnative.sync(db)
    assert vssnative.search(db, "renamed", "after", k=1)[0].rowid == 1
    assert vssnative.status(db)[0].table == "renamed"
    vssnative.drop_embeddings(db, "renamed")


@pytest.mark.parametrize("legacy", ["off", "on"])
def test_a_table_whose_name_a_new_one_takes_is_an_old_copy(
    app: sqlite3.Connection, db: sqlite3.Connection, legacy: str
) -> None:
    """The old table is kept, with its triggers; programs go on with the name."""
    app.executescript(
        f"pragma legacy_alter_table = {legacy}; begin; alter table t rename to t_before;"
        "create table t(id integer primary key, slug text, body text, more text);"
        "insert into t(id, slug, body) select id, slug, body from t_before where id <> 2;"
        "update t set body = 'edited' where id = 1; insert into t(id, body) values (9, 'new'); commit;"
    )
    [status] = vssnative.status(db)
    assert status.table == "t" and "triggers are missing" in str(status.problem)
    with pytest.warns(vssnative.errors.VssWarning, match="lost its triggers, .*sync"):
        found = vssnative.search(db, "t", "one", k=9)
    assert [(one.key, one.stale, one.row["body"]) for one in found] == [(1, True, "edited")]
    with pytest.warns(vssnative.errors.VssWarning, match="lost its triggers"):
        assert not vssnative.search(db, "t", "one", k=9, stale=False)
    vssnative.sync(db)
    assert_in_step(db, "t", HashEmbedder(16))
    app.execute("update t_before set body = 'nobody asks' where id = 1")
    assert queued(app) == []
    app.execute("update t set body = 'seen' where id = 9")
    assert queued(app) == [9]
    vssnative.sync(db)
    assert [one.key for one in vssnative.search(db, "t", "seen", k=1)] == [9]


def test_a_new_table_that_cannot_carry_the_embeddings_leaves_them_to_the_renamed_one(
    app: sqlite3.Connection, db: sqlite3.Connection
) -> None:
    app.execute("alter table t rename to renamed")
    app.execute("create table t(id integer primary key, colour text)")
    app.execute("update renamed set body = 'after' where id = 1")
    assert [one.key for one in vssnative.search(db, "t", "two", k=1)] == [2]
    vssnative.sync(db)
    assert vssnative.status(db)[0].table == "renamed"
    assert vssnative.search(db, "renamed", "after", k=1)[0].rowid == 1


def test_a_search_after_a_rebuild_marks_what_it_cannot_know(
    app: sqlite3.Connection, db: sqlite3.Connection
) -> None:
    app.executescript(
        "begin; drop table t; create table t(id integer primary key, slug text, body text, other text);"
        "insert into t(id, body) values (1, 'somebody else'), (2, 'two'); commit;"
    )
    with pytest.warns(vssnative.errors.VssWarning, match="lost its triggers"):
        found = vssnative.search(db, "t", "two", k=9)
    assert [(one.key, one.stale) for one in found] == [(2, False), (1, True)]
    with pytest.warns(vssnative.errors.VssWarning, match="lost its triggers"):
        assert [one.stale for one in vssnative.search(db, "t", similar_to=2, k=9)] == [True]
    vssnative.sync(db)
    assert_in_step(db, "t", HashEmbedder(16))
    assert [one.stale for one in vssnative.search(db, "t", "two", k=9)] == [False, False]


def test_a_renamed_column_is_followed(app: sqlite3.Connection, db: sqlite3.Connection) -> None:
    """SQLite writes the new name into the triggers, so nothing is missed, embedded or compared again."""
    app.execute("alter table t drop column twice")
    new = 'the "new" body\'s name'
    quoted = '"the ""new"" body\'s name"'
    app.execute(f"alter table t rename column body to {quoted}")
    app.execute(f"update t set {quoted} = 'after' where id = 1")
    assert vssnative.search(db, "t", "two", k=1)[0].rowid == 2
    assert vssnative.status(db)[0].problem is None
    vssnative.add_embeddings(db, "t", columns=[new], model="hash:16")  # as it is already
    counts = vssnative.sync(db)
    assert (counts.rows, counts.texts) == (1, 1)
    [found] = vssnative.search(db, "t", "after", k=1, columns=[new])
    assert (found.rowid, found.column, found.row[new], found.stale) == (1, new, "after", False)
    assert vssnative.verify(db, "t", sample=9).ok and vssnative.sync(db).rows == 0
    with pytest.raises(vssnative.MigrationError, match="just so already"):
        vssnative.change_model(db, "t", columns=[new])


@pytest.mark.parametrize("full_text", [False, True])
@pytest.mark.parametrize(
    "key", ["id integer primary key", "id text primary key", "id text primary key, a2 text"]
)
def test_renamed_keys_and_templates_are_followed(
    db: sqlite3.Connection, tmp_path: Path, key: str, full_text: bool
) -> None:
    db.execute(f"create table t({key}, a text, b text unique, c text)")
    db.execute("insert into t(id, a, b, c) values (1, 'one', 'x', 'red'), (2, 'two', 'y', 'blue')")
    db.commit()
    vssnative.add_embeddings(
        db, "t", template="{a}: {{{b}}}", model="hash:16", full_text=full_text, name="first"
    )
    vssnative.add_embeddings(db, "t", columns=["a", "c"], model="hash:16", name="second")
    vssnative.sync(db)
    app = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    for old, new in (("c", "d"), ("a", "c"), ("id", "number"), ("b", "a")):  # c is a name given up and taken
        app.execute(f"alter table t rename column {old} to {new}")
    app.execute("alter table t rename to u")
    app.execute("update u set d = 'green' where number = 2")
    assert vssnative.search(db, "first", "two", k=1)[0].row["number"] in (2, "2")
    assert vssnative.search(db, "first", similar_to=2, k=1)[0].row["number"] in (1, "1")
    assert len(vssnative.search(db, "second", "x", where="number = 2")) == 1
    counts = vssnative.sync(db)
    assert (counts.rows, counts.texts) == (1, 1)
    for name, columns in (("first", None), ("second", ["c", "d"])):
        assert vssnative.verify(db, name, sample=9).ok
        options = {"columns": columns} if columns else {"template": "{c}: {{{a}}}", "full_text": full_text}
        assert vssnative.add_embeddings(db, "u", model="hash:16", name=name, **options).source == "u"  # type: ignore[arg-type]
    assert vssnative.search(db, "second", "green", k=1, columns=["d"])[0].row["d"] == "green"
    app.execute(
        "insert or replace into u(number, c, a, d) values (3, 'three', 'y', 'black')"
    )  # takes 2's place
    assert vssnative.sync(db).removed == 2
    found = [
        one.row["number"]
        for one in vssnative.search(db, "first", "three y", k=9, mode="text" if full_text else None)
    ]
    assert found[:1] in ([3], ["3"]) and len(found) == (1 if full_text else 2)
    assert vssnative.verify(db, "first", sample=9).ok and vssnative.verify(db, "second", sample=9).ok
    app.close()


def test_what_only_looks_like_a_renamed_column_is_told(
    app: sqlite3.Connection, db: sqlite3.Connection
) -> None:
    """A table that was rebuilt under other names has no triggers that could tell what became of its columns."""
    app.execute("create table new(id integer primary key, slug text, content text)")
    app.execute("insert into new select id, slug, body from t")
    app.execute("drop table t")
    app.execute("alter table new rename to t")
    with pytest.raises(vssnative.MigrationError, match="no column body any more"):
        vssnative.sync(db)
    problem = vssnative.status(db)[0].problem
    assert problem is not None and "no column body" in problem
    with pytest.raises(vssnative.QueryError, match="search of t: table t has no column body any more"):
        vssnative.search(db, "t", "one", k=1)
    vssnative.drop_embeddings(db, "t")
    vssnative.add_embeddings(db, "t", columns=["content"], model="hash:16")
    assert vssnative.sync(db).texts == 0
    assert vssnative.search(db, "t", "one", k=1)[0].rowid == 1


def test_columns_that_hold_vectors_keep_their_texts_names(db: sqlite3.Connection) -> None:
    db.execute("create table t(id integer primary key, a text)")
    db.execute("insert into t(a) values ('one')")
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["a"], model="hash:16", store="both")
    vssnative.sync(db)
    db.execute("alter table t rename column a to b")
    db.commit()
    with pytest.raises(vssnative.MigrationError, match="no column a any more; rename it back"):
        vssnative.sync(db)
    db.execute("alter table t rename column b to a")
    db.commit()
    assert vssnative.sync(db).texts == 0 and vssnative.verify(db, "t").ok


def test_views_show_the_queue_without_the_extension(
    app: sqlite3.Connection, db: sqlite3.Connection, open_db: Callable[..., sqlite3.Connection]
) -> None:
    app.execute("update t set body = 'x' where id = 1")
    assert app.execute("select name, embedded, pending, leased, dead from vssnative_status").fetchall() == [
        ("t", 4, 1, 0, 0)
    ]
    [(age,)] = app.execute("select oldest_pending_seconds from vssnative_status").fetchall()
    assert 0 <= age < 60
    assert app.execute("select row_id, gone from vssnative_pending").fetchall() == [(1, 0)]
    assert app.execute("select * from vssnative_dead").fetchall() == []
