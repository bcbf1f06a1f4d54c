"""The verification mode itself, and tables whose own tables are missing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import vssnative
from tests.reliability.oracle import loaded
from vssnative import _core


def test_it_is_on_in_the_tests_and_notices_what_a_search_alone_does_not(
    open_db: Callable[..., sqlite3.Connection], random: np.random.Generator
) -> None:
    assert _core.verification()
    db = open_db()
    loaded(random, db.execute, 40)
    db.commit()
    sql = "select rowid from t where a match '[1,2,3,4,5,6]' and k = 40 and recall = 1.0"
    whole = db.execute(sql).fetchall()
    db.execute("delete from t_rows where _rowid = ?", whole[3])
    with pytest.raises(sqlite3.Error, match='verification of table "t", column "a", query 0, k 40, exact: '):
        db.execute(sql).fetchall()
    _core.set_verification(0)
    try:
        assert db.execute(sql).fetchall() == whole
    finally:
        _core.set_verification(1)
    assert f"row {whole[3][0]}, which does not name it" in db.execute("select vss_check('t')").fetchone()[0]


@pytest.fixture
def no_cache() -> Iterator[None]:
    """What the process knows already would go on giving right answers."""
    vssnative.configure(memory=0)
    yield
    vssnative.configure(memory="256MB")


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize("celled", [False, True])
@pytest.mark.parametrize(
    "missing",
    [("cells", "codes"), ("cells",), ("codes",), ("free",), ("segments",), ("free", "segments", "cells")],
)
def test_a_table_that_is_missing_is_named_and_made_anew(
    open_db: Callable[..., sqlite3.Connection],
    random: np.random.Generator,
    missing: tuple[str, ...],
    celled: bool,
) -> None:
    """Files written before cells existed lack t_cells and t_codes."""
    db = open_db(isolation_level=None)
    oracle = loaded(random, db.execute, 60, celled=celled)
    for c in (0, 1):
        for table in missing:
            db.execute(f"drop table t_{table}{c}")
    if missing == ("cells", "codes"):
        db.execute("delete from t_config where key glob 'cell*'")
    db.close()
    db = open_db(isolation_level=None)
    words = db.execute("select vss_check('t')").fetchone()[0]
    for c, column in enumerate("ab"):
        for table in missing:
            assert f'table "t", column "{column}": t_{table}{c} is missing' in words
    refused = 0
    for sql in (
        "select rowid from t where a match '[1,2,3,4,5,6]' and k = 5",
        "insert into t(rowid, a) values(900, '[1,2,3,4,5,6]')",
        "delete from t where rowid = 5",
    ):
        db.execute("begin")
        try:
            db.execute(sql).fetchall()
            db.execute("savepoint written")
        except sqlite3.DatabaseError as error:
            if "is missing: it was dropped, or the file was written before vss0 0.1.0" in str(error):
                assert "select vss_repair('t') rebuilds" in str(error)
                refused += 1
        db.execute("rollback")
    # Codes are asked for where there are cells only.
    assert refused or (set(missing) <= {"cells", "codes"} and not celled)
    said = db.execute("select vss_repair('t')").fetchone()[0]
    for c in (0, 1):
        for table in missing:
            assert f"t_{table}{c} was missing and was rebuilt" in said
    oracle.check(db.execute)


def test_a_column_that_lost_its_vectors_says_so(
    open_db: Callable[..., sqlite3.Connection], random: np.random.Generator
) -> None:
    db = open_db(isolation_level=None)
    oracle = loaded(random, db.execute, 20)
    db.execute("drop table t_vectors0")
    db.close()
    db = open_db(isolation_level=None)
    with pytest.raises(sqlite3.DatabaseError, match="its own table main.t_vectors0 is missing"):
        db.execute("select rowid from t where a match '[1,2,3,4,5,6]' and k = 5").fetchall()
    said = db.execute("select vss_repair('t')").fetchone()[0]
    assert "t_vectors0 was missing and was rebuilt" in said
    lost = [i for i, row in oracle.rows.items() if row.a is not None]
    for i in lost:
        assert f"the vector of row {i} is lost; it is NULL now" in said
        oracle.rows[i] = oracle.rows[i].changed(a=None)
    oracle.check(db.execute)
