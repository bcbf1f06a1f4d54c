"""Files made to deceive: right checksums over wrong content, versions of another file, views and triggers among the tables.

Whoever can write a file can compute its checksums. So these tests compute them too: what is behind them must end in an
answer or in words, never in a crash, nor in memory that the file cannot fill.
"""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import vssnative
from tests.reliability import forge
from tests.reliability.campaign import count, scaled, seed
from vssnative import _core

DIM = 8


@pytest.fixture(autouse=True)
def unverified() -> Iterator[None]:
    verifying = _core.verification()
    _core.set_verification(0)
    yield
    _core.set_verification(verifying)


def open_plain(path: Path) -> sqlite3.Connection:
    conn = vssnative.connect(path, wal=False)
    conn.isolation_level = None
    assert isinstance(conn, sqlite3.Connection)
    return conn


def make(path: Path, declaration: str = "a(8)", n: int = 300, table: str = "t", first: int = 1) -> None:
    conn = open_plain(path)
    conn.execute(f"create virtual table {table} using vss0({declaration})")
    conn.execute(f"update {table}_config set value = 100 where key = 'cells_from0'")
    conn.execute(f"update {table}_config set value = 10 where key = 'cell_rows0'")
    conn.close()
    conn = open_plain(path)
    dim = int(declaration.split("(")[1].split(")")[0])
    random = np.random.default_rng(n)
    conn.execute("begin")
    for i in range(first, first + n):
        conn.execute(
            f"insert into {table}(rowid, a) values(?, ?)",
            (i, json.dumps([round(float(x), 3) for x in random.standard_normal(dim)])),
        )
    conn.execute("commit")
    conn.close()


def words_of(conn: sqlite3.Connection, sql: str, parameters: tuple[Any, ...] = ()) -> str:
    """What an error says; empty: there was none."""
    try:
        conn.execute(sql, parameters).fetchall()
    except sqlite3.Error as error:
        assert str(error).strip()
        return str(error)
    return ""


SEARCH = "select rowid, distance from t where a match ? and k = 5"
USES: list[tuple[str, tuple[Any, ...]]] = [
    ("select rowid, a from t", ()),
    (SEARCH, (json.dumps([1.0] * DIM),)),
    (SEARCH + " and recall = 1.0", (json.dumps([0.5] * DIM),)),
    ("select rowid from t where a match ? and k = 400", (json.dumps([0.5] * DIM),)),
    ("select vss_explain('t', 'a', ?, 5, 0.9), vss_stats('t', 'a')", (json.dumps([0.5] * DIM),)),
    (
        "insert into t(a) select value from json_each(?)",
        (json.dumps([json.dumps([i] * DIM) for i in range(80)]),),
    ),
    ("update t set a = ? where rowid < 20", (json.dumps([2.0] * DIM),)),
    ("delete from t where rowid % 4 = 0", ()),
    ("select vss_optimize('t', 'a', 0)", ()),
    ("select vss_check('t')", ()),
    ("select vss_repair('t')", ()),
    ("select vss_check('t')", ()),
]


def test_forged_content_under_right_checksums(tmp_path: Path) -> None:
    """Random changes anywhere in the blobs, checksums made right again, then every use. In a process of its own."""
    rounds = scaled(60, 1500)
    chosen = seed()
    script = Path(forge.__file__)
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(rounds), str(chosen)],
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )
    assert result.returncode == 0, (
        f"seed {chosen}: {result.returncode}\n{result.stdout[-500:]}\n{result.stderr[-3000:]}"
    )
    told = json.loads(result.stdout.splitlines()[-1])
    count("forged files", seed=chosen, **told)
    assert told["files"] == rounds and told["refused"] > 0 and told["noticed"] > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("metric", ["L2", "COSINE", "INNER_PRODUCT"])
def test_a_stored_number_that_is_none(tmp_path: Path, value: float, metric: str) -> None:
    path = tmp_path / "nan.db"
    make(path, f"a(8) metric_type={metric}")
    conn = open_plain(path)
    forge.set_element(conn, slot=17, element=3, value=value)
    [(rowid,)] = conn.execute("select _rowid from t_rows where _slot0 = 17")
    conn.close()
    conn = open_plain(path)
    assert "has an element that is not a finite number" in words_of(conn, "select rowid, a from t")
    for sql, parameters in USES[1:9]:
        words_of(conn, sql, parameters)
    conn.close()
    conn = open_plain(path)
    forge.set_element(conn, slot=17, element=3, value=value)
    [(words,)] = conn.execute("select vss_check('t')")
    assert f"slot 17 (row {rowid}): element 3: expected a finite number" in words
    [(words,)] = conn.execute("select vss_repair('t')")
    assert f"slot 17 (row {rowid}) was unreadable" in words
    assert f"the vector of row {rowid} is lost" in words
    assert conn.execute("select vss_check('t')").fetchone() == ("ok",)
    conn.close()


def test_huge_numbers_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.db"
    make(path)
    for number in (2**31 - 1, 2**32 - 1, 300_000_000):
        shutil.copy(path, tmp_path / "copy.db")
        conn = open_plain(tmp_path / "copy.db")
        forge.set_figure(conn, cell=0, field="entries", value=number)
        forge.set_figure(conn, cell=1, field="retry_at", value=number)
        conn.close()
        conn = open_plain(tmp_path / "copy.db")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        said = [words_of(conn, sql, parameters) for sql, parameters in USES]
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert any("cell 0" in words for words in said), said
        assert grown < 100 << 10, f"{grown} KB"
        conn.close()
    shutil.copy(path, tmp_path / "copy.db")
    conn = open_plain(tmp_path / "copy.db")
    conn.execute(
        "update t_config set value = 1048576 - 1048576 % (select value from t_config where key = 'block_slots0')"
        " where key = 'segment_slots0'"
    )
    conn.execute("update t_segments0 set live = 1000000 where data is null")
    conn.close()
    conn = open_plain(tmp_path / "copy.db")
    assert words_of(
        conn, "select rowid from t where a match ? and k = 1 and recall = 1.0", (json.dumps([1] * DIM),)
    )
    conn.close()


def test_cells_of_which_there_is_none(tmp_path: Path) -> None:
    """Learning what a recall needs asks rows for the cells that their neighbours lie in."""
    path = tmp_path / "none.db"
    make(path)
    conn = open_plain(path)
    forge.take_all_cells_away(conn)
    conn.close()
    conn = open_plain(path)
    assert conn.execute("select vss_check('t')").fetchone() == ("ok",)
    conn.execute("select vss_relearn('t', 'a')")
    for sql, parameters in USES:
        words_of(conn, sql, parameters)
    assert len(conn.execute(SEARCH, (json.dumps([1.0] * DIM),)).fetchall()) == 5
    assert conn.execute("select vss_check('t')").fetchone() == ("ok",)
    conn.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("field", list(forge.LEARNED_FLOATS))
def test_a_learned_number_that_is_none(tmp_path: Path, field: str, value: float) -> None:
    path = tmp_path / "learned.db"
    make(path)
    conn = open_plain(path)
    forge.set_learned(conn, field, value)
    conn.close()
    conn = open_plain(path)
    assert "has learned what cannot be" in words_of(conn, SEARCH, (json.dumps([1.0] * DIM),))
    for sql, parameters in USES:
        words_of(conn, sql, parameters)
    assert conn.execute("select vss_check('t')").fetchone() == ("ok",)  # repaired
    [(told,)] = conn.execute("select vss_stats('t', 'a')")
    json.loads(told, parse_constant=pytest.fail)
    conn.close()


DECLARATIONS = ["a(8)", "a(16)", "a(8) type=int8", "a(8) metric_type=COSINE", "a(32) type=float16", "a(300)"]


@pytest.mark.parametrize("first", DECLARATIONS)
@pytest.mark.parametrize("second", DECLARATIONS)
def test_versions_of_another_table(tmp_path: Path, first: str, second: str) -> None:
    """A table that says the versions of another one: each answers from its own rows."""
    path = tmp_path / "versions.db"
    dims = [int(d.split("(")[1].split(")")[0]) for d in (first, second)]
    conn = open_plain(path)
    for table, declaration in (("t", first), ("u", second)):
        conn.execute(f"create virtual table {table} using vss0({declaration})")
        conn.execute(f"update {table}_config set value = 100 where key = 'cells_from0'")
        conn.execute(f"update {table}_config set value = 10 where key = 'cell_rows0'")
    conn.close()
    conn = open_plain(path)
    random = np.random.default_rng(1)
    rows: dict[str, dict[int, list[int]]] = {"t": {}, "u": {}}
    for table, dim in zip("tu", dims, strict=True):
        conn.execute("begin")
        for i in range(1, 301):
            rows[table][i] = [int(x) for x in random.integers(-9, 10, dim)]
            rows[table][i][0] = rows[table][i][0] or 1
            conn.execute(f"insert into {table}(rowid, a) values(?, ?)", (i, json.dumps(rows[table][i])))
        conn.execute("commit")
    # The second table says the first one's versions: of segments, of the directory, of its cells.
    forge.take_versions(conn, of="t", to="u")
    conn.close()

    def look(conn: sqlite3.Connection, table: str) -> None:
        for i in range(1, 301, 29):
            query = json.dumps(rows[table][i])
            for recall in ("", " and recall = 1.0"):
                sql = f"select rowid from {table} where a match ? and k = 3{recall}"
                found = [rowid for (rowid,) in conn.execute(sql, (query,))]
                nearest = rows[table][found[0]]
                if "COSINE" in (first if table == "t" else second):
                    one, other = np.array(nearest, float), np.array(rows[table][i], float)
                    assert one @ other == pytest.approx(np.linalg.norm(one) * np.linalg.norm(other))
                else:
                    assert nearest == rows[table][i]

    conn = open_plain(path)
    for table in ("t", "u", "t"):
        look(conn, table)
    conn.execute("insert into u(a) values(?)", (json.dumps([1] * dims[1]),))
    conn.execute("delete from u where rowid % 7 = 0")
    for i in list(rows["u"]):
        if i % 7 == 0:
            del rows["u"][i]
    assert conn.execute("select vss_check('t'), vss_check('u')").fetchone() == ("ok", "ok")
    conn.close()


def test_versions_of_another_file(tmp_path: Path) -> None:
    """A copied file whose rows are others, under the same versions: each file answers from its own."""
    make(tmp_path / "one.db")
    shutil.copy(tmp_path / "one.db", tmp_path / "two.db")
    conn = open_plain(tmp_path / "two.db")
    conn.execute("update t set a = ?", (json.dumps([7.0] * DIM),))
    forge.copy_versions_between(tmp_path / "one.db", conn)
    conn.close()
    one, two = open_plain(tmp_path / "one.db"), open_plain(tmp_path / "two.db")
    query = (json.dumps([7.0] * DIM),)
    for recall in ("", " and recall = 1.0"):
        assert one.execute(SEARCH + recall, query).fetchone()[1] > 1
        assert [d for _, d in two.execute(SEARCH + recall, query)] == [0.0] * 5
        assert one.execute(SEARCH + recall, query).fetchone()[1] > 1
    one.close()
    two.close()


SHADOWS = ["config", "rows", "vectors0", "segments0", "free0", "cells0", "codes0"]


@pytest.mark.parametrize("driver", [sqlite3, apsw], ids=["sqlite3", "apsw"])
@pytest.mark.parametrize("shadow", SHADOWS)
def test_a_view_in_the_place_of_a_table(tmp_path: Path, shadow: str, driver: Any) -> None:
    path = tmp_path / "view.db"
    make(path)
    conn = open_plain(path)
    conn.execute(f"alter table t_{shadow} rename to kept")
    names = ", ".join(name for _, name, *_ in conn.execute("pragma table_info(kept)"))
    conn.execute(f"create view t_{shadow} as select {names} from kept where (select count(*) from t) > 0")
    conn.close()
    conn = vssnative.connect(path, wal=False, driver=driver)
    refused = 0
    for sql, parameters in USES:
        try:
            list(conn.execute(sql, parameters))
        except (sqlite3.Error, apsw.Error) as error:
            refused += f"t_{shadow} should be one of its own tables and is a view" in str(error)
    assert refused >= len(USES) - 1
    conn.close()


@pytest.mark.parametrize("when", ["before", "while it is open"])
@pytest.mark.parametrize("driver", [sqlite3, apsw], ids=["sqlite3", "apsw"])
@pytest.mark.parametrize("shadow", SHADOWS)
def test_a_trigger_on_one_of_its_tables(tmp_path: Path, shadow: str, driver: Any, when: str) -> None:
    path = tmp_path / "trigger.db"
    make(path)
    open_first = vssnative.connect(path, wal=False, driver=driver)
    if when != "before":
        list(open_first.execute("delete from t where rowid = 1"))
        if driver is sqlite3:
            open_first.commit()
    conn = open_plain(path) if when == "before" else open_first
    for event in ("insert", "update", "delete"):
        conn.execute(
            f"create trigger x_{event} after {event} on t_{shadow} begin insert into t(a) values('[1,2,3,4,5,6,7,8]'); end"
        )
    if conn is not open_first:
        conn.close()
    for sql in (
        "insert into t(a) values('[1,1,1,1,1,1,1,1]')",
        "update t set a = '[1,1,1,1,1,1,1,1]'",
        "delete from t",
    ):
        with pytest.raises(
            (sqlite3.Error, apsw.Error), match="the trigger .* would change what the table keeps there"
        ):
            list(open_first.execute(sql))
    # It can be read, and dropped.
    assert len(list(open_first.execute(SEARCH, (json.dumps([1.0] * DIM),)))) == 5
    for event in ("insert", "update", "delete"):
        open_first.execute(f"drop trigger x_{event}")
    list(open_first.execute("delete from t where rowid < 9"))
    assert list(open_first.execute("select vss_check('t')")) == [("ok",)]
    open_first.close()


def test_a_temporary_trigger_that_leads_back(tmp_path: Path) -> None:
    make(tmp_path / "temp.db")
    conn = open_plain(tmp_path / "temp.db")
    conn.execute(
        "create temp trigger x after insert on main.t_rows begin insert into t(a) values('[1,2,3,4,5,6,7,8]'); end"
    )
    conn.execute("pragma recursive_triggers = on")
    assert words_of(conn, "insert into t(a) values('[1,1,1,1,1,1,1,1]')")
    conn.execute("drop trigger x")
    conn.execute("insert into t(a) values('[1,1,1,1,1,1,1,1]')")
    assert conn.execute("select vss_check('t')").fetchone() == ("ok",)
    conn.close()


REFUSED = [
    ("u integer references u(id) on delete cascade", "a foreign key is not kept"),
    ("u integer REFERENCES other", "a foreign key is not kept"),
    ("u integer default 5", "a default is not kept"),
    ("u integer generated always as (1)", "a generated column is not kept"),
    ("u as (rowid)", "a generated column is not kept"),
    ("u integer unique on conflict replace", "a conflict clause in a declaration is not kept"),
    ("u integer not null on conflict ignore", "a conflict clause in a declaration is not kept"),
    ("u integer constraint c unique", "constraints take no name here"),
    ("+u integer references u(id)", "a foreign key is not kept"),
]


@pytest.mark.parametrize(("declaration", "words"), REFUSED)
def test_declarations_that_cannot_be_kept_are_refused(tmp_path: Path, declaration: str, words: str) -> None:
    conn = open_plain(tmp_path / "declared.db")
    with pytest.raises(sqlite3.OperationalError, match=f'table "t", column "u": {words}'):
        conn.execute(f"create virtual table t using vss0(a(2), {declaration})")
    assert conn.execute("select count(*) from sqlite_master").fetchone() == (0,)
    conn.close()


def test_declarations_that_are_kept(tmp_path: Path) -> None:
    conn = open_plain(tmp_path / "declared.db")
    conn.execute(
        "create virtual table t using vss0(a(2), n integer unique, c text collate nocase not null, d check (d in (1, 2)),"
        " defaults text, e decimal(10, 2))"
    )
    conn.execute("insert into t(rowid, a, n, c, d) values(1, '[1, 2]', 7, 'x', 1)")
    for sql in (
        "insert into t(rowid, a, n, c) values(2, '[1, 2]', 7, 'x')",
        "insert or replace into t(rowid, a, n, c) values(2, '[1, 2]', 7, 'x')",
        "insert into t(rowid, a, c, d) values(2, '[1, 2]', 'x', 3)",
        "insert into t(rowid, a) values(2, '[1, 2]')",
    ):
        with pytest.raises(sqlite3.IntegrityError, match='table "t": '):
            conn.execute(sql)
    conn.execute("insert or ignore into t(rowid, a, n, c) values(2, '[1, 2]', 7, 'x')")
    assert conn.execute("select rowid, n, c, d from t").fetchall() == [(1, 7, "x", 1)]
    assert conn.execute("select vss_check('t')").fetchone() == ("ok",)
    conn.close()
