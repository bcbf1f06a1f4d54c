"""SQLite's promises about statements and transactions, kept by vss0 (docs/reliability.md lists them)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import apsw
import numpy as np
import pytest

import vssnative
from tests.reliability.oracle import (
    NAMES,
    Oracle,
    Row,
    blob,
    check_invariants,
    create,
    insert,
    loaded,
    random_row,
)


@pytest.fixture
def oracle(db: sqlite3.Connection, random: np.random.Generator) -> Oracle:
    oracle = loaded(random, db.execute, 60)
    db.commit()
    return oracle


CHANGES: dict[str, Any] = {
    "a": (1, 2, 3, 4, 5, 6),
    "b": (7, 8, 9),
    "company": "Zed",
    "year": 2042,
    "user_id": 99,
    "note": "changed",
}


@pytest.mark.parametrize("column", NAMES)
@pytest.mark.parametrize("to_null", [False, True])
def test_update_of_each_column(db: sqlite3.Connection, oracle: Oracle, column: str, to_null: bool) -> None:
    value = None if to_null else CHANGES[column]
    bound = blob(value) if column in ("a", "b") else value
    changed = db.execute(
        f"update t set {column} = ? where rowid between 10 and 19 or rowid > 58", (bound,)
    ).rowcount
    assert changed == 12
    for i in [*range(10, 20), 59, 60]:
        oracle.rows[i] = oracle.rows[i].changed(**{column: value})
    oracle.check(db.execute)
    db.commit()
    oracle.check(db.execute)


def test_update_of_all_columns_and_the_rowid_at_once(db: sqlite3.Connection, oracle: Oracle) -> None:
    new = Row(**CHANGES)
    sets = ", ".join(f"{name} = ?" for name in NAMES)
    db.execute(f"update t set rowid = 1000, {sets} where rowid = 7", new.values())
    oracle.rows[1000] = new
    del oracle.rows[7]
    oracle.check(db.execute)
    db.commit()
    oracle.check(db.execute)


def test_update_of_the_rowid(db: sqlite3.Connection, oracle: Oracle) -> None:
    db.execute("update t set rowid = -rowid where rowid < 31")
    oracle.rows = {-i if i < 31 else i: row for i, row in oracle.rows.items()}
    oracle.check(db.execute)
    db.commit()
    oracle.check(db.execute)


def test_update_to_a_taken_rowid_fails_whole(db: sqlite3.Connection, oracle: Oracle) -> None:
    # The first rows can move, a later one cannot: none has moved afterwards.
    with pytest.raises(sqlite3.IntegrityError, match="row 55 exists already"):
        db.execute("update t set rowid = case when rowid < 5 then rowid + 100 else 55 end where rowid < 7")
    oracle.check(db.execute)


def test_update_from_another_table(db: sqlite3.Connection, oracle: Oracle) -> None:
    db.execute("create table fresh(id integer primary key, a blob, year integer)")
    for i in (3, 4, 5):
        db.execute("insert into fresh values(?, ?, ?)", (i, blob((i,) * 6), 3000 + i))
        oracle.rows[i] = oracle.rows[i].changed(a=(i,) * 6, year=3000 + i)
    db.execute(
        "update t set (a, year) = (select f.a, f.year from fresh f where f.id = t.rowid) where rowid in (3, 4, 5)"
    )
    oracle.check(db.execute)


CLAUSES = ["abort", "fail", "ignore", "replace", "rollback"]


@pytest.mark.parametrize("clause", CLAUSES)
def test_insert_conflict_clauses(db: sqlite3.Connection, oracle: Oracle, clause: str) -> None:
    """Three rows, the second of which is there already, inside a transaction that wrote before."""
    before = oracle.copy()
    db.execute("delete from t where rowid = 1")
    del oracle.rows[1]
    rows = {101: Row(a=(1,) * 6), 5: Row(a=(2,) * 6, year=1), 102: Row(a=(3,) * 6)}
    values = ", ".join(
        f"({i}, x'{(blob(row.a) or b'').hex()}', {row.year or 'null'})" for i, row in rows.items()
    )
    statement = f"insert or {clause} into t(rowid, a, year) values {values}"
    if clause in ("ignore", "replace"):
        db.execute(statement)
        oracle.rows |= {i: row for i, row in rows.items() if clause == "replace" or i != 5}
    else:
        with pytest.raises(sqlite3.IntegrityError, match="row 5 exists already"):
            db.execute(statement)
        if clause == "fail":
            oracle.rows[101] = rows[101]
        elif clause == "rollback":
            oracle = before
        assert db.in_transaction == (clause != "rollback")
    oracle.check(db.execute)
    db.commit()
    oracle.check(db.execute)


@pytest.mark.parametrize("clause", CLAUSES)
def test_update_conflict_clauses(db: sqlite3.Connection, oracle: Oracle, clause: str) -> None:
    """Rows 11, 12, 13 move to 111, 20 (taken), 113."""
    before = oracle.copy()
    db.execute("delete from t where rowid = 1")
    del oracle.rows[1]
    statement = (
        f"update or {clause} t set rowid = case rowid when 12 then 20 else rowid + 100 end, year = 7"
        " where rowid in (11, 12, 13)"
    )
    if clause in ("ignore", "replace"):
        db.execute(statement)
        moves = {11: 111, 13: 113} | ({12: 20} if clause == "replace" else {})
    else:
        with pytest.raises(sqlite3.IntegrityError, match="row 20 exists already"):
            db.execute(statement)
        moves = {11: 111} if clause == "fail" else {}
        oracle = before if clause == "rollback" else oracle
    moved = {new: oracle.rows[old].changed(year=7) for old, new in moves.items()}
    oracle.rows = {i: row for i, row in oracle.rows.items() if i not in moves} | moved
    oracle.check(db.execute)
    db.commit()
    oracle.check(db.execute)


def test_replace_gives_null_to_what_it_does_not_name(db: sqlite3.Connection, oracle: Oracle) -> None:
    db.execute("replace into t(rowid, b, note) values(5, ?, 'only this')", (blob((1, 2, 3)),))
    oracle.rows[5] = Row(b=(1, 2, 3), note="only this")
    oracle.check(db.execute)


def test_constraints_of_metadata_columns(db: sqlite3.Connection) -> None:
    db.execute("create virtual table c using vss0(a(2), name text not null, kind text)")
    db.execute("insert into c(rowid, a, name) values(1, '[1, 2]', 'one')")
    with pytest.raises(sqlite3.IntegrityError, match='table "c": NOT NULL'):
        db.execute("insert into c(rowid, a) values(2, '[1, 2]')")
    with pytest.raises(sqlite3.IntegrityError, match='table "c": NOT NULL'):
        db.execute("update c set name = null")
    assert db.execute("select rowid, name from c").fetchall() == [(1, "one")]
    assert db.execute("select rowid from c where a match '[1, 2]' and k = 9").fetchall() == [(1,)]
    assert db.execute("select vss_check('c')").fetchone() == ("ok",)


def test_insert_from_select_with_a_failing_row(db: sqlite3.Connection, oracle: Oracle) -> None:
    db.execute("create table source(id integer primary key, a blob)")
    db.executemany(
        "insert into source values(?, ?)",
        [(i, b"short" if i == 900 else blob((i % 7,) * 6)) for i in range(500, 1000)],
    )
    db.commit()
    with pytest.raises(sqlite3.Error, match="expected a vector of 6 dimensions"):
        db.execute("insert into t(rowid, a) select id, a from source")
    oracle.check(db.execute)
    db.execute("insert into t(rowid, a) select id, a from source where id <> 900")
    oracle.rows |= {i: Row(a=(i % 7,) * 6) for i in range(500, 1000) if i != 900}
    oracle.check(db.execute)


def test_insert_from_select_of_the_table_itself(db: sqlite3.Connection, oracle: Oracle) -> None:
    names = ", ".join(NAMES)
    db.execute(f"insert into t(rowid, {names}) select rowid + 1000, {names} from t")
    oracle.rows |= {i + 1000: row for i, row in oracle.rows.items()}
    oracle.check(db.execute)
    db.execute(
        "delete from t where rowid in (select rowid from t where a match ? and k = 7)", (blob((0,) * 6),)
    )
    for i, _ in oracle.nearest("a", (0,) * 6, 7):
        del oracle.rows[i]
    oracle.check(db.execute)


def test_insert_from_a_recursive_query(db: sqlite3.Connection) -> None:
    create(db.execute)
    db.execute(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 300)"
        " insert into t(rowid, a, year) select i, json_array(i % 9, 0, 0, 0, 0, i % 5), i from n"
    )
    oracle = Oracle({i: Row(a=(i % 9, 0, 0, 0, 0, i % 5), year=i) for i in range(1, 301)})
    oracle.check(db.execute)


def test_search_inside_recursive_and_correlated_queries(db: sqlite3.Connection, oracle: Oracle) -> None:
    found = db.execute(
        "select o.rowid, (select group_concat(i.rowid) from (select rowid from t where a match o.a and k = 3) i)"
        " from t o where o.a is not null order by o.rowid"
    ).fetchall()
    expected = []
    for i, row in sorted(oracle.rows.items()):
        if row.a is not None:
            expected.append((i, ",".join(str(id) for id, _ in oracle.nearest("a", row.a, 3))))
    assert found == expected
    walk = db.execute(
        "with recursive walk(id, step) as (select (select min(rowid) from t where a is not null), 0 union all"
        " select (select max(rowid) from t where a match (select a from t where rowid = walk.id) and k = 2), step + 1"
        " from walk where step < 5) select id from walk"
    ).fetchall()
    at = min(i for i, row in oracle.rows.items() if row.a is not None)
    expected_walk = [(at,)]
    for _ in range(5):
        vector = oracle.rows[at].a
        assert vector is not None
        at = max(i for i, _ in oracle.nearest("a", vector, 2))
        expected_walk.append((at,))
    assert walk == expected_walk


def test_triggers_of_user_tables_write_vectors(db: sqlite3.Connection) -> None:
    create(db.execute)
    db.executescript(
        """
        create table posts(id integer primary key, vector text, year integer);
        create trigger post_new after insert on posts begin
          insert into t(rowid, a, year) values(new.id, new.vector, new.year);
        end;
        create trigger post_changed after update on posts begin
          update t set rowid = new.id, a = new.vector, year = new.year where rowid = old.id;
        end;
        create trigger post_gone after delete on posts begin delete from t where rowid = old.id; end;
        """
    )
    db.executemany(
        "insert into posts values(?, json_array(?, 1, 1, 1, 1, 1), ?)", [(i, i % 5, i) for i in range(50)]
    )
    db.execute("update posts set year = year + 1, id = id + 100 where id < 10")
    db.execute("delete from posts where id between 20 and 29")
    oracle = Oracle(
        {
            (i + 100 if i < 10 else i): Row(a=(i % 5, 1, 1, 1, 1, 1), year=i + (i < 10))
            for i in range(50)
            if not 20 <= i < 30
        }
    )
    oracle.check(db.execute)
    db.commit()
    # The trigger's failure fails the user's statement, and leaves both tables as they were.
    with pytest.raises(sqlite3.Error, match="expected a vector of 6 dimensions"):
        db.execute("insert into posts values(500, '[1, 2]', 0)")
    assert db.execute("select count(*) from posts where id = 500").fetchone() == (0,)
    oracle.check(db.execute)
    db.rollback()
    oracle.check(db.execute)


def test_nested_savepoints(db: sqlite3.Connection, oracle: Oracle, random: np.random.Generator) -> None:
    """Every way out of three levels, with writes at each level, twice in one transaction."""

    def write(oracle: Oracle) -> None:
        new = max(oracle.rows) + 1
        oracle.rows[new] = random_row(random)
        insert(db.execute, new, oracle.rows[new])
        gone = int(random.choice(list(oracle.rows)))
        db.execute("delete from t where rowid = ?", (gone,))
        del oracle.rows[gone]
        other = int(random.choice(list(oracle.rows)))
        oracle.rows[other] = random_row(random)
        insert(db.execute, other, oracle.rows[other], verb="replace")

    db.execute("begin")
    for ends in [(inner, middle, outer) for inner in (0, 1) for middle in (0, 1) for outer in (0, 1)]:
        states = []
        for level in range(3):
            states.append(oracle.copy())
            db.execute(f"savepoint s{level}")
            write(oracle)
            oracle.check_searches(db.execute, seed=level)
        for level, is_rolled_back in zip((2, 1, 0), ends, strict=True):
            if is_rolled_back:
                db.execute(f"rollback to s{level}")
                oracle = states[level].copy()
                oracle.check(db.execute)
                write(oracle)
                db.execute(f"rollback to s{level}")
                oracle = states[level].copy()
            db.execute(f"release s{level}")
            oracle.check(db.execute)
            write(oracle)
    db.commit()
    oracle.check(db.execute)


def test_a_savepoint_outside_a_transaction(db: sqlite3.Connection, oracle: Oracle) -> None:
    db.isolation_level = None
    db.execute("savepoint alone")
    db.execute("delete from t where rowid < 30")
    db.execute("rollback to alone")
    oracle.check(db.execute)
    db.execute("delete from t where rowid > 30")
    db.execute("release alone")
    assert not db.in_transaction
    oracle.rows = {i: row for i, row in oracle.rows.items() if i <= 30}
    oracle.check(db.execute)


def test_rollback_and_an_error_inside_a_transaction(db: sqlite3.Connection, oracle: Oracle) -> None:
    before = oracle.copy()
    db.execute("begin")
    db.execute("delete from t where rowid < 20")
    with pytest.raises(sqlite3.Error, match="not a JSON array"):
        db.execute("insert into t(rowid, a) values(1, 'nothing')")
    oracle.rows = {i: row for i, row in oracle.rows.items() if i >= 20}
    oracle.check(db.execute)
    db.rollback()
    before.check(db.execute)


def test_drop_and_create_are_undone_by_rollback(db: sqlite3.Connection, oracle: Oracle) -> None:
    db.isolation_level = None
    db.execute("begin")
    db.execute("delete from t where rowid < 10")
    db.execute("drop table t")
    create(db.execute)
    insert(db.execute, 1, Row(a=(0,) * 6))
    Oracle({1: Row(a=(0,) * 6)}).check(db.execute)
    db.execute("rollback")
    oracle.check(db.execute)
    db.execute("drop table t")
    left = db.execute("select name from sqlite_master where name like 't%'").fetchall()
    assert left == []


def test_last_insert_rowid_and_changes(db: sqlite3.Connection, oracle: Oracle) -> None:
    """The caller's own numbers: what vss0 writes into its shadow tables does not show."""
    db.execute("create table log(id integer primary key, x)")
    db.execute("insert into log values(41, 0)")
    db.execute("update t set a = ?, note = 'x' where rowid between 1 and 9", (blob((3,) * 6),))
    assert db.execute("select changes(), last_insert_rowid()").fetchone() == (9, 41)
    db.execute("delete from t where rowid > 50")
    assert db.execute("select changes(), last_insert_rowid()").fetchone() == (10, 41)
    db.commit()
    assert db.execute("select last_insert_rowid()").fetchone() == (41,)
    db.execute("insert into t(a) values(?)", (blob((3,) * 6),))
    assert db.execute("select changes(), last_insert_rowid()").fetchone() == (1, 51)


def test_returning_and_upsert_are_refused_by_sqlite_without_harm(
    db: sqlite3.Connection, oracle: Oracle
) -> None:
    """SQLite itself has no ON CONFLICT DO for virtual tables; the refusal leaves the table as it was."""
    with pytest.raises(sqlite3.OperationalError, match="UPSERT not implemented for virtual table"):
        db.execute("insert into t(rowid, a) values(1, ?) on conflict do nothing", (blob((1,) * 6),))
    oracle.check(db.execute)


@pytest.mark.parametrize("driver", [None, apsw])
def test_reading_while_writing(open_db: Callable[..., Any], random: np.random.Generator, driver: Any) -> None:
    """A running search keeps the rows that it found while others of its own connection change the table."""
    conn = vssnative.connect(":memory:", driver=driver) if driver else open_db(":memory:")
    try:
        oracle = loaded(random, conn.execute, 200)
        query = (0,) * 6
        expected = oracle.nearest("a", query, 200)
        running = iter(conn.execute("select rowid, distance from t where a match ?", (blob(query),)))
        found = [tuple(next(running)) for _ in range(10)]
        conn.execute("update t set year = 1")
        conn.execute("insert into t(rowid, a) values(5000, ?)", (blob((8, -8, 8, -8, 8, -8)),))
        found += [tuple(row) for row in running]
        # Further rows may or may not show what was written meanwhile; what was there is found, in order.
        assert [row for row in found if row[0] != 5000] == expected
        oracle.rows = {i: row.changed(year=1) for i, row in oracle.rows.items()}
        oracle.rows[5000] = Row(a=(8, -8, 8, -8, 8, -8))
        oracle.check(conn.execute)
        for (rowid,) in conn.execute("select rowid from t where year = 1 order by rowid"):
            conn.execute("delete from t where rowid = ?", (rowid,))
            oracle.rows.pop(rowid)
        oracle.check(conn.execute)
    finally:
        if driver:
            conn.close()


def test_many_small_transactions_reuse_slots(db: sqlite3.Connection, random: np.random.Generator) -> None:
    create(db.execute)
    oracle = Oracle()
    for round in range(30):
        for i in range(20):
            oracle.rows[i] = random_row(random)
            insert(db.execute, i, oracle.rows[i], verb="replace")
        if round % 3:
            db.execute("delete from t where rowid % 2 = ?", (round % 2,))
            oracle.rows = {i: row for i, row in oracle.rows.items() if i % 2 != round % 2}
        db.commit()
    oracle.check(db.execute)
    [(slots,)] = db.execute("select max(_slot0) from t_rows")
    assert slots < 20
    check_invariants(db.execute)
