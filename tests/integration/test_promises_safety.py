"""SQLite's promises about safety: defensive mode, untrusted schemas, checks (docs/reliability.md lists them)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import vssnative
from tests.reliability.oracle import Oracle, blob, create, insert, loaded, random_row

SHADOWS = ("config", "rows", "vectors0", "segments0", "free0", "vectors1", "segments1", "free1")


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[Any]:
    """apsw, whose SQLite has all of what is tested here."""
    conn = vssnative.connect(tmp_path / "test.db", driver=apsw)
    yield conn
    conn.close()


@pytest.fixture
def oracle(conn: Any, random: np.random.Generator) -> Oracle:
    return loaded(random, conn.execute, 60)


def test_defensive_mode(conn: Any, oracle: Oracle, random: np.random.Generator) -> None:
    """Shadow tables cannot be written by SQL, and the table itself works as ever."""
    assert conn.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1) == 1
    for shadow in SHADOWS:
        for statement in (
            f"delete from t_{shadow}",
            f"drop table t_{shadow}",
            f"alter table t_{shadow} rename to x",
        ):
            with pytest.raises(apsw.SQLError, match="may not be"):
                conn.execute(statement)
    with pytest.raises(apsw.SQLError, match="cannot create triggers on shadow tables"):
        conn.execute("create trigger x after insert on t_rows begin delete from t; end")
    for i in range(100, 130):
        oracle.rows[i] = random_row(random)
        insert(conn.execute, i, oracle.rows[i])
    conn.execute("update t set rowid = rowid + 1000, year = 1 where rowid < 20")
    oracle.rows = {
        (i + 1000 if i < 20 else i): (row.changed(year=1) if i < 20 else row)
        for i, row in oracle.rows.items()
    }
    conn.execute("delete from t where rowid % 3 = 0")
    oracle.rows = {i: row for i, row in oracle.rows.items() if i % 3}
    oracle.check(conn.execute)
    conn.execute("alter table t rename to u")
    conn.execute("alter table u rename to t")
    oracle.check(conn.execute)
    assert conn.execute("select vss_repair('t')").fetchone() == ("ok",)
    conn.execute("drop table t")
    assert conn.execute("select count(*) from sqlite_master").fetchone() == (0,)
    create(conn.execute)


def test_trusted_schema_off(conn: Any, oracle: Oracle) -> None:
    """Searches, writes and plain functions work in views and triggers of a schema that is not trusted."""
    query = (1, 2, 3, 4, 5, 6)
    conn.execute(
        "create view near as select rowid, distance from t where vss_search(a, vss_search_params('[1,2,3,4,5,6]', 5));"
        "create view by_match as select rowid from t where a match '[1,2,3,4,5,6]' and k = 5;"
        "create view far as select vss_distance_l2('[1, 2]', '[1, 4]') as d;"
        "create view checks as select vss_check('t') as words;"
        "create table posts(id integer primary key);"
        "create trigger post_gone after delete on posts begin delete from t where rowid = old.id; end;"
        "insert into posts values(3)"
    )
    conn.execute("pragma trusted_schema = off")
    assert conn.execute("select * from near").fetchall() == oracle.nearest("a", query, 5)
    # SQLite's own word for MATCH; with fts5 the same.
    with pytest.raises(apsw.SQLError, match=r"unsafe use of match\(\)"):
        conn.execute("select * from by_match").fetchall()
    assert conn.execute("select typeof(d) from far").fetchone() == ("real",)
    conn.execute("delete from posts")
    del oracle.rows[3]
    oracle.check(conn.execute)
    # DIRECTONLY, whatever the schema says: these walk the whole table, or change it.
    for trust in ("off", "on"):
        conn.execute(f"pragma trusted_schema = {trust}")
        with pytest.raises(apsw.SQLError, match="unsafe use of vss_check"):
            conn.execute("select * from checks").fetchall()


def test_functions_that_are_not_innocuous_are_direct_only(conn: Any) -> None:
    """By SQLite's own list: each function of ours is INNOCUOUS or DIRECTONLY, and the buffer table is for Python."""
    ours = conn.execute(
        "select distinct name, flags from pragma_function_list where (name glob 'vss*' or name glob 'vector*')"
    ).fetchall()
    assert len(ours) > 10
    for name, flags in ours:
        innocuous, direct_only = bool(flags & 0x200000), bool(flags & 0x80000)
        assert innocuous or direct_only, name


def test_integrity_check(conn: Any, oracle: Oracle) -> None:
    assert conn.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert conn.execute("pragma quick_check(t)").fetchall() == [("ok",)]
    conn.execute("update t_segments0 set live = live + 1")
    conn.execute("delete from t_vectors1 where block = 0")
    words = " ".join(word for (word,) in conn.execute("pragma integrity_check"))
    assert 'table "t", column "a": segment 0 counts' in words
    assert 'table "t", column "b": row' in words and "holds no vector" in words
    assert conn.execute("select vss_check('t')").fetchone()[0] in words
    conn.execute("select vss_repair('t')")
    assert conn.execute("pragma integrity_check").fetchall() == [("ok",)]


def test_check_and_repair_of_a_sound_table_change_nothing(
    tmp_path: Path, random: np.random.Generator
) -> None:
    db = vssnative.connect(tmp_path / "sound.db", wal=False)
    oracle = loaded(random, db.execute)
    db.execute("delete from t where rowid < 20")
    db.commit()
    before = (tmp_path / "sound.db").read_bytes()
    assert db.execute("select vss_check('t')").fetchone() == ("ok",)
    assert (tmp_path / "sound.db").read_bytes() == before
    assert db.execute("select vss_repair('t')").fetchone() == ("ok",)
    oracle.rows = {i: row for i, row in oracle.rows.items() if i >= 20}
    oracle.check(db.execute)
    db.commit()
    oracle.check(db.execute)
    db.close()


def test_shadow_tables_are_named_as_such(conn: Any, oracle: Oracle) -> None:
    kinds = dict(conn.execute("select name, type from pragma_table_list where schema = 'main'").fetchall())
    assert kinds["t"] == "virtual"
    assert {name: kind for name, kind in kinds.items() if name.startswith("t_")} == {
        f"t_{shadow}": "shadow" for shadow in SHADOWS
    } | {name: "shadow" for name in kinds if name.startswith(("t_cells", "t_codes"))}


def test_no_function_touches_a_path(db: sqlite3.Connection, tmp_path: Path) -> None:
    """Every function of ours, given a path as each of its arguments, leaves the directory alone."""
    names = db.execute(
        "select distinct name, narg from pragma_function_list where name glob 'vss*' or name glob 'vector*'"
    ).fetchall()
    before = sorted(tmp_path.iterdir())
    target = str(tmp_path / "made.bin")
    answered = 0
    for name, narg in names:
        count = narg if narg >= 0 else 1
        try:
            db.execute(f"select {name}({', '.join('?' * count)})", (target,) * count).fetchall()
            answered += 1
        except sqlite3.Error:
            pass
    assert answered > 0
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_text_encodings(tmp_path: Path, random: np.random.Generator, encoding: str) -> None:
    db = vssnative.connect(tmp_path / "encoded.db", wal=False)
    db.execute(f"pragma encoding = '{encoding}'")
    oracle = loaded(random, db.execute)
    db.execute("insert into t(rowid, a, company, note) values(900, '[1, 2, 3, 4, 5, 6]', 'Ünï𝄞', 'n')")
    db.commit()
    found = db.execute(
        "select rowid, company, a from t where a match '[1,2,3,4,5,6]' and k = 1 and company = 'Ünï𝄞'"
    )
    assert found.fetchall() == [(900, "Ünï𝄞", blob((1, 2, 3, 4, 5, 6)))]
    db.execute("delete from t where rowid = 900")
    oracle.check(db.execute)
    db.close()
