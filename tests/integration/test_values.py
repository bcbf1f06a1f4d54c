"""Values for a statement's ``?``: what reaches SQLite is what plain sqlite3 stores for the Python equivalent."""

from __future__ import annotations

import datetime
import decimal
import enum
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

import vssnative
from tests.conftest import vectors
from vssnative import Index, QueryError, set_cache_limit
from vssnative._connection import execute


class Level(enum.IntEnum):
    HIGH = 3


class Name(str, enum.Enum):
    ACME = "acme"


class Color(enum.Enum):
    RED = 1


CONVERTED: list[tuple[Any, Any]] = [
    (np.int64(7), 7),
    (np.int8(-3), -3),
    (np.uint64(2**63 - 1), 2**63 - 1),
    (np.array(5), 5),
    (np.float64(0.1), 0.1),
    (np.float32(0.5), 0.5),
    (np.float16(1.5), 1.5),
    (np.longdouble(0.25), 0.25),
    (np.bool_(True), 1),
    (True, 1),
    (np.str_("a"), "a"),
    (np.bytes_(b"a\1"), b"a\1"),
    (np.datetime64("2024-05-06"), "2024-05-06"),
    (np.datetime64("2024-05"), "2024-05-01"),
    (np.datetime64("2024-05-06T07:08:09"), "2024-05-06 07:08:09"),
    (np.datetime64("2024-05-06T07:08:09.5", "ns"), "2024-05-06 07:08:09.500000"),
    (np.datetime64("NaT"), None),
    (datetime.date(2024, 5, 6), "2024-05-06"),
    (datetime.datetime(2024, 5, 6, 7, 8, 9), "2024-05-06 07:08:09"),
    (datetime.datetime(2024, 5, 6, 7, 8, 9, 10, datetime.timezone.utc), "2024-05-06 07:08:09.000010+00:00"),
    (Path("a/b"), "a/b"),
    (Level.HIGH, 3),
    (Name.ACME, "acme"),
    (np.array([1.5, -2], np.float32), np.array([1.5, -2], np.float32).tobytes()),
    (bytearray(b"ab"), b"ab"),
    (None, None),
]

REFUSED: list[Any] = [
    2**63,
    -(2**70),
    np.uint64(2**63),
    10**5000,
    Color.RED,
    decimal.Decimal("1.5"),
    uuid.UUID(int=7),
    [1, 2],
    (1, 2),
    {1},
    np.array([1, 2]),
    np.array([1.5, 2]),
    np.ones((2, 2), np.float32),
    np.complex128(1j),
    np.timedelta64(1, "D"),
    np.datetime64("2024-05-06T07:08:09.123456789", "ns"),
]


@pytest.mark.parametrize(("value", "plain"), CONVERTED, ids=[repr(value) for value, _ in CONVERTED])
@pytest.mark.parametrize("driver", ["sqlite3", "apsw"])
def test_a_value_is_what_plain_sqlite3_makes_of_its_equivalent(driver: str, value: Any, plain: Any) -> None:
    conn = vssnative.connect(":memory:", driver=apsw) if driver == "apsw" else vssnative.connect(":memory:")
    expected = sqlite3.connect(":memory:").execute("select typeof(?1), ?1", (plain,)).fetchall()
    assert execute(conn, "select typeof(?1), ?1", (value,)) == expected
    assert execute(conn, "select typeof(:v), :v", {"v": value}) == expected
    conn.close()


@pytest.mark.parametrize("value", REFUSED, ids=range(len(REFUSED)))
def test_what_has_no_one_form_is_refused_in_a_sentence(value: Any) -> None:
    conn = vssnative.connect(":memory:")
    with pytest.raises(QueryError, match=r"params\[1\]: "):
        execute(conn, "select ?, ?", (1, value))
    conn.close()


def test_times_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    conn = vssnative.connect(":memory:")
    assert execute(conn, "select ?, ?", (pandas.Timestamp("2024-05-06 07:08:09"), pandas.NaT)) == [
        ("2024-05-06 07:08:09", None)
    ]
    conn.close()


def test_the_users_own_adapter_goes_first() -> None:
    class Money:
        def __conform__(self, _protocol: object) -> str:
            return "12 EUR"

    conn = vssnative.connect(":memory:")
    sqlite3.register_adapter(decimal.Decimal, str)
    try:
        assert execute(conn, "select ?, ?", (decimal.Decimal("1.50"), Money())) == [("1.50", "12 EUR")]
    finally:
        del sqlite3.adapters[(decimal.Decimal, sqlite3.PrepareProtocol)]
    conn.close()


def test_a_numpy_id_in_a_condition_excludes_its_row(
    db: sqlite3.Connection, random: np.random.Generator
) -> None:
    index = Index(db)
    matrix = vectors(random, 50, 8)
    index.add(range(50), matrix)
    ids, _ = index.search(matrix[7], k=3)
    others, _ = index.search(matrix[7], k=3, where="rowid <> ?", params=(ids[0],))
    assert others[:2].tolist() == ids[1:].tolist()
    assert index.search(matrix[7], k=3, where="rowid = ?", params=ids[:1])[0].tolist() == [7, -1, -1]


def test_search_of_texts_converts_too(db: sqlite3.Connection) -> None:
    db.execute("create table posts(id integer primary key, title text, year integer)")
    db.executemany("insert into posts values(?, ?, ?)", [(i, f"post {i}", 2000 + i) for i in range(5)])
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["title"])
    vssnative.sync(db)
    found = vssnative.search(db, "posts", "post", k=5, where="year = ?", params=[np.int64(2003)])
    assert [hit.rowid for hit in found] == [3]


def test_set_cache_limit_leaves_no_transaction_open(db: sqlite3.Connection) -> None:
    db.execute("create table posts(id integer primary key, title text)")
    vssnative.add_embeddings(db, "posts", columns=["title"])
    set_cache_limit(db, 5)
    assert not db.in_transaction
    db.execute("begin")
    set_cache_limit(db, 6)
    assert db.in_transaction
    db.rollback()
    assert db.execute("select value from vssnative_meta where key = 'cache_limit'").fetchone() == (5,)


def test_maintenance_stays_in_its_schema(
    db: sqlite3.Connection,
    open_db: Callable[..., sqlite3.Connection],
    random: np.random.Generator,
    tmp_path: Path,
) -> None:
    """stats, explain and optimize of an attached table: those of main's table of the same name were read and rewritten."""
    db.execute("attach ? as other", (str(tmp_path / "other.db"),))
    small, large = vectors(random, 100, 8), vectors(random, 6000, 8)
    Index(db, "t").add(range(100), small)
    other = Index(db, "t", schema="other")
    other.add(range(6000), large)
    Index(db, "t", schema="temp").add(range(10), small[:10])
    db.commit()
    main = Index(db, "t", schema="main")
    assert (main.stats()["rows"], other.stats()["rows"]) == (100, 6000)
    assert other.stats()["search"] == "cells"
    assert "reranked" in other.explain(large[0]) and "reranked" not in main.explain(small[0])
    assert "every vector" in main.explain(small[0])["plan"]
    before = db.execute("select key, value from main.t_config").fetchall(), db.total_changes
    steps: list[tuple[int, int]] = []
    other.optimize(progress=lambda at, cells: steps.append((at, cells)))
    assert steps[-1][0] == steps[-1][1] > 0
    assert db.execute("select key, value from main.t_config").fetchall() == before[0]
    one = "select json_extract(vss_stats('t', 'embedding', ?), '$.rows')"
    assert [db.execute(one, (schema,)).fetchone()[0] for schema in ("temp", "main", "other", None)] == [
        10,
        100,
        6000,
        10,
    ]
    # Without a schema: as SQLite finds a table.
    names = "select vss_count('t', 'embedding'), json_extract(vss_stats('t', 'embedding'), '$.rows'), vss_check('t')"
    assert db.execute(names).fetchone() == (10, 10, "ok")
    db.execute("drop table temp.t")
    assert db.execute(names).fetchone() == (100, 100, "ok")
    db.execute("drop table main.t")
    assert db.execute(names).fetchone() == (6000, 6000, "ok")
    assert "dim" in db.execute("select vss_describe('t')").fetchone()[0]
    assert db.execute("select vss_repair('t')").fetchone() == ("ok",)
    with pytest.raises(sqlite3.OperationalError, match='no table "t" in "main"'):
        db.execute("select vss_stats('t', 'embedding', 'main')")
