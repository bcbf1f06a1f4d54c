"""SQLite's promises about files: names, copies, journals, space (docs/reliability.md lists them)."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import vssnative
from tests.reliability.oracle import (
    COLUMNS,
    Oracle,
    Row,
    blob,
    check_invariants,
    create,
    insert,
    loaded,
    random_row,
)

OpenDb = Callable[..., sqlite3.Connection]


@pytest.fixture
def oracle(db: sqlite3.Connection, random: np.random.Generator) -> Oracle:
    oracle = loaded(random, db.execute, 60)
    db.commit()
    return oracle


@pytest.fixture
def open_apsw(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A newer SQLite than the standard library's, with the whole of its API."""
    opened: list[Any] = []

    def open_one(name: str = "test.db", **kwargs: Any) -> Any:
        path = name if name.startswith((":memory:", "file:")) else str(tmp_path / name)
        opened.append(vssnative.connect(path, driver=apsw, **kwargs))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


def go_on(oracle: Oracle, execute: Any, table: str = "t") -> None:
    """The table is not only readable: a few writes of each kind, then everything checked."""
    name = table.rpartition(".")[2]
    new = Row(a=(1, 2, 3, 4, 5, 6), company="new")
    execute(f"insert into {table}(rowid, a, company) values(777, ?, 'new')", (blob(new.a),))
    execute(f"update {table} set year = 5 where rowid = 3")
    execute(f"delete from {table} where rowid between 4 and 8")
    oracle.rows[777] = new
    oracle.rows[3] = oracle.rows[3].changed(year=5)
    oracle.rows = {i: row for i, row in oracle.rows.items() if not 4 <= i <= 8}
    oracle.check(execute, table, seed=len(name))


def test_rename(db: sqlite3.Connection, oracle: Oracle, open_db: OpenDb) -> None:
    other = open_db()
    oracle.check(other.execute)
    db.execute('alter table t rename to "new ""name\' é"')
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        db.execute("select * from t")
    new = '"new ""name\' é"'
    assert db.execute(f"select count(*) from {new}").fetchone() == (60,)
    create(db.execute)  # the old name is free, its shadow tables too
    db.execute("drop table t")
    db.execute(f"alter table {new} rename to t")
    db.commit()
    # The other connection, whose table had another name meanwhile, goes on.
    go_on(oracle, other.execute)


def test_rename_inside_a_transaction_that_is_rolled_back(db: sqlite3.Connection, oracle: Oracle) -> None:
    db.isolation_level = None
    before = oracle.copy()
    db.execute("begin")
    db.execute("delete from t where rowid < 10")
    db.execute("alter table t rename to u")
    insert(db.execute, 5000, random_row(np.random.default_rng(1)), table="u")
    db.execute("savepoint s")
    db.execute("alter table u rename to v")
    db.execute("delete from v")
    db.execute("rollback to s")
    assert db.execute("select count(*) from u").fetchone() == (52,)
    db.execute("rollback")
    before.check(db.execute)
    db.execute("alter table t rename to u")
    db.execute("alter table u rename to t")
    go_on(before, db.execute)


def test_attached_databases(
    db: sqlite3.Connection, oracle: Oracle, random: np.random.Generator, tmp_path: Path
) -> None:
    """The same name in three schemas, one transaction over all, each with its own rows."""
    db.execute("attach ? as other", (str(tmp_path / "other.db"),))
    oracles = {"main.t": oracle, "other.t": Oracle(), "temp.t": Oracle()}
    for table in ("other.t", "temp.t"):
        db.execute(f"create virtual table {table} using vss0({COLUMNS})")
        for i in range(30):
            oracles[table].rows[i] = random_row(random)
            db.execute(
                f"insert into {table}(rowid, a, b, company, year, user_id, note) values(?, ?, ?, ?, ?, ?, ?)",
                (i, *oracles[table].rows[i].values()),
            )
    db.commit()
    for table, held in oracles.items():
        held.check(db.execute, table)
    before = {table: held.copy() for table, held in oracles.items()}
    for table, held in oracles.items():
        go_on(held, db.execute, table)
    db.rollback()
    for table, held in before.items():
        held.check(db.execute, table)
        go_on(held, db.execute, table)
    db.commit()
    found = db.execute(
        "select m.rowid from main.t m join other.t o on o.rowid = m.rowid where m.a match ? and m.k = 1000",
        (blob((0,) * 6),),
    ).fetchall()
    nearest = before["main.t"].nearest("a", (0,) * 6, 1000)
    assert [i for (i,) in found] == [i for i, _ in nearest if i in before["other.t"].rows]
    db.execute("detach other")
    before["main.t"].check(db.execute, "main.t")


def test_temp_tables_leave_the_file_alone(db: sqlite3.Connection, random: np.random.Generator) -> None:
    db.execute(f"create virtual table temp.t using vss0({COLUMNS})")
    oracle = Oracle()
    for i in range(20):
        oracle.rows[i] = random_row(random)
        insert(db.execute, i, oracle.rows[i])
    db.commit()
    oracle.check(db.execute, "temp.t")
    assert db.execute("select count(*) from main.sqlite_master").fetchone() == (0,)
    db.execute("drop table temp.t")
    assert db.execute("select count(*) from temp.sqlite_master").fetchone() == (0,)


@pytest.mark.parametrize("page_size", [512, 65536])
def test_vacuum(db: sqlite3.Connection, oracle: Oracle, page_size: int, open_db: OpenDb) -> None:
    db.execute("pragma journal_mode = delete")
    db.execute(f"pragma page_size = {page_size}")
    db.execute("delete from t where rowid % 3 = 1")
    oracle.rows = {i: row for i, row in oracle.rows.items() if i % 3 != 1}
    db.commit()
    db.execute("vacuum")
    assert db.execute("pragma page_size").fetchone() == (page_size,)
    go_on(oracle, db.execute)
    db.commit()
    oracle.check(open_db().execute)


def test_vacuum_into(db: sqlite3.Connection, oracle: Oracle, tmp_path: Path, open_db: OpenDb) -> None:
    db.execute("vacuum into ?", (str(tmp_path / "copy.db"),))
    copy = open_db("copy.db")
    go_on(oracle.copy(), copy.execute)
    oracle.check(db.execute)


def test_backup(db: sqlite3.Connection, oracle: Oracle, open_db: OpenDb) -> None:
    copy = open_db("copy.db")
    loaded(np.random.default_rng(9), copy.execute, 10)
    copy.commit()
    copy.execute("select count(*) from t where a match ? and k = 3", (blob((0,) * 6),)).fetchall()
    db.backup(copy, pages=3)
    go_on(oracle.copy(), copy.execute)
    oracle.check(db.execute)


def test_backup_while_writing(db: sqlite3.Connection, oracle: Oracle, open_db: OpenDb) -> None:
    copy = open_db("copy.db")

    def write(status: int, remaining: int, total: int) -> None:
        if remaining > 0 and 900 not in oracle.rows:
            oracle.rows[900] = Row(a=(4,) * 6)
            insert(db.execute, 900, oracle.rows[900])
            db.commit()

    db.backup(copy, pages=2, progress=write)
    assert 900 in oracle.rows
    go_on(oracle, copy.execute)


def test_serialize_and_deserialize(oracle: Oracle, open_apsw: Callable[..., Any]) -> None:
    source = open_apsw()
    source.execute("pragma journal_mode = delete")
    data = source.serialize("main")
    copy = open_apsw(":memory:")
    loaded(np.random.default_rng(9), copy.execute, 10)
    copy.deserialize("main", data)
    go_on(oracle, copy.execute)


SHELLS = ["apsw", *(["sqlite3"] if shutil.which("sqlite3") else [])]


@pytest.mark.parametrize("shell", SHELLS)
def test_dump_by_a_shell(
    db: sqlite3.Connection, oracle: Oracle, open_db: OpenDb, tmp_path: Path, shell: str
) -> None:
    """Dumped and restored where nobody knows vss0, then used where it is known."""
    db.close()
    command = ["sqlite3", "-batch"] if shell == "sqlite3" else [sys.executable, "-m", "apsw"]

    def run(*arguments: str, text: str | None = None) -> str:
        done = subprocess.run([*command, *arguments], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    dump = run(str(tmp_path / "test.db"), ".dump")
    run(str(tmp_path / "restored.db"), text=dump)
    go_on(oracle, open_db("restored.db").execute)


def test_dump_by_python_fails_loudly_as_for_any_virtual_table(db: sqlite3.Connection, oracle: Oracle) -> None:
    """iterdump() writes rows of virtual tables before they exist; with fts5 the same. It loses nothing in silence."""
    db.commit()
    for table in ("t", "texts"):
        if table == "texts":
            db.execute("drop table t")
            db.execute("create virtual table texts using fts5(a)")
            db.execute("insert into texts values('one')")
            db.commit()
        script = "\n".join(db.iterdump())
        copy = sqlite3.connect(":memory:")
        with pytest.raises(
            sqlite3.Error, match=f"no such table: {table}|malformed|table sqlite_master may not"
        ):
            copy.executescript(script)
        copy.close()


def test_read_only_files(db: sqlite3.Connection, oracle: Oracle, open_db: OpenDb, tmp_path: Path) -> None:
    db.execute("pragma journal_mode = delete")
    db.close()
    path = tmp_path / "test.db"
    path.chmod(0o444)
    before = path.read_bytes()
    for options in ("mode=ro", "immutable=1", "mode=ro&immutable=1"):
        reader = open_db(f"file:{path}?{options}", uri=True)
        oracle.check(reader.execute)
        with pytest.raises(sqlite3.OperationalError, match="readonly|read-only"):
            reader.execute("insert into t(a) values(?)", (blob((1,) * 6),))
        reader.rollback()
        with pytest.raises(sqlite3.OperationalError, match="readonly|read-only"):
            reader.execute("delete from t where rowid = 1")
        reader.rollback()
        oracle.check(reader.execute)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("test.db-*"))


def test_query_only(db: sqlite3.Connection, oracle: Oracle) -> None:
    db.execute("pragma query_only = on")
    for statement in (
        "delete from t where rowid = 1",
        "update t set year = 1",
        "insert into t(rowid) values(900)",
    ):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            db.execute(statement)
    oracle.check(db.execute)
    db.execute("pragma query_only = off")
    go_on(oracle, db.execute)


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory", "wal", "off"])
def test_journal_modes(open_db: OpenDb, random: np.random.Generator, mode: str) -> None:
    db = open_db("modes.db", wal=False)
    assert db.execute(f"pragma journal_mode = {mode}").fetchone() == (mode,)
    oracle = loaded(random, db.execute)
    db.commit()
    if mode != "off":  # without a journal SQLite promises no rollback
        before = oracle.copy()
        go_on(oracle, db.execute)
        db.rollback()
        oracle = before
    go_on(oracle, db.execute)
    db.commit()
    db.close()
    oracle.check(open_db("modes.db", wal=False).execute)


@pytest.mark.parametrize("auto_vacuum", ["none", "full", "incremental"])
def test_space_is_used_again_and_given_back(open_db: OpenDb, auto_vacuum: str) -> None:
    db = open_db("space.db", wal=False)
    db.execute(f"pragma auto_vacuum = {auto_vacuum}")
    db.execute("create virtual table big using vss0(a(256))")

    def fill(first: int) -> None:
        random = np.random.default_rng(first)
        matrix = random.integers(-8, 9, (1500, 256)).astype(np.float32)
        vssnative.Index(db, "big", "a").add(np.arange(first, first + 1500), matrix)
        db.commit()

    def used() -> int:
        pages, free = (
            db.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count")
        )
        return int(pages - free)

    def size() -> int:
        return int(db.execute("pragma page_count").fetchone()[0])

    empty = used()
    fill(0)
    full = size()
    for round in range(1, 4):
        db.execute("delete from big where rowid % 10 <> 3")
        fill(round * 10_000)
        db.execute("delete from big where rowid < ?", (round * 10_000,))
        db.commit()
    assert db.execute("select count(*) from big").fetchone() == (1500,)
    assert size() <= full * 1.35  # the tenth that was left beside the 1,500, and pages half full
    db.execute("delete from big")
    db.commit()
    assert used() <= empty + 24  # the list of free slots, a few pages
    if auto_vacuum == "incremental":
        db.executescript("pragma incremental_vacuum")
    elif auto_vacuum == "none":
        db.execute("vacuum")
    assert size() <= empty + 24
    fill(0)
    assert db.execute("select vss_check('big')").fetchone() == ("ok",)
    assert size() <= full * 1.1


def test_shared_cache(open_db: OpenDb, random: np.random.Generator) -> None:
    first = open_db("file:shared?mode=memory&cache=shared", uri=True)
    oracle = loaded(random, first.execute)
    first.commit()
    second = open_db("file:shared?mode=memory&cache=shared", uri=True)
    go_on(oracle, second.execute)
    second.commit()
    oracle.check(first.execute)


def test_two_sqlite_libraries_on_one_file(
    db: sqlite3.Connection, oracle: Oracle, open_apsw: Callable[..., Any]
) -> None:
    """The standard library's SQLite and apsw's own, in one process."""
    other = open_apsw()
    for _ in range(3):
        other.execute("update t set year = coalesce(year, 0) + 1")
        db.execute("delete from t where rowid = (select max(rowid) from t)")
        db.commit()
        oracle.rows = {i: row.changed(year=(row.year or 0) + 1) for i, row in oracle.rows.items()}
        del oracle.rows[max(oracle.rows)]
        oracle.check(db.execute)
        oracle.check(other.execute)


def test_every_connection_closes_with_statements_open(tmp_path: Path, random: np.random.Generator) -> None:
    conn = vssnative.connect(tmp_path / "open.db", driver=apsw)
    loaded(random, conn.execute)
    cursor = conn.execute("select rowid, distance from t where a match ?", (blob((0,) * 6),))
    next(cursor)
    conn.close(True)
    again = vssnative.connect(tmp_path / "open.db")
    assert again.execute("select count(*) from t").fetchone() == (60,)
    check_invariants(again.execute)
    again.close()
