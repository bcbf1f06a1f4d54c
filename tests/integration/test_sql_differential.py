"""Searches in SQL mean what the same statement means on the search's rows in an ordinary table."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

import vssnative
from tests.reliability import sql_fuzz

DRIVERS = ["sqlite3", "pysqlite3", "apsw"]


@pytest.fixture(params=DRIVERS)
def conn(request: pytest.FixtureRequest) -> Any:
    connection: Any = vssnative.connect(":memory:", driver=importlib.import_module(request.param))
    connection.execute("begin")
    sql_fuzz.fill(connection)
    connection.execute("commit")
    yield connection
    connection.close()


@pytest.mark.parametrize("seed", range(3))
def test_conditions_mean_what_they_mean_on_an_ordinary_table(conn: Any, seed: int) -> None:
    told = sql_fuzz.compare_conditions(conn, seed, 400)
    assert told["read"] == told["limit"] == 400
    assert told["k"] > 100  # the others are refused in words


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("key", ["integer", "text"])
def test_conditions_on_keys(driver: str, key: str) -> None:
    conn: Any = vssnative.connect(":memory:", driver=importlib.import_module(driver))
    conn.execute("begin")
    sql_fuzz.fill(conn, key=key)
    conn.execute("commit")
    told = sql_fuzz.compare_conditions(conn, 1, 400, key)
    assert told["read"] == told["limit"] == 400
    assert told["k"] > 100
    conn.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_search_gives_its_rows_whatever_stands_round_it(conn: Any, seed: int) -> None:
    assert sql_fuzz.compare_shapes(conn, seed, 400)["shapes"] > 380


def rows(conn: Any, sql: str, *params: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in conn.execute(sql, params)]


@pytest.fixture(params=DRIVERS)
def seven(request: pytest.FixtureRequest) -> Any:
    """Seven rows at 1 to 7, posts with the same numbers, of which 2, 4 and 6 are drafts."""
    connection: Any = vssnative.connect(":memory:", driver=importlib.import_module(request.param))
    connection.execute(
        "create virtual table e using vss0(v(1), kind text collate nocase, year integer, flag boolean)"
    )
    connection.execute("create table p(id integer primary key, draft integer, year integer)")
    for i in range(1, 8):
        connection.execute(
            "insert into e(rowid, v, kind, year, flag) values (?, ?, ?, ?, ?)",
            (i, f"[{i}]", "xXy"[i % 3], 2000 + i, i % 2),
        )
        connection.execute("insert into p values (?, ?, ?)", (i, 1 - i % 2, 2000 + i))
    yield connection
    connection.close()


INSIDE = (
    "(kind = 'y' or year = 2005)",
    "flag is false",
    "flag is not true",
    "not flag",
    "flag",
    "year not in (2001, 2002)",
    "kind not like 'x'",
    "length(kind) = 1",
    "year + 0 > 2003",
    "kind || 'z' = 'yz'",
    "rowid % 2 = 0",
    "case when year > 2003 and flag then 1 else 0 end",
    "(rowid = 6 or (year between 2002 and 2003 and not flag))",
    "kind != 'X' collate binary and not (year = 2002)",
)


@pytest.mark.parametrize("condition", INSIDE)
def test_conditions_that_sqlite_keeps_hold_before_k(seven: Any, condition: str) -> None:
    expected = rows(seven, f"select rowid from e where {condition} order by rowid limit 3")
    assert expected
    for sql in (
        f"select rowid from e where v match '[0]' and k = 3 and {condition}",
        f"select * from (select rowid from e where {condition} and v match '[0]' and k = 3)",
        f"select rowid from e where v match '[0]' and k = 3 and rowid in (select rowid from e where {condition})",
        f"select rowid from e where v match '[0]' and {condition} order by distance limit 3",
    ):
        assert rows(seven, sql) == expected
    outside = (
        f"select rowid from (select rowid, * from e where v match '[0]' and k = 3) as e where {condition}"
    )
    assert rows(seven, outside) == rows(seven, f"select rowid from e where rowid <= 3 and {condition}")


def test_parameters_of_conditions_that_sqlite_keeps(seven: Any) -> None:
    sql = "select rowid from e where v match ? and k = ? and (kind = ? or year = ? or rowid = ?) and flag is not ?"
    assert rows(seven, sql, "[0]", 3, "it's?", 2005, -7, None) == [(5,)]
    assert rows(seven, sql, "[0]", 3, "Y", 2006, 7, 1) == [(2,), (6,)]
    assert rows(seven, sql, "[0]", 2, "Y", None, 7, b"x") == [(2,), (5,)]
    # Another search is read meanwhile.
    other = seven.execute(
        "select rowid from e where v match '[7]' and k = 3 and (year = 2001 or year = ?)", (2007,)
    )
    first = next(iter(other))
    assert rows(seven, sql, "[0]", 2, "Y", None, 7, b"x") == [(2,), (5,)]
    assert rows(seven, "select rowid from e where v match '[0]' and k = 2") == [(1,), (2,)]
    assert [tuple(first), *map(tuple, other)] == [(7,), (1,)]
    # SQLite writes fractions out with 15 digits.
    with pytest.raises(Exception, match="after the k nearest rows are found"):
        rows(seven, sql, "[0]", 2, "Y", 2005.5, 7, None)


KEPT = (
    "exists (select 1 from p where p.id = e.rowid and draft)",
    "year = (select year from p where p.id = e.rowid)",
    "(flag or rowid in (select id from p where draft))",
    "(v is null or flag)",
    "distance * 1 < 1000",
    "likely(flag)",
)


@pytest.mark.parametrize("condition", KEPT)
def test_other_conditions_are_refused_with_k_and_right_with_limit(seven: Any, condition: str) -> None:
    with pytest.raises(Exception, match="after the k nearest rows are found.*order by distance limit"):
        rows(seven, f"select rowid from e where v match '[0]' and k = 3 and {condition}")
    with pytest.raises(Exception, match="after the k nearest rows are found"):
        rows(seven, f"select * from (select rowid from e where {condition} and v match '[0]' and k = 3)")
    if "distance" in condition:
        return
    expected = rows(seven, f"select rowid from e where {condition} order by rowid limit 3")
    inside = f"select rowid from e where v match '[0]' and k = 3 and rowid in (select rowid from e where {condition})"
    assert rows(seven, inside) == expected
    by_limit = f"select rowid from e where v match '[0]' and {condition} order by distance limit 3"
    assert rows(seven, by_limit) == expected
    outside = (
        f"select rowid from (select rowid, * from e where v match '[0]' and k = 3) as e where {condition}"
    )
    assert rows(seven, outside) == rows(seven, f"select rowid from e where rowid <= 3 and {condition}")


def test_two_searches_of_one_statement_do_not_lend_each_other_conditions(seven: Any) -> None:
    one = "select rowid from e where v match '[0]' and k = 2"
    sql = f"select * from ({one}) union all select * from ({one} and year > 2003)"
    assert rows(seven, sql) == [(1,), (2,), (4,), (5,)]
    with pytest.raises(Exception, match="after the k nearest rows are found"):  # whose is it?
        rows(seven, f"select * from ({one}) union all select * from ({one} and not flag)")


@pytest.mark.parametrize(
    "sql",
    [
        "select e.rowid from e join p on p.id = e.rowid where e.v match '[0]' and e.k = 3 and p.draft = 1",
        "select e.rowid from e, p where p.id = e.rowid and e.v match '[0]' and e.k = 3 and not draft",
        "select e.rowid from e left join p on p.id = e.rowid where e.v match '[0]' and e.k = 3 and p.draft is 1",
        "select e.rowid from p cross join e on e.rowid = p.id and p.draft = 1 where e.v match '[0]' and k = 3",
    ],
)
def test_a_condition_on_a_joined_table_is_refused_with_k(seven: Any, sql: str) -> None:
    with pytest.raises(Exception, match="on a joined table drops rows.*rowid in"):
        rows(seven, sql)
    by_limit = sql.replace("e.k = 3", "1").replace("k = 3", "1") + " order by e.distance limit 3"
    wanted = (1, 3, 5) if "not draft" in sql else (2, 4, 6)
    assert rows(seven, by_limit) == [(i,) for i in wanted]


def test_conditions_that_belong_to_other_rows_are_no_reason_to_refuse(seven: Any) -> None:
    # The searched table is the one that need not be there: p's rows are what is asked for.
    sql = "select p.id, e.distance from p left join e on e.rowid = p.id and e.v match '[0]' and k = 3 where p.draft"
    assert rows(seven, sql) == [(2, 4.0), (4, None), (6, None)]
    # p drives the search.
    sql = (
        "select p.id, e.rowid from p join e on e.v match json_array(p.id) and e.k = 2 and e.year <> p.year"
        " where p.draft = 1 and p.id < 5"
    )
    assert sorted(rows(seven, sql)) == [(2, 1), (2, 3), (4, 3), (4, 5)]
    # One row of settings, joined with nothing.
    sql = "select e.rowid from p, e where e.v match json_array(p.id) and e.k = 2 and p.year = 2006"
    assert sorted(rows(seven, sql)) == [(5,), (6,)]
    assert sorted(
        rows(seven, "select e.rowid from e, p where v match '[0]' and k = 2 and p.year = 2006")
    ) == [(1,), (2,)]
    # A condition on p inside a list.
    sql = "select rowid from e where v match '[0]' and k = 2 and rowid in (select id from p where draft)"
    assert rows(seven, sql) == [(2,), (4,)]


def test_what_stands_outside_does_not_widen_a_search(seven: Any) -> None:
    core = "select rowid as id, distance from e where v match '[1]' and k=3"
    sql = f"with h as ({core}) select p.id, h.distance from p left join h on h.id = p.id"
    assert rows(seven, sql) == [(1, 0.0), (2, 1.0), (3, 4.0), (4, None), (5, None), (6, None), (7, None)]
    sql = "select e.rowid from p cross join e on e.rowid = p.id where v match '[1]' and k = 3"
    assert rows(seven, sql) == [(1,), (2,), (3,)]
    assert rows(seven, f"select id from ({core}) where id = 6") == []
    assert rows(seven, f"select id from ({core}) where id in (2, 6)") == [(2,)]
    year = "select rowid as id, year from e where v match '[1]' and k = 3"
    assert rows(seven, f"select id from ({year}) where year = 2006") == []
    assert rows(seven, f"select id from ({year} and year > 2003) where year = 2006") == [(6,)]
    assert rows(seven, f"select id from ({core}) where distance > 3") == [(3,)]
    assert rows(seven, f"{core} and distance > 3") == [(3, 4.0), (4, 9.0), (5, 16.0)]
    # The search's own: among these.
    assert rows(seven, f"{core} and rowid = 6") == [(6, 25.0)]
    assert rows(seven, "select rowid from e where v match '[1]' and k = 3 and rowid = 6 and year = 2006") == [
        (6,)
    ]
    # A view, and a trigger.
    seven.execute(f"create temp view near as {year} and flag = 1")
    assert rows(seven, "select id from near where year > 2004") == [(5,)]
    seven.execute("create table seen(id)")
    seven.execute(
        "create trigger look after insert on p begin insert into seen select id from"
        " (select rowid as id, year from e where v match '[1]' and k = 3) where year > 2002; end"
    )
    seven.execute("insert into p values (8, 0, 0)")
    assert rows(seven, "select id from seen") == [(3,)]


def test_farthest_of_the_nearest(seven: Any) -> None:
    core = "select rowid, distance from e where v match '[1]' and k = 3"
    assert rows(seven, f"{core} order by distance desc") == [(3, 4.0), (2, 1.0), (1, 0.0)]
    assert rows(seven, f"{core} order by distance desc limit 1") == [(3, 4.0)]
    assert rows(seven, f"select * from ({core}) order by distance desc") == [(3, 4.0), (2, 1.0), (1, 0.0)]
    assert rows(seven, "select max(distance), min(distance) from e where v match '[1]' and k = 3") == [
        (4.0, 0.0)
    ]
    assert rows(seven, "select max(distance) from e where v match '[1]' and k = 3") == [(4.0,)]
    assert rows(seven, f"select max(distance) from ({core})") == [(4.0,)]
    assert rows(seven, f"select rowid, rank() over (order by distance desc) from ({core})") == [
        (3, 1),
        (2, 2),
        (1, 3),
    ]
    sql = "select rowid from e where v match vss_search_params('[1]', 3) order by distance desc"
    assert rows(seven, sql) == [(3,), (2,), (1,)]
    assert rows(seven, "select rowid from e where v match '[1]' and distance < 5 order by distance desc") == [
        (3,),
        (2,),
        (1,),
    ]
    with pytest.raises(Exception, match="rows come nearest first"):
        rows(seven, "select rowid from e where v match '[1]' order by distance desc")


@pytest.mark.parametrize(
    "condition",
    ["k <= 3", "k < 3", "k > 3", "3 >= k", "k <> 3", "k is not 3", "k between 1 and 3", "recall >= 0.9"],
)
def test_k_and_recall_are_given_by_equals(seven: Any, condition: str) -> None:
    with pytest.raises(Exception, match="(k|recall) is said as (k|recall) = \\?, not with"):
        rows(seven, f"select rowid from e where v match '[1]' and {condition}")


@pytest.mark.parametrize(
    "condition",
    [
        "k",
        "k + 0 = 3",
        "not k = 3",
        "(k = 3 or k = 4)",
        "(k = 3 or year = 2001)",
        "k in (3, 4)",
        "k = 3 and k is not null",
        "k = 3 and recall + 0 = 0.5",
        "k = 3 and (recall = 0.5 or flag)",
    ],
)
def test_k_and_recall_in_other_conditions_are_refused(seven: Any, condition: str) -> None:
    with pytest.raises(Exception, match="k and recall are set by k = |is said as (k|recall) = "):
        rows(seven, f"select rowid from e where v match '[1]' and {condition}")


@pytest.mark.parametrize(
    "condition",
    ["(k = 3)", "3 = k", "e.k == 3", "k = 1 + 2", "k = (select 3)", "((k = 3) and recall = 1)", "k = '3'"],
)
def test_spellings_of_k(seven: Any, condition: str) -> None:
    assert rows(seven, f"select rowid from e where v match '[1]' and {condition}") == [(1,), (2,), (3,)]


@pytest.mark.parametrize(
    "condition",
    [
        "(kind, year) in (values ('x', 2001), ('y', 2005))",
        "(kind, year) in (select 'x', year from p)",
        "(rowid, kind) in (values (2, 'y'), (3, 'x'), (5, 'y'), (6, 'x'), (7, 'X'))",
        "(year, flag) in (select year, 1 - draft from p where id <> 1)",
        "not (kind, year) in (select 'x', year from p)",
    ],
)
def test_a_list_of_rows_is_refused_with_k_and_right_with_limit(seven: Any, condition: str) -> None:
    """SQLite asks a search once for each such row, so that k came back for each."""
    expected = rows(seven, f"select rowid from e where {condition} order by rowid limit 2")
    search = f"select rowid from e where v match '[0]' and {condition}"
    assert rows(seven, f"{search} order by distance limit 2") == expected
    assert rows(seven, f"{search} and rowid > 0 order by distance, rowid limit 2") == expected
    inside = f"select rowid from e where v match '[0]' and k = 2 and rowid in (select rowid from e where {condition})"
    assert rows(seven, inside) == expected
    for asked in (
        f"{search} and k = 2",
        search.replace("v match '[0]'", "vss_search(v, vss_search_params('[0]', 2))"),
    ):
        with pytest.raises(
            Exception, match=r"runs a search once for each row of|after the k nearest rows are found"
        ):
            rows(seven, asked)


def test_other_views_and_triggers_are_no_reason_to_refuse(seven: Any) -> None:
    kept = "(kind = 'y' or year = 2005)"
    for name, k, condition in (
        ("first", 3, kept),
        ("second", 2, "true"),
        ("third", 2, "year > 2003"),
        ("Fourth one", 2, "not flag"),
    ):
        seven.execute(
            f"create view \"{name}\" as select rowid as id from e where v match '[0]' and k = {k} and {condition}"
        )
    seven.execute("create view fifth as select id from first where id > 2")
    seven.execute("create table asked(x)")
    seven.execute("create table found(id)")
    seven.execute(
        "create trigger answers after insert on asked begin insert into found"
        " select rowid from e where v match new.x and k = 2 and flag is not true; end"
    )
    assert rows(seven, "select * from first") == rows(seven, f"select rowid from e where {kept} limit 3")
    assert rows(seven, "select * from second") == [(1,), (2,)]
    assert rows(seven, "select * from third where id <> 4") == [(5,)]
    assert rows(seven, 'select * from "Fourth one"') == [(2,), (4,)]
    assert rows(seven, "select * from fifth") == [
        (id_,) for (id_,) in rows(seven, "select * from first") if id_ > 2
    ]
    seven.execute("insert into asked values ('[0]')")
    assert rows(seven, "select * from found") == [(2,), (4,)]


def test_comparisons_go_by_their_own_collation_and_type(seven: Any) -> None:
    """kind is nocase: x at 3 and 6, X at 1, 4 and 7, y at 2 and 5."""

    def found(condition: str) -> list[int]:
        by_k = rows(seven, f"select rowid from e where v match '[0]' and k = 9 and {condition}")
        by_limit = rows(
            seven, f"select rowid from e where v match '[0]' and {condition} order by distance limit 9"
        )
        assert by_k == by_limit == rows(seven, f"select rowid from e where {condition} order by rowid")
        return [row[0] for row in by_k]

    assert found("kind <> 'x'") == [2, 5]
    assert found("kind <> 'x' collate binary") == [1, 2, 4, 5, 7]
    assert found("kind is not 'X' collate binary") == [2, 3, 5, 6]
    assert found("kind = 'x'") == [1, 3, 4, 6, 7]
    assert found("kind = 'x' collate nocase") == [1, 3, 4, 6, 7]
    assert found("kind collate binary = 'x'") == [3, 6]
    assert found("kind collate binary in ('x', 'y')") == [2, 3, 5, 6]
    assert found("kind like 'X'") == [1, 3, 4, 6, 7]
    assert found("kind glob 'X'") == [1, 4, 7]
    assert found("year = '2003'") == [3]
    assert found("year in ('2003', 2004.0, 'x')") == [3, 4]
